//! What was last seen of cert-manager's objects, and of those that hold a `caBundle`.

use std::sync::Arc;

use external_ca_api::MEMORY_ANNOTATION;
use external_ca_core::model::{
    CertManagerObject, CertManagerRef, InjectRef, Injected, ListRef, ObjectRef, Read,
};
use k8s_openapi::api::core::v1::Secret;

use super::facts::Facts;
use crate::versions::is_older;

impl Facts {
    /// An object of cert-manager's exists, and is so now.
    pub fn cert_manager_seen(&mut self, name: CertManagerRef, object: CertManagerObject) -> bool {
        let all = &mut self.seen.cert_manager.0;
        let known = all.get(&name).map(AsRef::as_ref);
        let newer = known.map(|known| &known.resource_version);
        if newer.is_some_and(|newer| is_older(&object.resource_version, newer)) {
            return false;
        }
        let changed = known != Some(&object);
        all.insert(name, Arc::new(object));
        changed
    }

    /// Only these still exist.
    pub fn keep_cert_manager(&mut self, exists: impl Fn(&CertManagerRef) -> bool) -> bool {
        let known = &mut self.seen.cert_manager.0;
        let before = known.len();
        known.retain(|name, _| exists(name));
        known.len() != before
    }

    /// An object that holds a `caBundle` was seen, or seen to be absent, or could not be read.
    pub fn injected_seen(&mut self, object: &InjectRef, read: Read<Injected>) -> bool {
        let known = self.seen.injected.get(object);
        if let (Some(Read::Found(known)), Read::Found(new)) = (known.map(AsRef::as_ref), &read)
            && is_older(&new.resource_version, &known.resource_version)
        {
            return false;
        }
        let same = known.is_some_and(|known| **known == read);
        self.seen.injected.insert(object.clone(), Arc::new(read));
        !same
    }

    /// What the annotation of a Secret remembers. That it has changed is no news: only this operator writes it.
    pub fn remember(&mut self, target: &ObjectRef, read: &Read<&Secret>) {
        let annotations = read
            .found()
            .and_then(|secret| secret.metadata.annotations.as_ref());
        let memory = annotations.and_then(|all| all.get(MEMORY_ANNOTATION));
        match memory {
            Some(memory) => drop(self.seen.memories.insert(target.clone(), memory.clone())),
            None => drop(self.seen.memories.remove(target)),
        }
    }

    /// Whether cert-manager's objects are all known, as far as their kinds are served.
    pub fn has_read_cert_manager(&self) -> bool {
        let unread = self.seen.unreadable.keys();
        let mut missing = self.seen.awaited.iter().chain(unread);
        self.knows_cert_manager && !missing.any(ListRef::is_of_cert_manager)
    }
}
