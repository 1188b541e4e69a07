//! cert-manager.io/v1 as a front end: its objects compile to trust domains, which the planner serves like an issuance's.
//!
//! A domain is one authority, known by its Secret:
//!
//! - a self-signed `isCA` Certificate makes a CA; each `ca` Issuer over its Secret, and their Certificates, belong to it;
//! - a `ca` Issuer over a CA Secret that people made is one, too;
//! - a self-signed leaf is its own anchor, and a domain of its own.
//!
//! To the planner all three, and an issuance, are the same: an authority, the leaves that it signs, the places that trust it
//! (here `ca.crt` beside each leaf, and every `caBundle` that is injected from one of them), and the pods that use both.

mod at_work;
mod compile;
mod declared;
mod fields;
mod spec;
mod values;
mod words;

pub use at_work::{Aside, AtWork, CONTROLLER_LEASE, INJECTOR_LEASE, at_work};
pub use compile::{Compiled, FrontEnd, Others, Verdict, compile_all};
pub use declared::{DeclaredAuthority, DeclaredDomain, DeclaredLeaf, trust_domain};
pub use fields::{ANNOTATIONS, CERTIFICATE_FIELDS, Conformance, ISSUER_FIELDS};
pub use values::{
    CA_SECRETS, CLUSTER_ISSUER_NAMESPACE, LEASE_NAMESPACE, SECRETS, Values, WEBHOOK_CONFIGURATIONS,
    injected,
};
pub use words::{CertificateProblem, CertificateWord};
