//! The shortest story that still fails.

use crate::operator::Answer;
use crate::story::{Event, Story};

/// Leaves out events, many at once and then one by one, and calms the weather of what is left, for as long as it fails in
/// the same way.
pub fn shrink(mut story: Story, failure: &str) -> Story {
    let fails = |story: &Story| {
        let told = story.tell(None, false);
        told.is_err_and(|(now, _)| now.lines().next() == failure.lines().next())
    };
    loop {
        let before = story.events.len();
        let mut size = before.div_ceil(2);
        while size > 0 {
            let mut from = 0;
            while from < story.events.len() {
                let mut shorter = story.clone();
                let to = (from + size).min(story.events.len());
                shorter.events.drain(from..to);
                match fails(&shorter) {
                    true => story = shorter,
                    false => from = to,
                }
            }
            size /= 2;
        }
        if story.events.len() == before {
            break;
        }
    }
    for index in 0..story.events.len() {
        for calm in [
            |event: &mut Event| {
                if let Event::Act(_, weather) | Event::ActOnCertificates(_, _, weather) = event {
                    weather.late = 0
                }
            },
            |event: &mut Event| {
                if let Event::Act(_, weather) | Event::ActOnCertificates(_, _, weather) = event {
                    weather.unknown = 0
                }
            },
            |event: &mut Event| {
                if let Event::Act(_, weather) | Event::ActOnCertificates(_, _, weather) = event {
                    weather.answer = Answer::Done
                }
            },
        ] {
            let mut calmer = story.clone();
            calm(&mut calmer.events[index]);
            if fails(&calmer) {
                story = calmer;
            }
        }
    }
    story
}
