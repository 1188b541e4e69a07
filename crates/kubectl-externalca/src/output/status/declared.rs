//! What cert-manager's objects declare, as trees.

use external_ca_core::diagnosis::{
    BundleState, CertificateView, DomainView, InjectionView, Survey,
};
use external_ca_core::domain::certmanager::Aside;
use jiff::Timestamp;

use super::view::View;
use crate::output::paint::{Paint, Tone};
use crate::output::time::until;
use crate::output::tree::{Node, aligned};

/// The trees: cert-manager itself, each domain, and what belongs to none. A note alone, where no object may be read.
pub fn forest(survey: &Survey, now: Timestamp, wide: bool, paint: Paint) -> String {
    let view = View { now, wide, paint };
    let objects = survey.domains.len() + survey.certificates.len() + survey.issuers.len();
    let domains = survey.domains.iter().map(|domain| view.domain(domain));
    let trees = std::iter::once(view.at_work(survey))
        .chain(domains)
        .chain(view.of_no_domain(survey))
        .chain(view.issuers(survey));
    let trees = trees.filter(|_| objects > 0);
    let mut text: Vec<String> = trees.map(|tree| tree.render()).collect();
    if !survey.unread.is_empty() {
        text.push(format!(
            "Note: not all of what cert-manager's objects declare is known: {}\n",
            survey.unread.join("; ")
        ));
    }
    text.join("\n")
}

impl View {
    fn at_work(&self, survey: &Survey) -> Node {
        let title = self.paint.tone(Tone::Bold, "cert-manager");
        let halves = [
            (
                "Certificates",
                &survey.at_work.controller,
                "the operator issues nothing",
            ),
            (
                "caBundles",
                &survey.at_work.injector,
                "the operator writes none",
            ),
        ];
        let children = halves.map(|(what, aside, follows)| {
            Node::new(match aside {
                None => format!("{what}: it is not at work, the operator does it"),
                Some(Aside::LeaseHeld { holder, renewed }) => format!(
                    "{what}: it is at work, and {follows}: {holder} has renewed its Lease {}",
                    until(self.now, *renewed)
                ),
                Some(Aside::StatusWritten { object, until: end }) => format!(
                    "{what}: it was at work of late, and {follows}: it has written the status of {object}; the operator begins {}",
                    until(self.now, *end)
                ),
                Some(Aside::LeaseUnreadable { message }) => {
                    format!("{what}: whether it is at work is not known: {message}")
                }
            })
        });
        Node::new(title).with(children)
    }

    fn domain(&self, domain: &DomainView) -> Node {
        let title = format!("Certificates of {}", domain.secret);
        let authority = match &domain.authority {
            Some(found) => {
                let tone = match found.not_after > self.now {
                    true => Tone::Good,
                    false => Tone::Bad,
                };
                let fingerprint = match self.wide {
                    true => format!("  SHA-256 {}", found.fingerprint),
                    false => String::new(),
                };
                format!(
                    "Authority {} {}  {}{fingerprint}",
                    self.mark(tone),
                    found.subject,
                    self.ends(found.not_after)
                )
            }
            None => format!("Authority {} not known", self.mark(Tone::Bad)),
        };
        let anchors = (!domain.anchors.is_empty()).then(|| self.anchors_of(&domain.anchors));
        let ready = domain.certificates.iter().filter(|one| one.ready).count();
        let count = format!("Certificates {ready}/{}", domain.certificates.len());
        let certificates = Node::new(count).with(self.declared(&domain.certificates));
        let injected = (!domain.injected.is_empty()).then(|| {
            let children = domain.injected.iter().map(|one| self.injection(one));
            Node::new("Injected into").with(children)
        });
        let children = std::iter::once(Node::new(authority)).chain(anchors);
        let children = children.chain([certificates]).chain(injected);
        Node::new(self.paint.tone(Tone::Bold, title)).with(children)
    }

