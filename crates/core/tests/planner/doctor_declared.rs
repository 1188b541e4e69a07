//! The doctor on what cert-manager's objects declare: a healthy installation yields nothing, each breakage its finding alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use external_ca_core::diagnosis::{
    BundleState, Declarations, Denied, Finding, Injectable, OperatorState, Severity, StoredSecret,
    Survey, declared,
};
use external_ca_core::domain::SelfSigned;
use external_ca_core::domain::certmanager::{Others, Values};
use external_ca_core::model::{
    CertManagerKind, CertManagerObject, CertManagerObjects, CertManagerRef, InjectFrom, InjectKind,
    InjectRef, Injected, InjectedElement, Leaf, Material, ObjectRef, Read,
};
use external_ca_core::x509::{Certificate, request, self_signed_leaf, sign_request};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use serde_json::{Value, json};

use super::pieces::{HOME, blank, ca, cert_manager_object, days, leaf_key, start};

const WEBHOOKS: &str = "openchoreo-control-plane-validating-webhook-configuration";
const LEASE: &str = "kube-system/cert-manager-controller";

/// An internal CA with a client's certificate, and a webhook's certificate that signs itself, all as an operator leaves them.
struct Patient {
    seen: Declarations,
    now: Timestamp,
}

fn leaf_spec(secret: &str, issuer: &str) -> Value {
    json!({
        "secretName": secret, "commonName": secret, "dnsNames": [secret], "usages": ["server auth", "client auth"],
        "privateKey": {"algorithm": "ECDSA"}, "issuerRef": {"name": issuer},
    })
}

fn told(ready: bool, reason: &str, message: &str) -> Value {
    json!({
        "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }, "reason": reason,
            "message": message, "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        "renewalTime": "2026-03-01T00:00:00Z",
    })
}

fn name(kind: CertManagerKind, name: &str) -> CertManagerRef {
    let object = ObjectRef::new(HOME, name);
    CertManagerRef { kind, object }
}

fn secret(name: &str) -> ObjectRef {
    ObjectRef::new(HOME, name)
}

fn webhooks(kind: InjectKind, name: &str) -> InjectRef {
    InjectRef {
        kind,
        name: name.into(),
    }
}

fn injectable(from: InjectFrom, anchors: Vec<Certificate>) -> Injectable {
    Injectable {
        facts: Injected {
            resource_version: "1".into(),
            from: Some(from),
            elements: vec![InjectedElement {
                name: "w".into(),
                anchors,
            }],
            changed: None,
            is_owned: false,
            is_others: false,
        },
        wants_api_server: false,
    }
}

impl Patient {
    fn healthy() -> Self {
        use CertManagerKind::{Certificate, Issuer};
        let values = Values::from_arguments(
            &["run", "--cert-manager-secrets=ca,client,webhook"],
            [HOME.to_owned()].into(),
            ["cluster-gateway-tls".to_owned()].into(),
        );
        let mut patient = Self {
            seen: Declarations {
                namespace: Some(HOME.into()),
                objects: CertManagerObjects::default(),
                values,
                knows_values: true,
                others: Others::default(),
                secrets: BTreeMap::new(),
                injected: BTreeMap::new(),
                controller: Read::Absent,
                injector: Read::Absent,
                operator: Some(OperatorState {
                    deployments: Vec::new(),
                    leases: vec![(
                        ObjectRef::new("o", "o"),
                        Some("pod".into()),
                        Some(Timestamp::MAX),
                    )],
                }),
                denied: BTreeSet::new(),
                notes: Vec::new(),
            },
            now: start() + days(1),
        };
        let internal = json!({
            "isCA": true, "secretName": "ca", "commonName": "internal", "duration": "87600h",
            "privateKey": {"algorithm": "ECDSA"}, "issuerRef": {"name": "self"},
        });
        for (kind, name, spec) in [
            (Issuer, "self", json!({"selfSigned": {}})),
            (Issuer, "internal", json!({"ca": {"secretName": "ca"}})),
            (Certificate, "ca", internal),
            (Certificate, "client", leaf_spec("client", "internal")),
            (Certificate, "webhook", leaf_spec("webhook", "self")),
        ] {
            patient.declare(kind, name, spec);
        }
        let anchor = ca(0).public_side().anchor().clone();
        patient.store("ca", vec![anchor.clone()], vec![anchor.clone()]);
        let chain = patient.signed("client", 0);
        patient.store("client", chain, vec![anchor]);
        let webhook = patient.self_signed(1);
        patient.store("webhook", vec![webhook.clone()], vec![webhook.clone()]);
        let from = InjectFrom::Certificate(format!("{HOME}/webhook"));
        let object = webhooks(InjectKind::ValidatingWebhookConfiguration, WEBHOOKS);
        let injectable = injectable(from, vec![webhook]);
        patient.seen.injected.insert(object, injectable);
        patient
    }

