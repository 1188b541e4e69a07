//! OpenChoreo's cert-manager objects without cert-manager: each Secret and `caBundle` is made, and verifies.

use std::collections::BTreeMap;
use std::time::Duration;

use external_ca_tests::apply::{MANAGER, apply_documents, apply_yaml, dynamic_api};
use external_ca_tests::cert_manager::{
    CRDS, INTERNAL_CA, WEBHOOK, control_plane, data_plane, lease,
};
use external_ca_tests::crds::{CrdSource, Release};
use external_ca_tests::openchoreo::CONTROL_PLANE;
use external_ca_tests::openssl::{Ca, KeyKind, Purpose, fields, key_matches, pem_blocks, verify};
use external_ca_tests::wait::{PATIENCE, holds_for, wait_for};
use external_ca_tests::webhooks::ca_bundles;
use external_ca_tests::world::{NAMESPACES, World};
use external_ca_tests::{Kubelet, KubeletOptions, Operator, OperatorOptions, Result};
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

const WEBHOOK_HOST: &str = "controller-manager-webhook-service.openchoreo-control-plane.svc";
const CLIENTS: [(&str, &str, &str); 2] = [
    (
        "controller-manager-cluster-gateway-client",
        "controller-manager-cluster-gateway-client-tls",
        "openchoreo-controller-manager",
    ),
    (
        "openchoreo-api-cluster-gateway-client",
        "openchoreo-api-cluster-gateway-client-tls",
        "openchoreo-api",
    ),
];

/// A cluster with cert-manager's kinds, and no cert-manager.
async fn world(release: Release) -> Result<World> {
    let world = World::start(CrdSource::available(release)[0], release).await?;
    world.put_planes().await?;
    apply_yaml(&world.admin, CRDS).await?;
    Ok(world)
}

async fn install(world: &World, release: Release) -> Result<()> {
    apply_documents(&world.admin, control_plane(release), MANAGER).await?;
    if let Some(objects) = data_plane(release) {
        apply_documents(&world.admin, objects, MANAGER).await?;
    }
    Ok(())
}

async fn certificates(world: &World) -> Result<Api<DynamicObject>> {
    let (version, kind) = ("cert-manager.io/v1", "Certificate");
    dynamic_api(&world.admin, version, kind, Some(CONTROL_PLANE)).await
}

/// Waits until a Certificate says this, and returns its status.
async fn said(
    world: &World,
    operator: &Operator,
    name: &str,
    ready: &str,
    reason: &str,
) -> Result<Value> {
    let api = certificates(world).await?;
    let what = format!("Certificate {name}: Ready={ready} ({reason})");
    let status = wait_for(&what, PATIENCE, async || {
        let found = api.get(name).await.map_err(|error| error.to_string())?;
        let status = found.data["status"].clone();
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let holds = conditions.iter().any(|one| {
            one["type"] == "Ready"
                && one["status"] == ready
                && one["reason"] == reason
                && one["observedGeneration"] == json!(found.metadata.generation)
        });
        match holds {
            true => Ok(status),
            false => Err(format!("{status}\n{}", tail(operator))),
        }
    })
    .await;
    Ok(status)
}

