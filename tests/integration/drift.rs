//! What drifts comes back; who fights is left alone; what is asked for happens once.

use external_ca_tests::apply::{apply_yaml, apply_yaml_as};
use external_ca_tests::crds::{CrdSource, Release, openchoreo_crds_from};
use external_ca_tests::openchoreo::{CONTROL_PLANE, ClientCa, PlaneType, plane};
use external_ca_tests::openssl::{Ca, Purpose, fields, key_matches, verify};
use external_ca_tests::wait::{PATIENCE, wait_for};
use external_ca_tests::world::{ISSUANCE, World, describe, message};
use external_ca_tests::{Proxy, Result};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const DATA: &str = "openchoreo-data-plane";
const LEAF: &str = "cluster-agent-tls";
const BUNDLE: &str = "cluster-gateway-ca";

async fn client_ca(world: &World, kind: &str, name: &str) -> Value {
    let plane = world.planes(kind).await.unwrap().get(name).await.unwrap();
    plane.data["spec"]["clusterAgent"]["clientCA"].clone()
}

async fn set_client_ca(world: &World, manager: &str, value: Value) -> Result<()> {
    let patch = json!({"spec": {"clusterAgent": {"clientCA": value}}});
    let params = PatchParams {
        field_manager: Some(manager.into()),
        ..PatchParams::default()
    };
    world
        .planes("DataPlane")
        .await?
        .patch("dataplane", &params, &Patch::Merge(patch))
        .await?;
    Ok(())
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    wait_for(what, PATIENCE, async || look().await.ok_or("not yet")).await
}

