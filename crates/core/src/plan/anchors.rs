//! The anchors: what the spec adds, whom an old one waits for, and what is remembered of those that have left.

use std::collections::{BTreeMap, BTreeSet};

use external_ca_api::{
    AnchorState, AnchorStatus, ExternalCAIssuanceStatus, RotationStrategy, TrustStatus,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::list;
use super::draft::{Area, Draft};
use crate::model::Read;
use crate::reason::{Problem, Reason};
use crate::trust::{Place, Trust};
use crate::x509::{Certificate, Fingerprint, parse_bundle};

/// So many anchors that have left are remembered.
const FORMER_ANCHORS: usize = 32;

impl Draft<'_> {
    /// The additional anchors, and the entries that cannot be read: guard 3 counts those.
    pub(super) fn additional_anchors(&mut self) -> (Vec<Certificate>, Vec<String>) {
        let (mut anchors, mut unknown) = (Vec::new(), Vec::new());
        for (index, entry) in self
            .observed
            .issuance
            .spec
            .trust
            .additional_anchors
            .iter()
            .enumerate()
        {
            let origin = format!("spec.trust.additionalAnchors[{index}]");
            let found = match (&entry.pem, &entry.config_map_ref) {
                (Some(pem), _) => Ok(parse_bundle(pem.as_bytes()).certificates),
                (None, Some(reference)) => {
                    let key = (reference.name.clone(), reference.key.clone());
                    match self.observed.anchor_config_maps.get(&key) {
                        Some(Read::Found(found)) => Ok(found.clone()),
                        Some(Read::Unknown(why)) => Err(why.clone()),
                        Some(Read::Absent) | None => {
                            Err(format!("ConfigMap {} does not exist", reference.name))
                        }
                    }
                }
                (None, None) => Ok(Vec::new()),
            };
            let problem = match found {
                Ok(found) if found.is_empty() => "it holds no PEM certificate".to_owned(),
                Ok(found) => {
                    anchors.extend(found);
                    continue;
                }
                Err(why) => why,
            };
            let message = format!("{origin}: {problem}; correct it or remove the entry");
            let problem = Problem::new(Reason::AnchorUnreadable, message);
            self.problem(Area::Trust, self.issuance(), problem);
            unknown.push(origin);
        }
        (anchors, unknown)
    }

    pub(super) fn anchors(&mut self, trust: &Trust<'_>, retiring: &[Certificate]) {
        let immediate =
            self.observed.issuance.spec.rotation.strategy == RotationStrategy::Immediate;
        let said = self.previous();
        let said = said.map_or_else(Vec::new, |status| status.anchors().to_vec());
        let now = self.now;
        let entry = |anchor: &Certificate, state, waiting_for| {
            let fingerprint = anchor.fingerprint().to_string();
            let before = said
                .iter()
                .find(|old| old.fingerprint == fingerprint && old.state == state);
            let since = before.and_then(|old| since(old, now)).unwrap_or(now);
            AnchorStatus {
                subject: anchor.subject().to_owned(),
                state,
                not_after: Time(anchor.not_after()),
                since: Some(Time(since)),
                waiting_for,
                fingerprint,
            }
        };
        let mut anchors = vec![entry(trust.ca.anchor(), AnchorState::Active, Vec::new())];
        for anchor in trust
            .additional
            .iter()
            .filter(|anchor| *anchor != trust.ca.anchor())
        {
            anchors.push(entry(anchor, AnchorState::Next, Vec::new()));
        }
        for anchor in retiring {
            let mut waiting: BTreeSet<String> = BTreeSet::new();
            for place in trust.places().filter(|place| {
                trust
                    .stored(place)
                    .is_some_and(|stored| stored.contains(anchor))
            }) {
                waiting.extend(trust.dependents(&place, anchor));
            }
            let waiting: Vec<String> = waiting.into_iter().take(10).collect();
            if !waiting.is_empty() {
                let until = trust.signed_until(anchor);
                if until > self.now {
                    self.wake(until);
                }
                let (reason, what) = match immediate {
                    true => (
                        Reason::CuttingOff,
                        "leaves every trust place at once (rotation.strategy: Immediate); cut off until they have moved",
                    ),
                    false => (
                        Reason::WaitingForPeers,
                        "stays trusted until these have moved",
                    ),
                };
                let message = format!("the old CA {} {what}: {}", anchor.subject(), list(&waiting));
                // Before all else: who is cut off must be in the first line.
                let entry = (Area::Trust, Problem::new(reason, message));
                match immediate {
                    true => self.waiting.insert(0, entry),
                    false => self.waiting.push(entry),
                }
            }
            anchors.push(entry(anchor, AnchorState::Retiring, waiting));
        }
        anchors.extend(self.unseen_anchors(trust, &anchors));
        let former = self.remembered(&anchors);
        self.status.trust = Some(TrustStatus { anchors, former });
    }

    /// Anchors that may stand where nothing can be read now, or may have stood where nothing is: once forgotten, they would
    /// be taken for somebody else's.
    fn unseen_anchors(&self, trust: &Trust<'_>, seen: &[AnchorStatus]) -> Vec<AnchorStatus> {
        let places = trust.desired.trust_places.iter();
        let unread: Vec<String> = places
            .filter(|place| {
                trust
                    .stored(&Place::Material((*place).clone()))
                    .is_none_or(<[_]>::is_empty)
            })
            .map(ToString::to_string)
            .take(10)
            .collect();
        let previous = self.previous().into_iter();
        let previous = previous.flat_map(ExternalCAIssuanceStatus::anchors);
        let unseen = previous.filter(|old| {
            !unread.is_empty() && seen.iter().all(|new| new.fingerprint != old.fingerprint)
        });
        let keep = |old: &AnchorStatus| AnchorStatus {
            state: AnchorState::Retiring,
            waiting_for: unread.clone(),
            ..old.clone()
        };
        unseen.map(keep).collect()
    }

    /// Guard 5: whatever was once handed out may come back, by a late write or an old manifest.
    fn remembered(&self, anchors: &[AnchorStatus]) -> Vec<String> {
        let previous = self.previous().and_then(|status| status.trust.as_ref());
        let previous = previous.into_iter().flat_map(|trust| {
            let named = trust.anchors.iter().map(|anchor| &anchor.fingerprint);
            trust.former.iter().chain(named)
        });
        let here = |former: &&String| anchors.iter().any(|anchor| anchor.fingerprint == **former);
        let mut former: Vec<String> = previous.filter(|one| !here(one)).cloned().collect();
        former.drain(..former.len().saturating_sub(FORMER_ANCHORS));
        former
    }
}

