//! Where facts are kept between reads, and who hears that they have changed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use external_ca_core::model::{
    Material, MaterialKind, MaterialRef, ObjectRef, PlaneRef, Read, facts,
};
use external_ca_core::x509::CaPem;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use tokio::sync::{Notify, mpsc};

use super::facts::Facts;
use super::news::News;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;

/// Facts, behind a lock. Watches, reads and our own writes change them.
pub struct Store {
    facts: Mutex<Facts>,
    /// What has changed since it was last asked.
    news: Mutex<News>,
    changes: mpsc::Sender<()>,
    /// Something has changed, for whoever looks at cert-manager's objects.
    pub for_front_end: Notify,
    /// cert-manager's kinds are served from now on.
    pub cert_manager_served: Notify,
    /// Something could not be read.
    pub failed_reads: Notify,
}

impl Store {
    /// An empty store, and what tells that it has changed.
    pub fn new() -> (Arc<Self>, mpsc::Receiver<()>) {
        let (changes, heard) = mpsc::channel(1);
        let store = Self {
            facts: Mutex::default(),
            news: Mutex::default(),
            changes,
            for_front_end: Notify::new(),
            cert_manager_served: Notify::new(),
            failed_reads: Notify::new(),
        };
        (Arc::new(store), heard)
    }

    /// Reads or changes facts, and announces nothing.
    pub fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for every issuance to be looked at.
    pub fn announce_change(&self) {
        self.announce(News::concern_all);
    }

    /// What has changed since this was last asked.
    pub fn news(&self) -> News {
        std::mem::take(&mut self.news.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn announce(&self, tell: impl FnOnce(&mut News)) {
        tell(&mut self.news.lock().unwrap_or_else(PoisonError::into_inner));
        // One that waits to be heard is enough.
        let _ = self.changes.try_send(());
        self.for_front_end.notify_one();
    }

    /// Announces a change, where `change` returns that there is one.
    pub fn update(&self, change: impl FnOnce(&mut Facts) -> bool) {
        if change(&mut self.facts()) {
            self.announce_change();
        }
    }

    /// The same where only this Secret or ConfigMap may have changed.
    pub fn update_material(&self, key: &MaterialRef, change: impl FnOnce(&mut Facts) -> bool) {
        if change(&mut self.facts()) {
            self.announce(|news| news.add_material(key));
        }
    }

    /// The same where only this plane may have changed.
    pub fn update_plane(&self, plane: &PlaneRef, change: impl FnOnce(&mut Facts) -> bool) {
        let mut facts = self.facts();
        let look = |facts: &Facts| {
            let is_broken = facts.seen.broken_planes.contains_key(plane);
            (facts.seen.planes.get(plane).cloned(), is_broken)
        };
        let (before, was_broken) = look(&facts);
        let is_news = change(&mut facts);
        let (after, is_broken) = look(&facts);
        drop(facts);
        if is_news && (was_broken || is_broken) {
            self.announce_change();
        } else if is_news {
            self.announce(|news| news.add_plane(before, after));
        }
    }

    /// A Secret was seen, or seen to be absent, or could not be read.
    pub fn secret(&self, target: &ObjectRef, read: Read<&Secret>) {
        let key = MaterialRef {
            kind: MaterialKind::Secret,
            object: target.clone(),
        };
        if self.facts().is_known(&key, &read) {
            return;
        }
        // Parsing a key takes a while: not under the lock.
        let material = map(&read, facts::secret);
        self.note_failure(&material);
        self.update_material(&key, |facts| {
            if facts.is_late(&key, &read) {
                return false;
            }
            let mut changed = facts.put_material(key.clone(), material);
            facts.remember(target, &read);
            if let Some(known) = facts.ca_secrets.get_mut(target) {
                let new = map(&read, |secret| Arc::new(CaPem::from(secret)));
                changed |= *known != new;
                *known = new;
            }
            changed
        });
    }

    /// A ConfigMap was seen, or seen to be absent, or could not be read.
    pub fn config_map(&self, target: &ObjectRef, read: Read<&ConfigMap>) {
        let material = map(&read, facts::config_map);
        self.note_failure(&material);
        let key = MaterialRef {
            kind: MaterialKind::ConfigMap,
            object: target.clone(),
        };
        self.update_material(&key, |facts| {
            if facts.is_late(&key, &read) {
                return false;
            }
            let mut changed = facts.put_material(key.clone(), material);
            for ((object, key), known) in &mut facts.seen.anchors {
                if object == target {
                    let new = map(&read, |config_map| {
                        facts::config_map_certificates(config_map, key)
                    });
                    changed |= *known != new;
                    *known = new;
                }
            }
            changed
        });
    }

    /// The version of an object that is known to exist.
    pub fn known_version(&self, key: &MaterialRef) -> Option<String> {
        let facts = self.facts();
        let found = facts.seen.material.get(key)?.found()?;
        Some(found.resource_version.clone())
    }

    /// The objects that could not be read.
    pub fn unknown(&self) -> Vec<MaterialRef> {
        let facts = self.facts();
        let unknown = facts.seen.material.iter();
        unknown
            .filter(|(_, read)| matches!(read.as_ref(), Read::Unknown(_)))
            .map(|(key, _)| key.clone())
            .collect()
    }

    fn note_failure(&self, read: &Read<Material>) {
        if matches!(read, Read::Unknown(_)) {
            self.failed_reads.notify_one();
        }
    }
}

fn map<T, U>(read: &Read<&T>, facts: impl FnOnce(&T) -> U) -> Read<U> {
    match read {
        Read::Absent => Read::Absent,
        Read::Found(object) => Read::Found(facts(object)),
        Read::Unknown(why) => Read::Unknown(why.clone()),
    }
}
