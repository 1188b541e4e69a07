//! The branches of the tree.

use std::collections::BTreeSet;

use external_ca_api::{
    AnchorState, AnchorStatus, CertificateState, CertificateStatus, ExternalCAIssuance,
    ExternalCAIssuanceStatus, Phase, PlaneStatus,
};
use external_ca_core::domain::namespace;
use external_ca_core::model::PlaneRef;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::conditions::{condition, is_current};
use crate::output::paint::{Paint, Tone};
use crate::output::time::until;
use crate::output::tree::{Node, aligned};

/// How it is shown.
pub(super) struct View {
    pub(super) now: Timestamp,
    pub(super) wide: bool,
    pub(super) paint: Paint,
}

impl View {
    pub(super) fn mark(&self, tone: Tone) -> String {
        let mark = match tone {
            Tone::Good => "✓",
            Tone::Bad => "✗",
            _ => "…",
        };
        self.paint.tone(tone, mark)
    }

    pub(super) fn ends(&self, end: Timestamp) -> String {
        let word = if end <= self.now { "ended" } else { "ends" };
        format!("{word} {} ({})", date(end), until(self.now, end))
    }

    pub(super) fn phase(
        &self,
        issuance: &ExternalCAIssuance,
        status: &ExternalCAIssuanceStatus,
    ) -> String {
        if !is_current(issuance, status) {
            let text = "its spec has changed since the operator last looked";
            return self.paint.tone(Tone::Moving, text);
        }
        let (tone, word) = match status.phase {
            Some(Phase::Ready) => (Tone::Good, "Ready".to_owned()),
            Some(Phase::Stalled) => (Tone::Bad, "Stalled".to_owned()),
            Some(phase) => (Tone::Moving, format!("{phase:?}")),
            None => (Tone::Moving, "Unknown".to_owned()),
        };
        self.paint.tone(tone, word)
    }

    pub(super) fn ca(&self, status: &ExternalCAIssuanceStatus) -> Node {
        let ready = condition(status, "IssuerReady").is_some_and(|found| found.status == "True");
        let tone = if ready { Tone::Good } else { Tone::Bad };
        let text = match &status.issuer {
            Some(issuer) => format!("{}  {}", issuer.subject, self.ends(issuer.not_after.0)),
            None => "not known".to_owned(),
        };
        let fingerprint = status.issuer.iter().filter(|_| self.wide);
        let children =
            fingerprint.map(|issuer| Node::new(format!("SHA-256 {}", issuer.fingerprint)));
        Node::new(format!("CA {} {text}", self.mark(tone))).with(children)
    }

    pub(super) fn anchors(&self, status: &ExternalCAIssuanceStatus) -> Node {
        self.anchors_of(status.anchors())
    }

    pub(super) fn anchors_of(&self, anchors: &[AnchorStatus]) -> Node {
        let row = |anchor: &AnchorStatus| {
            [
                format!("{:?}", anchor.state),
                anchor.subject.clone(),
                self.ends(anchor.not_after.0),
                if self.wide {
                    anchor.fingerprint.clone()
                } else {
                    String::new()
                },
            ]
        };
        let rows: Vec<[String; 4]> = anchors.iter().map(row).collect();
        let lines = aligned(&rows);
        let children = anchors.iter().zip(lines).map(|(anchor, line)| {
            let tone = match anchor.state {
                AnchorState::Active => Tone::Good,
                AnchorState::Next | AnchorState::Retiring => Tone::Moving,
            };
            let word = match anchor.state {
                AnchorState::Retiring => "still needed by",
                AnchorState::Active | AnchorState::Next => "waits for",
            };
            let waiting = anchor.waiting_for.iter();
            let waiting = waiting.map(|name| Node::new(format!("{word} {name}")));
            Node::new(format!("{} {line}", self.mark(tone))).with(waiting)
        });
        Node::new("Anchors").with(children)
    }

    pub(super) fn places(
        &self,
        issuance: &ExternalCAIssuance,
        status: &ExternalCAIssuanceStatus,
    ) -> Node {
        let trust = &issuance.spec.trust;
        let objects = format!(
            "ConfigMap {} and Secret {} in {}",
            trust.config_map_name,
            trust.secret_name,
            trust_namespaces(issuance, status).join(", ")
        );
        Node::new("Trust places").with([
            self.by_condition(status, "TrustDistributed", &objects),
            self.by_condition(status, "PlanesWired", "clientCA of the planes below"),
        ])
    }

    fn by_condition(&self, status: &ExternalCAIssuanceStatus, kind: &str, text: &str) -> Node {
        let fine = condition(status, kind).is_some_and(|found| found.status == "True");
        let tone = if fine { Tone::Good } else { Tone::Moving };
        Node::new(format!("{} {text}", self.mark(tone)))
    }

    pub(super) fn certificates(&self, status: &ExternalCAIssuanceStatus) -> Node {
        let row = |certificate: &CertificateStatus| {
            let end = certificate.not_after.as_ref();
            let renewal = certificate.renewal_time.as_ref();
            let signer = certificate.signer.as_ref();
            [
                certificate.target.clone(),
                format!("CN={}", certificate.common_name),
                match signer {
                    Some(signer) => format!("signed by {signer}"),
                    None => "not signed by the CA".to_owned(),
                },
                end.map_or_else(String::new, |end| self.ends(end.0)),
                renewal.map_or_else(String::new, |time| {
                    format!("renewal {}", until(self.now, time.0))
                }),
                match (&certificate.serial, self.wide) {
                    (Some(serial), true) => format!("serial {serial}"),
                    _ => String::new(),
                },
                match (certificate.state, &certificate.reason) {
                    (CertificateState::Ready, _) => String::new(),
                    (state, Some(reason)) => format!("{state:?} ({reason})"),
                    (state, None) => format!("{state:?}"),
                },
            ]
        };
        let rows: Vec<[String; 7]> = status.certificates.iter().map(row).collect();
        let lines = status.certificates.iter().zip(aligned(&rows));
        let children = lines.map(|(certificate, line)| {
            let tone = match certificate.state {
                CertificateState::Ready => Tone::Good,
                CertificateState::Failed => Tone::Bad,
                CertificateState::Pending | CertificateState::Waiting => Tone::Moving,
            };
            Node::new(format!("{} {line}", self.mark(tone)))
        });
        let count = status.certificates_ready.as_deref().unwrap_or_default();
        let more = omitted(status.omitted.unwrap_or_default().certificates);
        Node::new(format!("Certificates {count}")).with(children.chain(more))
    }

