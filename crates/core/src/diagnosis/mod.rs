//! The doctor: from the operator's snapshot, and what else can be read, to what is wrong. Pure; in the order in which
//! causes have effects; one cause is one finding.

mod around;
mod certificates;
mod connection;
mod extra;
mod files;
mod finding;
mod planes;
mod planner;
mod trust;
mod workload_facts;
mod workloads;

use std::collections::BTreeSet;

use jiff::Timestamp;

pub use connection::{Answer, Handshake, connection};
pub use extra::{CertManagerCertificate, Denied, Extra, Mount, OperatorState, WorkloadDetail};
pub use files::{Files, Role as FileRole, files};
pub use finding::{Finding, FindingWord, Severity, Symptom, Word};
pub use workload_facts::{cert_manager_certificate, detail};

use crate::domain::{Desired, compile, identity, plane_type};
use crate::model::{MaterialRef, Observed, PlaneRef};
use crate::reason::Reason;
use crate::x509::CaChain;

/// Everything that is wrong, the worst first. A healthy installation yields nothing.
pub fn diagnose(observed: &Observed, extra: &Extra, now: Timestamp) -> Vec<Finding> {
    let desired = compile(&observed.issuance, observed).wanted;
    let mut case = Case {
        observed,
        extra,
        now,
        desired,
        findings: Vec::new(),
        sick: BTreeSet::new(),
        sick_planes: BTreeSet::new(),
    };
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

/// One examination: findings so far, and what they explain already.
struct Case<'a> {
    observed: &'a Observed,
    extra: &'a Extra,
    now: Timestamp,
    desired: Desired,
    findings: Vec<Finding>,
    /// Secrets and ConfigMaps whose content is to blame for what follows from it.
    sick: BTreeSet<MaterialRef>,
    /// Planes whose clientCA is.
    sick_planes: BTreeSet<PlaneRef>,
}

impl<'a> Case<'a> {
    fn add(&mut self, finding: Finding) {
        let known = |other: &Finding| other.word == finding.word && other.object == finding.object;
        if !self.findings.iter().any(known) {
            self.findings.push(finding);
        }
    }

    fn has(&self, word: impl Into<Word>, object: &str) -> bool {
        let word = word.into();
        let mut findings = self.findings.iter();
        findings.any(|finding| finding.word == word && finding.object == object)
    }

    fn issuance(&self) -> String {
        format!("ExternalCAIssuance {}", identity(&self.observed.issuance))
    }

    /// The CA that signs, where it can.
    fn ca(&self) -> Option<&'a CaChain> {
        self.observed.issuer.chain()
    }

    /// Whether somebody is at work who brings what is merely outstanding.
    fn operator_works(&self) -> bool {
        let leads = self.extra.operator.as_ref();
        leads.is_none_or(|operator| operator.leads(self.now)) && !self.observed.issuance.spec.paused
    }

    /// Whether some workload mounts it.
    fn is_mounted(&self, material: &MaterialRef) -> bool {
        let mut workloads = self.observed.workloads.iter();
        workloads.any(|workload| workload.mounts.contains(material))
    }

    /// An agent with a planeID that no plane has: that its plane has no agent, and that its certificate bears its own
    /// planeID, is the same mistake.
    fn without_consequences_of_a_wrong_plane_id(&mut self) {
        let lost = self.observed.workloads.iter().filter(|workload| {
            let reference = workload.workload.to_string();
            workload.agent.is_some() && self.has(Reason::PlaneNotFound, &reference)
        });
        let (mut planes, mut leaves) = (BTreeSet::new(), BTreeSet::new());
        for workload in lost {
            let kind = workload.agent.as_ref().map(|(kind, _)| kind.as_str());
            let of_kind = self
                .desired
                .planes
                .iter()
                .filter(|plane| Some(plane_type(plane.plane.kind)) == kind);
            planes.extend(of_kind.map(|plane| plane.plane.to_string()));
            leaves.extend(workload.mounts.iter().map(ToString::to_string));
        }
        self.findings.retain(|finding| {
            let follows = finding.word == FindingWord::AgentNotFound.into()
                && planes.contains(&finding.object)
                || finding.word == Reason::NamesChanged.into() && leaves.contains(&finding.object);
            !follows
        });
    }

    fn finish(mut self) -> Vec<Finding> {
        self.without_consequences_of_a_wrong_plane_id();
        self.findings.sort_by_key(|finding| finding.severity);
        self.findings
    }
}
