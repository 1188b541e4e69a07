//! `kubectl externalca` with the rights of who uses it.

use external_ca_tests::apply::apply_yaml;
use external_ca_tests::openchoreo::CONTROL_PLANE;
use external_ca_tests::openssl::Ca;
use external_ca_tests::world::{CA_SECRET, ISSUANCE, World, issuance};
use external_ca_tests::{Plugin, Result};
use k8s_openapi::api::rbac::v1::Role;
use kube::{Api, ResourceExt};
use serde_json::json;

/// A ServiceAccount that may do this in the control plane's namespace.
pub async fn person(world: &World, name: &str, rules: serde_json::Value) -> Result<Plugin> {
    let metadata = json!({"name": name, "namespace": CONTROL_PLANE});
    let subject = json!({"kind": "ServiceAccount", "name": name, "namespace": CONTROL_PLANE});
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name});
    for object in [
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": rules}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
            "subjects": [subject], "roleRef": role}),
    ] {
        apply_yaml(&world.admin, &object.to_string()).await?;
    }
    let kubeconfig = world.cluster.kubeconfig_for(CONTROL_PLANE, name, None);
    Ok(Plugin::new(kubeconfig.await?))
}

/// The same in every namespace.
pub async fn everywhere(world: &World, name: &str) -> Result<()> {
    let role = Api::<Role>::namespaced(world.admin.clone(), CONTROL_PLANE);
    let rules = role.get(name).await?.rules;
    let metadata = json!({"name": name});
    let subject = json!({"kind": "ServiceAccount", "name": name, "namespace": CONTROL_PLANE});
    let role =
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name});
    for object in [
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": metadata, "rules": rules}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": metadata,
            "subjects": [subject], "roleRef": role}),
    ] {
        apply_yaml(&world.admin, &object.to_string()).await?;
    }
    Ok(())
}

pub fn rule(group: &str, resource: &str, verbs: &[&str]) -> serde_json::Value {
    json!({"apiGroups": [group], "resources": [resource], "verbs": verbs})
}

pub const ISSUANCES: (&str, &str) = ("pki.openchoreo.dev", "externalcaissuances");

