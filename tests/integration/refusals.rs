//! Each CA Secret that is refused: the condition names it and the fix, and nothing is written.

use external_ca_tests::openssl::Ca;
use external_ca_tests::scratch::Scratch;
use external_ca_tests::world::{CA_SECRET, World, message};
use external_ca_tests::{Result, openchoreo::CONTROL_PLANE, repository};
use k8s_openapi::ByteString;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The first word of a directory that `odd-cas.sh` makes, the condition's word, and a word of the fix.
const REASONS: [(&str, &str, &str); 18] = [
    ("KeyEncrypted", "CAKeyEncrypted", "decrypt it first"),
    (
        "KeyMismatch",
        "CAKeyMismatch",
        "put the two that belong together there",
    ),
    ("NotACertificateAuthority", "NotACA", "use a CA certificate"),
    (
        "KeyUsageMissing",
        "CAKeyUsageMissing",
        "reissued with keyCertSign",
    ),
    ("Expired", "CAExpired", "put a renewed one there"),
    ("NotYetValid", "CANotYetValid", "check the clocks"),
    ("WeakKey", "CAWeakKey", "use a CA with a longer key"),
    ("WeakSignature", "CAWeakSignature", "reissued with SHA-256"),
    (
        "PathLengthExceeded",
        "CAPathLengthExceeded",
        "use a CA further up",
    ),
    ("NameConstraints", "CANameConstraints", "name constraints"),
    ("UnsupportedKey", "CAUnsupportedKey", "use RSA"),
    ("CertificateInvalid", "CACertificateInvalid", "PEM"),
    (
        "CertificateMissing",
        "CACertificateInvalid",
        "put the CA's certificate there",
    ),
    (
        "KeyMissing",
        "CAKeyInvalid",
        "put the CA's private key there",
    ),
    ("KeyInvalid", "CAKeyInvalid", "it must be a PEM key"),
    ("TooLarge", "CATooLarge", "leave only the CA's chain in it"),
    ("UsageNotAllowed", "CAUsageNotAllowed", ""),
    ("PolicyConstraints", "CAPolicyConstraints", ""),
];

struct Case {
    dir: PathBuf,
    reason: &'static str,
    fix: &'static str,
}

/// At most two CAs of each kind, so ordered that neighbours differ in their reason where that can be.
fn cases(dir: &Path) -> Vec<Case> {
    let mut dirs: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    dirs.sort();
    let mut by_kind: BTreeMap<&str, VecDeque<Case>> = BTreeMap::new();
    for dir in dirs {
        let name = dir.file_name().unwrap().to_str().unwrap().to_owned();
        let kind = name.split('-').next().unwrap();
        let (kind, reason, fix) = *REASONS
            .iter()
            .find(|(known, ..)| *known == kind)
            .expect("a known reason");
        by_kind
            .entry(kind)
            .or_default()
            .push_back(Case { dir, reason, fix });
    }
    let rounds = (0..2).flat_map(|round| {
        by_kind
            .values_mut()
            .filter_map(VecDeque::pop_front)
            .map(move |case| (round, case))
            .collect::<Vec<_>>()
    });
    rounds.map(|(_, case)| case).collect()
}

fn odd_cas() -> Scratch {
    let scratch = Scratch::new("odd-cas").unwrap();
    let status = Command::new("sh")
        .arg(repository().join("crates/core/tests/x509/odd-cas.sh"))
        .arg(scratch.path().join("made"))
        .status()
        .unwrap();
    assert!(status.success(), "odd-cas.sh: {status}");
    scratch
}

async fn put(world: &World, dir: &Path) -> Result<()> {
    let mut data = BTreeMap::new();
    for name in ["tls.crt", "tls.key", "ca.crt"] {
        if let Ok(bytes) = fs::read(dir.join(name)) {
            data.insert(name, ByteString(bytes));
        }
    }
    put_data(world, json!(data)).await
}

async fn put_data(world: &World, data: Value) -> Result<()> {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": CA_SECRET, "namespace": CONTROL_PLANE}, "data": data,
    });
    let params = PatchParams::apply("test").force();
    world
        .secrets(CONTROL_PLANE)
        .patch(CA_SECRET, &params, &Patch::Apply(secret))
        .await?;
    Ok(())
}

async fn remove(world: &World) -> Result<()> {
    world
        .secrets(CONTROL_PLANE)
        .delete(CA_SECRET, &DeleteParams::default())
        .await?;
    let status = world
        .condition("IssuerReady", "False", "CASecretNotFound")
        .await;
    let message = message(&status, "IssuerReady");
    assert!(
        message.contains(CA_SECRET) && message.contains("create it with tls.crt and tls.key"),
        "{message}"
    );
    Ok(())
}

#[tokio::test]
async fn nothing_is_written_with_a_refused_ca() -> Result<()> {
    let making = tokio::task::spawn_blocking(odd_cas);
    let world = World::any().await?;
    world.put_planes().await?;
    let operator = world.operator(None).await?;
    let before = world.snapshot().await?;
    world.issue().await?;
    world
        .condition("IssuerReady", "False", "CASecretNotFound")
        .await;
    let made = making.await?;
    let made = made.path().join("made");

    let mut last = "CASecretNotFound";
    let mut covered = Vec::new();
    for folder in ["refused", "forbids"] {
        for case in cases(&made.join(folder)) {
            if last == case.reason {
                remove(&world).await?;
            }
            put(&world, &case.dir).await?;
            let status = world.condition("IssuerReady", "False", case.reason).await;
            let text = message(&status, "IssuerReady");
            assert!(text.contains(CA_SECRET), "{}: {text}", case.dir.display());
            if folder == "forbids" {
                assert!(text.contains("Secret openchoreo-"), "{text}");
            }
            assert!(text.contains(case.fix), "{}: {text}", case.dir.display());
            covered.push(case.reason);
            last = case.reason;
        }
    }
    for (_, reason, _) in REASONS {
        assert!(covered.contains(&reason), "{reason} was not produced");
    }
    remove(&world).await?;
    assert_eq!(world.snapshot().await?, before, "{}", operator.log());

    world.put_ca(&Ca::guide()).await?;
    let status = world.ready().await;
    assert_eq!(status.certificates_ready.as_deref(), Some("4/4"));
    assert!(operator.exit_status().is_none());
    Ok(())
}

#[tokio::test]
async fn a_selector_with_an_operator_that_there_is_not_is_refused_by_the_schema() -> Result<()> {
    let world = World::any().await?;
    for (operator, is_known) in [
        ("notin", false),
        ("Equals", false),
        ("In", true),
        ("NotIn", true),
        ("Exists", true),
        ("DoesNotExist", true),
    ] {
        let values = if operator.ends_with("In") {
            json!(["a"])
        } else {
            json!([])
        };
        let selector = json!({"matchExpressions": [{"key": "tenant", "operator": operator, "values": values}]});
        let answer = world
            .issue_with(json!({"planes": {"selector": selector}}))
            .await;
        match answer {
            Ok(()) => assert!(is_known, "{operator} is admitted"),
            Err(error) => {
                let error = error.to_string();
                assert!(
                    !is_known && error.contains("supported values"),
                    "{operator}: {error}"
                );
            }
        }
    }
    Ok(())
}
