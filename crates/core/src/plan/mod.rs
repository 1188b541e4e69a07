//! One function from a trust domain and the snapshot to what is to be done. It knows no condition.

mod anchors;
mod beside;
mod bundles;
mod clock;
mod consumers;
mod draft;
mod injected;
mod issuer;
mod leaves;
mod left_behind;
mod lost;
pub mod maintenance;
mod peers;
mod pending;
mod planes;
mod repairs;
mod rollouts;
mod rotation;
mod self_signed;
mod step;
mod told;
mod windows;

use std::collections::{BTreeMap, BTreeSet};

use external_ca_api::{ConfirmedPeer, ExternalCAIssuanceStatus};
use jiff::{SignedDuration, Timestamp};

pub use clock::is_off;
pub use step::{
    Consume, DropRequest, GenerateCa, InjectBundle, IssueLeaf, Restart, Round, Step, WirePlane,
    Wiring, WriteBundle,
};

use draft::{Draft, RETRY};

use crate::domain::TrustDomain;
use crate::finding::{Area, Finding};
use crate::model::{AuthorityState, Snapshot};
use crate::reason::{Problem, Reason};
use crate::trust::evidence::Consumers;
use crate::trust::{Blocker, Guards, View, lost};
use crate::x509::CaChain;

/// What is to be done, what was found, and when to look again.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What to do, in order.
    pub steps: Vec<Step>,
    /// What was found, in the order of the rules.
    pub findings: Vec<Finding>,
    /// What each anchor on its way out waits for, by fingerprint.
    pub retiring: BTreeMap<String, Vec<Blocker>>,
    /// What stands where. Conditions are not the plan's.
    pub status: ExternalCAIssuanceStatus,
    /// When to look again, if nothing happens before.
    pub next_check: Timestamp,
    /// The status must be stored before the first step: it names an anchor for the first time, and what is once handed
    /// out must never be taken for another's; or it names who is about to be cut off.
    pub persist_status_first: bool,
}

/// Decides. It neither fails nor signs: bad input becomes a finding.
pub fn plan(domain: &TrustDomain<'_>, observed: &Snapshot, now: Timestamp) -> Plan {
    let mut draft = Draft::new(domain, observed, now);
    draft.run();
    draft.finish()
}

/// What may be done while the status cannot be stored: all but what takes trust away. What is handed out and not remembered
/// is later taken for another's, so that bundles only grow.
pub fn without_memory(
    mut domain: TrustDomain<'_>,
    observed: &Snapshot,
    now: Timestamp,
) -> Vec<Step> {
    domain.rotation.immediate = false;
    let mut steps = plan(&domain, observed, now).steps;
    steps.retain(|step| !step.drops());
    steps
}

impl Draft<'_> {
    fn run(&mut self) {
        self.compare_clocks();
        for (target, problem) in &self.domain.wanted.problems {
            let object = target
                .as_ref()
                .map_or_else(|| self.owner(), |target| format!("Secret {target}"));
            self.problem(Area::Certificates, object, problem.clone());
        }
        let additional = self.additional_anchors();
        let authority = &self.observed.authority;
        match (&self.domain.defect, authority.chain(), &authority.state) {
            // Which planes are meant is not known, nor what they trust.
            (Some(problem), ..) => {
                self.problem(Area::Planes, self.owner(), problem.clone());
                self.keep_status();
            }
            (None, Some(ca), _) => match self.unfit(ca) {
                Some(problem) => self.refuse(problem),
                None => {
                    let (domain, observed, now) = (self.domain, self.observed, self.now);
                    self.with_authority(View::new(domain, observed, ca, additional, now), ca);
                }
            },
            (None, None, AuthorityState::Refused(problem)) => {
                self.refuse_or_replace(problem.clone());
            }
            (None, None, _) => self.without_issuer(),
        }
        for unread in &self.observed.unreadable {
            let area = if unread.is_of_planes() {
                Area::Planes
            } else {
                Area::Rollouts
            };
            let problem = Problem::new(Reason::Unreadable, unread.why.clone());
            self.problem(area, self.owner(), problem);
            self.wake_in(RETRY);
        }
    }

    fn with_authority(&mut self, view: View<'_>, ca: &CaChain) {
        let consumers = Consumers::new(self.domain, self.observed, self.now);
        let lost = lost(&view, &consumers);
        let guards = Guards::new(view, &consumers);
        self.immediate = guards.immediate;
        self.maintenance(consumers.workloads.len());
        self.issuer_status(ca);
        self.bundles(&guards);
        self.injected(&guards);
        self.planes(&guards);
        self.strangers();
        self.leaves(&guards);
        self.anchors(&guards);
        self.agents_without_plane();
        self.rollouts(&consumers, &guards, &lost);
        self.peers(&guards);
        self.consumers();
        self.progress(&consumers.workloads);
        self.left_behind(&guards);
        let retiring = &guards.view.retiring;
        if self.domain.rotation.immediate && !guards.immediate && !retiring.is_empty() {
            // It is announced first, and done in the next turn.
            self.steps.clear();
            self.wake_in(SignedDuration::from_secs(1));
        }
        self.next_ca(ca, &guards);
    }

    /// Whether the guards are to remember something that the earlier status does not say.
    fn has_news(&self) -> bool {
        fn anchors(status: &ExternalCAIssuanceStatus) -> impl Iterator<Item = &String> {
            status.anchors().iter().map(|anchor| &anchor.fingerprint)
        }
        fn confirmed(status: &ExternalCAIssuanceStatus) -> &[ConfirmedPeer] {
            status.trust.as_ref().map_or(&[], |trust| &trust.confirmed)
        }
        let earlier = self.previous();
        let known: BTreeSet<&String> = earlier.into_iter().flat_map(anchors).collect();
        !anchors(&self.status).all(|anchor| known.contains(anchor))
            || confirmed(&self.status) != earlier.map_or(&[][..], confirmed)
    }

    fn finish(mut self) -> Plan {
        self.remember_contests();
        self.hold_back_by_clock();
        if self.domain.halted.is_some() {
            self.steps.clear();
        }
        let is_news = self.has_news();
        Plan {
            persist_status_first: self.immediate || is_news,
            steps: self.steps,
            findings: self.findings,
            retiring: self.retiring,
            status: self.status,
            next_check: self.next_check,
        }
    }
}
