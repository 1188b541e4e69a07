//! One examination, and what its checks ask of it.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::extra::Extra;
use super::finding::{Finding, FindingWord, Word};
use crate::domain::{Desired, DesiredLeaf, compile, identity, is_agent_of, namespace, plane_type};
use crate::model::{MaterialRef, ObjectRef, Observed, PlaneRef, Workload};
use crate::reason::Reason;
use crate::x509::CaChain;

/// One examination: findings so far, and what they explain already.
pub(super) struct Case<'a> {
    pub(super) observed: &'a Observed,
    pub(super) extra: &'a Extra,
    pub(super) now: Timestamp,
    pub(super) desired: Desired,
    pub(super) findings: Vec<Finding>,
    /// Secrets and ConfigMaps whose content is to blame for what follows from it.
    pub(super) faulty: BTreeSet<MaterialRef>,
    /// Planes whose clientCA is.
    pub(super) faulty_planes: BTreeSet<PlaneRef>,
}

impl<'a> Case<'a> {
    /// A case without findings.
    pub(super) fn new(observed: &'a Observed, extra: &'a Extra, now: Timestamp) -> Self {
        let desired = compile(&observed.issuance, observed).wanted;
        Self {
            observed,
            extra,
            now,
            desired,
            findings: Vec::new(),
            faulty: BTreeSet::new(),
            faulty_planes: BTreeSet::new(),
        }
    }

    /// Adds a finding, once.
    pub(super) fn add(&mut self, finding: Finding) {
        let known = |other: &Finding| other.word == finding.word && other.object == finding.object;
        if !self.findings.iter().any(known) {
            self.findings.push(finding);
        }
    }

    /// Whether this was found of that object.
    pub(super) fn has(&self, word: impl Into<Word>, object: &str) -> bool {
        let word = word.into();
        let mut findings = self.findings.iter();
        findings.any(|finding| finding.word == word && finding.object == object)
    }

    /// The issuance as the object of a finding.
    pub(super) fn issuance(&self) -> String {
        format!("ExternalCAIssuance {}", identity(&self.observed.issuance))
    }

    /// The CA that signs, where it can.
    pub(super) fn ca(&self) -> Option<&'a CaChain> {
        self.observed.authority.chain().map(AsRef::as_ref)
    }

    /// Whether an operator is at work, which brings what is merely outstanding.
    pub(super) fn operator_works(&self) -> bool {
        let leads = self.extra.operator.as_ref();
        leads.is_none_or(|operator| operator.leads(self.now)) && !self.observed.issuance.spec.paused
    }

    /// Whether some workload mounts it.
    pub(super) fn is_mounted(&self, material: &MaterialRef) -> bool {
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

    /// Everything that is wrong, the worst first.
    pub(super) fn finish(mut self) -> Vec<Finding> {
        self.without_consequences_of_a_wrong_plane_id();
        self.findings.sort_by_key(|finding| finding.severity);
        self.findings
    }

    /// The issuance's namespace.
    pub(super) fn home(&self) -> &str {
        namespace(&self.observed.issuance)
    }

    /// Whether a workload is the agent of one of the issuance's planes, where the issuance expects it.
    pub(super) fn is_our_agent(&self, workload: &Workload) -> bool {
        let mut planes = self.desired.planes.iter();
        planes.any(|plane| {
            is_agent_of(workload, plane)
                && self.desired.leaves.values().any(|leaf| {
                    leaf.planes.contains(&plane.plane)
                        && leaf.target.namespace == workload.workload.object.namespace
                })
        })
    }

    /// The leaf that the agent of a workload presents.
    pub(super) fn leaf_of(&self, workload: &Workload) -> Option<MaterialRef> {
        let mut planes = self.desired.planes.iter();
        let plane = planes.find(|plane| is_agent_of(workload, plane))?;
        let mut leaves = self.desired.leaves.values();
        let leaf = leaves.find(|leaf| leaf.planes.contains(&plane.plane))?;
        Some(leaf.material())
    }

    /// The hosts that clients of the gateway dial, with who does.
    pub(super) fn dialled(&self, gateway: &DesiredLeaf) -> Vec<(String, String)> {
        let home = &gateway.target.namespace;
        let mut found = Vec::new();
        for workload in &self.observed.workloads {
            let reference = &workload.workload;
            let Some(detail) = self.extra.workloads.get(reference) else {
                continue;
            };
            if reference.object.namespace == *home || self.is_our_agent(workload) {
                let dials = detail.dials.iter();
                found.extend(dials.map(|host| (host.clone(), format!("{reference} dials it"))));
            }
        }
        if found.is_empty() {
            found.extend(self.service_name(home));
        }
        found
    }

    /// The Service of the gateway, where no client is known to dial anything else.
    fn service_name(&self, home: &str) -> Option<(String, String)> {
        let mut gateways = self.extra.workloads.iter();
        let (_, gateway) = gateways
            .find(|(workload, detail)| detail.is_gateway && workload.object.namespace == home)?;
        let mut services = self.extra.services.iter();
        let (service, _) = services.find(|(_, selector)| {
            let mut pairs = selector.iter();
            !selector.is_empty() && pairs.all(|(key, value)| gateway.labels.get(key) == Some(value))
        })?;
        let ObjectRef {
            namespace, name, ..
        } = service;
        Some((
            format!("{name}.{namespace}.svc"),
            format!("Service {service}"),
        ))
    }
}
