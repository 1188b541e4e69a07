//! cert-manager's objects: what they compile to, what is refused, what is said of them; and that the documentation has the
//! same table.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::sync::Arc;

use external_ca_core::domain::certmanager::{
    ANNOTATIONS, CERTIFICATE_FIELDS, CertificateWord, Compiled, Conformance, FrontEnd,
    ISSUER_FIELDS, Others, Verdict, compile_all,
};
use external_ca_core::domain::{BundlePlace, SelfSigned};
use external_ca_core::model::{
    CertManagerKind, CertManagerObject, CertManagerObjects, CertManagerRef, InjectFrom, ObjectRef,
};
use external_ca_core::report::certificates::{CertificateReport, refused};
use external_ca_core::x509::{KeyAlgorithm, San, Style, Usages};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

const HOME: &str = "openchoreo-control-plane";

fn front() -> FrontEnd {
    let all = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<BTreeSet<_>>()
    };
    FrontEnd {
        served: all(&[HOME]),
        secrets: all(&["internal-ca", "client-tls", "other-tls", "webhook-cert"]),
        cas: all(&["made-by-hand"]),
        of_issuances: all(&["cluster-gateway-ca", "cluster-gateway-tls"]),
        cluster_namespace: "cert-manager".to_owned(),
    }
}

fn object(spec: Value, second: i64) -> CertManagerObject {
    CertManagerObject {
        resource_version: "1".into(),
        uid: "u".into(),
        generation: Some(3),
        created: Timestamp::from_second(second).ok(),
        spec,
        status: Value::Null,
        written_by_cert_manager: None,
    }
}

/// Objects, as kind, name and spec, in the order in which they were made.
fn objects(all: &[(CertManagerKind, &str, Value)]) -> CertManagerObjects {
    let mut found = CertManagerObjects::default();
    for (index, (kind, name, spec)) in all.iter().enumerate() {
        let namespace = if kind.is_namespaced() { HOME } else { "" };
        let object_ref = ObjectRef::new(namespace, *name);
        let name = CertManagerRef {
            kind: *kind,
            object: object_ref,
        };
        found
            .0
            .insert(name, Arc::new(object(spec.clone(), index as i64)));
    }
    found
}

use CertManagerKind::{Certificate, ClusterIssuer, Issuer};

fn compiled(all: &[(CertManagerKind, &str, Value)]) -> Compiled {
    compile_all(&objects(all), &front(), &Others::default())
}

fn issuers() -> Vec<(CertManagerKind, &'static str, Value)> {
    vec![
        (Issuer, "self", json!({"selfSigned": {}})),
        (
            Issuer,
            "internal",
            json!({"ca": {"secretName": "internal-ca"}}),
        ),
        (
            Issuer,
            "of-issuance",
            json!({"ca": {"secretName": "cluster-gateway-ca"}}),
        ),
        (
            Issuer,
            "by-hand",
            json!({"ca": {"secretName": "made-by-hand"}}),
        ),
        (Issuer, "acme", json!({"acme": {"email": "a@example.com"}})),
        (ClusterIssuer, "self", json!({"selfSigned": {}})),
    ]
}

/// What becomes of one Certificate with this spec.
fn verdict(spec: Value) -> Verdict {
    let mut all = issuers();
    all.push((Certificate, "one", spec));
    compiled(&all)
        .certificates
        .remove(&ObjectRef::new(HOME, "one"))
        .unwrap()
}

fn internal_ca() -> (CertManagerKind, &'static str, Value) {
    (
        Certificate,
        "ca",
        json!({
            "isCA": true, "commonName": "internal", "secretName": "internal-ca",
            "subject": {"organizations": ["OpenChoreo"]}, "duration": "87600h", "renewBefore": "720h",
            "privateKey": {"algorithm": "RSA", "size": 4096, "rotationPolicy": "Never"},
            "issuerRef": {"name": "self", "kind": "Issuer"},
        }),
    )
}

fn client() -> (CertManagerKind, &'static str, Value) {
    (
        Certificate,
        "client",
        json!({
            "commonName": "openchoreo-api", "secretName": "client-tls", "usages": ["client auth"],
            "issuerRef": {"name": "internal", "kind": "Issuer"}, "duration": "2160h", "renewBefore": "360h",
        }),
    )
}

