//! The rule, all the time: the leaf that a peer presents, stored or loaded, verifies against every bundle that its verifier
//! could hold, stored or loaded; and what is foreign stays.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use external_ca_core::x509::{Usages, parse_bundle, verify};
use external_ca_tests::openchoreo::PLACEHOLDER;
use external_ca_tests::openssl::Ca;
use jiff::Timestamp;
use tokio::time::sleep;

use crate::sample::{Conversation, Held, take};
use crate::scene::{FOREIGN, OURS, Scene};

/// Between two looks, so that the API server has something else to do, too.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Default)]
pub struct Judge(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// What people have written that nobody can be expected to get along with.
    by_hand: HashSet<String>,
    /// Where an anchor was planted.
    foreign: HashSet<String>,
    /// Most pairs are met again and again.
    judged: HashMap<(Usages, Arc<str>, Arc<str>), Option<String>>,
    /// How often everything was looked at, and how many pairs were judged.
    looks: usize,
    pairs: usize,
}

impl Judge {
    /// What people are about to write is not the operator's fault.
    pub fn excuse(&self, text: &str) {
        self.known().by_hand.insert(text.to_owned());
    }

    /// From now on the foreign anchor stands there.
    pub fn planted(&self, place: String) {
        self.known().foreign.insert(place);
    }

    /// People are about to take away what stands there.
    pub fn uprooted(&self, place: &str) {
        self.known().foreign.remove(place);
    }

    /// How often everything was looked at, how many pairs were judged, and how many of them differ.
    pub fn counts(&self) -> [usize; 3] {
        let known = self.known();
        [known.looks, known.pairs, known.judged.len()]
    }

    /// Where the foreign anchor stands.
    pub fn foreign(&self) -> HashSet<String> {
        self.known().foreign.clone()
    }

    /// Looks without end; returns what is broken.
    pub async fn watches(&self, scene: &Scene) -> external_ca_tests::Error {
        let mut last = Vec::new();
        loop {
            let foreign = self.foreign();
            let sample = match take(scene).await {
                Ok(sample) => sample,
                Err(error) => return error,
            };
            if let Err(broken) = self.judge(&last, &sample, &foreign) {
                return broken.into();
            }
            last = sample;
            self.known().looks += 1;
            sleep(PAUSE).await;
        }
    }

    /// What stands in two samples, one after the other, stood together in between: whatever is read takes time.
    fn judge(
        &self,
        before: &[Conversation],
        now: &[Conversation],
        foreign: &HashSet<String>,
    ) -> Result<(), String> {
        for (before, now) in before.iter().zip(now) {
            let trusted = lasting(&before.trusted, &now.trusted);
            for (presenter, leaf) in lasting(&before.presented, &now.presented) {
                for (verifier, bundle) in &trusted {
                    if let Some(why) = self.verdict(now.usages, &leaf, bundle) {
                        let (signed, trusted) = (signer(&leaf), trusted_cas(bundle));
                        let at = Timestamp::now();
                        return Err(format!(
                            "{at}: the leaf of {presenter}, signed by CA {signed:?}, at {verifier}, which trusts CAs {trusted:?}: {why}"
                        ));
                    }
                }
            }
        }
        let anchor = FOREIGN.certificate.trim();
        let places: BTreeMap<_, _> = now.iter().flat_map(|one| &one.trusted).collect();
        let still = self.foreign();
        for place in foreign.intersection(&still) {
            if places
                .get(place)
                .is_some_and(|bundle| !bundle.contains(anchor))
            {
                return Err(format!("{place} has lost a foreign anchor"));
            }
        }
        Ok(())
    }

    fn verdict(&self, usages: Usages, leaf: &Arc<str>, bundle: &Arc<str>) -> Option<String> {
        let mut known = self.known();
        let is_excused = |text: &Arc<str>| {
            known.by_hand.contains(text.as_ref()) || text.is_empty() || **text == *PLACEHOLDER
        };
        if is_excused(leaf) || is_excused(bundle) {
            return None;
        }
        known.pairs += 1;
        let key = (usages, leaf.clone(), bundle.clone());
        let verdict = known.judged.entry(key).or_insert_with(|| {
            let chain = parse_bundle(leaf.as_bytes()).certificates;
            let anchors = parse_bundle(bundle.as_bytes()).certificates;
            let now = Timestamp::now();
            verify(&chain, &anchors, usages, now)
                .err()
                .map(|error| error.to_string())
        });
        verdict.clone()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap()
    }
}

fn lasting(before: &Held, now: &Held) -> Held {
    let same = |(who, text): &(&String, &Arc<str>)| before.get(*who) == Some(*text);
    let lasting = now.iter().filter(same);
    lasting
        .map(|(who, text)| (who.clone(), text.clone()))
        .collect()
}

/// Which of our CAs has signed a leaf.
fn signer(leaf: &str) -> Option<usize> {
    let chain = parse_bundle(leaf.as_bytes()).certificates;
    let ca = |ca: &Ca| parse_bundle(ca.certificate.as_bytes()).certificates;
    let signs = |one: &Ca| {
        ca(one)
            .iter()
            .any(|ca| chain.first().is_some_and(|leaf| leaf.signed_by(ca)))
    };
    OURS.iter().position(signs)
}

/// Which of our CAs a bundle trusts.
fn trusted_cas(bundle: &str) -> Vec<usize> {
    let trusts = |index: &usize| bundle.contains(OURS[*index].certificate.trim());
    (0..OURS.len()).filter(trusts).collect()
}
