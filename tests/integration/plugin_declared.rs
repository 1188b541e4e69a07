//! `kubectl externalca status` and `check` of what OpenChoreo's charts ask of cert-manager: a healthy installation, then broken on
//! purpose; and the rights that it takes.

use external_ca_tests::apply::{MANAGER, apply_documents, apply_yaml, documents, dynamic_api};
use external_ca_tests::cert_manager::{CRDS, INTERNAL_CA, WEBHOOK, control_plane, is_ready, lease};
use external_ca_tests::chart::operator_objects;
use external_ca_tests::crds::{CrdSource, Release};
use external_ca_tests::openchoreo::CONTROL_PLANE;
use external_ca_tests::openssl::Ca;
use external_ca_tests::plugin::Answer;
use external_ca_tests::wait::{PATIENCE, wait_for};
use external_ca_tests::world::World;
use external_ca_tests::{Kubelet, KubeletOptions, Plugin, Result};
use kube::api::DeleteParams;
use serde_json::{Value, json};
use std::collections::BTreeSet;

use crate::plugin::{ISSUANCES, everywhere, person, rule};

const MUTATING: &str = "MutatingWebhookConfiguration";
const CONTROLLER: &str = "cert-manager-controller";

/// The operator's Deployment, as the chart renders it: its arguments are what the plugin reads.
async fn deployment(world: &World) -> Result<()> {
    let values = json!({"namespaces": {"planes": ["default"]}});
    let mut objects = documents(&operator_objects(&values).await?)?;
    objects.retain(|object| object["kind"] == "Deployment");
    apply_documents(&world.admin, objects, MANAGER).await?;
    Ok(())
}

/// Word and object of each finding.
fn named(answer: &Answer) -> Result<BTreeSet<(String, String)>> {
    let found: Vec<Value> = serde_json::from_value(answer.json()?)?;
    let text = |finding: &Value, field: &str| finding[field].as_str().unwrap_or("").to_owned();
    let pairs = found
        .iter()
        .map(|finding| (text(finding, "word"), text(finding, "object")));
    Ok(pairs.collect())
}

/// Waits until `check` finds these and no others, and returns its answer.
async fn finds(plugin: &Plugin, expected: &[(&str, &str)]) -> Answer {
    let wanted = expected
        .iter()
        .map(|(word, object)| ((*word).to_owned(), (*object).to_owned()));
    let wanted: BTreeSet<(String, String)> = wanted.collect();
    wait_for(&format!("{expected:?}"), PATIENCE, async || {
        let check = ["check", "-n", CONTROL_PLANE, "-o", "json"];
        let answer = plugin.run(&check).await.map_err(|why| why.to_string())?;
        let found = named(&answer).map_err(|why| format!("{why}: {answer:?}"))?;
        match found == wanted {
            true => Ok(answer),
            false => Err(answer.text),
        }
    })
    .await
}

async fn status(plugin: &Plugin, more: &[&str]) -> Result<Answer> {
    let mut all = vec!["status", "-n", CONTROL_PLANE];
    all.extend(more);
    let answer = plugin.run(&all).await?;
    assert!(!answer.text.contains("PRIVATE KEY"));
    Ok(answer)
}

