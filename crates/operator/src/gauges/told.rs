//! What is told of objects, and how often that has changed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is told of each.
#[derive(Debug)]
pub struct Told<K, V>(Arc<(Mutex<BTreeMap<K, V>>, AtomicU64)>);

impl<K, V> Default for Told<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K, V> Clone for Told<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Ord, V> Told<K, V> {
    /// From now on this is told.
    pub fn insert(&self, key: K, value: V) {
        self.all().insert(key, value);
        self.changed();
    }

    /// Only these are told of any longer.
    pub fn retain(&self, keeps: impl Fn(&K) -> bool) {
        let mut all = self.all();
        let before = all.len();
        all.retain(|key, _| keeps(key));
        if all.len() != before {
            self.changed();
        }
    }

    /// Another one means that something changed.
    pub fn version(&self) -> u64 {
        self.0.1.load(Ordering::Acquire)
    }

    /// All of it.
    pub fn all(&self) -> MutexGuard<'_, BTreeMap<K, V>> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.0.1.fetch_add(1, Ordering::Release);
    }
}
