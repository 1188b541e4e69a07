//! Whose objects are whose: what fits is adopted, what belongs to others is left alone, nothing is ever deleted.

use external_ca_tests::apply::{apply_yaml, create_namespace};
use external_ca_tests::openchoreo::{self, CONTROL_PLANE, ClientCa, PlaneType, plane};
use external_ca_tests::openssl::Ca;
use external_ca_tests::wait::holds_for;
use external_ca_tests::world::{ISSUANCE, NAMESPACES, World, issuance, message};
use external_ca_tests::{Result, wait};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use std::time::Duration;

const DATA: &str = "openchoreo-data-plane";
const LEAF: &str = "cluster-agent-tls";
const ADOPT: &str = "pki.openchoreo.dev/adopt";

/// The guide, done by hand.
async fn by_hand(world: &World, ca: &Ca) -> Result<()> {
    world.put_ca(ca).await?;
    let server = ca.server_leaf(CONTROL_PLANE);
    let server = openchoreo::tls_secret(CONTROL_PLANE, "cluster-gateway-tls", &server);
    apply_yaml(&world.admin, &server).await?;
    let home = openchoreo::trust(CONTROL_PLANE, &ca.certificate, true);
    apply_yaml(&world.admin, &home).await?;
    for kind in world.plane_types() {
        let namespace = kind.namespace();
        let leaf = openchoreo::tls_secret(namespace, LEAF, &ca.agent_leaf("default"));
        apply_yaml(&world.admin, &leaf).await?;
        let trust = openchoreo::trust(namespace, &ca.certificate, true);
        apply_yaml(&world.admin, &trust).await?;
        let value = ClientCa::Value(&ca.certificate);
        let text = plane(
            kind.kind(),
            Some("default"),
            kind.argument(),
            Some("default"),
            &value,
        );
        apply_yaml(&world.admin, &text).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_was_made_by_hand_and_fits_is_adopted_as_it_is() -> Result<()> {
    let world = World::any().await?;
    by_hand(&world, &Ca::guide()).await?;
    let before = world.snapshot().await?;
    let _operator = world.operator(None).await?;
    world.issue().await?;
    world.ready().await;
    assert_eq!(world.snapshot().await?, before, "not one write");

    world
        .issuances()
        .delete(ISSUANCE, &DeleteParams::default())
        .await?;
    holds_for("everything to stay", Duration::from_secs(2), async || {
        let now = world.snapshot().await.map_err(|error| error.to_string())?;
        if now == before {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    })
    .await;
    Ok(())
}

async fn put_secret(world: &World, name: &str, more: Value) -> Result<()> {
    let mut object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": DATA}});
    object
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    apply_yaml(&world.admin, &object.to_string()).await?;
    Ok(())
}

async fn untouched(world: &World, name: &str, version: &Option<String>) -> Result<()> {
    let now = world
        .secrets(DATA)
        .get(name)
        .await?
        .metadata
        .resource_version;
    assert_eq!(now, *version, "{name} was written");
    Ok(())
}

#[tokio::test]
async fn what_belongs_to_somebody_else_is_left_alone() -> Result<()> {
    let world = World::any().await?;
    world.put_ca(&Ca::guide()).await?;
    world.put_planes().await?;
    let stranger = Ca::new("/CN=stranger", external_ca_tests::openssl::KeyKind::P256);
    let foreign = stranger.agent_leaf("somebody-else");
    let tls = json!({"tls.crt": foreign.certificate, "tls.key": foreign.key});
    // The garbage collector takes what an owner that does not exist has left.
    let boss = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "boss", "namespace": DATA}});
    let boss = apply_yaml(&world.admin, &boss.to_string()).await?;
    let owner = json!([{
        "apiVersion": "v1", "kind": "ConfigMap", "name": "boss", "uid": boss[0].metadata.uid, "controller": true,
    }]);
    let cases = [
        (
            "Opaque",
            json!({"type": "Opaque", "stringData": {"password": "x"}}),
            "its type is Opaque",
        ),
        (
            "controlled",
            json!({"type": "kubernetes.io/tls", "stringData": tls, "metadata": {"name": LEAF, "namespace": DATA, "ownerReferences": owner}}),
            "ConfigMap boss",
        ),
        (
            "another identity",
            json!({"type": "kubernetes.io/tls", "stringData": tls}),
            ADOPT,
        ),
    ];
    let _operator = world.operator(None).await?;
    for (case, object, words) in cases {
        put_secret(&world, LEAF, object).await?;
        let version = world
            .secrets(DATA)
            .get(LEAF)
            .await?
            .metadata
            .resource_version;
        world.issue().await?;
        let status = world
            .condition("CertificatesReady", "False", "NotOwned")
            .await;
        let text = message(&status, "CertificatesReady");
        assert!(
            text.contains("openchoreo-data-plane/cluster-agent-tls") && text.contains(words),
            "{case}: {text}"
        );
        untouched(&world, LEAF, &version).await?;
        if case == "another identity" {
            world
                .annotate(ADOPT, "openchoreo-data-plane/cluster-agent-tls")
                .await?;
            world.ready().await;
            let now = world.secret_text(DATA, LEAF, "tls.crt").await;
            assert_ne!(now, foreign.certificate);
        }
        let now = DeleteParams::default();
        world.issuances().delete(ISSUANCE, &now).await?;
        world.secrets(DATA).delete(LEAF, &now).await?;
    }
    Ok(())
}

