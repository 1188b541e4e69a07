//! Objects of the API server that hold a bundle: what it verifies a webhook's or an aggregated API's certificate with.

use std::collections::BTreeSet;
use std::fmt;

use derive_where::derive_where;
use jiff::Timestamp;

use crate::x509::Certificate;

/// Kind of an object with a `caBundle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum InjectKind {
    ValidatingWebhookConfiguration,
    MutatingWebhookConfiguration,
    CustomResourceDefinition,
    APIService,
}

impl InjectKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [
        Self::ValidatingWebhookConfiguration,
        Self::MutatingWebhookConfiguration,
        Self::CustomResourceDefinition,
        Self::APIService,
    ];

    /// Group, version and plural.
    pub fn resource(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::ValidatingWebhookConfiguration => (
                "admissionregistration.k8s.io",
                "v1",
                "validatingwebhookconfigurations",
            ),
            Self::MutatingWebhookConfiguration => (
                "admissionregistration.k8s.io",
                "v1",
                "mutatingwebhookconfigurations",
            ),
            Self::CustomResourceDefinition => {
                ("apiextensions.k8s.io", "v1", "customresourcedefinitions")
            }
            Self::APIService => ("apiregistration.k8s.io", "v1", "apiservices"),
        }
    }
}

/// An object with a `caBundle`. It is cluster-scoped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InjectRef {
    /// Kind.
    pub kind: InjectKind,
    /// Name.
    pub name: String,
}

impl fmt::Display for InjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.kind, self.name)
    }
}

/// What an object asks to be injected from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InjectFrom {
    /// `cert-manager.io/inject-ca-from`: `<namespace>/<Certificate>`.
    Certificate(String),
    /// `cert-manager.io/inject-ca-from-secret`: `<namespace>/<Secret>`, which must allow it.
    Secret(String),
}

/// What is known of an object with a `caBundle`.
#[derive(Clone, Debug)]
#[derive_where(PartialEq, Eq)]
pub struct Injected {
    /// For a conditional write.
    #[derive_where(skip(EqHashOrd))]
    pub resource_version: String,
    /// What it asks for; none where it asks for nothing.
    pub from: Option<InjectFrom>,
    /// Its elements that have a `caBundle` each, by their names; one without a name where there is but one.
    pub elements: Vec<InjectedElement>,
    /// When one of them was last written.
    pub changed: Option<Timestamp>,
    /// Whether the operator owns the field, so that an apply that sets it is a conflict.
    pub is_owned: bool,
    /// cert-manager's own injector writes it: here it is looked at only.
    pub is_others: bool,
}

/// One `caBundle`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InjectedElement {
    /// The webhook's name.
    pub name: String,
    /// What it holds.
    pub anchors: Vec<Certificate>,
}

impl Injected {
    /// The anchors that each element holds.
    pub fn anchors(&self) -> Vec<Certificate> {
        let mut elements = self.elements.iter();
        let first = elements.next().map(|one| one.anchors.clone());
        elements.fold(first.unwrap_or_default(), |mut all, one| {
            all.retain(|anchor| one.anchors.contains(anchor));
            all
        })
    }

    /// The anchors that not every element holds.
    pub fn others(&self) -> Vec<Certificate> {
        let shared = self.anchors();
        let all = self.elements.iter().flat_map(|one| &one.anchors);
        let mut seen = BTreeSet::new();
        all.filter(|anchor| !shared.contains(anchor) && seen.insert(anchor.fingerprint()))
            .cloned()
            .collect()
    }

    /// Whether an element holds any anchor.
    pub fn trusts_any(&self) -> bool {
        let mut elements = self.elements.iter();
        elements.any(|one| !one.anchors.is_empty())
    }

    /// Whether each element holds these, and no others.
    pub fn holds_exactly(&self, wanted: &[Certificate]) -> bool {
        let same = |one: &InjectedElement| {
            one.anchors.len() == wanted.len() && wanted.iter().all(|a| one.anchors.contains(a))
        };
        self.elements.iter().all(same)
    }
}