    fn declare(&mut self, kind: CertManagerKind, called: &str, spec: Value) {
        let object = CertManagerObject {
            status: told(true, "Ready", "fine"),
            ..cert_manager_object(called, spec)
        };
        let objects = &mut self.seen.objects.0;
        objects.insert(name(kind, called), Arc::new(object));
    }

    fn object(&mut self, kind: CertManagerKind, called: &str) -> &mut CertManagerObject {
        let objects = &mut self.seen.objects.0;
        Arc::make_mut(objects.get_mut(&name(kind, called)).unwrap())
    }

    fn certificate(&mut self, called: &str) -> &mut CertManagerObject {
        self.object(CertManagerKind::Certificate, called)
    }

    fn signed(&self, called: &str, signer: usize) -> Vec<Certificate> {
        let compiled = self.seen.compiled();
        let profile = &compiled.domains[&secret("ca")].leaves[&secret(called)]
            .leaf
            .profile;
        let csr = request(leaf_key(), profile).unwrap();
        sign_request(&ca(signer), csr.der(), profile, [7; 16], start()).unwrap()
    }

    fn self_signed(&self, serial: u8) -> Certificate {
        let compiled = self.seen.compiled();
        let made = compiled.domains[&secret("webhook")].authority.made.clone();
        let SelfSigned::Leaf(profile) = made.unwrap().1.profile else {
            panic!("it is a leaf");
        };
        self_signed_leaf(leaf_key(), &profile, [serial; 16], start()).unwrap()
    }

    fn store(&mut self, called: &str, chain: Vec<Certificate>, anchors: Vec<Certificate>) {
        let material = Material {
            leaf: Leaf::Present {
                chain,
                key_matches: true,
            },
            anchors,
            has_key: true,
            ..blank("kubernetes.io/tls")
        };
        let stored = StoredSecret {
            material,
            memory: None,
        };
        self.seen
            .secrets
            .insert(secret(called), Read::Found(stored));
    }

    fn material(&mut self, called: &str) -> &mut Material {
        match self.seen.secrets.get_mut(&secret(called)) {
            Some(Read::Found(stored)) => &mut stored.material,
            other => panic!("{called}: {other:?}"),
        }
    }

    fn injected(&mut self) -> &mut Injectable {
        let object = webhooks(InjectKind::ValidatingWebhookConfiguration, WEBHOOKS);
        self.seen.injected.get_mut(&object).unwrap()
    }

    fn inject(&mut self, kind: InjectKind, called: &str, from: InjectFrom) {
        let anchors = self.injected().facts.elements[0].anchors.clone();
        let injectable = injectable(from, anchors);
        self.seen
            .injected
            .insert(webhooks(kind, called), injectable);
    }

    fn lease(&self, before: SignedDuration) -> Read<Lease> {
        let renewed = format!("{:.6}", self.now - before);
        let spec = json!({"holderIdentity": "cert-manager-0", "renewTime": renewed});
        Read::Found(serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap())
    }