#[test]
fn a_domain_is_one_authority() {
    let mut all = issuers();
    all.extend([internal_ca(), client()]);
    all.push((Certificate, "webhook", json!({
        "dnsNames": ["webhook.ns.svc"], "secretName": "webhook-cert", "issuerRef": {"name": "self"},
    })));
    let found = compiled(&all);
    let authorities: Vec<String> = found
        .domains
        .keys()
        .map(|secret| secret.name.clone())
        .collect();
    assert_eq!(authorities, ["internal-ca", "webhook-cert"]);

    let internal = &found.domains[&ObjectRef::new(HOME, "internal-ca")];
    assert_eq!(
        internal.identity(),
        format!("cert-manager.io/{HOME}/internal-ca")
    );
    let (_, made) = internal.authority.made.as_ref().unwrap();
    assert_eq!((made.key, made.keeps_key), (KeyAlgorithm::Rsa(4096), true));
    assert_eq!(made.form.bundle, BundlePlace::Beside);
    let SelfSigned::Ca(profile) = &made.profile else {
        panic!("{made:?}");
    };
    assert_eq!(profile.duration, SignedDuration::from_hours(87_600));
    let leaf = &internal.leaves[&ObjectRef::new(HOME, "client-tls")].leaf;
    assert_eq!(leaf.profile.usages, Usages::CLIENT);
    assert_eq!(
        leaf.renewal.unwrap().before,
        SignedDuration::from_hours(360)
    );
    assert_eq!(
        leaf.form.annotations["cert-manager.io/issuer-name"],
        "internal"
    );

    let webhook = &found.domains[&ObjectRef::new(HOME, "webhook-cert")];
    assert!(webhook.is_self_signed_leaf());
    let from = InjectFrom::Certificate(format!("{HOME}/webhook"));
    assert!(webhook.injects(&from) && !internal.injects(&from));
    let direct = InjectFrom::Secret(format!("{HOME}/webhook-cert"));
    assert!(!webhook.injects(&direct), "its Secret does not allow it");
}

#[test]
fn defaults_are_those_of_cert_manager() {
    let mut all = issuers();
    all.push((
        Certificate,
        "one",
        json!({
            "dnsNames": ["A.example"], "secretName": "webhook-cert", "issuerRef": {"name": "self"},
        }),
    ));
    let found = compiled(&all);
    let leaf = &found.domains[&ObjectRef::new(HOME, "webhook-cert")].leaves
        [&ObjectRef::new(HOME, "webhook-cert")]
        .leaf;
    let profile = &leaf.profile;
    assert_eq!(profile.duration, SignedDuration::from_hours(2160));
    assert_eq!(profile.key, KeyAlgorithm::Rsa(2048));
    assert_eq!(profile.usages, Usages::default());
    assert_eq!(profile.sans, [San::Dns("a.example".into())]);
    let Style::Asked(asked) = &profile.style else {
        panic!("{profile:?}");
    };
    assert!(asked.key_usages.digital_signature && asked.key_usages.key_encipherment);
    let renewal = leaf.renewal.unwrap();
    assert_eq!(
        (renewal.before, renewal.keeps_key),
        (SignedDuration::from_hours(720), false)
    );
}