    fn declared(&self, certificates: &[CertificateView]) -> Vec<Node> {
        let row = |one: &CertificateView| {
            [
                one.name.clone(),
                format!("Secret {}", one.secret_name),
                one.not_after.map_or_else(String::new, |end| self.ends(end)),
                one.renewal_time.map_or_else(String::new, |time| {
                    format!("renewal {}", until(self.now, time))
                }),
                match (&one.issuance, one.ready) {
                    (Some(issuance), _) => format!("issued by ExternalCAIssuance {issuance}"),
                    (None, false) => format!("not Ready ({})", one.reason),
                    (None, true) => String::new(),
                },
            ]
        };
        let rows: Vec<[String; 5]> = certificates.iter().map(row).collect();
        let lines = certificates.iter().zip(aligned(&rows));
        let nodes = lines.map(|(one, line)| {
            let tone = match (one.ready, one.issuing) {
                (true, _) => Tone::Good,
                (false, true) => Tone::Moving,
                (false, false) => Tone::Bad,
            };
            let why = (!one.ready).then(|| Node::new(one.message.as_str()));
            Node::new(format!("{} {line}", self.mark(tone))).with(why)
        });
        nodes.collect()
    }

    fn injection(&self, one: &InjectionView) -> Node {
        let (tone, bundle) = match one.bundle {
            BundleState::Holds => (Tone::Good, "its caBundle holds the anchors"),
            BundleState::Verifies => (
                Tone::Moving,
                "its caBundle verifies what is served, and another anchor is on its way",
            ),
            BundleState::Unknown => (Tone::Moving, "whether its caBundle fits is not known"),
            BundleState::Lacks => (Tone::Bad, "a caBundle of it does not verify what is served"),
            BundleState::Empty => (Tone::Bad, "a caBundle of it is empty, or a placeholder"),
        };
        let named = match one.named {
            Some(false) => "; the chart's values do not name it",
            Some(true) | None => "",
        };
        let (mark, object, from) = (self.mark(tone), &one.object, &one.from);
        Node::new(format!("{mark} {object}  from {from}: {bundle}{named}"))
    }

    fn of_no_domain(&self, survey: &Survey) -> Option<Node> {
        let title = self.paint.tone(Tone::Bold, "Certificates of no domain");
        let children = self.declared(&survey.certificates);
        (!children.is_empty()).then(|| Node::new(title).with(children))
    }

