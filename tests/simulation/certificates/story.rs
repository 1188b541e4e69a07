//! What happens to cert-manager's objects, beside what happens to the issuance.

use fastrand::Rng;

use super::people::{self, Habits};
use super::world::Setup;
use crate::operator::{Answer, Weather};
use crate::story::{Event, Story};

impl Story {
    /// The story of a seed, with cert-manager's objects. Most of what happens, happens to them.
    pub fn with_certificates(seed: u64) -> Self {
        let mut story = Self::draw(seed);
        let rng = &mut Rng::with_seed(seed ^ 0x5eed_0019);
        let is_quiet = rng.u8(..4) > 0;
        story.events.retain(|event| match event {
            Event::Clock(..) => false,
            Event::Person(_) | Event::Spoil(_) | Event::Rival(_) | Event::Away(_) => !is_quiet,
            _ => true,
        });
        story.certificates = Some(Setup::draw(rng));
        let mut habits: Habits = std::array::from_fn(|_| rng.u8(..3) == 0);
        habits[0] = true;
        let events = std::mem::take(&mut story.events);
        for event in events {
            let follows = match event {
                Event::Act(leader, weather) => acts(rng, leader, weather),
                Event::Pass(..) if rng.u8(..3) == 0 => {
                    let deed = people::draw(rng, &habits);
                    deed.map(Event::Certificates).into_iter().collect()
                }
                _ => Vec::new(),
            };
            story.events.push(event);
            story.events.extend(follows);
        }
        story
    }
}

/// The same leader turns to the domains, too.
fn acts(rng: &mut Rng, leader: usize, weather: Weather) -> Vec<Event> {
    let count = rng.usize(1..5);
    let mut all = Vec::new();
    for _ in 0..count {
        let answer = match rng.u8(..3) {
            0 => weather.answer,
            _ => Answer::Done,
        };
        let weather = Weather {
            seed: rng.u64(..1 << 32),
            answer,
            ..weather
        };
        all.push(Event::ActOnCertificates(leader, rng.usize(..24), weather));
    }
    all
}
