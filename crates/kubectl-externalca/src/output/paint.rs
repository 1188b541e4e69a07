//! Colour.

use std::ffi::OsString;

use anstyle::{AnsiColor, Style};

/// Whether text may have colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint(bool);

/// What a colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// A title.
    Bold,
    /// As it should be.
    Good,
    /// Under way.
    Moving,
    /// Needs a person.
    Bad,
}

impl Paint {
    /// On a terminal only, and never with `NO_COLOR` (no-color.org: whatever it holds, unless it is empty).
    pub fn for_stdout(is_terminal: bool, no_color: Option<OsString>) -> Self {
        Self(is_terminal && no_color.is_none_or(|value| value.is_empty()))
    }

    /// The text in that tone.
    pub fn tone(self, tone: Tone, text: impl std::fmt::Display) -> String {
        let style = match tone {
            Tone::Bold => Style::new().bold(),
            Tone::Good => AnsiColor::Green.on_default(),
            Tone::Moving => AnsiColor::Yellow.on_default(),
            Tone::Bad => AnsiColor::Red.on_default(),
        };
        if self.0 {
            format!("{style}{text}{style:#}")
        } else {
            text.to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_for_terminals_and_for_those_who_do_not_refuse_it() {
        for (terminal, no_color, colour) in [
            (true, None, true),
            (true, Some(""), true),
            (true, Some("1"), false),
            (false, None, false),
        ] {
            let paint = Paint::for_stdout(terminal, no_color.map(OsString::from));
            assert_eq!(
                paint.tone(Tone::Good, "fine") != "fine",
                colour,
                "{terminal} {no_color:?}"
            );
        }
    }
}