#[tokio::test]
async fn the_domains_of_cert_managers_objects_are_shown_and_checked() -> Result<()> {
    let release = Release::V1_2;
    let world = World::start(CrdSource::available(release)[0], release).await?;
    let plugin = Plugin::new(world.cluster.admin_kubeconfig());
    let _operator = world.operator(None).await?;
    world.put_ca(&Ca::guide()).await?;
    deployment(&world).await?;
    world.issue().await?;
    world.ready().await;
    // Where the kinds are not served, nothing of them is told.
    let before = status(&plugin, &["-o", "json"]).await?;
    assert_eq!(before.code, 0, "{before:?}");
    assert!(before.json()?["certManager"].is_null(), "{before:?}");

    apply_yaml(&world.admin, CRDS).await?;
    apply_documents(&world.admin, control_plane(release), MANAGER).await?;
    let _kubelet = Kubelet::start(&world.cluster, KubeletOptions::default()).await?;
    for name in [INTERNAL_CA, WEBHOOK] {
        wait_for(
            &format!("{name} to be Ready"),
            PATIENCE,
            async || match is_ready(&world.admin, CONTROL_PLANE, name).await {
                Ok(true) => Ok(()),
                other => Err(format!("{other:?}")),
            },
        )
        .await;
    }
    world.ready().await;
    let healthy = finds(&plugin, &[]).await;
    assert_eq!(healthy.code, 0, "{healthy:?}");
    shows_all(&plugin).await?;
    breaks(&world, &plugin).await?;
    who_may(&world).await
}

async fn shows_all(plugin: &Plugin) -> Result<()> {
    let shown = status(plugin, &[]).await?;
    assert_eq!(shown.code, 0, "{shown:?}");
    for part in [
        "ExternalCAIssuance",
        "Certificates: it is not at work, the operator does it",
        "Certificates of openchoreo-control-plane/cluster-gateway-internal-ca",
        "Certificates 3/3",
        "its caBundle holds the anchors",
        "issued by ExternalCAIssuance openchoreo-control-plane/",
    ] {
        assert!(shown.text.contains(part), "{part}: {}", shown.text);
    }
    let told = status(plugin, &["-o", "json"]).await?.json()?;
    assert_eq!(told["kind"], "ExternalCAIssuance", "as it always was");
    let domains = told["certManager"]["domains"].as_array();
    let secrets: Vec<&str> = domains
        .into_iter()
        .flatten()
        .filter_map(|domain| domain["secret"].as_str())
        .collect();
    let expected = [INTERNAL_CA, WEBHOOK].map(|name| format!("{CONTROL_PLANE}/{name}"));
    assert_eq!(secrets, expected, "{told:#}");
    Ok(())
}

async fn breaks(world: &World, plugin: &Plugin) -> Result<()> {
    // A webhook configuration that the chart's values do not name.
    let other = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": MUTATING,
        "metadata": {"name": "other", "annotations": {
            "cert-manager.io/inject-ca-from": format!("{CONTROL_PLANE}/{WEBHOOK}")}},
        "webhooks": [{
            "name": "other.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "failurePolicy": "Ignore",
            "clientConfig": {"service": {"name": "other", "namespace": CONTROL_PLANE}},
            "rules": [{"apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["x"]}],
        }],
    });
    apply_yaml(&world.admin, &other.to_string()).await?;
    let object = format!("{MUTATING} other");
    let unnamed = finds(plugin, &[("InjectionNotListed", &object)]).await;
    assert_eq!(unnamed.code, 3, "{unnamed:?}");
    let fix = "add other to certManager.webhookConfigurations";
    assert!(unnamed.text.contains(fix), "{unnamed:?}");
    let shown = status(plugin, &[]).await?;
    assert_eq!(shown.code, 3, "{shown:?}");
    let part = "is empty, or a placeholder; the chart's values do not name it";
    assert!(shown.text.contains(part), "{}", shown.text);
    let version = "admissionregistration.k8s.io/v1";
    let api = dynamic_api(&world.admin, version, MUTATING, None).await?;
    api.delete("other", &DeleteParams::default()).await?;

    // A Secret that they do not name.
    let certificate = json!({
        "apiVersion": "cert-manager.io/v1", "kind": "Certificate",
        "metadata": {"name": "stranger", "namespace": CONTROL_PLANE},
        "spec": {"secretName": "stranger-tls", "dnsNames": ["stranger"],
            "issuerRef": {"name": "cluster-gateway-internal-ca-issuer"}},
    });
    apply_yaml(&world.admin, &certificate.to_string()).await?;
    let object = format!("Certificate {CONTROL_PLANE}/stranger");
    let unlisted = finds(plugin, &[("SecretNotListed", &object)]).await;
    assert_eq!(unlisted.code, 3, "{unlisted:?}");
    assert!(unlisted.text.contains("stranger-tls"), "{unlisted:?}");
    let shown = status(plugin, &[]).await?;
    let part = "not Ready (SecretNotListed)";
    assert!(shown.text.contains(part), "{}", shown.text);
    let version = "cert-manager.io/v1";
    let api = dynamic_api(&world.admin, version, "Certificate", Some(CONTROL_PLANE)).await?;
    api.delete("stranger", &DeleteParams::default()).await?;
    finds(plugin, &[]).await;

    // cert-manager is at work: a note, and nothing is wrong.
    let now = k8s_openapi::jiff::Timestamp::now();
    lease(&world.admin, CONTROLLER, now).await?;
    let object = format!("Lease kube-system/{CONTROLLER}");
    let noted = finds(plugin, &[("CertManagerAtWork", &object)]).await;
    assert_eq!(noted.code, 0, "{noted:?}");
    let shown = status(plugin, &[]).await?;
    let part = "Certificates: it is at work, and the operator issues nothing: cert-manager-0";
    assert!(shown.text.contains(part), "{}", shown.text);
    let leases = dynamic_api(
        &world.admin,
        "coordination.k8s.io/v1",
        "Lease",
        Some("kube-system"),
    );
    let leases = leases.await?;
    leases.delete(CONTROLLER, &DeleteParams::default()).await?;
    Ok(())
}