#[tokio::test]
async fn one_secret_has_one_owner() -> Result<()> {
    let world = World::any().await?;
    world.put_ca(&Ca::guide()).await?;
    for name in ["eu-1", "eu-2"] {
        let text = plane(
            PlaneType::Data.kind(),
            Some("default"),
            name,
            Some(name),
            &ClientCa::Nothing,
        );
        apply_yaml(&world.admin, &text).await?;
    }
    let values = ["eu-1", "eu-2"].map(|id| format!("agent-{id}"));
    let _operator = world.operator(None).await?;
    world.issue().await?;
    let status = world
        .condition("CertificatesReady", "False", "Conflict")
        .await;
    let text = message(&status, "CertificatesReady");
    assert!(
        text.contains("\"eu-1\"") && text.contains("\"eu-2\"") && text.contains("spec.agents"),
        "{text}"
    );
    assert!(world.secrets(DATA).get_opt(LEAF).await?.is_none());

    // A Secret for each; the Role must know their names.
    let mut leaves = vec!["cluster-gateway-tls".to_owned(), LEAF.to_owned()];
    leaves.extend(values.clone());
    external_ca_tests::chart::install_operator_rbac(
        &world.admin,
        &json!({"secrets": {"leaves": leaves}}),
    )
    .await?;
    let agents = json!({"agents": [{"namespace": DATA, "secretName": "agent-{planeID}"}]});
    world.issue_with(agents.clone()).await?;
    world.ready().await;

    // A younger issuance wants all the same.
    let mut younger = issuance("younger");
    younger["spec"]
        .as_object_mut()
        .unwrap()
        .extend(agents.as_object().unwrap().clone());
    let before = world.snapshot().await?;
    apply_yaml(&world.admin, &younger.to_string()).await?;
    let status = world
        .condition_of("younger", "CertificatesReady", "False", "Conflict")
        .await;
    let text = message(&status, "CertificatesReady");
    assert!(
        text.contains("openchoreo-control-plane/cluster-gateway"),
        "{text}"
    );
    assert!(message(&status, "TrustDistributed").contains("older issuance"));
    assert_eq!(world.snapshot().await?, before);
    world.ready().await;

    // With the older one gone its material is there to be taken over.
    world
        .issuances()
        .delete(ISSUANCE, &DeleteParams::default())
        .await?;
    world
        .condition_of("younger", "Ready", "True", "Ready")
        .await;
    let keys = |snapshot: &std::collections::BTreeMap<String, String>| {
        snapshot.keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(keys(&world.snapshot().await?), keys(&before));
    Ok(())
}

#[tokio::test]
async fn nothing_is_written_where_the_operator_is_not_told_to_serve() -> Result<()> {
    const ELSEWHERE: &str = "elsewhere";
    let world = World::any().await?;
    create_namespace(&world.admin, ELSEWHERE).await?;
    world.put_ca(&Ca::guide()).await?;
    world.put_planes().await?;
    let _operator = world.operator(None).await?;
    let certificate = json!({
        "name": "more", "usages": ["ServerAuth"], "dnsNames": ["more.example"],
        "target": {"namespace": ELSEWHERE, "secretName": "more-tls"},
    });
    world
        .issue_with(json!({"certificates": [certificate]}))
        .await?;
    let status = world
        .condition("CertificatesReady", "False", "NamespaceNotServed")
        .await;
    let text = message(&status, "CertificatesReady");
    assert!(
        text.contains("elsewhere/more-tls") && text.contains("namespaces.serve"),
        "{text}"
    );

    let mut stray = issuance("stray");
    stray["metadata"]["namespace"] = json!(ELSEWHERE);
    apply_yaml(&world.admin, &stray.to_string()).await?;
    // Strangers' issuances are not kept: nothing is told of them there.
    let api: kube::Api<external_ca_api::ExternalCAIssuance> =
        kube::Api::namespaced(world.admin.clone(), ELSEWHERE);
    let second = Duration::from_secs(1);
    wait::holds_for("the stray one to be left alone", second, async || {
        let stray = api.get("stray").await.map_err(|error| error.to_string())?;
        match stray.status {
            None => Ok(()),
            Some(status) => Err(format!("{status:?}")),
        }
    })
    .await;
    assert_eq!(
        world
            .secrets(ELSEWHERE)
            .list(&Default::default())
            .await?
            .items,
        Vec::<Secret>::new()
    );
    let maps = world
        .config_maps(ELSEWHERE)
        .list(&Default::default())
        .await?
        .items;
    let ours = |map: &&ConfigMap| map.metadata.name.as_deref() != Some("kube-root-ca.crt");
    assert_eq!(maps.iter().filter(ours).count(), 0);
    assert!(!NAMESPACES.contains(&ELSEWHERE));
    Ok(())
}

#[tokio::test]
async fn a_ca_in_the_trust_secret_keeps_its_key_and_a_warning_says_so() -> Result<()> {
    let values = json!({"secrets": {"ca": ["cluster-gateway-ca"]}});
    let world = World::start_with(
        external_ca_tests::crds::CrdSource::available(external_ca_tests::crds::Release::V0_17)[0],
        external_ca_tests::crds::Release::V0_17,
        values,
    )
    .await?;
    let ca = Ca::guide();
    let secret = openchoreo::ca_secret(CONTROL_PLANE, "cluster-gateway-ca", &ca);
    apply_yaml(&world.admin, &secret).await?;
    world.put_planes().await?;
    let _operator = world.operator(None).await?;
    world
        .issue_with(json!({"issuer": {"caSecret": {"name": "cluster-gateway-ca"}}}))
        .await?;
    let status = world.ready().await;
    let text = message(&status, "TrustDistributed");
    assert!(
        text.contains("openchoreo-control-plane/cluster-gateway-ca")
            && text.contains("private key"),
        "{text}"
    );
    let home = |key: &'static str| world.secret_text(CONTROL_PLANE, "cluster-gateway-ca", key);
    assert_eq!(home("tls.key").await, ca.key);
    assert_eq!(home("tls.crt").await, ca.certificate);
    assert_eq!(home("ca.crt").await.trim(), ca.certificate.trim());
    assert_eq!(
        world
            .secret_text(DATA, "cluster-gateway-ca", "tls.key")
            .await,
        ""
    );

    // Another CA: its Secret holds the old one in ca.crt, and still is a good CA.
    let next = Ca::replacement(1);
    let patch = json!({"stringData": {"tls.crt": next.certificate, "tls.key": next.key}});
    world
        .secrets(CONTROL_PLANE)
        .patch(
            "cluster-gateway-ca",
            &PatchParams::default(),
            &Patch::Merge(patch),
        )
        .await?;
    wait::wait_for("the new CA", wait::PATIENCE, async || {
        let status = world
            .issuances()
            .get(ISSUANCE)
            .await
            .map_err(|error| error.to_string())?
            .status
            .unwrap_or_default();
        let bundle = home("ca.crt").await;
        if bundle.trim() == next.certificate.trim() {
            Ok(())
        } else {
            Err(external_ca_tests::world::describe(&status))
        }
    })
    .await;
    Ok(())
}