#[tokio::test]
async fn what_is_deleted_or_edited_comes_back() -> Result<()> {
    let world = World::any().await?;
    let ca = Ca::guide();
    world.put_ca(&ca).await?;
    world.put_planes().await?;
    let _operator = world.operator(None).await?;
    world.issue().await?;
    world.ready().await;
    let now = DeleteParams::default();

    world.secrets(DATA).delete(LEAF, &now).await?;
    until("the leaf", async || {
        let certificate = world.secret_text(DATA, LEAF, "tls.crt").await;
        verify(&ca.certificate, &certificate, Purpose::Client).ok()
    })
    .await;
    world.ready().await;

    let stranger = Ca::new("/CN=stranger", external_ca_tests::openssl::KeyKind::P256);
    let other_key = stranger.key.clone();
    for (key, text) in [
        ("tls.crt", "garbage".to_owned()),
        ("tls.key", other_key),
        ("tls.crt", stranger.certificate),
    ] {
        // Each is an accident of its own, and no fight.
        world
            .issue_with(json!({"certificateDefaults": {"duration": "8760h"}}))
            .await?;
        let patch = json!({"stringData": {key: text}});
        world
            .secrets(DATA)
            .patch(LEAF, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        until("a leaf that fits", async || {
            let certificate = world.secret_text(DATA, LEAF, "tls.crt").await;
            let private = world.secret_text(DATA, LEAF, "tls.key").await;
            verify(&ca.certificate, &certificate, Purpose::Client).ok()?;
            key_matches(&certificate, &private).then_some(())
        })
        .await;
        world
            .issue_with(json!({"certificateDefaults": {"duration": "8761h"}}))
            .await?;
        world.ready().await;
    }

    world.config_maps(DATA).delete(BUNDLE, &now).await?;
    world.secrets(DATA).delete(BUNDLE, &now).await?;
    until("the bundles", async || {
        let map = world.config_maps(DATA).get_opt(BUNDLE).await.unwrap()?;
        let secret = world.secret_text(DATA, BUNDLE, "ca.crt").await;
        (map.data?["ca.crt"] == secret && secret.trim() == ca.certificate.trim()).then_some(())
    })
    .await;
    let patch = json!({"data": {"ca.crt": "# nothing"}});
    world
        .config_maps(DATA)
        .patch(BUNDLE, &PatchParams::default(), &Patch::Merge(patch))
        .await?;
    until("the edited bundle", async || {
        let map = world.config_maps(DATA).get(BUNDLE).await.unwrap();
        (map.data?["ca.crt"].trim() == ca.certificate.trim()).then_some(())
    })
    .await;
    set_client_ca(&world, "kubectl-edit", json!({"value": ""})).await?;
    until("the clientCA", async || {
        let value = client_ca(&world, "DataPlane", "dataplane").await["value"].clone();
        (value.as_str()?.trim() == ca.certificate.trim()).then_some(())
    })
    .await;
    world.ready().await;
    Ok(())
}

#[tokio::test]
async fn whoever_keeps_putting_a_field_back_is_named_and_left_alone() -> Result<()> {
    let world = World::any().await?;
    world.put_ca(&Ca::guide()).await?;
    world.put_planes().await?;
    let proxy = Proxy::start(&world.cluster).await?;
    let _operator = world.operator(Some(&proxy)).await?;
    world.issue().await?;
    world.ready().await;
    let theirs = Ca::replacement(1).certificate;
    // As a GitOps controller does. API times are whole seconds: repairs within one of them count once, so that how often it
    // takes is not for the test to say.
    let self_heal = async {
        loop {
            until("the repair", async || {
                let value = client_ca(&world, "DataPlane", "dataplane").await["value"].clone();
                (value.as_str()? != theirs).then_some(())
            })
            .await;
            set_client_ca(&world, "argocd-controller", json!({"value": theirs}))
                .await
                .unwrap();
        }
    };
    let status = tokio::select! {
        status = world.condition("PlanesWired", "False", "FieldConflict") => status,
        () = self_heal => unreachable!("it ends with the wait for a repair"),
    };
    let text = message(&status, "PlanesWired");
    for words in [
        "DataPlane default/dataplane",
        "argocd-controller",
        "spec.clusterAgent.clientCA",
        "SecretRef",
    ] {
        assert!(text.contains(words), "{text}");
    }
    proxy.quiet(Duration::from_secs(3)).await?;
    assert_eq!(
        client_ca(&world, "DataPlane", "dataplane").await["value"],
        json!(theirs)
    );
    Ok(())
}

async fn by_reference(release: Release) -> Result<()> {
    let world = World::start(CrdSource::available(release)[0], release).await?;
    let ca = Ca::guide();
    world.put_ca(&ca).await?;
    world.put_planes().await?;
    let reference = ClientCa::Secret {
        release,
        name: BUNDLE,
        key: "ca.crt",
        namespace: Some(CONTROL_PLANE),
    };
    let ready_made = plane(
        "DataPlane",
        Some("default"),
        "in-git",
        Some("default"),
        &reference,
    );
    apply_yaml_as(&world.admin, &ready_made, "argocd").await?;
    let version = world
        .planes("DataPlane")
        .await?
        .get("in-git")
        .await?
        .metadata
        .resource_version;
    let _operator = world.operator(None).await?;
    world
        .issue_with(json!({"planes": {"clientCA": "SecretRef"}}))
        .await?;
    world.ready().await;
    let wanted = json!({"name": BUNDLE, "namespace": CONTROL_PLANE, "key": "ca.crt"});
    for kind in world.plane_types() {
        let found = client_ca(&world, kind.kind(), kind.argument()).await;
        assert_eq!(found[release.reference_field()], wanted, "{found}");
        assert!(
            found.get("value").is_none_or(|value| value == ""),
            "{found}"
        );
    }
    let after = world
        .planes("DataPlane")
        .await?
        .get("in-git")
        .await?
        .metadata
        .resource_version;
    assert_eq!(
        after, version,
        "a plane that refers to the trust Secret is never written"
    );
    assert_eq!(
        world
            .secret_text(CONTROL_PLANE, BUNDLE, "ca.crt")
            .await
            .trim(),
        ca.certificate.trim()
    );
    Ok(())
}

#[tokio::test]
async fn planes_may_refer_to_the_trust_secret() -> Result<()> {
    by_reference(Release::V0_17).await?;
    by_reference(Release::V1_2).await
}

#[tokio::test]
async fn a_plane_kind_that_appears_later_needs_no_restart() -> Result<()> {
    let world = World::without_planes(Release::V0_17, json!({})).await?;
    world.put_ca(&Ca::guide()).await?;
    let operator = world.operator(None).await?;
    world.issue().await?;
    let status = world.ready().await;
    assert_eq!(
        status.certificates_ready.as_deref(),
        Some("1/1"),
        "the gateway's"
    );
    for crd in openchoreo_crds_from(CrdSource::available(Release::V0_17)[0], Release::V0_17) {
        apply_yaml(&world.admin, &crd).await?;
    }
    let text = plane(
        PlaneType::Data.kind(),
        Some("default"),
        "eu",
        None,
        &ClientCa::Nothing,
    );
    apply_yaml(&world.admin, &text).await?;
    until("the agent's leaf", async || {
        let certificate = world.secret_text(DATA, LEAF, "tls.crt").await;
        (!certificate.is_empty() && fields(&certificate).subject == "O=OpenChoreo,CN=eu")
            .then_some(())
    })
    .await;
    assert!(operator.exit_status().is_none());
    Ok(())
}

async fn serials(world: &World) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (namespace, name) in [(CONTROL_PLANE, "cluster-gateway-tls")]
        .into_iter()
        .chain(world.plane_types().map(|kind| (kind.namespace(), LEAF)))
    {
        let certificate = world.secret_text(namespace, name, "tls.crt").await;
        found.insert(format!("{namespace}/{name}"), fields(&certificate).serial);
    }
    found
}

