//! What the guards remember, as the earlier status says it.

use std::collections::{BTreeMap, BTreeSet};

use external_ca_api::{AnchorState, AnchorStatus, ExternalCAIssuanceStatus};
use jiff::Timestamp;

use crate::x509::{Certificate, Fingerprint};

/// The anchors of earlier turns.
#[derive(Debug, Default)]
pub struct Memory {
    /// Anchors that the operator put into bundles, or found to verify its leaves.
    pub known: BTreeSet<Fingerprint>,
    /// Anchors of this kind that have left every bundle.
    pub former: BTreeSet<Fingerprint>,
    /// Anchors that were announced to be on their way out.
    pub announced: BTreeSet<Fingerprint>,
    /// Since when they are, where that is known.
    pub retiring_since: BTreeMap<Fingerprint, Timestamp>,
    /// Peers of which a person has said that they have loaded what is stored, and what was stored then.
    pub confirmed: BTreeMap<String, Timestamp>,
    /// Since when others are handed out, likewise.
    active_since: BTreeMap<Fingerprint, Timestamp>,
}

impl Memory {
    /// As an earlier status says it.
    pub fn of(status: Option<&ExternalCAIssuanceStatus>, now: Timestamp) -> Self {
        let Some(status) = status else {
            return Self::default();
        };
        let former = status.trust.iter().flat_map(|trust| &trust.former);
        let since = |anchor: &AnchorStatus| {
            Some((
                Fingerprint::parse(&anchor.fingerprint)?,
                since(anchor, now)?,
            ))
        };
        let active = status.anchors().iter();
        let active = active.filter(|anchor| anchor.state == AnchorState::Active);
        Self {
            known: fingerprints(status.anchors().iter().map(|anchor| &anchor.fingerprint)),
            former: fingerprints(former),
            announced: fingerprints(status.retiring().map(|anchor| &anchor.fingerprint)),
            retiring_since: status.retiring().filter_map(since).collect(),
            confirmed: confirmed(status, now),
            active_since: active.filter_map(since).collect(),
        }
    }

    /// Since when an anchor is that of the authority.
    pub fn active_since(&self, anchor: &Certificate) -> Option<Timestamp> {
        self.active_since.get(&anchor.fingerprint()).copied()
    }
}

/// One in the future would speak for whatever changes until then.
fn confirmed(status: &ExternalCAIssuanceStatus, now: Timestamp) -> BTreeMap<String, Timestamp> {
    let told = status.trust.iter().flat_map(|trust| &trust.confirmed);
    let told = told.filter(|one| one.since.0 <= now);
    told.map(|one| (one.peer.clone(), one.since.0)).collect()
}

/// Since when an anchor is in its state; a time in the future was told by a clock that was ahead.
pub(crate) fn since(anchor: &AnchorStatus, now: Timestamp) -> Option<Timestamp> {
    let since = anchor.since.as_ref().map(|since| since.0);
    since.filter(|since| *since <= now)
}

fn fingerprints<'a>(texts: impl Iterator<Item = &'a String>) -> BTreeSet<Fingerprint> {
    texts.filter_map(|text| Fingerprint::parse(text)).collect()
}
