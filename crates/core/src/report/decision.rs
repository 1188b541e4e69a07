//! An issuance's plan, and what is told of it.

use std::sync::Arc;

use external_ca_api::{ExternalCAIssuanceStatus, RotationStatus};
use jiff::Timestamp;

use super::conditions::{Outlook, PLANES_WIRED, transitions};
use super::notice::Notice;
use super::status::merge;
use super::text::{list, names};
use crate::domain::certmanager::{DeclaredDomain, trust_domain};
use crate::domain::{TrustDomain, compile};
use crate::finding::{Area, Finding, Severity};
use crate::model::{Observed, Plane, Snapshot};
use crate::plan::{self, Plan, Step, plan};
use crate::reason::{Problem, Reason};

/// What is to be done, what is to be told, and when to look again.
#[derive(Clone, Debug)]
pub struct Decision {
    /// What to do, in order.
    pub steps: Vec<Step>,
    /// What to tell.
    pub status: ExternalCAIssuanceStatus,
    /// What has turned, for Events.
    pub events: Vec<Notice>,
    /// What needs a person, or is worth a person's attention, one by one: conditions join these.
    pub problems: Vec<Finding>,
    /// When to look again, if nothing happens before.
    pub next_check: Timestamp,
    /// See [`Plan::persist_status_first`].
    pub persist_status_first: bool,
}

/// Decides on an issuance.
pub fn decide(observed: &Observed, now: Timestamp) -> Decision {
    let domain = compile(&observed.issuance, observed);
    let mut plan = plan(&domain, observed, now);
    plan.findings.extend(awaits(&domain, observed));
    report(&domain, observed, plan, now)
}

/// Decides on a domain that cert-manager's objects declare.
pub fn decide_declared(
    declared: &DeclaredDomain,
    snapshot: &Snapshot,
    earlier: Option<&ExternalCAIssuanceStatus>,
    now: Timestamp,
) -> Decision {
    let domain = trust_domain(declared, snapshot, earlier);
    let plan = plan(&domain, snapshot, now);
    report(&domain, snapshot, plan, now)
}

/// What may be done of it while its memory cannot be stored.
pub fn declared_without_memory(
    declared: &DeclaredDomain,
    snapshot: &Snapshot,
    earlier: Option<&ExternalCAIssuanceStatus>,
    now: Timestamp,
) -> Vec<Step> {
    let domain = trust_domain(declared, snapshot, earlier);
    plan::without_memory(domain, snapshot, now)
}

/// An agent without a plane may run in a namespace that nothing wanted lies in. Until its workloads are read, planes that were
/// not well before are not told to be.
fn awaits(domain: &TrustDomain<'_>, observed: &Snapshot) -> Option<Finding> {
    let list = observed.awaited.first()?;
    let earlier = domain
        .owner
        .earlier
        .map_or(&[][..], |status| &status.conditions);
    let mut earlier = earlier.iter();
    if earlier.any(|one| one.type_ == PLANES_WIRED && one.status == "True") {
        return None;
    }
    let message = format!("waiting for {list}: an agent that has no plane may run there");
    let problem = Problem::new(Reason::Progressing, message);
    let object = domain.owner.to_string();
    Some(Finding::new(
        Area::Planes,
        Severity::Waiting,
        object,
        problem,
    ))
}

/// What may be done of it while the status cannot be stored.
pub fn without_memory(observed: &Observed, now: Timestamp) -> Vec<Step> {
    plan::without_memory(compile(&observed.issuance, observed), observed, now)
}

fn report(domain: &TrustDomain<'_>, observed: &Snapshot, plan: Plan, now: Timestamp) -> Decision {
    let earlier = domain.owner.earlier;
    let conditions_before = earlier.map_or(&[][..], |status| &status.conditions);
    let outlook = Outlook::new(&plan.findings, &plan.steps, domain.halted);
    let is_told =
        |finding: &Finding| matches!(finding.severity, Severity::Problem | Severity::Warning);
    let conditions = outlook.conditions();
    let mut events = transitions(conditions_before, &conditions);
    let mut status = plan.status;
    events.extend(dropped(observed, earlier, &status));
    let mut trust = status.trust.take();
    for anchor in trust.iter_mut().flat_map(|trust| &mut trust.anchors) {
        if let Some(blockers) = plan.retiring.get(&anchor.fingerprint) {
            anchor.waiting_for = names(blockers);
        }
    }
    status.trust = trust;
    status.phase = Some(outlook.phase(&status));
    status.rotation = status.rotation.map(|rotation| RotationStatus {
        next: if rotation.next.is_empty() {
            outlook.next()
        } else {
            rotation.next
        },
        ..rotation
    });
    status.conditions = merge(conditions_before, conditions, domain.owner.generation, now);
    Decision {
        events,
        status,
        steps: plan.steps,
        problems: plan.findings.into_iter().filter(is_told).collect(),
        next_check: plan.next_check,
        persist_status_first: plan.persist_status_first,
    }
}

/// Anchors that were on their way out and have left every trust place that this domain writes.
fn dropped(
    observed: &Snapshot,
    earlier: Option<&ExternalCAIssuanceStatus>,
    status: &ExternalCAIssuanceStatus,
) -> Vec<Notice> {
    let left = status.anchors();
    let retired = earlier
        .into_iter()
        .flat_map(ExternalCAIssuanceStatus::retiring);
    retired
        .filter(|old| left.iter().all(|new| new.fingerprint != old.fingerprint))
        .map(|old| {
            let trusts = |plane: &&Arc<Plane>| {
                let mut anchors = plane.anchors.iter();
                anchors.any(|anchor| anchor.fingerprint().to_string() == old.fingerprint)
            };
            let planes = observed.planes.iter().chain(&observed.strangers);
            let planes = planes.filter(trusts);
            let planes: Vec<String> = planes.map(|plane| plane.plane.to_string()).collect();
            let elsewhere = match planes.as_slice() {
                [] => String::new(),
                planes => format!(
                    "; still trusted by planes that are not wired here: {}",
                    list(planes)
                ),
            };
            let message = format!(
                "{} ({}) has left every trust place of this issuance: nothing of it depends on that CA{elsewhere}",
                old.subject, old.fingerprint
            );
            Notice {
                is_warning: false,
                problem: Problem::new(Reason::AnchorDropped, message),
            }
        })
        .collect()
}