/// Whoever may do what the documentation lists sees everything; whoever may not is told once, and sees the issuance.
async fn who_may(world: &World) -> Result<()> {
    let (group, resource) = ISSUANCES;
    let issuances = rule(group, resource, &["get", "list"]);
    let reader = person(world, "issuance-reader", json!([issuances])).await?;
    let shown = status(&reader, &[]).await?;
    assert_eq!(shown.code, 0, "{shown:?}");
    let notes = shown.text.lines().filter(|line| line.starts_with("Note: "));
    let notes: Vec<&str> = notes.collect();
    let part = "may not list certificates.cert-manager.io in openchoreo-control-plane";
    assert!(
        notes.len() == 1 && notes[0].contains(part),
        "{}",
        shown.text
    );

    let mut rules = vec![
        issuances,
        rule("openchoreo.dev", "*", &["list"]),
        rule("apps", "deployments", &["list"]),
    ];
    for kind in ["certificates", "issuers", "clusterissuers"] {
        rules.push(rule("cert-manager.io", kind, &["list"]));
    }
    let mut leases = rule("coordination.k8s.io", "leases", &["get"]);
    leases["resourceNames"] = json!([CONTROLLER, "cert-manager-cainjector-leader-election"]);
    rules.push(leases);
    for (group, resource) in [
        (
            "admissionregistration.k8s.io",
            "validatingwebhookconfigurations",
        ),
        (
            "admissionregistration.k8s.io",
            "mutatingwebhookconfigurations",
        ),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
        ("apiregistration.k8s.io", "apiservices"),
    ] {
        rules.push(rule(group, resource, &["get", "list"]));
    }
    let mut secrets = rule("", "secrets", &["get"]);
    secrets["resourceNames"] = json!([
        INTERNAL_CA,
        WEBHOOK,
        "controller-manager-cluster-gateway-client-tls",
        "openchoreo-api-cluster-gateway-client-tls",
    ]);
    rules.push(secrets);
    let viewer = person(world, "domain-viewer", json!(rules)).await?;
    everywhere(world, "domain-viewer").await?;
    let shown = status(&viewer, &[]).await?;
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(!shown.text.contains("Note: "), "{}", shown.text);
    let part = "its caBundle holds the anchors";
    assert!(shown.text.contains(part), "{}", shown.text);
    Ok(())
}
