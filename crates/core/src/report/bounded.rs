//! A status that can be stored, however many certificates and planes there are.

use external_ca_api::{AnchorStatus, CertificateState, ExternalCAIssuanceStatus, Omitted};
use serde::Serialize;

/// How many bytes each list may take. The API server refuses objects of more than 2 MiB, etcd of more than 1.5 MB, and the
/// spec takes its part.
const CERTIFICATES: usize = 448 * 1024;
const PLANES: usize = 256 * 1024;
const ROLLOUTS: usize = 64 * 1024;
const CONTESTED: usize = 64 * 1024;
/// What the guards remember. It is never cut; only those that an anchor waits for are no longer named.
const TRUST: usize = 64 * 1024;

/// The status with its lists cut to what can be stored: first what is not as it should be, then the rest, in their order.
pub fn bounded(status: &ExternalCAIssuanceStatus) -> ExternalCAIssuanceStatus {
    let mut status = status.clone();
    let omitted = Omitted {
        certificates: cut(&mut status.certificates, CERTIFICATES, |entry| {
            entry.state != CertificateState::Ready
        }),
        planes: cut(&mut status.planes, PLANES, |entry| !entry.wired),
        rollouts: cut(&mut status.rollouts, ROLLOUTS, |_| true),
        contested: cut(&mut status.contested, CONTESTED, |_| true),
    };
    status.omitted = (omitted != Omitted::default()).then_some(omitted);
    if let Some(trust) = &mut status.trust
        && size(trust) > TRUST
    {
        let shorten = |anchor: &mut AnchorStatus| anchor.waiting_for.clear();
        trust.anchors.iter_mut().for_each(shorten);
    }
    status
}

/// How many bytes of certificates the annotation of an authority's Secret remembers.
const REMEMBERED: usize = 32 * 1024;

/// What the guards need of a status, and nothing that changes oftener: it is remembered in an annotation.
pub fn memory(status: &ExternalCAIssuanceStatus) -> ExternalCAIssuanceStatus {
    let mut memory = ExternalCAIssuanceStatus {
        trust: status.trust.clone(),
        certificates: status.certificates.clone(),
        rollouts: status.rollouts.clone(),
        contested: status.contested.clone(),
        ..Default::default()
    };
    for anchor in memory.trust.iter_mut().flat_map(|trust| &mut trust.anchors) {
        anchor.waiting_for.clear();
    }
    for entry in &mut memory.certificates {
        entry.renewal_time = None;
        if entry.state == CertificateState::Ready {
            entry.reason = None;
        }
    }
    for rollout in &mut memory.rollouts {
        rollout.state.clear();
    }
    let omitted = Omitted {
        certificates: cut(&mut memory.certificates, REMEMBERED, |entry| {
            entry.state != CertificateState::Ready
        }),
        rollouts: cut(&mut memory.rollouts, REMEMBERED / 4, |_| true),
        contested: cut(&mut memory.contested, REMEMBERED / 4, |_| true),
        ..Omitted::default()
    };
    memory.omitted = (omitted != Omitted::default()).then_some(omitted);
    memory
}

/// How many bytes a value takes as JSON.
fn size(value: &impl Serialize) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |text| text.len() + 1)
}

