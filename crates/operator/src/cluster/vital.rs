//! What matters most is read in turn, whatever its watch tells: one that has died in silence tells nothing, for minutes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use external_ca_core::snapshot::Vital;
use external_ca_core::trust::Place;
use jiff::Timestamp;

use super::planes::Planes;
use super::read::Reader;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

/// In how long each is read again, where they are few.
const ROUND: Duration = scaled(60);
/// The shortest pause at rest, where only CAs are looked at: ten reads a minute.
const AT_REST: Duration = scaled(6);
/// The shortest pause while leaves are about to be renewed or a CA is being replaced.
const AT_WORK: Duration = scaled(1);

/// So many seconds, or as many milliseconds in tests.
const fn scaled(seconds: u64) -> Duration {
    Duration::from_millis(if cfg!(test) { seconds } else { seconds * 1000 })
}

/// What is read in turn besides its watch.
pub struct VitalReads {
    reader: Reader,
    planes: Arc<Planes>,
    wanted: Mutex<HashMap<String, Vec<Vital>>>,
}

impl VitalReads {
    /// Nothing is read yet.
    pub fn new(reader: Reader, planes: Arc<Planes>) -> Arc<Self> {
        Arc::new(Self {
            reader,
            planes,
            wanted: Mutex::default(),
        })
    }

    /// From now on these are read for an issuance.
    pub fn set(&self, issuance: &str, vital: Vec<Vital>) {
        self.wanted().insert(issuance.to_owned(), vital);
    }

    /// An issuance is gone.
    pub fn forget(&self, issuance: &str) {
        self.wanted().remove(issuance);
    }

    /// Reads them one by one, by this clock.
    pub async fn run(self: Arc<Self>, now: impl Fn() -> Timestamp) {
        let mut last: Option<Place> = None;
        loop {
            let (_, pause) = self.after(last.as_ref(), now());
            tokio::time::sleep(pause).await;
            let (next, _) = self.after(last.as_ref(), now());
            if let Some(place) = &next {
                self.read(place).await;
            }
            last = next;
        }
    }

    /// A read that fails says nothing: the watch tells what cannot be read.
    async fn read(&self, place: &Place) {
        match place {
            Place::Material(material) => {
                if let Err(error) = self.reader.try_read(material).await {
                    tracing::debug!(%error, %material, "not to be read at present");
                }
            }
            Place::ClientCa(plane) => {
                self.planes.read(plane).await;
            }
            // Its watch tells.
            Place::Injected(_) => {}
        }
    }

    /// Which one follows, and the pause before it.
    fn after(&self, last: Option<&Place>, now: Timestamp) -> (Option<Place>, Duration) {
        let wanted = self.wanted();
        let vital = wanted.values().flatten();
        let mut due: BTreeMap<&Place, bool> = BTreeMap::new();
        for one in vital.filter(|one| one.from <= now) {
            *due.entry(&one.place).or_default() |= !one.is_authority;
        }
        let shortest = match due.values().any(|is_work| *is_work) {
            true => AT_WORK,
            false => AT_REST,
        };
        let count = u32::try_from(due.len().max(1)).unwrap_or(u32::MAX);
        let mut rest = due.keys().filter(|place| last < Some(**place));
        let next = rest.next().or_else(|| due.keys().next());
        let next = next.map(|place| (*place).clone());
        (next, (ROUND / count).max(shortest))
    }

    fn wanted(&self) -> MutexGuard<'_, HashMap<String, Vec<Vital>>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