    fn found(&self) -> Vec<Finding> {
        declared(&self.seen, self.now)
    }

    fn survey(&self) -> Survey {
        Survey::new(&self.seen, &self.seen.compiled(), self.now)
    }
}

/// What is broken, how, and what is found: word and object each.
type Breakage = (
    &'static str,
    fn(&mut Patient),
    &'static [(&'static str, &'static str)],
);

fn check(breakages: &[Breakage]) {
    for (what, breaks, expected) in breakages {
        let mut patient = Patient::healthy();
        breaks(&mut patient);
        let found = patient.found();
        let named: BTreeSet<(String, String)> = found
            .iter()
            .map(|finding| (finding.word.to_string(), finding.object.clone()))
            .collect();
        let wanted = expected
            .iter()
            .map(|(word, object)| ((*word).to_owned(), (*object).to_owned()));
        assert_eq!(named, wanted.collect(), "{what}: {found:#?}");
        for finding in &found {
            assert!(
                finding.cause.len() > 20 && finding.fix.len() > 10,
                "{finding:#?}"
            );
        }
    }
}

#[test]
fn a_healthy_installation_has_no_finding_and_shows_its_domains() {
    let patient = Patient::healthy();
    assert_eq!(patient.found(), []);
    let survey = patient.survey();
    assert!(survey.is_well() && !survey.is_empty());
    let domains: Vec<(String, usize)> = survey
        .domains
        .iter()
        .map(|one| (one.secret.clone(), one.certificates.len()))
        .collect();
    assert_eq!(
        domains,
        [(format!("{HOME}/ca"), 2), (format!("{HOME}/webhook"), 1)]
    );
    let injected = &survey.domains[1].injected;
    assert_eq!(injected[0].bundle, BundleState::Holds);
    assert_eq!(injected[0].named, Some(true));
    // Of another namespace nothing is told.
    let mut elsewhere = Patient::healthy();
    elsewhere.seen.namespace = Some("elsewhere".into());
    assert!(elsewhere.survey().is_empty());
    assert_eq!(elsewhere.found(), []);
}

#[test]
fn what_stands_in_a_secret() {
    check(&[
        (
            "it is missing",
            |patient| drop(patient.seen.secrets.insert(secret("client"), Read::Absent)),
            &[("SecretMissing", "Secret openchoreo-control-plane/client")],
        ),
        (
            "another key",
            |patient| {
                let Leaf::Present { key_matches, .. } = &mut patient.material("ca").leaf else {
                    panic!("there is one");
                };
                *key_matches = false;
            },
            &[("KeyMismatch", "Secret openchoreo-control-plane/ca")],
        ),
        (
            "without ca.crt",
            |patient| patient.material("client").anchors.clear(),
            &[("BundleEmpty", "Secret openchoreo-control-plane/client")],
        ),
        (
            "another CA's",
            |patient| {
                let chain = patient.signed("client", 1);
                let anchors = patient.material("client").anchors.clone();
                patient.store("client", chain, anchors);
            },
            &[("SignerChanged", "Secret openchoreo-control-plane/client")],
        ),
        (
            "no certificate",
            |patient| patient.material("client").leaf = Leaf::Invalid("no PEM".into()),
            &[(
                "CertificateInvalid",
                "Secret openchoreo-control-plane/client",
            )],
        ),
        (
            "its renewal is late",
            |patient| {
                let status = &mut patient.certificate("client").status;
                status["renewalTime"] = json!("2026-01-01T12:00:00Z");
            },
            &[("Renewing", "Secret openchoreo-control-plane/client")],
        ),
        (
            "leaves have ended, whose CA has not",
            |patient| {
                patient.now = start() + days(100);
                for name in ["client", "webhook", "ca"] {
                    patient.certificate(name).status["renewalTime"] = Value::Null;
                }
            },
            &[
                ("Expired", "Secret openchoreo-control-plane/client"),
                ("Expired", "Secret openchoreo-control-plane/webhook"),
            ],
        ),
        (
            "one that may not be read",
            |patient| {
                let unknown = Read::Unknown("forbidden".into());
                patient.seen.secrets.insert(secret("client"), unknown);
                patient.seen.denied.insert(Denied {
                    verb: "get",
                    resource: "secrets".into(),
                    namespace: Some(HOME.into()),
                    name: Some("client".into()),
                });
            },
            &[("AccessDenied", "secrets/client in openchoreo-control-plane")],
        ),
    ]);
}

