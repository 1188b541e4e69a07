//! What every issuance last said, as gauges. They are made from the statuses when somebody reads them, so a series is gone
//! with its leaf, anchor, workload or issuance.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use external_ca_api::{
    AnchorState, CertificateState, ExternalCAIssuance, ExternalCAIssuanceStatus, RolloutPhase,
};
use external_ca_core::domain::renew_before;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;

/// Namespace and name.
type Key = (String, String);

/// The statuses, by issuance.
#[derive(Clone, Debug, Default)]
pub struct Issuances(Arc<Mutex<BTreeMap<Key, Said>>>);

#[derive(Debug)]
struct Said {
    status: Arc<ExternalCAIssuanceStatus>,
    renew_before: SignedDuration,
}

impl Issuances {
    /// From now on this is what is read.
    pub fn said(&self, issuance: &ExternalCAIssuance, status: Arc<ExternalCAIssuanceStatus>) {
        let said = Said {
            status,
            renew_before: renew_before(&issuance.spec),
        };
        self.all().insert(key(issuance), said);
    }

    /// An issuance is gone.
    pub fn forget(&self, issuance: &ExternalCAIssuance) {
        self.all().remove(&key(issuance));
    }

    fn all(&self) -> std::sync::MutexGuard<'_, BTreeMap<Key, Said>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(issuance: &ExternalCAIssuance) -> Key {
    (
        issuance.namespace().unwrap_or_default(),
        issuance.name_any(),
    )
}

impl Collector for Issuances {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let all = self.all();
        for family in FAMILIES {
            let metric =
                encoder.encode_descriptor(family.name, family.help, None, MetricType::Gauge)?;
            let mut out = Samples {
                metric,
                namespace: "",
                name: "",
            };
            for ((namespace, name), said) in all.iter() {
                (out.namespace, out.name) = (namespace, name);
                (family.samples)(said, &mut out)?;
            }
        }
        Ok(())
    }
}

