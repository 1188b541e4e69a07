//! Which issuances do not parse, and why.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use external_ca_api::ExternalCAIssuance;
use external_ca_core::model::lenient::Undecodable;
use kube::runtime::reflector::ObjectRef;

/// An issuance, by its name.
pub type Issuance = ObjectRef<ExternalCAIssuance>;

/// Which they are, and the field that is at fault.
#[derive(Default)]
pub struct Broken(Mutex<HashMap<Issuance, Undecodable>>);

impl Broken {
    /// Whether the newest version of an issuance does not parse.
    pub fn contains(&self, issuance: &ExternalCAIssuance) -> bool {
        self.entries().contains_key(&ObjectRef::from_obj(issuance))
    }

    /// Whether it is one of this `<namespace>/<name>`.
    pub fn contains_named(&self, identity: &str) -> bool {
        let Some((namespace, name)) = identity.split_once('/') else {
            return false;
        };
        let issuance = ObjectRef::new(name).within(namespace);
        self.entries().contains_key(&issuance)
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Issuance, Undecodable>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that one does not parse; false where that is known.
    pub fn add(&self, issuance: Issuance, error: &Undecodable) -> bool {
        let known = self.entries().insert(issuance, error.clone());
        known.as_ref() != Some(error)
    }

    /// One parses again, or is gone; false where it always did.
    pub fn remove(&self, issuance: &Issuance) -> bool {
        self.entries().remove(issuance).is_some()
    }
}
