//! Users with one small right each, by the API server's own RBAC: what they write changes nothing for the platform.

use std::collections::BTreeMap;

use external_ca_tests::apply::{apply_yaml, create_namespace};
use external_ca_tests::openchoreo::{self, CONTROL_PLANE, ClientCa, plane};
use external_ca_tests::openssl::{Ca, KeyKind, Purpose, verify};
use external_ca_tests::wait::{PATIENCE, wait_for};
use external_ca_tests::world::{CA_SECRET, World, describe, issuance, message};
use external_ca_tests::{Proxy, Result};
use kube::{Api, Client};
use serde_json::{Value, json};

const TENANT: &str = "tenant";
const DATA: &str = "openchoreo-data-plane";
const PLANES: (&str, &str) = ("openchoreo.dev", "dataplanes");
const ISSUANCES: (&str, &str) = ("pki.openchoreo.dev", "externalcaissuances");

/// A user who may make and change objects of one kind in one namespace, and nothing else.
async fn user(world: &World, namespace: &str, (group, resource): (&str, &str)) -> Result<Client> {
    let name = format!("writes-{resource}");
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": name, "namespace": namespace},
        "rules": [{"apiGroups": [group], "resources": [resource], "verbs": ["get", "create", "patch"]}],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": namespace},
        "subjects": [{"kind": "User", "name": format!("{name}-in-{namespace}"), "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"kind": "Role", "name": name, "apiGroup": "rbac.authorization.k8s.io"},
    });
    for object in [role, binding] {
        apply_yaml(&world.admin, &object.to_string()).await?;
    }
    let user = format!("{name}-in-{namespace}");
    Ok(world
        .cluster
        .impersonated(&user, &["system:authenticated"])
        .await)
}

/// Planes of a planeID that exists, of another, with a CA of one's own, and with references to what is the platform's.
async fn planes_of_a_tenant(world: &World, own: &Ca) -> Result<()> {
    let tenant = user(world, TENANT, PLANES).await?;
    let refers = |name| ClientCa::Secret {
        release: world.release,
        name,
        key: "ca.crt",
        namespace: Some(CONTROL_PLANE),
    };
    let planes = [
        ("same", "default", ClientCa::Nothing),
        ("another", "eu-1", ClientCa::Nothing),
        ("own-ca", "default", ClientCa::Value(&own.certificate)),
        ("refers", "default", refers("cluster-gateway-ca")),
        ("refers-to-the-ca", "default", refers(CA_SECRET)),
    ];
    for (name, id, ca) in planes {
        let text = plane("DataPlane", Some(TENANT), name, Some(id), &ca);
        apply_yaml(&tenant, &text).await?;
    }
    Ok(())
}

/// 1,024 certificates, for Secrets of every served namespace, of an issuance in a namespace that is not served.
async fn issuance_of_a_tenant(world: &World) -> Result<()> {
    let tenant = user(world, TENANT, ISSUANCES).await?;
    let certificates: Vec<Value> = (0..1_024)
        .map(|index| {
            let name = format!("attack-{index}");
            let target = json!({"namespace": DATA, "secretName": name});
            json!({"name": name, "usages": ["ClientAuth"], "target": target})
        })
        .collect();
    let mut wants_much = issuance("wants-much");
    wants_much["metadata"]["namespace"] = json!(TENANT);
    wants_much["spec"]["certificates"] = json!(certificates);
    apply_yaml(&tenant, &wants_much.to_string()).await?;
    Ok(())
}