/// How often the pod template of each Deployment was changed.
async fn generations(world: &World) -> Result<BTreeMap<String, i64>> {
    let mut found = BTreeMap::new();
    for namespace in [CONTROL_PLANE]
        .into_iter()
        .chain(world.plane_types().map(PlaneType::namespace))
    {
        for deployment in world
            .deployments(namespace)
            .list(&Default::default())
            .await?
        {
            let metadata = deployment.metadata;
            found.insert(metadata.name.unwrap(), metadata.generation.unwrap());
        }
    }
    Ok(found)
}

async fn consumed(world: &World) {
    until("the annotation to be consumed", async || {
        let issuance = world.issuances().get(ISSUANCE).await.unwrap();
        let all = issuance.metadata.annotations.unwrap_or_default();
        (!all.contains_key("pki.openchoreo.dev/renew")).then_some(())
    })
    .await;
    wait_for("Ready", PATIENCE, async || {
        let status = world
            .issuances()
            .get(ISSUANCE)
            .await
            .unwrap()
            .status
            .unwrap_or_default();
        let known: Vec<String> = status
            .certificates
            .iter()
            .filter_map(|one| one.serial.clone())
            .collect();
        let plain = |text: &str| text.replace(':', "").trim_start_matches('0').to_lowercase();
        let current = serials(world)
            .await
            .into_values()
            .all(|serial| known.iter().any(|one| plain(one) == plain(&serial)));
        let ready = status
            .conditions
            .iter()
            .any(|one| one.type_ == "Ready" && one.status == "True");
        if current && ready {
            Ok(())
        } else {
            Err(describe(&status))
        }
    })
    .await;
}