    /// Those that cannot sign.
    fn issuers(&self, survey: &Survey) -> Option<Node> {
        let issuers = survey.issuers.iter().filter(|issuer| !issuer.ready);
        let children: Vec<Node> = issuers
            .map(|issuer| {
                let mark = self.mark(Tone::Moving);
                let (object, reason, message) = (&issuer.object, &issuer.reason, &issuer.message);
                Node::new(format!("{mark} {object}  {reason}: {message}"))
            })
            .collect();
        let title = self.paint.tone(Tone::Bold, "Issuers that are not Ready");
        (!children.is_empty()).then(|| Node::new(title).with(children))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use external_ca_api::AnchorStatus;
    use external_ca_core::diagnosis::{AuthorityView, IssuerView};
    use external_ca_core::domain::certmanager::AtWork;
    use serde_json::json;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn certificate(name: &str) -> CertificateView {
        CertificateView {
            name: format!("ns/{name}"),
            secret_name: format!("{name}-tls"),
            ready: true,
            reason: "Ready".into(),
            message: "fine".into(),
            issuing: false,
            not_after: Some(time("2026-04-01T00:00:00Z")),
            renewal_time: Some(time("2026-03-01T00:00:00Z")),
            issuance: None,
        }
    }

    fn survey() -> Survey {
        let anchor: AnchorStatus = serde_json::from_value(json!({
            "subject": "CN=old", "fingerprint": "aaaa", "state": "Retiring", "notAfter": "2026-02-01T00:00:00Z",
        }))
        .unwrap();
        let injection = |object: &str, bundle, named| InjectionView {
            object: object.into(),
            from: "Certificate ns/a".into(),
            named: Some(named),
            bundle,
        };
        Survey {
            at_work: AtWork {
                controller: None,
                injector: Some(Aside::LeaseHeld {
                    holder: "cainjector-0".into(),
                    renewed: time("2025-12-31T23:59:50Z"),
                }),
            },
            domains: vec![DomainView {
                secret: "ns/a-tls".into(),
                authority: Some(AuthorityView {
                    subject: "CN=a".into(),
                    fingerprint: "bbbb".into(),
                    not_after: time("2026-04-01T00:00:00Z"),
                }),
                anchors: vec![anchor],
                certificates: vec![
                    certificate("a"),
                    CertificateView {
                        ready: false,
                        issuing: true,
                        reason: "SignerChanged".into(),
                        message: "another CA has signed it".into(),
                        renewal_time: None,
                        ..certificate("client")
                    },
                ],
                injected: vec![
                    injection("APIService v1.x", BundleState::Holds, true),
                    injection("APIService v1.y", BundleState::Empty, false),
                ],
            }],
            certificates: vec![
                CertificateView {
                    issuance: Some("ns/gateway".into()),
                    ..certificate("b")
                },
                CertificateView {
                    ready: false,
                    reason: "SecretNotListed".into(),
                    message: "add its name".into(),
                    not_after: None,
                    renewal_time: None,
                    ..certificate("c")
                },
            ],
            issuers: vec![IssuerView {
                object: "Issuer ns/acme".into(),
                ready: false,
                reason: "FieldNotSupported".into(),
                message: "spec.acme".into(),
            }],
            unread: vec!["may not get secrets/x in ns".into()],
        }
    }

    #[test]
    fn a_person_reads_who_is_at_work_and_what_waits() {
        let (survey, now) = (survey(), time("2026-01-01T00:00:00Z"));
        let paint = Paint::for_stdout(false, None);
        let lines = [
            "cert-manager",
            "├─ Certificates: it is not at work, the operator does it",
            "└─ caBundles: it is at work, and the operator writes none: cainjector-0 has renewed its Lease 10s ago",
            "",
            "Certificates of ns/a-tls",
            "├─ Authority ✓ CN=a  ends 2026-04-01 (in 90d)",
            "├─ Anchors",
            "│  └─ … Retiring  CN=old  ends 2026-02-01 (in 31d)",
            "├─ Certificates 1/2",
            "│  ├─ ✓ ns/a       Secret a-tls       ends 2026-04-01 (in 90d)  renewal in 59d",
            "│  └─ … ns/client  Secret client-tls  ends 2026-04-01 (in 90d)                  not Ready (SignerChanged)",
            "│     └─ another CA has signed it",
            "└─ Injected into",
            "   ├─ ✓ APIService v1.x  from Certificate ns/a: its caBundle holds the anchors",
            "   └─ ✗ APIService v1.y  from Certificate ns/a: a caBundle of it is empty, or a placeholder; the chart's values do not name it",
            "",
            "Certificates of no domain",
            "├─ ✓ ns/b  Secret b-tls  ends 2026-04-01 (in 90d)  renewal in 59d  issued by ExternalCAIssuance ns/gateway",
            "└─ ✗ ns/c  Secret c-tls                                            not Ready (SecretNotListed)",
            "   └─ add its name",
            "",
            "Issuers that are not Ready",
            "└─ … Issuer ns/acme  FieldNotSupported: spec.acme",
            "",
            "Note: not all of what cert-manager's objects declare is known: may not get secrets/x in ns",
            "",
        ];
        assert_eq!(forest(&survey, now, false, paint), lines.join("\n"));
        assert!(forest(&survey, now, true, paint).contains("SHA-256 bbbb"));
        assert!(!survey.is_well());
        let unread = Survey {
            domains: Vec::new(),
            certificates: Vec::new(),
            issuers: Vec::new(),
            ..survey.clone()
        };
        let text = forest(&unread, now, false, paint);
        assert_eq!(text.lines().count(), 1, "{text}");
        let told = json!(survey);
        assert_eq!(told["atWork"]["injector"]["why"], "LeaseHeld");
        assert_eq!(told["domains"][0]["injected"][1]["bundle"], "Empty");
        assert_eq!(told["domains"][0]["certificates"][0]["secretName"], "a-tls");
    }
}
