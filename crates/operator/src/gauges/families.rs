//! Each gauge: its name, and what of a status stands under it.

use std::fmt;
use std::sync::Arc;

use external_ca_api::{AnchorState, CertificateState, ExternalCAIssuanceStatus, RolloutPhase};
use jiff::{SignedDuration, Timestamp};
use prometheus_client::encoding::MetricEncoder;

/// What the gauges of one issuance are made from.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) status: Arc<ExternalCAIssuanceStatus>,
    pub(super) renew_before: SignedDuration,
}

/// Takes the samples of one family, and labels them with the issuance.
pub(super) struct Samples<'a> {
    pub(super) metric: MetricEncoder<'a>,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
}

impl Samples<'_> {
    fn add(&mut self, labels: &[(&str, &str)], value: i64) -> fmt::Result {
        let mut all = vec![("namespace", self.namespace), ("name", self.name)];
        all.extend(labels);
        self.metric.encode_family(&all)?.encode_gauge(&value)
    }

    fn time(&mut self, labels: &[(&str, &str)], time: Option<Timestamp>) -> fmt::Result {
        time.map_or(Ok(()), |time| self.add(labels, time.as_second()))
    }
}

/// A name, and what of a status stands under it.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) samples: fn(&Entry, &mut Samples<'_>) -> fmt::Result,
}

pub(super) const FAMILIES: [Family; 13] = [
    Family {
        name: "issuance_ready",
        help: "1 where the issuance is Ready",
        samples: |entry, out| {
            let ready = condition(&entry.status, "Ready", "True").is_some();
            out.add(&[], ready.into())
        },
    },
    Family {
        name: "issuance_condition",
        help: "1 where the condition of this type is True, with its reason word",
        samples: |entry, out| {
            entry.status.conditions.iter().try_for_each(|condition| {
                let labels = [
                    ("type", condition.type_.as_str()),
                    ("reason", &condition.reason),
                ];
                out.add(&labels, (condition.status == "True").into())
            })
        },
    },
    Family {
        name: "issuer_not_after_timestamp_seconds",
        help: "End of the CA's validity, Unix time",
        samples: |entry, out| out.time(&[], ca_end(entry)),
    },
    Family {
        name: "issuer_renewal_timestamp_seconds",
        help: "From when on certificates end with the CA, so that it is to be replaced, Unix time",
        samples: |entry, out| {
            let time = ca_end(entry).and_then(|end| end.checked_sub(entry.renew_before).ok());
            out.time(&[], time)
        },
    },
    Family {
        name: "anchors",
        help: "CAs that are trusted, by state",
        samples: |entry, out| {
            [
                AnchorState::Active,
                AnchorState::Next,
                AnchorState::Retiring,
            ]
            .into_iter()
            .try_for_each(|state| {
                let anchors = entry.status.anchors().iter();
                let labels = [("state", anchor_word(state))];
                out.add(&labels, count(anchors, |anchor| anchor.state == state))
            })
        },
    },
    Family {
        name: "anchor_not_after_timestamp_seconds",
        help: "End of a trusted CA's validity, Unix time; the fingerprint's first 16 hex digits",
        samples: |entry, out| {
            entry.status.anchors().iter().try_for_each(|anchor| {
                let short = anchor.fingerprint.get(..16).unwrap_or_default();
                let labels = [("fingerprint", short), ("state", anchor_word(anchor.state))];
                out.time(&labels, Some(anchor.not_after.0))
            })
        },
    },
    Family {
        name: "rotation_since_timestamp_seconds",
        help: "Since when verifiers are moving to another CA, Unix time; absent where they are not",
        samples: |entry, out| {
            let rotating = entry.status.retiring().next().is_some();
            let since = condition(&entry.status, "TrustDistributed", "False");
            out.time(&[], since.filter(|_| rotating))
        },
    },
    Family {
        name: "next_renewal_timestamp_seconds",
        help: "When the next certificate is due for renewal, Unix time",
        samples: |entry, out| out.time(&[], entry.status.next_renewal.as_ref().map(|time| time.0)),
    },
    Family {
        name: "certificate_not_after_timestamp_seconds",
        help: "End of the certificate's validity, Unix time",
        samples: |entry, out| {
            entry
                .status
                .certificates
                .iter()
                .try_for_each(|certificate| {
                    let end = certificate.not_after.as_ref().map(|time| time.0);
                    out.time(&secret(&certificate.target), end)
                })
        },
    },
    Family {
        name: "certificate_renewal_timestamp_seconds",
        help: "When the certificate is due for renewal, Unix time",
        samples: |entry, out| {
            entry
                .status
                .certificates
                .iter()
                .try_for_each(|certificate| {
                    let due = certificate.renewal_time.as_ref().map(|time| time.0);
                    out.time(&secret(&certificate.target), due)
                })
        },
    },
    Family {
        name: "certificate_ready",
        help: "1 where the certificate is as wanted",
        samples: |entry, out| {
            entry
                .status
                .certificates
                .iter()
                .try_for_each(|certificate| {
                    let ready = certificate.state == CertificateState::Ready;
                    out.add(&secret(&certificate.target), ready.into())
                })
        },
    },
    Family {
        name: "rollouts",
        help: "Workloads that have not yet loaded what is stored, by state",
        samples: |entry, out| {
            let phases = [
                ("waiting", RolloutPhase::Waiting),
                ("running", RolloutPhase::Running),
                ("stuck", RolloutPhase::Stuck),
                ("restart_needed", RolloutPhase::RestartNeeded),
            ];
            phases.into_iter().try_for_each(|(word, phase)| {
                let rollouts = entry.status.rollouts.iter();
                out.add(
                    &[("state", word)],
                    count(rollouts, |one| one.phase == phase),
                )
            })
        },
    },
    Family {
        name: "rollout_stuck_since_timestamp_seconds",
        help: "Since when a rollout that takes longer than rollout.timeout runs, Unix time",
        samples: |entry, out| {
            let mut rollouts = entry.status.rollouts.iter();
            rollouts.try_for_each(|rollout| {
                let since = Some(rollout.since.0).filter(|_| rollout.phase == RolloutPhase::Stuck);
                out.time(&[("workload", &rollout.workload)], since)
            })
        },
    },
];

/// Since when a condition has this status, if it has.
fn condition(status: &ExternalCAIssuanceStatus, kind: &str, wanted: &str) -> Option<Timestamp> {
    let mut all = status.conditions.iter();
    let found = all.find(|condition| condition.type_ == kind && condition.status == wanted)?;
    Some(found.last_transition_time.0)
}

fn ca_end(entry: &Entry) -> Option<Timestamp> {
    Some(entry.status.issuer.as_ref()?.not_after.0)
}

fn count<T>(all: impl Iterator<Item = T>, holds: impl Fn(&T) -> bool) -> i64 {
    i64::try_from(all.filter(holds).count()).unwrap_or(i64::MAX)
}

fn anchor_word(state: AnchorState) -> &'static str {
    match state {
        AnchorState::Active => "active",
        AnchorState::Next => "next",
        AnchorState::Retiring => "retiring",
    }
}

/// The labels of a Secret, from `<namespace>/<name>`.
fn secret(target: &str) -> [(&'static str, &str); 2] {
    let (namespace, name) = target.split_once('/').unwrap_or(("", target));
    [("secret_namespace", namespace), ("secret", name)]
}