#[tokio::test]
async fn a_renewal_that_is_asked_for_happens_once() -> Result<()> {
    let world = World::any().await?;
    let _kubelet = crate::kill::furnish_pods(&world).await?;
    world.put_planes().await?;
    let _operator = world.operator(None).await?;
    let address = json!({
        "name": "metrics", "usages": ["ServerAuth", "ClientAuth"], "dnsNames": ["metrics.example.com"],
        "ipAddresses": ["10.1.2.3"], "uris": ["spiffe://example.com/metrics"], "target": {"secretName": "cluster-agent-tls"},
    });
    world.issue_with(json!({"certificates": [address]})).await?;
    world.ready().await;
    let more = fields(&world.secret_text(CONTROL_PLANE, LEAF, "tls.crt").await);
    assert_eq!(
        more.names,
        [
            "DNS:metrics.example.com",
            "IP Address:10.1.2.3",
            "URI:spiffe://example.com/metrics"
        ]
    );

    let (before, templates) = (serials(&world).await, generations(&world).await?);
    world
        .annotate(
            "pki.openchoreo.dev/renew",
            "openchoreo-data-plane/cluster-agent-tls",
        )
        .await?;
    consumed(&world).await;
    let after = serials(&world).await;
    for (leaf, serial) in &after {
        assert_eq!(*serial != before[leaf], leaf.starts_with(DATA), "{leaf}");
    }
    let once = restarted(&world, &templates, &["cluster-agent-dataplane"]).await?;

    world.annotate("pki.openchoreo.dev/renew", "all").await?;
    consumed(&world).await;
    let last = serials(&world).await;
    assert!(
        last.iter().all(|(leaf, serial)| *serial != after[leaf]),
        "{last:?}"
    );
    let agents = [
        "cluster-agent-buildplane",
        "cluster-agent-dataplane",
        "cluster-agent-observabilityplane",
    ];
    let wanted: Vec<&str> = agents.into_iter().chain(["cluster-gateway"]).collect();
    restarted(&world, &once, &wanted).await?;
    Ok(())
}

/// Waits until all rollouts are complete, and exactly these Deployments were restarted, each once; returns their generations.
async fn restarted(
    world: &World,
    before: &BTreeMap<String, i64>,
    wanted: &[&str],
) -> Result<BTreeMap<String, i64>> {
    let now = wait_for("restarts", PATIENCE, async || {
        let now = generations(world)
            .await
            .map_err(|error| error.to_string())?;
        let grown = now.iter().filter(|(name, count)| **count > before[*name]);
        match grown.map(|(name, _)| name.as_str()).collect::<Vec<_>>() {
            grown if grown == wanted => Ok(now),
            grown => Err(format!("{grown:?}")),
        }
    })
    .await;
    world.ready().await;
    let end = generations(world).await?;
    assert_eq!(end, now, "restarted more than once");
    assert!(now.iter().all(|(name, count)| count - before[name] <= 1));
    Ok(end)
}

#[tokio::test]
async fn nobody_is_restarted_and_nothing_written_unless_it_is_allowed() -> Result<()> {
    let world = World::any().await?;
    let _kubelet = crate::kill::furnish_pods(&world).await?;
    world.put_planes().await?;
    let before = world.snapshot().await?;
    let _operator = world.operator(None).await?;
    world.issue_with(json!({"paused": true})).await?;
    let status = world.condition("Ready", "False", "Paused").await;
    assert!(message(&status, "CertificatesReady").contains("Secret openchoreo-"));
    assert_eq!(world.snapshot().await?, before);

    let templates = generations(&world).await?;
    world
        .issue_with(json!({"paused": false, "rollout": {"strategy": "None", "kubeletCache": "0s"}}))
        .await?;
    // Pods have waited for what they mount.
    world.ready().await;
    world.annotate("pki.openchoreo.dev/renew", "all").await?;
    let status = world
        .condition("RolloutsComplete", "False", "RestartNeeded")
        .await;
    assert!(
        message(&status, "RolloutsComplete").contains("Deployment openchoreo-"),
        "{}",
        describe(&status)
    );
    assert_eq!(generations(&world).await?, templates);
    let secret: Secret = world.secrets(DATA).get(LEAF).await?;
    assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/tls"));

    // As `kubectl rollout restart` does it, a second after the last write: times have no finer grain.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let stamp = json!({"kubectl.kubernetes.io/restartedAt": "2026-11-24T00:00:00Z"});
    let patch = json!({"spec": {"template": {"metadata": {"annotations": stamp}}}});
    for namespace in [CONTROL_PLANE]
        .into_iter()
        .chain(world.plane_types().map(PlaneType::namespace))
    {
        let api = world.deployments(namespace);
        for deployment in api.list(&Default::default()).await? {
            let params = PatchParams {
                field_manager: Some("kubectl-rollout".into()),
                ..PatchParams::default()
            };
            api.patch(
                &deployment.metadata.name.unwrap(),
                &params,
                &Patch::Merge(patch.clone()),
            )
            .await?;
        }
    }
    world.ready().await;
    Ok(())
}