/// What is merged into a sound spec, the word, and what the message names.
fn refusals() -> Vec<(Value, CertificateWord, &'static str)> {
    use CertificateWord::{FieldNotSupported, IssuerNotFound, SecretNotListed, WaitingForIssuance};
    vec![
        (
            json!({"keystores": {"jks": {"create": true}}}),
            FieldNotSupported,
            "spec.keystores",
        ),
        (
            json!({"literalSubject": "CN=a"}),
            FieldNotSupported,
            "spec.literalSubject",
        ),
        (
            json!({"otherNames": [{"oid": "1.2"}]}),
            FieldNotSupported,
            "spec.otherNames",
        ),
        (
            json!({"additionalOutputFormats": [{"type": "DER"}]}),
            FieldNotSupported,
            "spec.additionalOutputFormats",
        ),
        (
            json!({"nameConstraints": {"critical": true}}),
            FieldNotSupported,
            "spec.nameConstraints",
        ),
        (
            json!({"subject": {"countries": ["CH"]}}),
            FieldNotSupported,
            "spec.subject.countries",
        ),
        (
            json!({"issuerRef": {"name": "x", "group": "awspca.cert-manager.io"}}),
            FieldNotSupported,
            "spec.issuerRef.group",
        ),
        (
            json!({"issuerRef": {"name": "x", "kind": "Thing"}}),
            FieldNotSupported,
            "spec.issuerRef.kind",
        ),
        (
            json!({"issuerRef": {"name": "acme"}}),
            FieldNotSupported,
            "spec.acme",
        ),
        (
            json!({"issuerRef": {"name": "internal"}, "isCA": true}),
            FieldNotSupported,
            "spec.isCA",
        ),
        (
            json!({"usages": ["code signing"]}),
            FieldNotSupported,
            "code signing",
        ),
        (
            json!({"duration": "30m"}),
            FieldNotSupported,
            "spec.duration",
        ),
        (
            json!({"renewBefore": "2160h"}),
            FieldNotSupported,
            "spec.renewBefore",
        ),
        (
            json!({"privateKey": {"size": 1024}}),
            FieldNotSupported,
            "spec.privateKey.size",
        ),
        (
            json!({"privateKey": {"algorithm": "DSA"}}),
            FieldNotSupported,
            "spec.privateKey.algorithm",
        ),
        (
            json!({"ipAddresses": ["no"]}),
            FieldNotSupported,
            "spec.ipAddresses",
        ),
        (json!({"dnsNames": ["a..b"]}), FieldNotSupported, "a..b"),
        (json!({"dnsNames": []}), FieldNotSupported, "no name"),
        (
            json!({"issuerRef": {"name": "missing"}}),
            IssuerNotFound,
            "missing",
        ),
        (
            json!({"secretName": "of-somebody"}),
            SecretNotListed,
            "certManager.secrets",
        ),
        (
            json!({"secretName": "cluster-gateway-tls"}),
            WaitingForIssuance,
            "cluster-gateway-tls",
        ),
        (
            json!({"issuerRef": {"name": "of-issuance"}}),
            WaitingForIssuance,
            "cluster-gateway-ca",
        ),
    ]
}

#[test]
fn what_is_outside_the_subset_is_refused_by_its_name() {
    for (change, word, names) in refusals() {
        let mut spec = json!({"dnsNames": ["a.example"], "secretName": "other-tls", "issuerRef": {"name": "self"}});
        let fields = spec.as_object_mut().unwrap();
        fields.extend(change.as_object().unwrap().clone());
        match verdict(spec) {
            Verdict::Refused(problem) => {
                assert_eq!(problem.word, word, "{change}: {}", problem.message);
                assert!(
                    problem.message.contains(names),
                    "{change}: {}",
                    problem.message
                );
            }
            other => panic!("{change}: {other:?}"),
        }
    }
}

#[test]
fn what_a_careful_person_adds_is_honoured() {
    let spec = json!({
        "secretName": "other-tls", "issuerRef": {"name": "self", "kind": "ClusterIssuer", "group": "cert-manager.io"},
        "commonName": "a.example", "uris": ["spiffe://example.com/a"], "emailAddresses": ["a@example.com"],
        "ipAddresses": ["192.0.2.1"], "subject": {"organizations": ["A"], "organizationalUnits": ["B"]},
        "renewBeforePercentage": 25, "revisionHistoryLimit": 3, "encodeUsagesInRequest": false,
        "privateKey": {"algorithm": "ECDSA", "size": 256, "encoding": "PKCS8"},
        "usages": ["digital signature", "server auth", "client auth"],
        "secretTemplate": {"labels": {"a": "b"}, "annotations": {"cert-manager.io/allow-direct-injection": "true"}},
    });
    let mut all = issuers();
    all.push((Certificate, "one", spec));
    let found = compiled(&all);
    let domain = &found.domains[&ObjectRef::new(HOME, "other-tls")];
    let leaf = &domain.leaves[&ObjectRef::new(HOME, "other-tls")].leaf;
    assert_eq!(leaf.profile.key, KeyAlgorithm::EcdsaP256);
    assert_eq!(leaf.profile.usages, Usages::BOTH);
    assert_eq!(leaf.profile.organizational_units(), ["B"]);
    assert_eq!(leaf.profile.emails(), ["a@example.com"]);
    assert_eq!(leaf.profile.sans.len(), 2);
    assert_eq!(
        leaf.renewal.unwrap().before,
        SignedDuration::from_hours(540)
    );
    assert_eq!(leaf.form.labels["a"], "b");
    assert!(domain.injects(&InjectFrom::Secret(format!("{HOME}/other-tls"))));
}