/// Since when an anchor is in its state, as far as it was said; not by a clock that was ahead.
fn since(anchor: &AnchorStatus, now: Timestamp) -> Option<Timestamp> {
    let since = anchor.since.as_ref().map(|since| since.0);
    since.filter(|since| *since <= now)
}

pub(super) fn known_anchors(status: Option<&ExternalCAIssuanceStatus>) -> BTreeSet<Fingerprint> {
    let anchors = status
        .into_iter()
        .flat_map(ExternalCAIssuanceStatus::anchors);
    fingerprints(anchors.map(|anchor| &anchor.fingerprint))
}

pub(super) fn former_anchors(status: Option<&ExternalCAIssuanceStatus>) -> BTreeSet<Fingerprint> {
    let trust = status.and_then(|status| status.trust.as_ref());
    fingerprints(trust.into_iter().flat_map(|trust| &trust.former))
}

pub(super) fn retiring_since(
    status: Option<&ExternalCAIssuanceStatus>,
    now: Timestamp,
) -> BTreeMap<Fingerprint, Timestamp> {
    let retiring = status
        .into_iter()
        .flat_map(ExternalCAIssuanceStatus::retiring);
    let said = retiring.filter_map(|anchor| {
        let fingerprint = Fingerprint::parse(&anchor.fingerprint)?;
        Some((fingerprint, since(anchor, now)?))
    });
    said.collect()
}

fn fingerprints<'a>(texts: impl Iterator<Item = &'a String>) -> BTreeSet<Fingerprint> {
    texts.filter_map(|text| Fingerprint::parse(text)).collect()
}
