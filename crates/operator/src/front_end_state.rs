//! What is known of cert-manager's objects, for every turn: what the chart's values say, which domains there are, and whether
//! cert-manager itself is at work.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use external_ca_core::domain::certmanager::{AtWork, DeclaredDomain, FrontEnd, injected};
use external_ca_core::model::{InjectRef, ObjectRef};
use external_ca_core::snapshot::{Scope, WrittenNames};

use crate::cli::RunArgs;

/// What is known of cert-manager's objects.
#[derive(Default)]
pub struct FrontEndState {
    /// Whether it works at all.
    pub enabled: bool,
    /// What the chart's values say.
    pub settings: FrontEnd,
    /// The names of what it writes.
    pub scope: Scope,
    /// What bundles are injected into.
    pub injected: BTreeSet<InjectRef>,
    /// The namespace of cert-manager's own Leases.
    pub lease_namespace: String,
    /// Whether cert-manager is at work; nothing until that was looked at.
    at_work: Mutex<Option<AtWork>>,
    /// Every issuance was listed.
    pub issuances_listed: AtomicBool,
    /// The domains, by their identities.
    domains: Mutex<BTreeMap<String, Arc<DeclaredDomain>>>,
}

impl FrontEndState {
    /// As the operator is told at its start.
    pub fn new(args: &RunArgs, scope: &Scope) -> Self {
        let all = |names: &[String]| names.iter().cloned().collect::<BTreeSet<String>>();
        let of_issuances = scope.names.leaves.union(&scope.names.bundles);
        let secrets = all(&args.cert_manager_secrets);
        let named = |names: &[String]| {
            let mut named = all(names);
            named.remove("");
            named
        };
        Self {
            enabled: args.cert_manager,
            settings: FrontEnd {
                served: scope.served.as_ref().clone(),
                secrets: secrets.clone(),
                cas: all(&args.ca_secrets),
                of_issuances: of_issuances.cloned().collect(),
                cluster_namespace: args.cluster_issuer_namespace.clone(),
            },
            scope: Scope {
                served: Arc::clone(&scope.served),
                names: Arc::new(WrittenNames {
                    leaves: secrets.clone(),
                    bundles: BTreeSet::new(),
                }),
                ..Scope::default()
            },
            injected: injected(
                &named(&args.webhook_configurations),
                &named(&args.injected_definitions),
                &named(&args.injected_api_services),
            ),
            lease_namespace: args.cert_manager_lease_namespace.clone(),
            ..Self::default()
        }
    }

    /// Whether certificates are issued.
    pub fn issues(&self) -> bool {
        let at_work = lock(&self.at_work);
        at_work
            .as_ref()
            .is_some_and(|found| found.controller.is_none())
    }

    /// Whether bundles are injected.
    pub fn injects(&self) -> bool {
        let at_work = lock(&self.at_work);
        at_work
            .as_ref()
            .is_some_and(|found| found.injector.is_none())
    }

    /// Notes whether cert-manager is at work. Returns what was known.
    pub fn set_at_work(&self, found: AtWork) -> Option<AtWork> {
        lock(&self.at_work).replace(found)
    }

    /// These are the domains now. Returns the identities of those that are gone.
    pub fn replace(&self, domains: BTreeMap<String, Arc<DeclaredDomain>>) -> Vec<String> {
        let mut known = self.domains();
        let gone = known
            .keys()
            .filter(|identity| !domains.contains_key(*identity));
        let gone = gone.cloned().collect();
        *known = domains;
        gone
    }

    /// Whether a domain is known by this identity.
    pub fn has(&self, identity: &str) -> bool {
        self.domains().contains_key(identity)
    }

    /// The identities of all domains but that of this authority.
    pub fn others(&self, authority: &ObjectRef) -> Vec<String> {
        let domains = self.domains();
        let others = domains
            .iter()
            .filter(|(_, domain)| domain.authority.secret != *authority);
        others.map(|(identity, _)| identity.clone()).collect()
    }

    fn domains(&self) -> MutexGuard<'_, BTreeMap<String, Arc<DeclaredDomain>>> {
        lock(&self.domains)
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use external_ca_core::domain::certmanager::Aside;

    use super::*;

    #[test]
    fn both_halves_stand_aside_until_it_is_known_whether_they_may_work() {
        let state = FrontEndState::default();
        assert_eq!((state.issues(), state.injects()), (false, false));
        let held = Aside::LeaseUnreadable {
            message: "forbidden".to_owned(),
        };
        let found = AtWork {
            controller: Some(held),
            injector: None,
        };
        assert_eq!(state.set_at_work(found), None);
        assert_eq!((state.issues(), state.injects()), (false, true));
    }
}
