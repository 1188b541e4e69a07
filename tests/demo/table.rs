//! The guide's quick-reference table: eight objects, each checked as it is stored, by OpenSSL.

use crate::checks::Checks;
use crate::screen::Screen;
use crate::stage::{Stage, plane_id};
use external_ca_tests::Result;
use external_ca_tests::openchoreo::CONTROL_PLANE;
use external_ca_tests::openssl::{Fields, Purpose, fields, key_matches, pem_blocks, verify};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;

const GATEWAY_SECRET: &str = "cluster-gateway-tls";
const AGENT_SECRET: &str = "cluster-agent-tls";
const BUNDLE: &str = "cluster-gateway-ca";

/// A leaf certificate's Secret.
pub struct StoredLeaf {
    pub kind: Option<String>,
    pub certificate: String,
    pub key: String,
}

/// Checks all eight rows; returns how many checks failed.
pub async fn check(screen: &mut Screen, stage: &Stage) -> Result<usize> {
    screen.step("Check the guide's quick-reference table against the cluster");
    let mut failed = gateway(screen, stage).await?;
    failed += bundle(screen, stage, CONTROL_PLANE).await?;
    for plane in stage.planes() {
        failed += bundle(screen, stage, plane.namespace()).await?;
    }
    for plane in stage.planes() {
        failed += agent(screen, stage, plane.namespace(), plane_id(plane)).await?;
    }
    Ok(failed)
}

/// The leaf in a Secret of the cluster.
pub async fn leaf(stage: &Stage, namespace: &str, name: &str) -> Result<StoredLeaf> {
    let secret = stage.world.secrets(namespace).get(name).await?;
    Ok(StoredLeaf {
        certificate: entry(&secret, "tls.crt")?,
        key: entry(&secret, "tls.key")?,
        kind: secret.type_,
    })
}

/// The bundle in a namespace's ConfigMap.
pub async fn bundle_text(stage: &Stage, namespace: &str) -> Result<String> {
    let config_map = stage.world.config_maps(namespace).get(BUNDLE).await?;
    let text = config_map.data.and_then(|mut data| data.remove("ca.crt"));
    Ok(text.ok_or_else(|| format!("ConfigMap {namespace}/{BUNDLE} has no ca.crt"))?)
}

/// Every leaf's Secret, as namespace and name.
pub fn leaf_secrets(stage: &Stage) -> Vec<(&'static str, &'static str)> {
    let agents = stage
        .planes()
        .map(|plane| (plane.namespace(), AGENT_SECRET));
    [(CONTROL_PLANE, GATEWAY_SECRET)]
        .into_iter()
        .chain(agents)
        .collect()
}

fn entry(secret: &Secret, key: &str) -> Result<String> {
    let data = secret.data.as_ref().and_then(|data| data.get(key));
    let data = data.ok_or_else(|| format!("Secret {:?} has no {key}", secret.metadata.name))?;
    Ok(String::from_utf8(data.0.clone())?)
}

async fn gateway(screen: &Screen, stage: &Stage) -> Result<usize> {
    let leaf = leaf(stage, CONTROL_PLANE, GATEWAY_SECRET).await?;
    let service = format!("cluster-gateway.{CONTROL_PLANE}.svc");
    let names = [service.clone(), format!("{service}.cluster.local")];
    let found = fields(&leaf.certificate);
    let mut checks = Checks::default();
    of_any_leaf(&mut checks, stage, &leaf, &found, "cluster-gateway");
    let mut sans = found.names.clone();
    sans.sort();
    checks.equal(
        format!("SANs DNS:{}, DNS:{}", names[0], names[1]),
        sans,
        names.iter().map(|name| format!("DNS:{name}")).collect(),
    );
    usages(
        &mut checks,
        &found,
        &["Digital Signature", "Key Encipherment"],
        "TLS Web Server Authentication",
        "serverAuth",
    );
    for plane in stage.planes() {
        let bundle = bundle_text(stage, plane.namespace()).await?;
        let verdict = names
            .iter()
            .try_for_each(|name| verify(&bundle, &leaf.certificate, Purpose::Server(name)));
        checks.add(
            format!(
                "openssl verify -purpose sslserver against the bundle of {}, both names",
                plane.namespace()
            ),
            verdict,
        );
    }
    Ok(checks.show(
        screen,
        &heading(
            screen,
            "Secret",
            GATEWAY_SECRET,
            CONTROL_PLANE,
            "the gateway's server certificate",
        ),
    ))
}

