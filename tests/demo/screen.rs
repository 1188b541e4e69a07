//! What a person sees: steps with their time, ticks and crosses, and a table of times at the end.

use std::fmt::Display;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// The terminal, or the file that stands in for it.
pub struct Screen {
    colour: bool,
    steps: usize,
    start: Instant,
    open: Option<(String, Instant)>,
    times: Vec<(String, Duration)>,
}

impl Screen {
    pub fn new(steps: usize) -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self {
            colour,
            steps,
            start: Instant::now(),
            open: None,
            times: Vec::new(),
        }
    }

    pub fn title(&self, text: &str) {
        println!("{}", self.bold(text));
    }

    /// Begins a step; the one before ends.
    pub fn step(&mut self, title: &str) {
        self.end();
        let number = self.times.len() + 1;
        println!(
            "\n{}",
            self.bold(&format!("[{number}/{}] {title}", self.steps))
        );
        self.open = Some((title.to_owned(), Instant::now()));
    }

    /// Ends the open step and says how long it took.
    pub fn end(&mut self) {
        if let Some((title, since)) = self.open.take() {
            let time = since.elapsed();
            println!("      {}", self.dim(&format!("took {}", seconds(time))));
            self.times.push((title, time));
        }
    }

    pub fn say(&self, text: impl Display) {
        println!("      {text}");
    }

    /// A command, as one would type it.
    pub fn command(&self, text: impl Display) {
        println!("      {}", self.cyan(&format!("$ {text}")));
    }

    /// Something less important.
    pub fn note(&self, text: impl Display) {
        println!("      {}", self.dim(&text.to_string()));
    }

    /// A line with a tick or a cross before it.
    pub fn verdict(&self, good: bool, text: impl Display) {
        println!("    {} {text}", self.mark(good));
    }

    pub fn failure(&self, text: &str) {
        eprintln!("\n{} {text}", self.mark(false));
    }

    /// How long each step took, and whether all went well.
    pub fn summary(&self, failed: usize) {
        println!("\n{}", self.bold("Time"));
        let width = self
            .times
            .iter()
            .map(|(title, _)| title.chars().count())
            .max();
        let width = width.unwrap_or_default();
        for (title, time) in &self.times {
            println!("      {title:width$} {:>8}", seconds(*time));
        }
        println!(
            "      {:width$} {:>8}",
            "total",
            seconds(self.start.elapsed())
        );
        println!();
        match failed {
            0 => self.verdict(true, self.bold("Every check passed.")),
            1 => self.verdict(false, self.bold("One check failed: look for ✗ above.")),
            n => self.verdict(
                false,
                self.bold(&format!("{n} checks failed: look for ✗ above.")),
            ),
        }
    }

    pub fn mark(&self, good: bool) -> String {
        match good {
            true => self.paint("32", "✓"),
            false => self.paint("31", "✗"),
        }
    }

    pub fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    pub fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    fn cyan(&self, text: &str) -> String {
        self.paint("36", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        match self.colour {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// A time for people.
pub fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