#[test]
fn what_becomes_of_certificates_and_issuers() {
    use CertManagerKind::{Certificate, Issuer};
    check(&[
        (
            "one that is not Ready for a reason of its own",
            |patient| patient.certificate("client").status = told(false, "WaitingForPeers", "m"),
            &[(
                "CertificateNotReady",
                "Certificate openchoreo-control-plane/client",
            )],
        ),
        (
            "one that nobody has looked at",
            |patient| patient.certificate("client").generation = Some(2),
            &[(
                "CertificateNotReady",
                "Certificate openchoreo-control-plane/client",
            )],
        ),
        (
            "a Secret that the values do not name, whatever its status says",
            |patient| patient.declare(Certificate, "other", leaf_spec("other", "internal")),
            &[(
                "SecretNotListed",
                "Certificate openchoreo-control-plane/other",
            )],
        ),
        (
            "a Secret that an issuance is to write",
            |patient| {
                patient.declare(Certificate, "g", leaf_spec("cluster-gateway-tls", "self"));
            },
            &[(
                "WaitingForIssuance",
                "Certificate openchoreo-control-plane/g",
            )],
        ),
        (
            "a Secret that an issuance writes: it tells itself",
            |patient| {
                patient.declare(Certificate, "g", leaf_spec("cluster-gateway-tls", "self"));
                patient.certificate("g").status = told(false, "WaitingForIssuance", "m");
                let claimed = secret("cluster-gateway-tls");
                patient
                    .seen
                    .others
                    .claims
                    .insert(claimed, format!("{HOME}/x"));
            },
            &[],
        ),
        (
            "no such Issuer",
            |patient| drop(patient.seen.objects.0.remove(&name(Issuer, "self"))),
            &[
                ("IssuerNotFound", "Certificate openchoreo-control-plane/ca"),
                (
                    "IssuerNotFound",
                    "Certificate openchoreo-control-plane/webhook",
                ),
            ],
        ),
        (
            "an Issuer whose CA cannot sign",
            |patient| {
                patient.object(Issuer, "internal").status = told(false, "ErrGetKeyPair", "m");
            },
            &[("IssuerNotReady", "Issuer openchoreo-control-plane/internal")],
        ),
        (
            "an Issuer of a kind that is not honoured",
            |patient| patient.declare(Issuer, "acme", json!({"acme": {"email": "a@example.com"}})),
            &[("FieldNotSupported", "Issuer openchoreo-control-plane/acme")],
        ),
        (
            "what the values say is not known: then only what is stored counts",
            |patient| {
                patient.seen.knows_values = false;
                patient.declare(Certificate, "other", leaf_spec("other", "internal"));
            },
            &[],
        ),
    ]);
}

