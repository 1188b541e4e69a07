//! The anchors: what the domain adds, what an old one waits for, and what is remembered of those that have left.

use std::collections::BTreeSet;

use external_ca_api::{AnchorState, AnchorStatus, TrustStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::draft::Draft;
use crate::domain::{AnchorSource, Source};
use crate::finding::{Area, Finding, Severity};
use crate::model::Read;
use crate::reason::{Problem, Reason};
use crate::trust::{Blocker, Guards, Place, View, since};
use crate::x509::{Certificate, parse_bundle};

/// So many anchors that have left are remembered.
const FORMER_ANCHORS: usize = 32;

impl Draft<'_> {
    /// The additional anchors, and the entries that cannot be read: guard 3 counts those.
    pub(super) fn additional_anchors(&mut self) -> (Vec<Certificate>, Vec<String>) {
        let (mut anchors, mut unread) = (Vec::new(), Vec::new());
        for AnchorSource { origin, source } in &self.domain.additional {
            let problem = match self.read_anchors(source) {
                Ok(found) if found.is_empty() => "it holds no PEM certificate".to_owned(),
                Ok(found) => {
                    anchors.extend(found);
                    continue;
                }
                Err(why) => why,
            };
            let message = format!("{origin}: {problem}; correct it or remove the entry");
            let problem = Problem::new(Reason::AnchorUnreadable, message);
            self.problem(Area::Trust, self.owner(), problem);
            unread.push(origin.clone());
        }
        (anchors, unread)
    }

    fn read_anchors(&self, source: &Source<'_>) -> Result<Vec<Certificate>, String> {
        match source {
            Source::Pem(pem) => Ok(parse_bundle(pem.as_bytes()).certificates),
            Source::ConfigMap { name, key } => {
                let key = (name.clone(), key.clone());
                match self.observed.anchor_config_maps.get(&key) {
                    Some(Read::Found(found)) => Ok(found.clone()),
                    Some(Read::Unknown(why)) => Err(why.clone()),
                    Some(Read::Absent) | None => Err(format!("ConfigMap {name} does not exist")),
                }
            }
        }
    }

    pub(super) fn anchors(&mut self, guards: &Guards<'_>) {
        let view = &guards.view;
        let earlier = self.previous().map_or(&[][..], |status| status.anchors());
        let now = self.now;
        let entry = |anchor: &Certificate, state, waiting_for| {
            let fingerprint = anchor.fingerprint().to_string();
            let before = earlier
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
        let mut anchors = vec![entry(view.ca.anchor(), AnchorState::Active, Vec::new())];
        let additional = view.additional.iter();
        for anchor in additional.filter(|anchor| *anchor != view.ca.anchor()) {
            anchors.push(entry(anchor, AnchorState::Next, Vec::new()));
        }
        for anchor in &view.retiring {
            self.retires(guards, anchor);
            anchors.push(entry(anchor, AnchorState::Retiring, Vec::new()));
        }
        anchors.extend(self.unread_anchors(view, &anchors));
        let former = self.remembered(&anchors);
        self.status.trust = Some(TrustStatus {
            anchors,
            former,
            bundles: self.written_bundles(view),
            confirmed: Vec::new(),
        });
    }

    /// Where bundles stand, those of API servers included. What is mounted is not known before every list has been read: until then none is forgotten.
    fn written_bundles(&self, view: &View<'_>) -> Vec<String> {
        let wanted = &view.domain.wanted;
        let places = wanted.trust_places.iter().map(ToString::to_string);
        let injected = wanted.injected.iter().map(ToString::to_string);
        let mut bundles: BTreeSet<String> = places.chain(injected).collect();
        if view.unread().next().is_some() {
            let earlier = self.previous().and_then(|status| status.trust.as_ref());
            bundles.extend(earlier.into_iter().flat_map(|trust| trust.bundles.clone()));
        }
        bundles.into_iter().collect()
    }

    /// What an anchor on its way out waits for.
    fn retires(&mut self, guards: &Guards<'_>, anchor: &Certificate) {
        let view = &guards.view;
        let places = view.places().filter(|place| view.has(place, anchor));
        let blockers: Vec<Blocker> = places
            .flat_map(|place| guards.dependents(&place, anchor))
            .collect();
        if blockers.is_empty() {
            return;
        }
        self.wake_ahead(guards.signed_until(anchor));
        let (reason, what) = if self.domain.rotation.immediate {
            (
                Reason::CuttingOff,
                "leaves every trust place at once (rotation.strategy: Immediate); cut off until they have moved",
            )
        } else {
            (
                Reason::WaitingForPeers,
                "stays trusted until these have moved",
            )
        };
        let message = format!("the old CA {} {what}", anchor.subject());
        let fingerprint = anchor.fingerprint().to_string();
        self.retiring.insert(fingerprint, blockers.clone());
        let problem = Problem::new(reason, message);
        let finding = Finding::new(Area::Trust, Severity::Waiting, self.authority(), problem);
        let finding = finding.blocked_by(blockers);
        // Before all else: who is cut off must be in the first line.
        self.findings.push(if self.domain.rotation.immediate {
            finding.first()
        } else {
            finding
        });
    }

    /// Anchors that may stand where nothing can be read now, or may have stood where nothing is: once forgotten, they would
    /// be taken for another's.
    fn unread_anchors(&mut self, view: &View<'_>, seen: &[AnchorStatus]) -> Vec<AnchorStatus> {
        let wanted = &view.domain.wanted;
        let places = wanted.trust_places.iter().cloned().map(Place::Material);
        let places = places.filter(|place| view.stored(place).is_none_or(<[_]>::is_empty));
        let injected = wanted.injected.iter().cloned().map(Place::Injected);
        let injected = injected.filter(|place| view.stored(place).is_none());
        let unread: Vec<Blocker> = places.chain(injected).map(Blocker::Place).collect();
        if unread.is_empty() {
            return Vec::new();
        }
        let earlier = self.previous().map_or(&[][..], |status| status.anchors());
        let is_unread =
            |old: &&AnchorStatus| seen.iter().all(|new| new.fingerprint != old.fingerprint);
        let keep = |old: &AnchorStatus| AnchorStatus {
            state: AnchorState::Retiring,
            ..old.clone()
        };
        let kept: Vec<AnchorStatus> = earlier.iter().filter(is_unread).map(keep).collect();
        for anchor in &kept {
            let fingerprint = anchor.fingerprint.clone();
            self.retiring.insert(fingerprint, unread.clone());
        }
        kept
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