    pub(super) fn planes(&self, status: &ExternalCAIssuanceStatus) -> Node {
        let row = |plane: &PlaneStatus| {
            let reference = PlaneRef {
                kind: plane.kind,
                namespace: plane.namespace.clone(),
                name: plane.name.clone(),
            };
            [
                reference.to_string(),
                format!("planeID {}", plane.plane_id),
                match (plane.wired, &plane.reason) {
                    (true, _) => "wired".to_owned(),
                    (false, Some(reason)) => format!("not wired ({reason})"),
                    (false, None) => "not wired".to_owned(),
                },
                match plane.agent_connected {
                    Some(true) => "agent connected",
                    Some(false) => "agent not connected",
                    None => "agent not reported",
                }
                .to_owned(),
            ]
        };
        let rows: Vec<[String; 4]> = status.planes.iter().map(row).collect();
        let lines = status.planes.iter().zip(aligned(&rows));
        let children = lines.map(|(plane, line)| {
            let tone = match (plane.wired, plane.agent_connected) {
                (true, Some(false)) => Tone::Moving,
                (true, _) => Tone::Good,
                (false, _) => Tone::Bad,
            };
            Node::new(format!("{} {line}", self.mark(tone)))
        });
        let wired = status.planes.iter().filter(|plane| plane.wired).count();
        let more = omitted(status.omitted.unwrap_or_default().planes);
        Node::new(format!("Planes {wired}/{}", status.planes.len())).with(children.chain(more))
    }

    pub(super) fn rollouts(&self, status: &ExternalCAIssuanceStatus) -> Node {
        if status.rollouts.is_empty() {
            return Node::new("Rollouts: none under way");
        }
        let children = status.rollouts.iter().map(|rollout| {
            let since = until(self.now, rollout.since.0);
            let mark = self.mark(Tone::Moving);
            Node::new(format!(
                "{mark} {}: {} (begun {since})",
                rollout.workload, rollout.state
            ))
        });
        Node::new("Rollouts").with(children)
    }

    /// The conditions that are not as they should be, most general last.
    pub(super) fn waiting(
        &self,
        issuance: &ExternalCAIssuance,
        status: &ExternalCAIssuanceStatus,
    ) -> Option<Node> {
        let kinds = [
            "IssuerReady",
            "TrustDistributed",
            "CertificatesReady",
            "PlanesWired",
            "RolloutsComplete",
            "ConsumersRunning",
        ];
        let found = kinds.iter().filter_map(|kind| condition(status, kind));
        let stalled = condition(status, "Stalled").is_some_and(|found| found.status == "True");
        let tone = if stalled { Tone::Bad } else { Tone::Moving };
        let mut children: Vec<Node> = found
            .filter(|condition| condition.status != "True")
            .map(|condition| self.reason(tone, condition))
            .collect();
        // A warning: it works, and a person should know.
        let warnings = kinds.iter().filter_map(|kind| condition(status, kind));
        children.extend(
            warnings
                .filter(|condition| condition.status == "True" && condition.reason != "Ready")
                .map(|condition| self.reason(Tone::Moving, condition)),
        );
        if issuance.spec.paused {
            children.push(Node::new(
                "it is paused: nothing is written or renewed until `kubectl externalca resume`",
            ));
        }
        let title = if stalled {
            "Needs a person"
        } else {
            "Waits for"
        };
        (!children.is_empty()).then(|| Node::new(title).with(children))
    }

    fn reason(&self, tone: Tone, condition: &Condition) -> Node {
        let reason = self.paint.tone(tone, &condition.reason);
        Node::new(format!("{reason}: {}", condition.message))
    }
}

fn date(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d").to_string()
}

/// What the status left out, because it would grow too large.
fn omitted(count: u32) -> Option<Node> {
    let text = format!("and {count} more, which the status leaves out: metrics tell of them");
    (count > 0).then(|| Node::new(text))
}

/// The issuance's namespace and those of the agents: the gateway's and all further certificates have no bundle of
/// their own.
fn trust_namespaces(
    issuance: &ExternalCAIssuance,
    status: &ExternalCAIssuanceStatus,
) -> Vec<String> {
    let home = namespace(issuance);
    let further = issuance.spec.certificates.iter().map(|entry| {
        let namespace = entry.target.namespace.as_deref().unwrap_or(home);
        format!("{namespace}/{}", entry.target.secret_name)
    });
    let others: BTreeSet<String> = further.collect();
    let agents = status.certificates.iter().map(|entry| &entry.target);
    let agents = agents
        .filter(|target| !others.contains(*target))
        .filter_map(|target| target.split_once('/'))
        .map(|(namespace, _)| namespace.to_owned());
    let all: BTreeSet<String> = agents.chain([home.to_owned()]).collect();
    all.into_iter().collect()
}
