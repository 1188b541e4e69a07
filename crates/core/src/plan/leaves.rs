//! Which certificates are issued, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use external_ca_api::{
    ADOPT_ANNOTATION, CertificateState, CertificateStatus, HELD_UNTIL_ANNOTATION, RENEW_ANNOTATION,
    RENEWAL_ANNOTATION, REPLACES_ANNOTATION, RotationPolicy,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::list;
use super::draft::{Area, Draft, RETRY};
use super::step::{Consume, IssueLeaf, Step};
use crate::domain::fitness::{self, LeafContext, Verdict};
use crate::domain::{DesiredLeaf, identity, renew_before, renewal_time};
use crate::model::facts::request;
use crate::model::{Material, ObjectRef, Read};
use crate::reason::{Problem, Reason};
use crate::trust::{Place, Trust, Waiting};
use crate::x509::Certificate;

/// When a leaf is issued.
enum When {
    Now,
    /// Once these trust the CA.
    Trusted(Waiting),
    /// Once the next maintenance window is open.
    Window(Timestamp),
}

impl Draft<'_> {
    pub(super) fn leaves(&mut self, trust: &Trust<'_>, retiring: &[Certificate]) {
        let issuance = Arc::clone(&self.observed.issuance);
        let annotations = issuance.metadata.annotations.clone().unwrap_or_default();
        let (renew, adopt) = (
            annotations.get(RENEW_ANNOTATION),
            annotations.get(ADOPT_ANNOTATION),
        );
        let named = |text: Option<&String>, target: &ObjectRef| {
            text.is_some_and(|text| {
                text.split(',')
                    .map(str::trim)
                    .any(|word| word == "all" || word == target.to_string() || word == target.name)
            })
        };
        let request = request(&issuance, RENEW_ANNOTATION);
        let owner = identity(&issuance);
        let before = renew_before(&issuance.spec);
        let policy: RotationPolicy = issuance
            .spec
            .certificate_defaults
            .private_key
            .rotation_policy;
        let (mut ready, mut renewals, mut granted) = (0, Vec::new(), true);
        let being_written: BTreeSet<Place> = self.steps.iter().filter_map(Step::place).collect();
        for leaf in trust.desired.leaves.values() {
            // Objects of namespaces that are not served are not read.
            let unread = Read::Unknown("it was not read".into());
            let stored = self.observed.material.get(&leaf.material());
            let stored = stored.map_or(&unread, AsRef::as_ref);
            let context = LeafContext {
                leaf,
                stored,
                ca: trust.ca,
                renew_before: before,
                issuance: &owner,
                claimed_by: self
                    .observed
                    .claims
                    .material
                    .get(&leaf.material())
                    .map(String::as_str),
                authority_of: {
                    let authorities = &self.observed.claims.authorities;
                    authorities.get(&leaf.target).map(String::as_str)
                },
                served: self.observed.served.contains(&leaf.target.namespace),
                adopt: named(adopt, &leaf.target),
                renew: request.as_deref().filter(|_| named(renew, &leaf.target)),
                now: self.now,
            };
            let mut opens = None;
            let (state, reason) = match self.contest(fitness::judge(&context), leaf, stored) {
                Verdict::Fit => {
                    ready += 1;
                    (CertificateState::Ready, None)
                }
                Verdict::Blocked(problem) => {
                    let reason = problem.reason;
                    if reason == Reason::Unreadable {
                        self.wake_in(RETRY);
                    }
                    self.problem(Area::Certificates, leaf.material(), problem);
                    (CertificateState::Failed, Some(reason))
                }
                Verdict::Issue(why) => match self.when(trust, retiring, &context, &why) {
                    When::Now => {
                        let reason = why.reason;
                        let marks = self.marks(trust, &context, reason, request.clone());
                        self.waiting.push((Area::Certificates, why.clone()));
                        self.steps.push(Step::IssueLeaf(IssueLeaf {
                            target: leaf.target.clone(),
                            profile: leaf.profile.clone(),
                            reuse_key: fitness::reuses_key(policy, &context),
                            why,
                            marks,
                            trusted_by: trust.trusted_by(leaf, retiring),
                        }));
                        (CertificateState::Pending, Some(reason))
                    }
                    When::Trusted(waiting) => {
                        let reason = why.reason;
                        self.wait_for_peers(leaf, stored, why, waiting, &being_written);
                        (CertificateState::Waiting, Some(reason))
                    }
                    When::Window(at) => {
                        opens = Some(at);
                        let renewal =
                            matches!(why.reason, Reason::Renewing | Reason::RenewRequested);
                        let what = format!("{}; it", why.message);
                        self.wait_for_window(Area::Certificates, at, &what, !renewal);
                        granted &= why.reason != Reason::RenewRequested;
                        ready += usize::from(renewal);
                        let state = match renewal {
                            true => CertificateState::Ready,
                            false => CertificateState::Waiting,
                        };
                        (state, Some(Reason::WaitingForWindow))
                    }
                },
            };
            let mut entry = self.certificate_status(trust, leaf, stored, before, state, reason);
            entry.renewal_time = opens.map(Time).or(entry.renewal_time);
            renewals.extend(entry.renewal_time.as_ref().map(|time| time.0));
            self.status.certificates.push(entry);
        }
        self.blocked_leaves(trust, before);
        if renew.is_some() && granted {
            // One round of issuing grants the request: the annotation goes with it, and later steps do not depend on it.
            self.steps.push(Step::Consume(Consume {
                annotation: RENEW_ANNOTATION,
            }));
        }
        let wanted = self.status.certificates.len();
        self.status.certificates_ready = Some(format!("{ready}/{wanted}"));
        let next = renewals.into_iter().min();
        if let Some(next) = next.filter(|next| *next > self.now) {
            self.wake(next);
        }
        self.status.next_renewal = next.map(Time);
    }

    /// What is stored of leaves that cannot be planned is told on, and remembered: whoever stands there stands by it.
    fn blocked_leaves(&mut self, trust: &Trust<'_>, before: SignedDuration) {
        let unread = Read::Unknown("it was not read".into());
        for leaf in &trust.desired.blocked {
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
            let name = match (fitness::certificate(stored), self.last_seen(leaf)) {
                (Some(stored), _) => stored.common_names().first().cloned(),
                (None, Some(told)) => Some(told.common_name.clone()),
                (None, None) => None,
            };
            let Some(common_name) = name else { continue };
            let reason = self.desired.problems_of(&leaf.target);
            let failed = CertificateState::Failed;
            let entry = self.certificate_status(trust, leaf, stored, before, failed, reason);
            self.status.certificates.push(CertificateStatus {
                common_name,
                renewal_time: None,
                ..entry
            });
        }
    }

    /// A leaf that somebody else keeps replacing is no better off when it is issued again and again.
    fn contest(
        &mut self,
        verdict: Verdict,
        leaf: &DesiredLeaf,
        stored: &Read<Material>,
    ) -> Verdict {
        let (Verdict::Issue(_), Some(found)) = (&verdict, stored.found()) else {
            return verdict;
        };
        let ours = found.issuance.as_deref() == Some(identity(&self.observed.issuance).as_str());
        let object = leaf.material().to_string();
        let manager = found.manager.clone();
        match self.may_repair(&object, "data[\"tls.crt\"]", ours, manager, found.changed) {
            Ok(()) => verdict,
            Err(problem) => Verdict::Blocked(problem),
        }
    }

    /// When a leaf may be issued: once its verifiers trust the CA, and once the workloads that hold what is stored may be
    /// restarted.
    fn when(
        &mut self,
        trust: &Trust<'_>,
        retiring: &[Certificate],
        context: &LeafContext<'_>,
        why: &Problem,
    ) -> When {
        let serves_until = serves_until(context, why.reason);
        let waiting = trust.must_load_first(context.leaf, retiring);
        if waiting != Waiting::default() {
            let waits = |end| self.gate.holds_back(end, self.reserve, self.now).is_some();
            if serves_until.is_some_and(|end| !waits(end)) {
                self.urgent.extend(waiting.loads.iter().cloned());
            }
            return When::Trusted(waiting);
        }
        serves_until
            .and_then(|end| self.gate.holds_back(end, self.reserve, self.now))
            .filter(|_| !trust.holders.of(&context.leaf.material()).is_empty())
            .map_or(When::Now, When::Window)
    }

    fn wait_for_peers(
        &mut self,
        leaf: &DesiredLeaf,
        stored: &Read<Material>,
        why: Problem,
        waiting: Waiting,
        being_written: &BTreeSet<Place>,
    ) {
        // A new leaf's agent cannot do without. One that has a leaf is not kept waiting for a place that nobody writes.
        let mut places = waiting.places.iter();
        let follows = fitness::certificate(stored).is_none()
            || places.all(|place| being_written.contains(place));
        if waiting.loads.is_empty() && follows {
            self.coming.insert(leaf.material());
        }
        let places = waiting.places.iter().map(ToString::to_string);
        let whom: Vec<String> = places.chain(waiting.loads).collect();
        let message = format!(
            "{}; it is signed by the CA once these trust it: {}",
            why.message,
            list(&whom)
        );
        let word = match is_defect(why.reason) {
            true => why.reason,
            false => Reason::WaitingForPeers,
        };
        self.waiting
            .push((Area::Certificates, Problem::new(word, message)));
    }

    /// What is told with a leaf: the request that it grants, what it replaces, and how long that may be held.
    fn marks(
        &self,
        trust: &Trust<'_>,
        context: &LeafContext<'_>,
        reason: Reason,
        request: Option<String>,
    ) -> BTreeMap<&'static str, String> {
        let lost = match context.stored {
            Read::Absent => self.last_seen(context.leaf),
            _ => None,
        };
        // One that was never told of may have been deleted, too.
        let replaces = match context.stored {
            Read::Absent => lost
                .and_then(|lost| lost.serial.clone())
                .or_else(|| trust.lost_anchors())
                .or_else(|| self.was_cut().then(|| "unknown".to_owned())),
            _ => None,
        };
        let end = match lost {
            Some(lost) => lost.not_after.as_ref().map(|end| end.0),
            None => serves_until(context, reason),
        };
        let older = context.stored.found().and_then(|found| found.held_until);
        let material = context.leaf.material();
        let older = older.filter(|_| !trust.holders.not_current(&material).is_empty());
        let held_until = end.into_iter().chain(older).min();
        [
            (RENEWAL_ANNOTATION, request),
            (REPLACES_ANNOTATION, replaces),
            (HELD_UNTIL_ANNOTATION, held_until.map(|end| end.to_string())),
        ]
        .into_iter()
        .filter_map(|(mark, value)| Some((mark, value?)))
        .collect()
    }

    /// What was last said of a leaf.
    fn last_seen(&self, leaf: &DesiredLeaf) -> Option<&CertificateStatus> {
        let target = leaf.target.to_string();
        let mut entries = self.previous()?.certificates.iter();
        entries.find(|old| old.target == target)
    }

    fn certificate_status(
        &self,
        trust: &Trust<'_>,
        leaf: &DesiredLeaf,
        stored: &Read<Material>,
        before: SignedDuration,
        state: CertificateState,
        reason: Option<Reason>,
    ) -> CertificateStatus {
        let found = fitness::certificate(stored);
        let lost = match found {
            Some(_) => None,
            None => self.last_seen(leaf),
        };
        let by_issuer = found.is_some_and(|found| found.signed_by(trust.ca.certificate()));
        CertificateStatus {
            target: leaf.target.to_string(),
            common_name: leaf.profile.common_name.clone(),
            serial: found
                .map(Certificate::serial_hex)
                .or_else(|| lost?.serial.clone()),
            signer: by_issuer.then(|| trust.ca.anchor().fingerprint().short()),
            not_after: found
                .map(|found| Time(found.not_after()))
                .or_else(|| lost?.not_after.clone()),
            renewal_time: found
                .map(|found| Time(renewal_time(found, before, leaf.profile.duration))),
            state,
            reason: reason.map(|reason| reason.to_string()),
        }
    }
}

/// Until when the stored certificate does its work.
fn serves_until(context: &LeafContext<'_>, reason: Reason) -> Option<Timestamp> {
    let end = fitness::certificate(context.stored)?.not_after();
    Some(if is_defect(reason) { context.now } else { end })
}

/// The certificate that is stored serves nobody.
fn is_defect(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::UsageWrong | Reason::Expired | Reason::KeyMismatch | Reason::CertificateInvalid
    )
}
