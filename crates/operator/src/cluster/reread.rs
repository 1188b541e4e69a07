//! Objects that are read again and again: those that no watch is left for, and those that could not be read.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use external_ca_core::model::MaterialRef;
use futures::StreamExt;

use super::read::Reader;
use crate::backoff::backoff;

/// In how long each unwatched object is read again.
const REREAD: Duration = Duration::from_secs(30 * 60);
/// In how long at the latest an object that could not be read is read again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How many reads are under way at once.
const READERS: usize = 16;

/// Objects that are read in turn instead of watched.
pub struct Reread {
    reader: Reader,
    objects: Mutex<BTreeSet<MaterialRef>>,
}

impl Reread {
    /// Nothing is read yet.
    pub fn new(reader: Reader) -> Arc<Self> {
        Arc::new(Self {
            reader,
            objects: Mutex::default(),
        })
    }

    /// From now on these are read, the new ones among them at once.
    pub fn set(&self, wanted: BTreeSet<MaterialRef>) {
        let mut objects = self.objects();
        let new: Vec<MaterialRef> = wanted.difference(&objects).cloned().collect();
        *objects = wanted;
        if new.is_empty() {
            return;
        }
        let reader = self.reader.clone();
        tokio::spawn(async move {
            let read = |material| {
                let reader = &reader;
                async move { reader.read(&material).await }
            };
            let new = futures::stream::iter(new);
            new.for_each_concurrent(READERS, read).await;
        });
    }

    /// Reads them one by one, spread over [`REREAD`].
    pub async fn run(self: Arc<Self>) {
        let mut last: Option<MaterialRef> = None;
        loop {
            let (next, count) = self.after(last.as_ref());
            tokio::time::sleep(REREAD / u32::try_from(count.max(1)).unwrap_or(u32::MAX)).await;
            if let Some(material) = &next {
                self.reader.read(material).await;
            }
            last = next;
        }
    }

    /// Which one follows, and how many there are.
    fn after(&self, last: Option<&MaterialRef>) -> (Option<MaterialRef>, usize) {
        let objects = self.objects();
        let after = last.and_then(|last| {
            let rest = (Bound::Excluded(last), Bound::Unbounded);
            objects.range(rest).next()
        });
        (after.or_else(|| objects.first()).cloned(), objects.len())
    }

    fn objects(&self) -> MutexGuard<'_, BTreeSet<MaterialRef>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads what could not be read, at growing intervals. A watch does not do that: where nothing has changed meanwhile, it
/// goes on in silence.
pub async fn recover(reader: Reader) {
    let mut attempts = 0;
    loop {
        let unknown = reader.store.unknown();
        if unknown.is_empty() {
            attempts = 0;
            reader.store.failed_reads.notified().await;
            continue;
        }
        attempts += 1;
        tokio::time::sleep(backoff(attempts).min(LONGEST_PAUSE)).await;
        let read = |material: MaterialRef| {
            let reader = &reader;
            async move {
                if let Err(error) = reader.try_read(&material).await {
                    tracing::debug!(%error, %material, "still not to be read");
                }
            }
        };
        let unknown = futures::stream::iter(unknown);
        unknown.for_each_concurrent(READERS, read).await;
    }
}