#[test]
fn what_is_injected() {
    use InjectKind::{APIService, CustomResourceDefinition, MutatingWebhookConfiguration};
    check(&[
        (
            "not named, and it works for now",
            |patient| {
                let from = InjectFrom::Certificate(format!("{HOME}/webhook"));
                patient.inject(MutatingWebhookConfiguration, "other", from);
            },
            &[("InjectionNotListed", "MutatingWebhookConfiguration other")],
        ),
        (
            "a kind of its own has a value of its own",
            |patient| {
                let from = InjectFrom::Certificate(format!("{HOME}/webhook"));
                patient.inject(APIService, "v1.example", from.clone());
                patient.inject(CustomResourceDefinition, "a.example", from);
            },
            &[
                ("InjectionNotListed", "APIService v1.example"),
                ("InjectionNotListed", "CustomResourceDefinition a.example"),
            ],
        ),
        (
            "a placeholder",
            |patient| patient.injected().facts.elements[0].anchors.clear(),
            &[(
                "BundleEmpty",
                "ValidatingWebhookConfiguration openchoreo-control-plane-validating-webhook-configuration",
            )],
        ),
        (
            "another certificate",
            |patient| {
                let other = ca(2).public_side().anchor().clone();
                patient.injected().facts.elements[0].anchors = vec![other];
            },
            &[(
                "TrustMismatch",
                "ValidatingWebhookConfiguration openchoreo-control-plane-validating-webhook-configuration",
            )],
        ),
        (
            "the next one beside it",
            |patient| {
                let next = patient.self_signed(2);
                patient.injected().facts.elements[0].anchors.push(next);
            },
            &[],
        ),
        (
            "no such Certificate",
            |patient| {
                let from = InjectFrom::Certificate(format!("{HOME}/nobody"));
                patient.injected().facts.from = Some(from);
            },
            &[(
                "InjectionSourceMissing",
                "ValidatingWebhookConfiguration openchoreo-control-plane-validating-webhook-configuration",
            )],
        ),
        (
            "a Secret that does not allow it",
            |patient| {
                patient.injected().facts.from = Some(InjectFrom::Secret(format!("{HOME}/webhook")));
            },
            &[(
                "InjectionSourceMissing",
                "ValidatingWebhookConfiguration openchoreo-control-plane-validating-webhook-configuration",
            )],
        ),
        (
            "the API server's own CA",
            |patient| {
                patient.injected().wants_api_server = true;
                patient.injected().facts.from = None;
            },
            &[(
                "InjectionRefused",
                "ValidatingWebhookConfiguration openchoreo-control-plane-validating-webhook-configuration",
            )],
        ),
    ]);
    let mut patient = Patient::healthy();
    let from = InjectFrom::Certificate(format!("{HOME}/webhook"));
    patient.inject(MutatingWebhookConfiguration, "other", from);
    let found = patient.found();
    assert_eq!(found[0].severity, Severity::Warning);
    let fix = "add other to certManager.webhookConfigurations";
    assert!(found[0].fix.contains(fix), "{found:#?}");
}

#[test]
fn who_is_at_work() {
    let mut patient = Patient::healthy();
    // What the operator would refuse is then none of its business.
    let spec = leaf_spec("other", "internal");
    patient.declare(CertManagerKind::Certificate, "other", spec);
    patient.seen.controller = patient.lease(SignedDuration::from_secs(10));
    let found = patient.found();
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].word.to_string(), "CertManagerAtWork");
    assert_eq!(found[0].object, format!("Lease {LEASE}"));
    assert_eq!(found[0].severity, Severity::Note);

    check(&[
        (
            "its injector alone",
            |patient| patient.seen.injector = patient.lease(SignedDuration::from_secs(10)),
            &[(
                "CertManagerAtWork",
                "Lease kube-system/cert-manager-cainjector-leader-election",
            )],
        ),
        (
            "a Lease of long ago",
            |patient| patient.seen.controller = patient.lease(SignedDuration::from_mins(5)),
            &[],
        ),
        (
            "a status of late",
            |patient| {
                let now = patient.now;
                patient.certificate("client").written_by_cert_manager = Some(now);
            },
            &[(
                "CertManagerAtWork",
                "Certificate openchoreo-control-plane/client",
            )],
        ),
        (
            "no operator",
            |patient| patient.seen.operator = Some(OperatorState::default()),
            &[("OperatorNotFound", "Deployment external-ca-operator")],
        ),
        (
            "a namespace that is not served",
            |patient| {
                patient.seen.values.front.served = ["other".to_owned()].into();
            },
            &[("NamespaceNotServed", "Namespace openchoreo-control-plane")],
        ),
    ]);
}