#[test]
fn an_issuance_wins() {
    let mut all = issuers();
    all.extend([internal_ca(), client()]);
    let secret = |name: &str| ObjectRef::new(HOME, name);
    let mut others = Others::default();
    others
        .claims
        .insert(secret("client-tls"), format!("{HOME}/issuance"));
    let found = compile_all(&objects(&all), &front(), &others);
    let claimed = Verdict::Claimed {
        issuance: format!("{HOME}/issuance"),
        secret: secret("client-tls"),
    };
    assert_eq!(found.certificates[&secret("client")], claimed);
    assert!(found.domains[&secret("internal-ca")].leaves.is_empty());

    let mut others = Others::default();
    others
        .authorities
        .insert(secret("internal-ca"), format!("{HOME}/issuance"));
    let found = compile_all(&objects(&all), &front(), &others);
    let word = |name: &str| match &found.certificates[&secret(name)] {
        Verdict::Refused(problem) => problem.word,
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(word("ca"), CertificateWord::SecretTaken);
    assert_eq!(word("client"), CertificateWord::NotTakenOver);
    assert!(found.domains.is_empty());
}

#[test]
fn of_two_that_want_one_secret_the_older_has_it() {
    let mut all = issuers();
    let spec = json!({"dnsNames": ["a.example"], "secretName": "other-tls", "issuerRef": {"name": "self"}});
    all.extend([
        (Certificate, "z-older", spec.clone()),
        (Certificate, "a-younger", spec),
    ]);
    let found = compiled(&all);
    let older = &found.certificates[&ObjectRef::new(HOME, "z-older")];
    assert_eq!(*older, Verdict::Planned(ObjectRef::new(HOME, "other-tls")));
    match &found.certificates[&ObjectRef::new(HOME, "a-younger")] {
        Verdict::Refused(problem) => assert_eq!(problem.word, CertificateWord::SecretTaken),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_ca_that_people_made_signs_for_its_issuer() {
    let spec = json!({"dnsNames": ["a.example"], "secretName": "other-tls", "issuerRef": {"name": "by-hand"}});
    let mut all = issuers();
    all.push((Certificate, "one", spec));
    let found = compiled(&all);
    let domain = &found.domains[&ObjectRef::new(HOME, "made-by-hand")];
    assert_eq!(domain.authority.made, None);
    assert_eq!(domain.leaves.len(), 1);
}

#[test]
fn a_transition_time_moves_only_with_the_status() {
    let problem =
        match verdict(json!({"dnsNames": ["a"], "secretName": "x", "issuerRef": {"name": "self"}}))
        {
            Verdict::Refused(problem) => problem,
            other => panic!("{other:?}"),
        };
    let then = Timestamp::from_second(1_000).unwrap();
    let mut certificate = object(json!({}), 0);
    let first = refused(&certificate, &problem, then);
    let ready = &first.conditions[0];
    assert_eq!(
        (ready.type_.as_str(), ready.status.as_str()),
        ("Ready", "False")
    );
    assert_eq!(ready.reason, "SecretNotListed");
    assert_eq!(ready.observed_generation, Some(3));
    certificate.status = serde_json::to_value(&first).unwrap();
    let later = Timestamp::from_second(2_000).unwrap();
    assert_eq!(refused(&certificate, &problem, later), first);
    let read: CertificateReport = external_ca_core::report::certificates::told(&certificate);
    assert_eq!(read, first);
}

/// Each table of docs/cert-manager.md says what the code does, in its order.
#[test]
fn the_documentation_has_the_same_table() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cert-manager.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows: Vec<(String, String)> = text
        .lines()
        .filter_map(|line| {
            let (field, verdict) = line.strip_prefix("| `")?.split_once("` | ")?;
            let verdict = verdict.strip_suffix(" |")?;
            let known = ["honoured", "accepted", "refused"].contains(&verdict);
            known.then(|| (field.to_owned(), verdict.to_owned()))
        })
        .collect();
    let code = CERTIFICATE_FIELDS
        .iter()
        .chain(ISSUER_FIELDS)
        .chain(ANNOTATIONS);
    let code: Vec<(String, String)> = code
        .map(|(field, verdict)| {
            let verdict = match verdict {
                Conformance::Honoured => "honoured",
                Conformance::Accepted => "accepted",
                Conformance::Refused => "refused",
            };
            ((*field).to_owned(), verdict.to_owned())
        })
        .collect();
    assert_eq!(rows, code);
    for word in CertificateWord::ALL {
        assert!(text.contains(&format!("| `{word}` |")), "{word}");
    }
}