/// Takes the samples of one family, and labels them with the issuance.
struct Samples<'a> {
    metric: MetricEncoder<'a>,
    namespace: &'a str,
    name: &'a str,
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
struct Family {
    name: &'static str,
    help: &'static str,
    samples: fn(&Said, &mut Samples<'_>) -> fmt::Result,
}

const FAMILIES: [Family; 13] = [
    Family {
        name: "issuance_ready",
        help: "1 where the issuance is Ready",
        samples: |said, out| {
            let ready = condition(&said.status, "Ready", "True").is_some();
            out.add(&[], ready.into())
        },
    },
    Family {
        name: "issuance_condition",
        help: "1 where the condition of this type is True, with its reason word",
        samples: |said, out| {
            said.status.conditions.iter().try_for_each(|condition| {
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
        samples: |said, out| out.time(&[], ca_end(said)),
    },
    Family {
        name: "issuer_renewal_timestamp_seconds",
        help: "From when on certificates end with the CA, so that it is to be replaced, Unix time",
        samples: |said, out| {
            let time = ca_end(said).and_then(|end| end.checked_sub(said.renew_before).ok());
            out.time(&[], time)
        },
    },
    Family {
        name: "anchors",
        help: "CAs that are trusted, by state",
        samples: |said, out| {
            [
                AnchorState::Active,
                AnchorState::Next,
                AnchorState::Retiring,
            ]
            .into_iter()
            .try_for_each(|state| {
                let anchors = said.status.anchors().iter();
                let labels = [("state", anchor_word(state))];
                out.add(&labels, count(anchors, |anchor| anchor.state == state))
            })
        },
    },
    Family {
        name: "anchor_not_after_timestamp_seconds",
        help: "End of a trusted CA's validity, Unix time; the fingerprint's first 16 hex digits",
        samples: |said, out| {
            said.status.anchors().iter().try_for_each(|anchor| {
                let short = anchor.fingerprint.get(..16).unwrap_or_default();
                let labels = [("fingerprint", short), ("state", anchor_word(anchor.state))];
                out.time(&labels, Some(anchor.not_after.0))
            })
        },
    },
    Family {
        name: "rotation_since_timestamp_seconds",
        help: "Since when verifiers are moving to another CA, Unix time; absent where they are not",
        samples: |said, out| {
            let rotating = said.status.retiring().next().is_some();
            let since = condition(&said.status, "TrustDistributed", "False");
            out.time(&[], since.filter(|_| rotating))
        },
    },
    Family {
        name: "next_renewal_timestamp_seconds",
        help: "When the next certificate is due for renewal, Unix time",
        samples: |said, out| out.time(&[], said.status.next_renewal.as_ref().map(|time| time.0)),
    },
    Family {
        name: "certificate_not_after_timestamp_seconds",
        help: "End of the certificate's validity, Unix time",
        samples: |said, out| {
            said.status.certificates.iter().try_for_each(|certificate| {
                let end = certificate.not_after.as_ref().map(|time| time.0);
                out.time(&secret(&certificate.target), end)
            })
        },
    },
    Family {
        name: "certificate_renewal_timestamp_seconds",
        help: "When the certificate is due for renewal, Unix time",
        samples: |said, out| {
            said.status.certificates.iter().try_for_each(|certificate| {
                let due = certificate.renewal_time.as_ref().map(|time| time.0);
                out.time(&secret(&certificate.target), due)
            })
        },
    },
    Family {
        name: "certificate_ready",
        help: "1 where the certificate is as wanted",
        samples: |said, out| {
            said.status.certificates.iter().try_for_each(|certificate| {
                let ready = certificate.state == CertificateState::Ready;
                out.add(&secret(&certificate.target), ready.into())
            })
        },
    },
    Family {
        name: "rollouts",
        help: "Workloads that have not yet loaded what is stored, by state",
        samples: |said, out| {
            let phases = [
                ("waiting", RolloutPhase::Waiting),
                ("running", RolloutPhase::Running),
                ("stuck", RolloutPhase::Stuck),
                ("restart_needed", RolloutPhase::RestartNeeded),
            ];
            phases.into_iter().try_for_each(|(word, phase)| {
                let rollouts = said.status.rollouts.iter();
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
        samples: |said, out| {
            let mut rollouts = said.status.rollouts.iter();
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

fn ca_end(said: &Said) -> Option<Timestamp> {
    Some(said.status.issuer.as_ref()?.not_after.0)
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;
    use serde_json::json;

    use super::*;

    /// An issuance in the middle of a rotation.
    pub fn example() -> ExternalCAIssuance {
        let certificate = |target: &str, state: &str| {
            json!({
                "target": target, "commonName": "x", "state": state,
                "notAfter": "2027-01-01T00:00:00Z", "renewalTime": "2026-09-01T00:00:00Z",
            })
        };
        let anchor = |fingerprint: &str, state: &str, end: &str| {
            json!({
                "subject": "CN=a \"quoted\" CA", "fingerprint": fingerprint.repeat(32), "state": state, "notAfter": end,
            })
        };
        let condition = |kind: &str, status: &str, reason: &str| {
            json!({
                "type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": "2026-03-01T00:00:00Z",
            })
        };
        let rollout = |name: &str, phase: &str| {
            json!({
                "workload": format!("Deployment openchoreo-data-plane/{name}"), "phase": phase, "state": "",
                "since": "2026-03-01T00:10:00Z",
            })
        };
        serde_json::from_value(json!({
            "apiVersion": "pki.openchoreo.dev/v1alpha1",
            "kind": "ExternalCAIssuance",
            "metadata": {"name": "cluster-gateway", "namespace": "openchoreo-control-plane"},
            "spec": {
                "issuer": {"caSecret": {"name": "ca"}},
                "certificateDefaults": {"duration": "8760h", "renewBefore": "240h"},
            },
            "status": {
                "conditions": [
                    condition("Ready", "False", "RolloutStuck"),
                    condition("Stalled", "True", "RolloutStuck"),
                    condition("TrustDistributed", "False", "WaitingForPeers"),
                ],
                "issuer": {"subject": "CN=ca", "fingerprint": "bb".repeat(32), "notAfter": "2036-01-11T00:00:00Z"},
                "trust": {"anchors": [
                    anchor("bb", "Active", "2036-01-11T00:00:00Z"),
                    anchor("aa", "Retiring", "2026-06-01T00:00:00Z"),
                ]},
                "certificates": [
                    certificate("openchoreo-control-plane/cluster-gateway-tls", "Waiting"),
                    certificate("openchoreo-data-plane/cluster-agent-tls", "Ready"),
                    json!({"target": "openchoreo-data-plane/missing", "commonName": "x", "state": "Pending"}),
                ],
                "rollouts": [rollout("agent-1", "Stuck"), rollout("agent-2", "Waiting"), rollout("agent-3", "Waiting")],
                "nextRenewal": "2026-09-01T00:00:00Z",
            },
        }))
        .unwrap()
    }

    fn say(issuances: &Issuances, issuance: &ExternalCAIssuance) {
        issuances.said(issuance, Arc::new(issuance.status.clone().unwrap()));
    }

    fn scrape(issuances: &Issuances) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(issuances.clone()));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    fn samples(text: &str) -> Vec<&str> {
        text.lines().filter(|line| !line.starts_with('#')).collect()
    }

    #[test]
    fn a_status_as_series() {
        let issuances = Issuances::default();
        say(&issuances, &example());
        let text = scrape(&issuances);
        let own = r#"namespace="openchoreo-control-plane",name="cluster-gateway""#;
        let gateway = format!(
            r#"{own},secret_namespace="openchoreo-control-plane",secret="cluster-gateway-tls""#
        );
        let agent =
            format!(r#"{own},secret_namespace="openchoreo-data-plane",secret="cluster-agent-tls""#);
        let missing = format!(r#"{own},secret_namespace="openchoreo-data-plane",secret="missing""#);
        for line in [
            format!("issuance_ready{{{own}}} 0"),
            format!(r#"issuance_condition{{{own},type="Stalled",reason="RolloutStuck"}} 1"#),
            format!(
                r#"issuance_condition{{{own},type="TrustDistributed",reason="WaitingForPeers"}} 0"#
            ),
            format!("issuer_not_after_timestamp_seconds{{{own}}} 2083622400"),
            // Ten days earlier.
            format!("issuer_renewal_timestamp_seconds{{{own}}} 2082758400"),
            format!(r#"anchors{{{own},state="active"}} 1"#),
            format!(r#"anchors{{{own},state="next"}} 0"#),
            format!(r#"anchors{{{own},state="retiring"}} 1"#),
            format!(
                r#"anchor_not_after_timestamp_seconds{{{own},fingerprint="aaaaaaaaaaaaaaaa",state="retiring"}} 1780272000"#
            ),
            format!("rotation_since_timestamp_seconds{{{own}}} 1772323200"),
            format!("next_renewal_timestamp_seconds{{{own}}} 1788220800"),
            format!("certificate_not_after_timestamp_seconds{{{gateway}}} 1798761600"),
            format!("certificate_renewal_timestamp_seconds{{{agent}}} 1788220800"),
            format!("certificate_ready{{{gateway}}} 0"),
            format!("certificate_ready{{{agent}}} 1"),
            format!("certificate_ready{{{missing}}} 0"),
            format!(r#"rollouts{{{own},state="waiting"}} 2"#),
            format!(r#"rollouts{{{own},state="running"}} 0"#),
            format!(r#"rollouts{{{own},state="stuck"}} 1"#),
            format!(r#"rollouts{{{own},state="restart_needed"}} 0"#),
            format!(
                r#"rollout_stuck_since_timestamp_seconds{{{own},workload="Deployment openchoreo-data-plane/agent-1"}} 1772323800"#
            ),
        ] {
            assert!(text.lines().any(|found| found == line), "no {line}\n{text}");
        }
        assert!(
            !text.contains(&format!(
                "certificate_not_after_timestamp_seconds{{{missing}}}"
            )),
            "what does not exist has no end"
        );
        assert_eq!(samples(&text).len(), 25, "{text}");
    }

    #[test]
    fn series_go_with_what_they_are_about() {
        let issuances = Issuances::default();
        let mut issuance = example();
        say(&issuances, &issuance);
        let status = issuance.status.as_mut().unwrap();
        status.certificates.clear();
        status.rollouts.clear();
        status.trust = None;
        say(&issuances, &issuance);
        let text = scrape(&issuances);
        for gone in [
            "secret=",
            "workload=",
            "fingerprint=",
            "rotation_since_timestamp_seconds{",
        ] {
            assert!(!text.contains(gone), "{gone}\n{text}");
        }
        issuances.forget(&issuance);
        assert_eq!(samples(&scrape(&issuances)), Vec::<&str>::new());
    }

    #[test]
    fn a_thousand_leaves_are_a_few_hundred_kilobytes_and_only_while_they_are_read() {
        let issuances = Issuances::default();
        let mut issuance = example();
        let status = issuance.status.as_mut().unwrap();
        status.certificates = (0..1000)
            .map(|index| {
                serde_json::from_value(json!({
                    "target": format!("openchoreo-data-plane/cluster-agent-tls-plane-{index}"), "commonName": "x", "state": "Ready",
                    "notAfter": "2027-01-01T00:00:00Z", "renewalTime": "2026-09-01T00:00:00Z",
                }))
                .unwrap()
            })
            .collect();
        let status = Arc::new(status.clone());
        issuances.said(&issuance, Arc::clone(&status));
        assert_eq!(Arc::strong_count(&status), 2, "kept once");
        let bytes = scrape(&issuances).len();
        assert!(bytes < 700_000, "{bytes}");
    }

    #[test]
    fn two_issuances_are_told_apart_and_hostile_names_stay_inside_their_quotes() {
        let issuances = Issuances::default();
        let mut second = example();
        second.metadata.name = Some("second".into());
        let status = second.status.as_mut().unwrap();
        for rollout in &mut status.rollouts {
            rollout.workload = "Deployment a/b\"} 1\nx".into();
        }
        say(&issuances, &example());
        say(&issuances, &second);
        let text = scrape(&issuances);
        assert!(text.contains(r#"name="second",workload="Deployment a/b\"} 1\nx"}"#));
        assert_eq!(samples(&text).len(), 50);
    }
}
