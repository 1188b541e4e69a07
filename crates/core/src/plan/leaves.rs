//! Which certificates are issued, and when.

use std::collections::{BTreeMap, BTreeSet};

use external_ca_api::{
    CertificateState, CertificateStatus, HELD_UNTIL_ANNOTATION, RENEW_ANNOTATION,
    RENEWAL_ANNOTATION, REPLACES_ANNOTATION, SIGNED_SINCE_ANNOTATION,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::beside::Beside;
use super::draft::{Draft, RETRY};
use super::step::{Consume, IssueLeaf, Step};
use crate::domain::fitness::{self, LeafContext, Verdict};
use crate::domain::{DesiredLeaf, Renewal};
use crate::finding::{Area, Finding, Severity};
use crate::model::{Leaf, Material, ObjectRef, PendingLeaf, Read};
use crate::reason::{Problem, Reason};
use crate::trust::{Blocker, Guards, Place};
use crate::x509::Certificate;

/// When a leaf is issued.
enum When {
    Now,
    /// Once these trust the CA.
    Trusted(Vec<Blocker>),
    /// Once the next maintenance window is open.
    Window(Timestamp),
}

/// What becomes of a leaf.
struct Fate {
    state: CertificateState,
    reason: Option<Reason>,
    /// Until when it waits for a window.
    opens: Option<Timestamp>,
}

impl Fate {
    fn new(state: CertificateState, reason: Option<Reason>) -> Self {
        Self {
            state,
            reason,
            opens: None,
        }
    }
}

/// What is counted over all leaves.
#[derive(Default)]
struct Tally {
    ready: usize,
    renewals: Vec<Timestamp>,
    /// Whether no request for a renewal has to wait.
    granted: bool,
    /// Leaves whose requests at the authority are still of use.
    requested: BTreeSet<ObjectRef>,
}

impl<'a> Draft<'a> {
    pub(super) fn leaves(&mut self, guards: &Guards<'_>) {
        let mut tally = Tally {
            granted: true,
            ..Tally::default()
        };
        let being_written: BTreeSet<Place> = self.steps.iter().filter_map(Step::place).collect();
        for leaf in self.domain.wanted.leaves.values() {
            // Objects of namespaces that are not served are not read.
            let unread = Read::Unknown("it was not read".into());
            let stored = self.observed.material.get(&leaf.material());
            let stored = stored.map_or(&unread, AsRef::as_ref);
            let context = self.context(leaf, stored, guards);
            let fate = match fitness::judge(&context) {
                Verdict::Fit => {
                    let found = stored.found();
                    let manager = found.and_then(|found| found.manager.as_deref());
                    self.fits(leaf.material(), manager);
                    Fate::new(CertificateState::Ready, None)
                }
                Verdict::Blocked(problem) => {
                    tally.requested.insert(leaf.target.clone());
                    self.failed(leaf, problem)
                }
                Verdict::Issue(why) => self.due(guards, &context, why, &being_written, &mut tally),
            };
            let Fate {
                state,
                reason,
                opens,
            } = fate;
            tally.ready += usize::from(state == CertificateState::Ready);
            let mut entry = self.certificate_status(guards, leaf, stored, state, reason);
            entry.renewal_time = opens.map(Time).or(entry.renewal_time);
            tally
                .renewals
                .extend(entry.renewal_time.as_ref().map(|time| time.0));
            self.status.certificates.push(entry);
        }
        self.blocked_leaves(guards);
        self.drop_requests(&tally.requested);
        if self.domain.requests.renew.is_some() && tally.granted {
            // One round of issuing grants the request: the annotation goes with it, and later steps do not depend on it.
            self.steps.push(Step::Consume(Consume {
                annotation: RENEW_ANNOTATION,
            }));
        }
        let wanted = self.status.certificates.len();
        self.status.certificates_ready = Some(format!("{}/{wanted}", tally.ready));
        let next = tally.renewals.into_iter().min();
        next.into_iter().for_each(|next| self.wake_ahead(next));
        self.status.next_renewal = next.map(Time);
    }

    fn context<'c>(
        &self,
        leaf: &'c DesiredLeaf,
        stored: &'c Read<Material>,
        guards: &'c Guards<'_>,
    ) -> LeafContext<'c>
    where
        'a: 'c,
    {
        let claims = &self.observed.claims;
        let requests = &self.domain.requests;
        let renew = requests.renew.as_ref();
        let renew = renew.filter(|(names, _)| names.contains(&leaf.target));
        LeafContext {
            leaf,
            stored,
            ca: guards.view.ca,
            renew_before: self.renewal_of(leaf).before,
            issuance: &self.domain.owner.identity,
            claimed_by: claims.material.get(&leaf.material()).map(String::as_str),
            authority_of: claims.authorities.get(&leaf.target).map(String::as_str),
            served: self.observed.served.contains(&leaf.target.namespace),
            adopt: requests.adopt.contains(&leaf.target),
            renew: renew.map(|(_, request)| request.as_str()),
            now: self.now,
        }
    }

    /// What becomes of a leaf that is to be issued.
    fn due(
        &mut self,
        guards: &Guards<'_>,
        context: &LeafContext<'_>,
        why: Problem,
        being_written: &BTreeSet<Place>,
        tally: &mut Tally,
    ) -> Fate {
        let reason = why.reason;
        if let Some(next) = self.next_to_make(context) {
            tally.requested.insert(context.leaf.target.clone());
            let state = self.make_next(context, next, why);
            return Fate::new(state, Some(reason));
        }
        let beside = self.beside(guards, &context.leaf.target, &context.leaf.form);
        if matches!(beside, Beside::Unknown) {
            tally.requested.insert(context.leaf.target.clone());
            return Fate::new(self.wait_for_bundle(context, why), Some(reason));
        }
        let when = self.when(guards, context, &why);
        if matches!(when, When::Now) || self.request_of(context.leaf).is_some() {
            tally.requested.insert(context.leaf.target.clone());
        }
        match when {
            When::Now => match self.request_of(context.leaf) {
                Some(pending) => self.go_on(guards, context, pending, why, tally),
                None => self.begin(guards, context, why),
            },
            When::Trusted(blockers) => {
                self.wait_for_peers(context, why, blockers, being_written);
                Fate::new(CertificateState::Waiting, Some(reason))
            }
            When::Window(at) => {
                let is_renewal = matches!(reason, Reason::Renewing | Reason::RenewRequested);
                let what = format!("{}; it", why.message);
                self.wait_for_window(Area::Certificates, at, what, !is_renewal);
                tally.granted &= reason != Reason::RenewRequested;
                let state = if is_renewal {
                    CertificateState::Ready
                } else {
                    CertificateState::Waiting
                };
                Fate {
                    state,
                    reason: Some(Reason::WaitingForWindow),
                    opens: Some(at),
                }
            }
        }
    }

    /// The authority is asked for it, unless another manager keeps replacing what it signs.
    fn begin(&mut self, guards: &Guards<'_>, context: &LeafContext<'_>, why: Problem) -> Fate {
        let reason = why.reason;
        if let Err(problem) = self.contest(context.leaf, context.stored) {
            return self.failed(context.leaf, problem);
        }
        self.wait(Area::Certificates, context.leaf.material(), why.clone());
        self.issue(guards, context, why);
        Fate::new(CertificateState::Pending, Some(reason))
    }

    /// The authority was asked for it: it is asked again when it wants to be.
    fn go_on(
        &mut self,
        guards: &Guards<'_>,
        context: &LeafContext<'_>,
        pending: &PendingLeaf,
        why: Problem,
        tally: &mut Tally,
    ) -> Fate {
        let state = self.wait_for_authority(context.leaf, pending, &why);
        if pending.waits_until(self.now).is_some() {
            tally.granted &= why.reason != Reason::RenewRequested;
        } else {
            self.issue(guards, context, why);
        }
        Fate::new(state, Some(Reason::IssuerPending))
    }

    fn issue(&mut self, guards: &Guards<'_>, context: &LeafContext<'_>, why: Problem) {
        let leaf = context.leaf;
        let marks = self.marks(guards, context, why.reason);
        self.steps.push(Step::IssueLeaf(IssueLeaf {
            target: leaf.target.clone(),
            profile: leaf.profile.clone(),
            reuse_key: self.renewal_of(leaf).keeps_key && fitness::may_reuse_key(context),
            why,
            marks,
            trusted_by: guards.trusted_by(leaf),
            form: leaf.form.clone(),
            bundle: self.beside(guards, &leaf.target, &leaf.form).bundle(),
        }));
    }

    /// When a leaf is issued anew.
    pub(super) fn renewal_of(&self, leaf: &DesiredLeaf) -> Renewal {
        leaf.renewal.unwrap_or(self.domain.renewal)
    }

    /// What is stored of leaves that cannot be planned stays in the report: who has the Secret is known from it.
    fn blocked_leaves(&mut self, guards: &Guards<'_>) {
        let unread = Read::Unknown("it was not read".into());
        for leaf in &self.domain.wanted.blocked {
            let target = leaf.target.to_string();
            if self
                .status
                .certificates
                .iter()
                .any(|told| told.target == target)
            {
                continue;
            }
            let stored = self.observed.material.get(&leaf.material());
            let stored = stored.map_or(&unread, AsRef::as_ref);
            let name = match (fitness::certificate(stored), self.told_of(leaf)) {
                (Some(stored), _) => stored.common_names().first().cloned(),
                (None, Some(told)) => Some(told.common_name.clone()),
                (None, None) => None,
            };
            let Some(common_name) = name else { continue };
            let reason = self.domain.wanted.problems_of(&leaf.target);
            let failed = CertificateState::Failed;
            let entry = self.certificate_status(guards, leaf, stored, failed, reason);
            self.status.certificates.push(CertificateStatus {
                common_name,
                renewal_time: None,
                ..entry
            });
        }
    }

    fn failed(&mut self, leaf: &DesiredLeaf, problem: Problem) -> Fate {
        let reason = problem.reason;
        if reason == Reason::Unreadable {
            self.wake_in(RETRY);
        }
        self.problem(Area::Certificates, leaf.material(), problem);
        Fate::new(CertificateState::Failed, Some(reason))
    }

    /// A leaf that another manager keeps replacing is left alone: issuing it again and again would not mend it.
    fn contest(&mut self, leaf: &DesiredLeaf, stored: &Read<Material>) -> Result<(), Problem> {
        let Some(found) = stored.found() else {
            return Ok(());
        };
        // One that was replaced as a whole names its issuance no longer.
        let was_ready = |told: &CertificateStatus| {
            told.state == CertificateState::Ready && told.signer.is_some()
        };
        let ours = found.issuance.as_deref() == Some(self.domain.owner.identity.as_str())
            || self.told_of(leaf).is_some_and(was_ready);
        let object = leaf.material().to_string();
        let manager = found.manager.clone();
        self.may_repair(&object, "data[\"tls.crt\"]", ours, manager, found.changed)
    }

    /// When a leaf may be issued: once its verifiers trust the CA, and once the workloads that hold what is stored may be
    /// restarted.
    fn when(&mut self, guards: &Guards<'_>, context: &LeafContext<'_>, why: &Problem) -> When {
        let serves_until = serves_until(context, why.reason);
        let blockers = guards.must_load_first(context.leaf);
        if !blockers.is_empty() {
            let waits = |end| self.gate.holds_back(end, self.reserve, self.now).is_some();
            if serves_until.is_some_and(|end| !waits(end)) {
                self.urgent
                    .extend(blockers.iter().filter_map(|one| match one {
                        Blocker::Workload(workload) => Some(workload.clone()),
                        _ => None,
                    }));
            }
            return When::Trusted(blockers);
        }
        serves_until
            .and_then(|end| self.gate.holds_back(end, self.reserve, self.now))
            .filter(|_| guards.holders.has_pods(&context.leaf.material()))
            .map_or(When::Now, When::Window)
    }

    fn wait_for_peers(
        &mut self,
        context: &LeafContext<'_>,
        why: Problem,
        blockers: Vec<Blocker>,
        being_written: &BTreeSet<Place>,
    ) {
        for blocker in &blockers {
            if let Blocker::ApiServers { until } = blocker {
                self.wake(*until);
            }
        }
        // A new leaf's agent cannot do without. One that has a leaf is not kept waiting for a place that stays as it is.
        let is_new = fitness::certificate(context.stored).is_none();
        let follows = blockers.iter().all(|blocker| match blocker {
            Blocker::Place(place) => is_new || being_written.contains(place),
            _ => false,
        });
        let leaf = context.leaf.material();
        if follows {
            self.coming.insert(leaf.clone());
        }
        let word = if is_defect(why.reason) {
            why.reason
        } else {
            Reason::WaitingForPeers
        };
        let message = format!(
            "{}; it is signed by the CA once these trust it",
            why.message
        );
        let problem = Problem::new(word, message);
        let finding = Finding::new(Area::Certificates, Severity::Waiting, leaf, problem);
        self.findings.push(finding.blocked_by(blockers));
    }

    /// What is told with a leaf: the request that it grants, what it replaces, and how long that may be held.
    fn marks(
        &self,
        guards: &Guards<'_>,
        context: &LeafContext<'_>,
        reason: Reason,
    ) -> BTreeMap<&'static str, String> {
        let renew = self.domain.requests.renew.as_ref();
        let request = renew.map(|(_, request)| request.clone());
        let lost = match context.stored {
            Read::Absent => self.told_of(context.leaf),
            _ => None,
        };
        // One that was never told of may have been deleted, too.
        let replaces = match context.stored {
            Read::Absent => lost
                .and_then(|lost| lost.serial.clone())
                .or_else(|| guards.view.lost_anchors())
                .or_else(|| {
                    let had_one = guards.holders.has_started_pods(&context.leaf.material());
                    (had_one || self.was_cut()).then(|| "unknown".to_owned())
                }),
            Read::Found(stored) if stored.is_first_content() => match &stored.leaf {
                Leaf::Empty | Leaf::Invalid(_) => Some("unknown".to_owned()),
                Leaf::Present { chain, .. } => chain.first().map(Certificate::serial_hex),
            },
            _ => None,
        };
        let end = match lost {
            Some(lost) => lost.not_after.as_ref().map(|end| end.0),
            None => serves_until(context, reason),
        };
        let older = context.stored.found().and_then(|found| found.held_until);
        let material = context.leaf.material();
        let older = older.filter(|_| !guards.holders.not_current(&material).is_empty());
        let held_until = end.into_iter().chain(older).min();
        let found = context.stored.found();
        let same_ca = found.filter(|_| guards.view.is_signed(context.leaf));
        let signed_since = same_ca.and_then(|found| found.signed_since.or(found.changed));
        [
            (RENEWAL_ANNOTATION, request),
            (REPLACES_ANNOTATION, replaces),
            (HELD_UNTIL_ANNOTATION, held_until.map(|end| end.to_string())),
            (
                SIGNED_SINCE_ANNOTATION,
                signed_since.map(|since| since.to_string()),
            ),
        ]
        .into_iter()
        .filter_map(|(mark, value)| Some((mark, value?)))
        .collect()
    }
}

/// Until when the stored certificate does its work.
fn serves_until(context: &LeafContext<'_>, reason: Reason) -> Option<Timestamp> {
    let end = fitness::certificate(context.stored)?.not_after();
    Some(if is_defect(reason) { context.now } else { end })
}

/// The certificate that is stored does not serve.
fn is_defect(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::UsageWrong | Reason::Expired | Reason::KeyMismatch | Reason::CertificateInvalid
    )
}
