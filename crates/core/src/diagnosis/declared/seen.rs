//! What is read of cert-manager's objects, and of all that has to do with them. Holds no private key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use external_ca_api::ExternalCAIssuanceStatus;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;

use crate::diagnosis::extra::{Denied, OperatorState};
use crate::domain::certmanager::{
    Aside, AtWork, Compiled, DeclaredDomain, Others, Values, Verdict, at_work, compile_all,
};
use crate::model::{
    CertManagerObjects, CertManagerRef, InjectFrom, InjectRef, Injected, Material, ObjectRef, Read,
};

/// What was read.
#[derive(Clone, Debug)]
pub struct Declarations {
    /// The namespace that was asked for; none for all.
    pub namespace: Option<String>,
    /// cert-manager's objects.
    pub objects: CertManagerObjects,
    /// What the operator is told.
    pub values: Values,
    /// Whether that was read; else it is guessed, and nothing is said to be missing in it.
    pub knows_values: bool,
    /// What issuances have.
    pub others: Others,
    /// The Secrets of Certificates and authorities.
    pub secrets: BTreeMap<ObjectRef, Read<StoredSecret>>,
    /// What asks to be injected into.
    pub injected: BTreeMap<InjectRef, Injectable>,
    /// The Lease of cert-manager's controller.
    pub controller: Read<Lease>,
    /// The Lease of its injector.
    pub injector: Read<Lease>,
    /// The operator; none where that is not known.
    pub operator: Option<OperatorState>,
    /// What could not be read.
    pub denied: BTreeSet<Denied>,
    /// What is not known besides.
    pub notes: Vec<String>,
}

/// A Secret of a Certificate or authority.
#[derive(Clone, Debug)]
pub struct StoredSecret {
    /// What it holds.
    pub material: Material,
    /// What the guards remember in it, where it is an authority's.
    pub memory: Option<ExternalCAIssuanceStatus>,
}

/// An object that asks to be injected into.
#[derive(Clone, Debug)]
pub struct Injectable {
    /// What is known of it.
    pub facts: Injected,
    /// It asks for the API server's own CA.
    pub wants_api_server: bool,
}

impl Declarations {
    /// What the operator makes of the objects.
    pub fn compiled(&self) -> Compiled {
        let served = &self.values.front.served;
        let is_seen = |name: &CertManagerRef| {
            !name.kind.is_namespaced() || served.contains(&name.object.namespace)
        };
        let objects = self.objects.0.iter().filter(|(name, _)| is_seen(name));
        let objects = objects.map(|(name, object)| (name.clone(), Arc::clone(object)));
        let objects = CertManagerObjects(objects.collect());
        compile_all(&objects, &self.values.front, &self.others)
    }

    /// The Secrets that are to be looked at.
    pub fn wanted(&self) -> BTreeSet<ObjectRef> {
        let compiled = self.compiled();
        let domains = compiled.domains.values();
        let domains = domains.filter(|domain| self.is_asked_for(domain));
        let secrets = domains.flat_map(DeclaredDomain::material);
        secrets.map(|material| material.object).collect()
    }

    /// Whether a domain has to do with the namespace that was asked for.
    pub(super) fn is_asked_for(&self, domain: &DeclaredDomain) -> bool {
        let mut secrets = domain.certificates().map(|(_, secret)| secret);
        self.is_here(&domain.authority.secret.namespace)
            || secrets.any(|secret| self.is_here(&secret.namespace))
    }

    /// Whether this namespace was asked for.
    pub(super) fn is_here(&self, namespace: &str) -> bool {
        self.namespace.as_deref().is_none_or(|one| one == namespace)
    }

    /// Whether cert-manager is at work.
    pub(super) fn at_work(&self, now: Timestamp) -> AtWork {
        at_work(&self.controller, &self.injector, &self.objects, now)
    }
}

/// Whether the operator stands aside. That whoever asks here may not read a Lease is no reason for it to do so.
pub(super) fn is_aside(half: Option<&Aside>) -> bool {
    half.is_some_and(|why| !matches!(why, Aside::LeaseUnreadable { .. }))
}

/// What an object is injected from: the domain, the Certificate, and its Secret.
pub(super) fn source<'a>(
    compiled: &'a Compiled,
    from: &InjectFrom,
) -> Option<(&'a DeclaredDomain, &'a ObjectRef)> {
    let mut domains = compiled.domains.values();
    let domain = domains.find(|domain| domain.injects(from))?;
    let mut certificates = domain.certificates();
    let named = |(certificate, secret): &(&ObjectRef, &ObjectRef)| match from {
        InjectFrom::Certificate(name) => certificate.to_string() == *name,
        InjectFrom::Secret(name) => secret.to_string() == *name,
    };
    let (_, secret) = certificates.find(named)?;
    Some((domain, secret))
}

/// What becomes of a Certificate that is known by `<namespace>/<name>`.
pub(super) fn verdict<'a>(compiled: &'a Compiled, name: &str) -> Option<&'a Verdict> {
    let (namespace, name) = name.split_once('/')?;
    compiled.certificates.get(&ObjectRef::new(namespace, name))
}