fn tail(operator: &Operator) -> String {
    let log = operator.log();
    let lines: Vec<&str> = log.lines().rev().take(8).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

async fn text(world: &World, secret: &str, key: &str) -> String {
    world.secret_text(CONTROL_PLANE, secret, key).await
}

/// The webhook's certificate verifies against each bundle that API servers read.
async fn webhooks_verify(world: &World) -> Result<()> {
    let certificate = text(world, WEBHOOK, "tls.crt").await;
    assert!(key_matches(
        &certificate,
        &text(world, WEBHOOK, "tls.key").await
    ));
    let bundles = ca_bundles(&world.admin).await?;
    assert!(bundles.len() > 1, "{bundles:?}");
    for (webhook, bundle) in bundles {
        verify(&bundle, &certificate, Purpose::Any).map_err(|why| format!("{webhook}: {why}"))?;
    }
    assert!(
        fields(&certificate)
            .names
            .contains(&format!("DNS:{WEBHOOK_HOST}"))
    );
    Ok(())
}

/// The internal CA and its clients are as OpenChoreo's peers verify them.
async fn internal_api_verifies(world: &World) -> Result<()> {
    let ca = text(world, INTERNAL_CA, "ca.crt").await;
    assert_eq!(fields(&ca).basic_constraints, "CA:TRUE");
    assert_eq!(fields(&ca).public_key, "rsaEncryption 4096");
    assert!(
        fields(&ca)
            .subject
            .contains("CN=openchoreo-cluster-gateway-internal-ca")
    );
    for (_, secret, name) in CLIENTS {
        let certificate = text(world, secret, "tls.crt").await;
        verify(&ca, &certificate, Purpose::Client)?;
        assert!(key_matches(
            &certificate,
            &text(world, secret, "tls.key").await
        ));
        let told = fields(&certificate);
        assert_eq!(told.subject, format!("O=OpenChoreo,CN={name}"));
        assert_eq!(told.extended_key_usage, ["TLS Web Client Authentication"]);
        assert_eq!(text(world, secret, "ca.crt").await, ca);
    }
    Ok(())
}

async fn comes_up(release: Release) -> Result<()> {
    let world = world(release).await?;
    let operator = world.operator(None).await?;
    install(&world, release).await?;
    let mut made = vec![WEBHOOK];
    if release == Release::V1_2 {
        made.push(INTERNAL_CA);
        made.extend(CLIENTS.map(|(certificate, ..)| certificate));
    }
    for name in &made {
        let status = said(&world, &operator, name, "True", "Ready").await?;
        assert_eq!(status["revision"], 1, "{name}: {status}");
        for time in ["notBefore", "notAfter", "renewalTime"] {
            assert!(status[time].is_string(), "{name}: {time}: {status}");
        }
        let issuing = |one: &Value| one["type"] == "Issuing";
        assert!(
            !status["conditions"].as_array().unwrap().iter().any(issuing),
            "{status}"
        );
    }
    wait_for("every caBundle", PATIENCE, async || {
        webhooks_verify(&world)
            .await
            .map_err(|error| error.to_string())
    })
    .await;
    if release == Release::V1_2 {
        internal_api_verifies(&world).await?;
        let secret = world.secrets(CONTROL_PLANE).get(CLIENTS[0].1).await?;
        let annotations = secret.metadata.annotations.unwrap();
        for (name, value) in [
            ("certificate-name", CLIENTS[0].0),
            ("issuer-name", "cluster-gateway-internal-ca-issuer"),
            ("issuer-kind", "Issuer"),
            ("issuer-group", "cert-manager.io"),
        ] {
            assert_eq!(annotations[&format!("cert-manager.io/{name}")], value);
        }
    }
    // An issuance is to make the rest, and no CA key is ever stored in its place.
    for name in ["cluster-gateway-ca", "cluster-gateway-tls"] {
        said(&world, &operator, name, "False", "WaitingForIssuance").await?;
    }
    let trust = world
        .secrets(CONTROL_PLANE)
        .get_opt("cluster-gateway-ca")
        .await?;
    assert!(trust.is_none(), "{trust:?}");

    // It comes later, and wins.
    let ca = Ca::guide();
    world.put_ca(&ca).await?;
    world.issue().await?;
    world.ready().await;
    for name in ["cluster-gateway-tls", "cluster-gateway-ca"] {
        said(&world, &operator, name, "True", "Ready").await?;
    }
    let server = text(&world, "cluster-gateway-tls", "tls.crt").await;
    let host = "cluster-gateway.openchoreo-control-plane.svc";
    verify(&ca.certificate, &server, Purpose::Server(host))?;
    let trust = world
        .secrets(CONTROL_PLANE)
        .get("cluster-gateway-ca")
        .await?;
    assert!(!trust.data.unwrap_or_default().contains_key("tls.key"));
    Ok(())
}

#[tokio::test]
async fn openchoreo_1_2_comes_up_without_cert_manager() -> Result<()> {
    comes_up(Release::V1_2).await
}

#[tokio::test]
async fn openchoreo_0_17_comes_up_without_cert_manager() -> Result<()> {
    comes_up(Release::V0_17).await
}

/// The objects were there before the operator, and pods run; then the internal CA is replaced, and the webhook's certificate is
/// made anew: those who read at start are restarted, and the webhook's server is not.
#[tokio::test]
async fn a_ca_and_a_self_signed_certificate_move_in_stages() -> Result<()> {
    let release = Release::V1_2;
    let world = world(release).await?;
    install(&world, release).await?;
    world.put_ca(&Ca::guide()).await?;
    let _kubelet = Kubelet::start(&world.cluster, KubeletOptions::default()).await?;
    let operator = world.operator(None).await?;
    world.issue().await?;
    for name in [INTERNAL_CA, CLIENTS[0].0, CLIENTS[1].0, WEBHOOK] {
        said(&world, &operator, name, "True", "Ready").await?;
    }
    world.ready().await;
    let first = text(&world, INTERNAL_CA, "tls.crt").await;
    let patch = json!({"spec": {
        "subject": {"organizations": ["OpenChoreo", "Next"]},
        "privateKey": {"rotationPolicy": "Always"},
    }});
    let params = PatchParams::default();
    let api = certificates(&world).await?;
    api.patch(INTERNAL_CA, &params, &Patch::Merge(patch))
        .await?;
    let what = "the next internal CA, and nothing of the first";
    let second = wait_for(what, 3 * PATIENCE, async || {
        let second = text(&world, INTERNAL_CA, "tls.crt").await;
        let mut bundles = vec![text(&world, INTERNAL_CA, "ca.crt").await];
        for (_, secret, _) in CLIENTS {
            bundles.push(text(&world, secret, "ca.crt").await);
        }
        let settled = bundles.iter().all(|bundle| bundle.trim() == second.trim());
        match second != first && settled {
            true => Ok(second),
            false => Err(format!("{bundles:?}\n{}", tail(&operator))),
        }
    })
    .await;
    for (name, secret, _) in CLIENTS {
        let certificate = text(&world, secret, "tls.crt").await;
        verify(&second, &certificate, Purpose::Client)?;
        let status = said(&world, &operator, name, "True", "Ready").await?;
        assert_eq!(status["revision"], 2, "{status}");
    }
    wait_for("every rollout", 3 * PATIENCE, async || {
        let mut running = Vec::new();
        for deployment in world
            .deployments(CONTROL_PLANE)
            .list(&Default::default())
            .await
            .unwrap()
        {
            let status = deployment.status.clone().unwrap_or_default();
            let current = status.observed_generation == deployment.metadata.generation;
            if !current
                || status.replicas != status.updated_replicas
                || status.replicas != status.available_replicas
            {
                running.push(deployment.name_any());
            }
        }
        match running.is_empty() {
            true => Ok(()),
            false => Err(format!("{running:?}\n{}", tail(&operator))),
        }
    })
    .await;

    // The next self-signed certificate is trusted before it is presented.
    let old = text(&world, WEBHOOK, "tls.crt").await;
    let more = format!("{WEBHOOK_HOST}.example");
    let names = json!({"spec": {"dnsNames": [WEBHOOK_HOST, more]}});
    api.patch(WEBHOOK, &params, &Patch::Merge(names)).await?;
    let what = "both to be trusted, and the old one presented";
    wait_for(what, PATIENCE, async || {
        let presented = text(&world, WEBHOOK, "tls.crt").await;
        let bundles = ca_bundles(&world.admin).await;
        let bundles = bundles.map_err(|error| error.to_string())?;
        let both = bundles.values().all(|bundle| pem_blocks(bundle).len() == 2);
        match both && presented == old {
            true => Ok(()),
            false => Err(format!("{bundles:?}\n{}", tail(&operator))),
        }
    })
    .await;
    let what = "the next to be presented, each bundle verifying it";
    // Its readers read the bundle beside it anew, too.
    wait_for(what, 5 * PATIENCE, async || {
        let presented = text(&world, WEBHOOK, "tls.crt").await;
        if presented == old {
            return Err(tail(&operator));
        }
        let verified = webhooks_verify(&world).await;
        verified.map_err(|error| error.to_string())
    })
    .await;
    let presented = text(&world, WEBHOOK, "tls.crt").await;
    assert!(fields(&presented).names.contains(&format!("DNS:{more}")));
    // By now everything has loaded what there is, and what the operator remembers of it restarts nobody.
    let restarted = async || {
        let deployments = world.deployments(CONTROL_PLANE);
        let found = deployments.list(&Default::default()).await.unwrap();
        let stamps = found.into_iter().map(|deployment| {
            let template = deployment.spec.clone().unwrap().template.metadata;
            (deployment.name_any(), template)
        });
        stamps.collect::<Vec<_>>()
    };
    let settled = restarted().await;
    let what = "nothing is restarted any more";
    holds_for(what, Duration::from_secs(15), async || {
        match restarted().await == settled {
            true => Ok(()),
            false => Err(tail(&operator)),
        }
    })
    .await;
    // Its server reads it anew.
    let log = operator.log();
    let domain = format!("cert-manager.io/{CONTROL_PLANE}/{WEBHOOK}");
    let mut restarts = log
        .lines()
        .filter(|line| line.contains("\"reason\":\"Restarted\""));
    assert!(restarts.clone().count() > 2, "the internal CA's consumers");
    assert!(!restarts.any(|line| line.contains(&domain)), "{log}");
    Ok(())
}

/// While its own programs are at work, nothing is written, half by half.
#[tokio::test]
async fn cert_manager_itself_goes_first() -> Result<()> {
    let release = Release::V0_17;
    let world = world(release).await?;
    let (controller, injector) = (
        "cert-manager-controller",
        "cert-manager-cainjector-leader-election",
    );
    let now = jiff::Timestamp::now();
    lease(
        &world.admin,
        controller,
        now + jiff::SignedDuration::from_mins(10),
    )
    .await?;
    lease(
        &world.admin,
        injector,
        now + jiff::SignedDuration::from_mins(10),
    )
    .await?;
    let operator = world.operator(None).await?;
    install(&world, release).await?;
    wait_for("the Leases to be heeded", PATIENCE, async || {
        let log = operator.log();
        match log.contains("kinds are served") {
            true => Ok(()),
            false => Err(tail(&operator)),
        }
    })
    .await;
    let api = certificates(&world).await?;
    holds_for("nothing is written", Duration::from_secs(5), async || {
        let secret = world.secrets(CONTROL_PLANE).get_opt(WEBHOOK).await;
        let status = api
            .get(WEBHOOK)
            .await
            .map(|found| found.data["status"].clone());
        match (secret, status) {
            (Ok(None), Ok(Value::Null)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let series = async || {
        let text = operator.metrics().await.unwrap();
        let name = format!(
            "external_ca_cert_manager_certificate_ready{{namespace=\"{CONTROL_PLANE}\",name=\"{WEBHOOK}\",reason=\"Ready\"}} 1"
        );
        text.lines().any(|line| line == name)
    };
    assert!(!series().await, "another's Certificate is measured");
    let ended = now - jiff::SignedDuration::from_mins(10);
    lease(&world.admin, controller, ended).await?;
    said(&world, &operator, WEBHOOK, "True", "Ready").await?;
    assert!(series().await);
    let injected = async || {
        let bundles = ca_bundles(&world.admin).await.unwrap();
        bundles
            .values()
            .filter(|bundle| !bundle.trim().is_empty())
            .count()
    };
    holds_for(
        "no bundle is injected",
        Duration::from_secs(5),
        async || match injected().await {
            0 => Ok(()),
            some => Err(format!("{some}")),
        },
    )
    .await;
    lease(&world.admin, injector, ended).await?;
    wait_for("every caBundle", PATIENCE, async || {
        let verified = webhooks_verify(&world).await;
        verified.map_err(|error| error.to_string())
    })
    .await;
    renewed_by_cert_manager(&world, &operator).await
}

/// The other way round: its controller is at work, and its injector is not installed.
async fn renewed_by_cert_manager(world: &World, operator: &Operator) -> Result<()> {
    let held = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(10);
    lease(&world.admin, "cert-manager-controller", held).await?;
    let aside = "external_ca_cert_manager_stands_aside{half=\"controller\"} 1";
    wait_for(
        "the controller's Lease to be heeded",
        PATIENCE,
        async || {
            let text = operator.metrics().await.unwrap();
            match text.lines().any(|line| line == aside) {
                true => Ok(()),
                false => Err(tail(operator)),
            }
        },
    )
    .await;
    let next = Ca::new("/CN=webhook", KeyKind::P256);
    let data = json!({"stringData": {
        "tls.crt": next.certificate, "tls.key": next.key, "ca.crt": next.certificate,
    }});
    let secrets = world.secrets(CONTROL_PLANE);
    let params = PatchParams::default();
    let written = secrets.patch(WEBHOOK, &params, &Patch::Merge(data)).await?;
    let api = certificates(world).await?;
    let told = api.get(WEBHOOK).await?.resource_version();
    wait_for("its bundle to be injected", PATIENCE, async || {
        let bundles = ca_bundles(&world.admin).await.unwrap();
        let next = next.certificate.trim();
        match bundles.values().all(|bundle| bundle.contains(next)) {
            true => Ok(()),
            false => Err(tail(operator)),
        }
    })
    .await;
    let secret = secrets.get(WEBHOOK).await?;
    assert_eq!(secret.resource_version(), written.resource_version());
    assert_eq!(api.get(WEBHOOK).await?.resource_version(), told);
    Ok(())
}

/// Two hundred Certificates, once they are made, cost no write.
#[tokio::test]
async fn two_hundred_certificates_are_quiet() -> Result<()> {
    let names: Vec<String> = (0..200).map(|index| format!("quiet-{index}")).collect();
    let values = json!({"certManager": {"secrets": names}});
    let release = Release::V1_2;
    let world = World::start_with(CrdSource::available(release)[0], release, values).await?;
    apply_yaml(&world.admin, CRDS).await?;
    let mut objects = vec![
        json!({"apiVersion": "cert-manager.io/v1", "kind": "Issuer",
            "metadata": {"name": "self", "namespace": CONTROL_PLANE}, "spec": {"selfSigned": {}}}),
        json!({"apiVersion": "cert-manager.io/v1", "kind": "Issuer",
            "metadata": {"name": "ca", "namespace": CONTROL_PLANE}, "spec": {"ca": {"secretName": "quiet-0"}}}),
    ];
    for (index, name) in names.iter().enumerate() {
        let is_ca = index == 0;
        objects.push(
            json!({"apiVersion": "cert-manager.io/v1", "kind": "Certificate",
            "metadata": {"name": name, "namespace": CONTROL_PLANE},
            "spec": {"secretName": name, "commonName": name, "isCA": is_ca,
                "privateKey": {"algorithm": "ECDSA", "size": 256},
                "issuerRef": {"name": if is_ca { "self" } else { "ca" }}}}),
        );
    }
    apply_documents(&world.admin, objects, MANAGER).await?;
    let mut options = OperatorOptions::installed(&world.cluster, None, &NAMESPACES).await?;
    options
        .args
        .push(format!("--cert-manager-secrets={}", names.join(",")));
    let operator = Operator::start(options).await?;
    let api = certificates(&world).await?;
    let versions = async || {
        let mut found = BTreeMap::new();
        for one in api.list(&Default::default()).await.unwrap() {
            let conditions = one.data["status"]["conditions"].to_string();
            let is_ready = conditions.contains("\"Ready\"") && !conditions.contains("False");
            let is_ready = is_ready && !conditions.contains("Issuing");
            found.insert(one.name_any(), (is_ready, one.resource_version()));
        }
        for (name, version) in world.snapshot().await.unwrap() {
            found.insert(name, (true, Some(version)));
        }
        found
    };
    let mut last = versions().await;
    wait_for(
        "all to be ready, and nothing to change",
        4 * PATIENCE,
        async || {
            let found = versions().await;
            let same = found == last;
            last = found;
            let ready = last.values().filter(|(ready, _)| *ready).count();
            match same && ready == last.len() {
                true => Ok(()),
                false => Err(format!("{ready} of {}\n{}", last.len(), tail(&operator))),
            }
        },
    )
    .await;
    holds_for("nothing is written", Duration::from_secs(10), async || {
        let found = versions().await;
        let changed: Vec<_> = found
            .iter()
            .filter(|(name, now)| last.get(*name) != Some(now))
            .collect();
        match changed.is_empty() {
            true => Ok(()),
            false => Err(format!("{changed:?}")),
        }
    })
    .await;
    Ok(())
}