#[tokio::test]
async fn each_verb_needs_what_it_says_and_no_more() -> Result<()> {
    let world = World::any().await?;
    world.put_planes().await?;
    world.put_ca(&Ca::guide()).await?;
    let _operator = world.operator(None).await?;
    world.issue().await?;
    world.ready().await;
    let (group, resource) = ISSUANCES;
    let here = ["-n", CONTROL_PLANE];
    let run = async |who: &Plugin, arguments: &[&str]| {
        let all: Vec<&str> = arguments.iter().chain(&here).copied().collect();
        who.run(&all).await
    };

    // Who may get the issuance alone sees its status.
    let reader = person(&world, "reader", json!([rule(group, resource, &["get"])])).await?;
    let status = run(&reader, &["status", ISSUANCE]).await?;
    assert_eq!(status.code, 0, "{status:?}");
    for part in [
        "Ready",
        "CN=openchoreo-cluster-gateway-ca",
        "cluster-agent-tls",
        "DataPlane default/",
    ] {
        assert!(status.text.contains(part), "{part}: {}", status.text);
    }
    assert!(
        !status.text.contains('\u{1b}'),
        "no colour but on a terminal"
    );
    let all = reader.run(&["status", "-A"]).await?;
    assert_eq!(all.code, 1, "{all:?}");
    assert!(all.error.contains("forbidden"), "{all:?}");

    // Who may not read the CA's key plans without it, and is told.
    let mut rules = vec![
        rule(group, resource, &["get", "list"]),
        rule("", "configmaps", &["get"]),
        rule("openchoreo.dev", "*", &["list"]),
        rule("", "pods", &["list"]),
    ];
    for kind in ["deployments", "statefulsets", "daemonsets"] {
        rules.push(rule("apps", kind, &["list"]));
    }
    let mut leaves = rule("", "secrets", &["get"]);
    leaves["resourceNames"] = json!([
        "cluster-gateway-tls",
        "cluster-agent-tls",
        "cluster-gateway-ca"
    ]);
    rules.push(leaves);
    let planner = person(&world, "planner", json!(rules)).await?;
    everywhere(&world, "planner").await?;
    let plan = run(&planner, &["plan", "-o", "json"]).await?;
    assert_eq!(plan.code, 0, "{plan:?}");
    let planned = plan.json()?;
    let notes = planned["notes"].to_string();
    let unread = format!("Secret {CONTROL_PLANE}/{CA_SECRET} cannot be read");
    assert!(notes.contains(&unread), "{notes}");
    let taken = "the CA is taken to be O=OpenChoreo,CN=openchoreo-cluster-gateway-ca";
    assert!(notes.contains(taken), "{notes}");
    assert!(!plan.text.contains("PRIVATE"));

    // What counts and cannot be read makes no plan look complete.
    let plan = run(&reader, &["plan", ISSUANCE, "-o", "json"]).await?;
    assert_eq!(plan.code, 3, "{plan:?}");
    assert_eq!(plan.json()?["partial"], true, "{plan:?}");

    // Who may patch it renews, stops it, and lets it go on.
    let verbs = ["get", "list", "patch"];
    let admin = person(
        &world,
        "issuance-admin",
        json!([rule(group, resource, &verbs)]),
    )
    .await?;
    let before = world
        .secret_text(CONTROL_PLANE, "cluster-gateway-tls", "tls.crt")
        .await;
    let renewed = run(&admin, &["renew", "cluster-gateway-tls", "--wait=2m"]).await?;
    assert_eq!(renewed.code, 0, "{renewed:?}");
    let issued = format!("Secret {CONTROL_PLANE}/cluster-gateway-tls is issued");
    assert!(renewed.text.contains(&issued), "{renewed:?}");
    assert!(!renewed.text.contains("cluster-agent-tls"), "{renewed:?}");
    let after = world
        .secret_text(CONTROL_PLANE, "cluster-gateway-tls", "tls.crt")
        .await;
    assert_ne!(before, after);
    let owner = world.issuances().get(ISSUANCE).await?;
    let fields = owner.managed_fields().iter();
    let managers: Vec<_> = fields.filter_map(|entry| entry.manager.clone()).collect();
    assert!(!managers.contains(&"unknown".to_owned()), "{managers:?}");

    let unknown = run(&admin, &["renew", "nobody"]).await?;
    assert_eq!(unknown.code, 1, "{unknown:?}");
    assert!(unknown.error.contains("cluster-gateway-tls"), "{unknown:?}");
    let rotate = run(&admin, &["rotate"]).await?;
    assert_eq!(rotate.code, 1, "{rotate:?}");
    assert!(rotate.error.contains(CA_SECRET), "{rotate:?}");

    let paused = run(&admin, &["pause", "--wait=1m"]).await?;
    assert_eq!(paused.code, 0, "{paused:?}");
    assert_eq!(run(&reader, &["status", ISSUANCE]).await?.code, 3);
    let stopped = run(&admin, &["renew", "--wait=3s"]).await?;
    assert_eq!(stopped.code, 3, "{stopped:?}");
    assert!(stopped.text.contains("Paused"), "{stopped:?}");
    let resumed = run(&admin, &["resume", "--wait=2m"]).await?;
    assert_eq!(resumed.code, 0, "{resumed:?}");
    assert_eq!(run(&admin, &["nonsense"]).await?.code, 2);
    Ok(())
}

#[tokio::test]
async fn a_generated_ca_is_replaced_on_request_and_waited_for() -> Result<()> {
    let release = external_ca_tests::crds::Release::V0_17;
    let values = json!({"secrets": {"generateCA": true}});
    let world = World::without_planes(release, values).await?;
    let _operator = world.operator(None).await?;
    let mut object = issuance(ISSUANCE);
    object["spec"]["issuer"]["caSecret"]["generate"] = json!(true);
    apply_yaml(&world.admin, &object.to_string()).await?;
    world.ready().await;
    let fingerprint = async || {
        let status = world.issuances().get(ISSUANCE).await.unwrap().status;
        status.unwrap().issuer.unwrap().fingerprint
    };
    let first = fingerprint().await;
    let plugin = Plugin::new(world.cluster.admin_kubeconfig());
    let rotated = plugin.run(&["rotate", "--wait", "-A"]).await?;
    assert_eq!(rotated.code, 0, "{rotated:?}");
    assert!(rotated.text.contains("is no longer trusted"), "{rotated:?}");
    assert_ne!(fingerprint().await, first);
    Ok(())
}
