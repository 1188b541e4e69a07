//! What the log must not tell, whatever goes wrong and whatever the user asks it to tell.

use external_ca_tests::apply::apply_yaml;
use external_ca_tests::openchoreo::{CONTROL_PLANE, ClientCa, plane};
use external_ca_tests::openssl::Ca;
use external_ca_tests::proxy::{Fault, Verb};
use external_ca_tests::wait::{PATIENCE, wait_for};
use external_ca_tests::world::World;
use external_ca_tests::{Operator, OperatorOptions, Proxy, Result, world};
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::json;
use std::collections::BTreeSet;

/// As a connection that breaks in the middle leaves it.
fn cut(body: String) -> String {
    body.chars().take(body.chars().count() * 2 / 3).collect()
}

/// A field of the wrong type: the parser's own error quotes what it met.
fn mistyped(body: String) -> String {
    let mut object: serde_json::Value = serde_json::from_str(&body).unwrap();
    let spoil = |object: &mut serde_json::Value| {
        let key = object.pointer("/data/tls.key").cloned();
        if let (Some(key), Some(fields)) = (key, object.as_object_mut()) {
            fields.insert("data".into(), key);
        }
    };
    match object
        .get_mut("items")
        .and_then(serde_json::Value::as_array_mut)
    {
        Some(items) => items.iter_mut().for_each(spoil),
        None => spoil(&mut object),
    }
    object.to_string()
}

fn no_utf8_escape(body: String) -> String {
    format!("{body}}}")
}

/// Every line of every key that stands in a Secret, as PEM and as the API shows it.
async fn key_lines(world: &World) -> Result<BTreeSet<String>> {
    let secrets: Api<Secret> = Api::all(world.admin.clone());
    let mut lines = BTreeSet::new();
    for secret in secrets.list(&ListParams::default()).await? {
        let Some(key) = secret.data.and_then(|mut data| data.remove("tls.key")) else {
            continue;
        };
        let shown = serde_json::to_string(&key)?;
        let shown = shown.trim_matches('"').as_bytes().chunks(48);
        lines.extend(shown.map(|part| String::from_utf8_lossy(part).into_owned()));
        let pem = String::from_utf8(key.0)?;
        let body = pem.lines().filter(|line| !line.starts_with("-----"));
        lines.extend(body.map(String::from));
    }
    lines.retain(|line| line.len() > 12);
    Ok(lines)
}

#[tokio::test]
async fn no_log_level_shows_a_key_whatever_answers_do_not_parse() -> Result<()> {
    let world = World::any().await?;
    world.put_ca(&Ca::guide()).await?;
    world.put_planes().await?;
    // The default installation's: with the CA's key.
    let default = Ca::replacement(1);
    let trust = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "cluster-gateway-ca", "namespace": CONTROL_PLANE},
        "stringData": {"tls.crt": default.certificate, "tls.key": default.key, "ca.crt": default.certificate},
    });
    apply_yaml(&world.admin, &trust.to_string()).await?;
    let proxy = Proxy::start(&world.cluster).await?;
    let mut options =
        OperatorOptions::installed(&world.cluster, Some(&proxy), &world::NAMESPACES).await?;
    options.args.push("--plane-namespaces=default".into());
    let filter = "trace,kube_client=trace,kube_client::client=trace,[{}]=trace";
    options.args.push(format!("--log-level={filter}"));

    let secrets = |one: &external_ca_tests::proxy::RequestInfo| one.resource == "secrets";
    proxy.set_fault(move |one, _| match secrets(one) {
        true => Fault::Tamper(mistyped),
        false => Fault::Pass,
    });
    let operator = Operator::start(options).await?;
    operator.ready().await?;
    world.issue().await?;
    world
        .condition("IssuerReady", "False", "CASecretUnreadable")
        .await;
    for broken in [cut as fn(String) -> String, no_utf8_escape] {
        proxy.reset();
        proxy.set_fault(move |one, _| match secrets(one) {
            true => Fault::Tamper(broken),
            false => Fault::Pass,
        });
        wait_for("broken answers", PATIENCE, async || {
            match proxy.count(|one| secrets(one) && one.status.is_some()) {
                0 => Err("none yet"),
                _ => Ok(()),
            }
        })
        .await;
    }
    proxy.clear_fault();
    world.ready().await;

    // Answers to what is written hold the new keys.
    let mut keys = key_lines(&world).await?;
    for (number, broken) in [cut as fn(String) -> String, mistyped, no_utf8_escape]
        .iter()
        .enumerate()
    {
        let broken = *broken;
        proxy.reset();
        proxy.set_fault(
            move |one, _| match secrets(one) && one.verb == Verb::Apply {
                true => Fault::Tamper(broken),
                false => Fault::Pass,
            },
        );
        let id = format!("more-{number}");
        let text = plane(
            "DataPlane",
            Some("default"),
            &id,
            Some("default"),
            &ClientCa::Nothing,
        );
        apply_yaml(&world.admin, &text).await?;
        // A request is told apart by its text and its second.
        let request = format!("all,{number}");
        world.annotate("pki.openchoreo.dev/renew", &request).await?;
        wait_for("leaves to be written", PATIENCE, async || {
            match proxy.count(|one| secrets(one) && one.verb == Verb::Apply) {
                0 => Err("none yet"),
                _ => Ok(()),
            }
        })
        .await;
        keys.extend(key_lines(&world).await?);
        proxy.clear_fault();
        wait_for("the request to be granted", PATIENCE, async || {
            let found = world.issuances().get(world::ISSUANCE).await;
            let found = found.map_err(|error| error.to_string())?;
            match found.annotations().contains_key("pki.openchoreo.dev/renew") {
                true => Err("it stands there".to_owned()),
                false => Ok(()),
            }
        })
        .await;
        world.ready().await;
        keys.extend(key_lines(&world).await?);
    }
    let log = operator.log();
    let found: Vec<&String> = keys.iter().filter(|line| log.contains(*line)).collect();
    assert!(keys.len() > 100, "{}", keys.len());
    assert!(
        found.is_empty(),
        "{} lines of keys stand in the log",
        found.len()
    );
    assert!(log.contains("\"level\":\"INFO\""), "it says what it does");
    Ok(())
}
