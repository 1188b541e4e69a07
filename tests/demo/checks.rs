//! Checks that are counted and shown.

use crate::screen::Screen;
use std::fmt::Debug;

/// Checks of one thing.
#[derive(Default)]
pub struct Checks {
    done: Vec<(String, Option<String>)>,
}

impl Checks {
    /// A check that holds, or does not for a reason.
    pub fn add(&mut self, what: impl Into<String>, outcome: Result<(), String>) {
        self.done.push((what.into(), outcome.err()));
    }

    /// A check that holds or not.
    pub fn holds(&mut self, what: impl Into<String>, holds: bool) {
        self.add(what, if holds { Ok(()) } else { Err("no".to_owned()) });
    }

    /// What is found is what is wanted.
    pub fn equal<T: PartialEq + Debug>(&mut self, what: impl Into<String>, found: T, wanted: T) {
        let same = found == wanted;
        self.add(
            what,
            if same {
                Ok(())
            } else {
                Err(format!("found {found:?}, wanted {wanted:?}"))
            },
        );
    }

    /// Shows a heading with the overall verdict, and below it what was checked. Returns how many checks failed.
    pub fn show(&self, screen: &Screen, heading: &str) -> usize {
        let failed = self
            .done
            .iter()
            .filter(|(_, problem)| problem.is_some())
            .count();
        screen.verdict(failed == 0, heading);
        let good: Vec<&str> = self
            .done
            .iter()
            .filter(|(_, problem)| problem.is_none())
            .map(|(what, _)| what.as_str())
            .collect();
        wrapped(&good, " · ", 104)
            .iter()
            .for_each(|line| screen.note(format!("  {line}")));
        for (what, problem) in &self.done {
            if let Some(problem) = problem {
                screen.say(format!("  {} {what}: {problem}", screen.mark(false)));
            }
        }
        failed
    }
}

fn wrapped(words: &[&str], separator: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line)
                if line.chars().count() + separator.len() + word.chars().count() <= width =>
            {
                line.push_str(separator);
                line.push_str(word);
            }
            _ => lines.push((*word).to_owned()),
        }
    }
    lines
}