fn cut<T: Serialize>(entries: &mut Vec<T>, limit: usize, matters: impl Fn(&T) -> bool) -> u32 {
    let sizes: Vec<usize> = entries.iter().map(size).collect();
    if sizes.iter().sum::<usize>() <= limit {
        return 0;
    }
    let mut left = limit;
    let mut keep = vec![false; entries.len()];
    for first in [true, false] {
        for ((entry, size), kept) in entries.iter().zip(&sizes).zip(&mut keep) {
            if matters(entry) == first && *size <= left {
                left -= size;
                *kept = true;
            }
        }
    }
    let before = entries.len();
    let mut keep = keep.into_iter();
    entries.retain(|_| keep.next().unwrap_or(false));
    u32::try_from(before - entries.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use external_ca_api::{AnchorState, CertificateStatus, PlaneKind, PlaneStatus, TrustStatus};
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use proptest::prelude::*;

    /// As many planes, each with its certificate, the names as long as Kubernetes allows.
    fn status(count: usize, length: usize, sick: usize) -> ExternalCAIssuanceStatus {
        let name = |index: usize| format!("{}{index}", "n".repeat(length));
        let anchors = (0..40).map(|index| AnchorStatus {
            subject: name(index),
            fingerprint: format!("{index:064}"),
            state: AnchorState::Retiring,
            not_after: Time(Timestamp::MAX),
            since: Some(Time(Timestamp::MIN)),
            waiting_for: (0..10).map(name).collect(),
        });
        ExternalCAIssuanceStatus {
            trust: Some(TrustStatus {
                anchors: anchors.collect(),
                former: (0..32).map(|index| format!("{index:064}")).collect(),
                bundles: Vec::new(),
                confirmed: Vec::new(),
            }),
            certificates: (0..count)
                .map(|index| CertificateStatus {
                    target: format!("{}/{}", name(index), name(index)),
                    common_name: name(index),
                    serial: Some("0".repeat(32)),
                    signer: Some("0".repeat(16)),
                    not_after: Some(Time(Timestamp::MAX)),
                    renewal_time: Some(Time(Timestamp::MAX)),
                    state: match index + sick >= count {
                        true => CertificateState::Failed,
                        false => CertificateState::Ready,
                    },
                    reason: None,
                })
                .collect(),
            planes: (0..count)
                .map(|index| PlaneStatus {
                    kind: PlaneKind::ClusterObservabilityPlane,
                    namespace: Some(name(index)),
                    name: name(index),
                    plane_id: name(index),
                    wired: index + sick < count,
                    reason: None,
                    agent_connected: Some(true),
                })
                .collect(),
            certificates_ready: Some(format!("{}/{count}", count - sick)),
            ..Default::default()
        }
    }

    #[test]
    fn six_thousand_planes_can_be_stored_and_what_is_wrong_comes_first() {
        let full = status(6_000, 50, 10);
        assert!(size(&full) > 2 * 1024 * 1024);
        let stored = bounded(&full);
        assert!(size(&stored) < 1024 * 1024, "{}", size(&stored));
        let failed = stored.certificates.iter();
        let failed = failed.filter(|entry| entry.state == CertificateState::Failed);
        assert_eq!(failed.count(), 10);
        assert_eq!(
            stored.planes.iter().filter(|entry| !entry.wired).count(),
            10
        );
        let omitted = stored.omitted.unwrap_or_default();
        assert_eq!(
            stored.certificates.len() + omitted.certificates as usize,
            6_000
        );
        assert_eq!(stored.planes.len() + omitted.planes as usize, 6_000);
        assert_eq!(stored.certificates_ready, full.certificates_ready);
    }

    #[test]
    fn a_thousand_planes_are_told_in_full() {
        let full = status(1_000, 25, 0);
        assert_eq!(bounded(&full).omitted, None);
        assert_eq!(bounded(&full).certificates, full.certificates);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn whatever_there_is_it_can_be_stored_and_what_the_guards_remember_is_whole(
            count in 0..3_000usize, length in 1..63usize, sick in 0..100usize,
        ) {
            let full = status(count, length, sick.min(count));
            let stored = bounded(&full);
            prop_assert!(size(&stored) <= CERTIFICATES + PLANES + ROLLOUTS + CONTESTED + TRUST + 1024);
            let memory = |status: &ExternalCAIssuanceStatus| {
                let trust = status.trust.clone().unwrap_or_default();
                let anchors = trust.anchors.into_iter();
                let anchors: Vec<_> = anchors.map(|one| (one.fingerprint, one.state, one.since)).collect();
                (anchors, trust.former)
            };
            prop_assert_eq!(memory(&stored), memory(&full));
            prop_assert_eq!(&bounded(&stored).certificates, &stored.certificates);
        }
    }
}
