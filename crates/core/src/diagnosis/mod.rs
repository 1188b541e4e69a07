//! The doctor: from the operator's snapshot, and what else can be read, to what is wrong. Pure; in the order in which
//! causes have effects; one cause is one finding.

mod advice;
mod around;
mod case;
mod certificates;
mod chains;
mod connection;
mod declared;
mod extra;
mod files;
mod finding;
mod planes;
mod planner;
mod trust;
mod workload_facts;
mod workloads;

use jiff::Timestamp;

pub use connection::{Answer, Handshake, connection};
pub use declared::{
    AuthorityView, BundleState, CertificateView, Declarations, DomainView, Injectable,
    InjectionView, IssuerView, StoredSecret, Survey, declared,
};
pub use extra::{CertManagerCertificate, Denied, Extra, Mount, OperatorState, WorkloadDetail};
pub use files::{Files, Role as FileRole, files};
pub use finding::{Finding, FindingWord, Severity, Symptom, Word};
pub use workload_facts::{cert_manager_certificate, detail};

use crate::model::Observed;
use case::Case;

/// Everything that is wrong, the worst first. A healthy installation yields nothing.
pub fn diagnose(observed: &Observed, extra: &Extra, now: Timestamp) -> Vec<Finding> {
    let mut case = Case::new(observed, extra, now);
    around::check(&mut case);
    certificates::check(&mut case);
    trust::check(&mut case);
    planes::references(&mut case);
    planner::check(&mut case);
    workloads::check(&mut case);
    planes::agents(&mut case);
    case.finish()
}

/// Adds what a handshake has shown: what was known already gets it as its proof.
pub fn join(findings: &mut Vec<Finding>, more: Vec<Finding>) {
    for finding in more {
        let same =
            |other: &&mut Finding| other.word == finding.word && other.object == finding.object;
        match findings.iter_mut().find(same) {
            Some(known) if known.what.contains(&finding.what) => {}
            Some(known) => known.what = format!("{}; {}", known.what, finding.what),
            None => findings.push(finding),
        }
    }
    findings.sort_by_key(|finding| finding.severity);
}