/// In a namespace that is served, with a CA of its own: a certificate that is to stand in the platform's CA Secret, under the
/// CA's own name.
async fn issuance_of_a_team(
    world: &World,
    own: &Ca,
) -> Result<Api<external_ca_api::ExternalCAIssuance>> {
    let team = user(world, DATA, ISSUANCES).await?;
    let ca = openchoreo::ca_secret(DATA, CA_SECRET, own);
    apply_yaml(&world.admin, &ca).await?;
    let target = json!({"namespace": CONTROL_PLANE, "secretName": CA_SECRET});
    let mut takes_the_ca = issuance("takes-the-ca");
    takes_the_ca["metadata"]["namespace"] = json!(DATA);
    takes_the_ca["metadata"]["annotations"] =
        json!({"pki.openchoreo.dev/adopt": format!("{CONTROL_PLANE}/{CA_SECRET}")});
    takes_the_ca["spec"]["certificates"] = json!([{
        "name": "ca", "commonName": "openchoreo-cluster-gateway-ca", "usages": ["ClientAuth"], "target": target,
    }]);
    apply_yaml(&team, &takes_the_ca.to_string()).await?;
    Ok(Api::namespaced(team, DATA))
}

/// What stood there before is as it was.
async fn is_untouched(world: &World, before: &BTreeMap<String, String>) -> Result<()> {
    let now = world.snapshot().await?;
    for (name, what) in before {
        assert_eq!(now.get(name), Some(what), "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn whoever_has_one_small_right_changes_nothing_for_the_platform() -> Result<()> {
    // The widest rights: then the operator may write its CA Secrets, too.
    let source =
        external_ca_tests::crds::CrdSource::available(external_ca_tests::crds::Release::V0_17)[0];
    let values = json!({"secrets": {"generateCA": true}});
    let world = World::start_with(source, external_ca_tests::crds::Release::V0_17, values).await?;
    create_namespace(&world.admin, TENANT).await?;
    let ca = Ca::guide();
    world.put_ca(&ca).await?;
    world.put_planes().await?;
    let proxy = Proxy::start(&world.cluster).await?;
    let operator = world.operator(Some(&proxy)).await?;
    let by_reference = json!({"planes": {"clientCA": "SecretRef"}});
    world.issue_with(by_reference).await?;
    world.ready().await;
    let before = world.snapshot().await?;
    proxy.reset();

    let own = Ca::new("/CN=somebody", KeyKind::P256);
    planes_of_a_tenant(&world, &own).await?;
    issuance_of_a_tenant(&world).await?;
    let team = issuance_of_a_team(&world, &own).await?;
    let status = world
        .condition("PlanesWired", "True", "NamespaceNotServed")
        .await;
    let told = message(&status, "PlanesWired");
    assert!(
        told.contains("DataPlane tenant/") && told.contains("4 more"),
        "{told}"
    );
    let told = wait_for("the team to be told", PATIENCE, async || {
        let found = team
            .get("takes-the-ca")
            .await
            .map_err(|error| error.to_string())?;
        let status = found.status.unwrap_or_default();
        let told = message(&status, "CertificatesReady");
        let is_told =
            told.contains(CA_SECRET) && told.contains("openchoreo-control-plane/cluster-gateway");
        is_told.then_some(()).ok_or_else(|| describe(&status))
    });
    told.await;
    is_untouched(&world, &before).await?;
    assert_eq!(
        world.secret_text(CONTROL_PLANE, CA_SECRET, "tls.key").await,
        ca.key
    );
    let strange = |name: &str| name.starts_with("attack-") || name.contains("eu-1");
    let read = proxy.requests(|one| one.namespace == TENANT || strange(&one.name));
    let read: Vec<String> = read.iter().map(ToString::to_string).collect();
    assert!(read.is_empty(), "{}\n{}", read.join("\n"), operator.log());

    // A move to another CA is not held up, and carries no stranger's CA along.
    let next = Ca::replacement(1);
    world.put_ca(&next).await?;
    wait_for(
        "the agent's certificate under the new CA",
        PATIENCE,
        async || {
            let leaf = world
                .secret_text(DATA, "cluster-agent-tls", "tls.crt")
                .await;
            verify(&next.certificate, &leaf, Purpose::Client)
        },
    )
    .await;
    let trusts = world
        .secret_text(CONTROL_PLANE, "cluster-gateway-ca", "ca.crt")
        .await;
    assert!(trusts.contains(next.certificate.trim()), "{trusts}");
    assert!(!trusts.contains(own.certificate.trim()), "a stranger's CA");
    Ok(())
}