async fn agent(screen: &Screen, stage: &Stage, namespace: &str, plane_id: &str) -> Result<usize> {
    let leaf = leaf(stage, namespace, AGENT_SECRET).await?;
    let found = fields(&leaf.certificate);
    let mut checks = Checks::default();
    of_any_leaf(&mut checks, stage, &leaf, &found, plane_id);
    checks.equal("no SANs", found.names.clone(), Vec::new());
    usages(
        &mut checks,
        &found,
        &["Digital Signature"],
        "TLS Web Client Authentication",
        "clientAuth",
    );
    checks.add(
        "openssl verify -purpose sslclient against ca.crt",
        verify(&stage.ca.certificate, &leaf.certificate, Purpose::Client),
    );
    let content = format!("the agent's client certificate, CN = planeID {plane_id}");
    Ok(checks.show(
        screen,
        &heading(screen, "Secret", AGENT_SECRET, namespace, &content),
    ))
}

async fn bundle(screen: &Screen, stage: &Stage, namespace: &str) -> Result<usize> {
    let text = bundle_text(stage, namespace).await?;
    let mut checks = Checks::default();
    checks.equal("ca.crt holds one PEM block", pem_blocks(&text).len(), 1);
    let wanted = fields(&stage.ca.certificate);
    let found = if text.contains("BEGIN CERTIFICATE") {
        fields(&text)
    } else {
        Fields::default()
    };
    checks.equal(
        format!("it is the CA: SHA-256 {}…", &wanted.fingerprint[..16]),
        found.fingerprint,
        wanted.fingerprint,
    );
    Ok(checks.show(
        screen,
        &heading(screen, "ConfigMap", BUNDLE, namespace, "the CA certificate"),
    ))
}

fn of_any_leaf(
    checks: &mut Checks,
    stage: &Stage,
    leaf: &StoredLeaf,
    found: &Fields,
    common_name: &str,
) {
    let ca = fields(&stage.ca.certificate);
    checks.equal(
        "type kubernetes.io/tls",
        leaf.kind.as_deref(),
        Some("kubernetes.io/tls"),
    );
    checks.holds(
        "tls.key is the key of tls.crt",
        key_matches(&leaf.certificate, &leaf.key),
    );
    checks.equal("RSA 2048", found.public_key.as_str(), "rsaEncryption 2048");
    checks.equal(
        format!("CN={common_name}, O=OpenChoreo"),
        found.subject.clone(),
        format!("O=OpenChoreo,CN={common_name}"),
    );
    checks.equal(
        "issuer is the CA",
        found.issuer.as_str(),
        ca.subject.as_str(),
    );
    checks.equal(
        "AKI is the CA's SKI",
        found.authority_key_id.as_str(),
        ca.subject_key_id.as_str(),
    );
    checks.add(
        format!("365 days, to {}", &found.not_after[..10]),
        one_year(found),
    );
    checks.equal("CA:FALSE", found.basic_constraints.as_str(), "CA:FALSE");
}

fn usages(checks: &mut Checks, found: &Fields, key_usage: &[&str], extended: &str, short: &str) {
    checks.equal(
        format!("KU {}", key_usage.join(" + ")),
        found.key_usage.clone(),
        owned(key_usage),
    );
    checks.equal(
        format!("EKU {short}"),
        found.extended_key_usage.clone(),
        owned(&[extended]),
    );
}

/// 365 days, give or take the minutes that the start is set back.
fn one_year(found: &Fields) -> Result<(), String> {
    let time = |text: &str| {
        text.parse::<Timestamp>()
            .map_err(|error| format!("{text}: {error}"))
    };
    let seconds = time(&found.not_before)?
        .duration_until(time(&found.not_after)?)
        .as_secs();
    let year = 365 * 24 * 3600;
    if (seconds - year).abs() <= 600 {
        Ok(())
    } else {
        Err(format!("found {seconds} s, wanted {year}"))
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn heading(screen: &Screen, kind: &str, name: &str, namespace: &str, content: &str) -> String {
    let object = format!("{kind:9} {name:19} {namespace:30}");
    format!("{} {content}", screen.bold(&object))
}
