//! What does not parse, or is served otherwise than before, is named and hides nothing else.

use external_ca_tests::apply::{apply_yaml, dynamic_api};
use external_ca_tests::openchoreo::{CONTROL_PLANE, ClientCa, PlaneType, agent, plane};
use external_ca_tests::openssl::Ca;
use external_ca_tests::proxy::{Fault, Verb};
use external_ca_tests::wait::{PATIENCE, holds_for, wait_for};
use external_ca_tests::world::{CA_SECRET, ISSUANCE, World, describe, message};
use external_ca_tests::{Proxy, Result};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use std::time::Duration;

const DATA: &str = "openchoreo-data-plane";

const NEST: &str = "nest";

/// A time that Kubernetes keeps and jiff does not.
fn late(mut entry: Value) -> Value {
    entry["time"] = json!("9999-12-31T23:59:59Z");
    entry
}

/// Lets an object have been written at the end of all time; controllers may write it, too.
async fn at_the_end_of_time(world: &World, path: &str) {
    let stored = wait_for("the odd time to be stored", PATIENCE, async || {
        let stored = try_at_the_end_of_time(world, path).await;
        stored.map_err(|error| error.to_string())
    })
    .await;
    assert!(stored.contains("9999-12-31"), "{stored}");
}

async fn try_at_the_end_of_time(world: &World, path: &str) -> Result<String> {
    change_managed_fields(world, path, late).await
}

/// Field names that are nested deeper than any field.
fn deep(mut entry: Value) -> Value {
    let name = format!("f:{NEST}");
    let nested = (0..200).fold(json!({}), |inner, _| json!({name.clone(): inner}));
    entry["fieldsV1"][name] = nested;
    entry
}

async fn change_managed_fields(
    world: &World,
    path: &str,
    change: fn(Value) -> Value,
) -> Result<String> {
    let get = http::Request::get(path).body(Vec::new())?;
    let mut found: Value = world.admin.request(get).await?;
    let entries = found["metadata"]["managedFields"].as_array_mut().unwrap();
    entries
        .iter_mut()
        .for_each(|entry| *entry = change(entry.take()));
    // A write that changes times alone is none.
    found["metadata"]["labels"] = json!({"changed": "too"});
    let put = http::Request::put(path)
        .header("content-type", "application/json")
        .body(serde_json::to_vec(&found)?)?;
    Ok(world.admin.request_text(put).await?)
}

#[tokio::test]
async fn one_broken_object_hides_no_other() -> Result<()> {
    let world = World::any().await?;
    world.put_ca(&Ca::guide()).await?;
    world.put_planes().await?;
    apply_yaml(&world.admin, &agent(PlaneType::Data, DATA, "default", 1)).await?;
    // In a namespace that is not served, by somebody with one small right.
    apply_yaml(
        &world.admin,
        r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tenant"}}"#,
    )
    .await?;
    let stranger = plane(
        "DataPlane",
        Some("tenant"),
        "odd",
        Some("odd-1"),
        &ClientCa::Nothing,
    );
    apply_yaml(&world.admin, &stranger).await?;
    apply_yaml(&world.admin, &stranger.replace("odd", "deep")).await?;
    let mut other = external_ca_tests::world::issuance("odd");
    other["metadata"]["namespace"] = json!("tenant");
    apply_yaml(&world.admin, &other.to_string()).await?;

    for path in [
        "/apis/openchoreo.dev/v1alpha1/namespaces/tenant/dataplanes/odd",
        "/apis/pki.openchoreo.dev/v1alpha1/namespaces/tenant/externalcaissuances/odd",
        &format!("/apis/apps/v1/namespaces/{DATA}/deployments/cluster-agent-dataplane"),
        &format!("/api/v1/namespaces/{CONTROL_PLANE}/secrets/{CA_SECRET}"),
    ] {
        at_the_end_of_time(&world, path).await;
    }
    let path = "/apis/openchoreo.dev/v1alpha1/namespaces/tenant/dataplanes/deep";
    let stored = change_managed_fields(&world, path, deep).await?;
    assert!(stored.matches(NEST).count() > 150, "{stored}");

    let _operator = world.operator(None).await?;
    world
        .issue_with(json!({"planes": {"selector": {"matchLabels": {"here": "yes"}}}}))
        .await?;
    for kind in world.plane_types() {
        let patch = json!({"metadata": {"labels": {"here": "yes"}}});
        world
            .planes(kind.kind())
            .await?
            .patch(
                kind.argument(),
                &PatchParams::default(),
                &Patch::Merge(patch),
            )
            .await?;
    }
    wait_for("four certificates", PATIENCE, async || {
        let found = world
            .issuances()
            .get(ISSUANCE)
            .await
            .map_err(|error| error.to_string())?;
        let status = found.status.unwrap_or_default();
        match status.certificates_ready.as_deref() {
            Some("4/4") => Ok(()),
            _ => Err(describe(&status)),
        }
    })
    .await;
    Ok(())
}

/// A Deployment with more replicas than there are numbers.
fn too_many(body: String) -> String {
    let mut list: Value = serde_json::from_str(&body).unwrap();
    for item in list["items"].as_array_mut().into_iter().flatten() {
        if item["metadata"]["name"] == "odd" {
            item["spec"]["replicas"] = json!(99_999_999_999_u64);
        }
    }
    list.to_string()
}

#[tokio::test]
async fn a_workload_that_does_not_parse_is_named_and_the_others_are_served() -> Result<()> {
    let world = World::any().await?;
    world.put_ca(&Ca::guide()).await?;
    world.put_planes().await?;
    let text = agent(PlaneType::Data, DATA, "default", 1);
    apply_yaml(&world.admin, &text).await?;
    let odd = text.replace("cluster-agent-dataplane", "odd");
    apply_yaml(&world.admin, &odd).await?;
    let proxy = Proxy::start(&world.cluster).await?;
    proxy.set_fault(
        |one, _| match one.resource == "deployments" && one.verb == Verb::List {
            true => Fault::Tamper(too_many),
            false => Fault::Pass,
        },
    );
    let _operator = world.operator(Some(&proxy)).await?;
    world.issue().await?;
    let object = format!("Deployment {DATA}/odd: its field spec.replicas");
    wait_for("the others to be served", PATIENCE, async || {
        let found = world.issuances().get(ISSUANCE).await;
        let status = found
            .map_err(|error| error.to_string())?
            .status
            .unwrap_or_default();
        let told = ["RolloutsComplete", "Ready"].map(|kind| message(&status, kind));
        let named = told.iter().all(|told| told.contains(&object));
        match named && status.certificates_ready.as_deref() == Some("4/4") {
            true => Ok(()),
            false => Err(describe(&status)),
        }
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn a_list_that_is_not_answered_holds_back_only_the_issuances_that_need_it() -> Result<()> {
    let world = World::any().await?;
    world.put_ca(&Ca::guide()).await?;
    let here = plane(
        "DataPlane",
        Some("default"),
        "eu-1",
        Some("eu-1"),
        &ClientCa::Nothing,
    );
    apply_yaml(&world.admin, &here).await?;
    let proxy = Proxy::start(&world.cluster).await?;
    let far = "openchoreo-observability-plane";
    proxy.set_fault(move |one, _| {
        if one.namespace == far && one.group == "apps" && one.verb == Verb::List {
            Fault::Delay(Duration::from_secs(3600))
        } else {
            Fault::Pass
        }
    });
    let _operator = world.operator(Some(&proxy)).await?;
    world.issue().await?;
    // All is done that can be; whether an agent without a plane runs there is not known yet.
    wait_for("all that can be done", PATIENCE, async || {
        let found = world.issuances().get(ISSUANCE).await;
        let status = found
            .map_err(|error| error.to_string())?
            .status
            .unwrap_or_default();
        match status.certificates_ready.as_deref() {
            Some("2/2") if message(&status, "PlanesWired").contains(far) => Ok(()),
            _ => Err(describe(&status)),
        }
    })
    .await;

    // With a plane there it needs those lists: nothing is written until they are answered.
    let there = plane(
        "ObservabilityPlane",
        Some("default"),
        "far",
        Some("far"),
        &ClientCa::Nothing,
    );
    apply_yaml(&world.admin, &there).await?;
    wait_for("the plane to be seen", PATIENCE, async || {
        match proxy.count(|one| one.namespace == far && one.resource == "secrets") {
            0 => Err("its namespace is not looked at"),
            _ => Ok(()),
        }
    })
    .await;
    let written = || proxy.count(|one| one.resource == "secrets" && one.verb == Verb::Apply);
    let before = written();
    holds_for(
        "nothing to be written",
        Duration::from_secs(3),
        async || match written() == before {
            true => Ok(()),
            false => Err("a Secret is written"),
        },
    )
    .await;
    proxy.clear_fault();
    proxy.cut();
    wait_for("the plane there to be served", PATIENCE, async || {
        let found = world.issuances().get(ISSUANCE).await;
        let status = found
            .map_err(|error| error.to_string())?
            .status
            .unwrap_or_default();
        match status.certificates_ready.as_deref() {
            Some("3/3") => Ok(()),
            _ => Err(describe(&status)),
        }
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn an_issuance_that_does_not_parse_says_so_and_the_others_are_served() -> Result<()> {
    let world = World::any().await?;
    world.put_ca(&Ca::guide()).await?;
    world.put_planes().await?;
    let odd = external_ca_tests::world::issuance("odd");
    apply_yaml(&world.admin, &odd.to_string()).await?;
    let contested = json!({"object": "x", "manager": "y", "count": 99_999_999_999_u64, "lastTime": "2030-01-01T00:00:00Z"});
    let patch = Patch::Merge(json!({"status": {"contested": [contested]}}));
    let params = PatchParams::default();
    let api = dynamic_api(
        &world.admin,
        "pki.openchoreo.dev/v1alpha1",
        "ExternalCAIssuance",
        Some(CONTROL_PLANE),
    )
    .await?;
    let refused = api.patch_status("odd", &params, &patch).await;
    assert!(refused.is_err(), "the schema has a maximum: {refused:?}");
    // The schema of an older release has none.
    let name = "externalcaissuances.pki.openchoreo.dev";
    let definitions = dynamic_api(
        &world.admin,
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        None,
    )
    .await?;
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/contested/items/properties/count/maximum";
    let older = serde_json::from_value(json!([{"op": "remove", "path": path}]))?;
    definitions
        .patch(name, &params, &Patch::<()>::Json(older))
        .await?;
    wait_for("the older schema", PATIENCE, async || {
        let stored = api.patch_status("odd", &params, &patch).await;
        stored.map(drop).map_err(|error| error.to_string())
    })
    .await;

    let _operator = world.operator(None).await?;
    world.issue().await?;
    world.ready().await;
    wait_for("the broken one to say so", PATIENCE, async || {
        let found = api.get("odd").await.map_err(|error| error.to_string())?;
        let text = found.data["status"]["conditions"].to_string();
        match text.contains("status.contested[0].count") && text.contains("Unreadable") {
            true => Ok(()),
            false => Err(text),
        }
    })
    .await;
    Ok(())
}

/// The definition of DataPlanes, with this done to its versions.
async fn change_versions(world: &World, change: impl Fn(&mut Vec<Value>)) -> Result<()> {
    let api = dynamic_api(
        &world.admin,
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        None,
    )
    .await?;
    let mut found = api.get("dataplanes.openchoreo.dev").await?;
    change(found.data["spec"]["versions"].as_array_mut().unwrap());
    let patch = json!({"spec": {"versions": found.data["spec"]["versions"]}});
    api.patch(
        "dataplanes.openchoreo.dev",
        &PatchParams::default(),
        &Patch::Merge(patch),
    )
    .await?;
    Ok(())
}

fn certificates(status: &external_ca_api::ExternalCAIssuanceStatus) -> Vec<&str> {
    let all = status.certificates.iter();
    all.map(|entry| entry.target.as_str()).collect()
}

#[tokio::test]
async fn a_kind_is_known_whichever_versions_serve_it_until_its_definition_is_gone() -> Result<()> {
    let world = World::any().await?;
    world.put_ca(&Ca::guide()).await?;
    world.put_planes().await?;
    let proxy = Proxy::start(&world.cluster).await?;
    let _operator = world.operator(Some(&proxy)).await?;
    world.issue().await?;
    let status = world.ready().await;
    let all = certificates(&status).len();
    assert_eq!(all, 4);

    // A second version, which the group prefers: the other kinds are served in the first only.
    change_versions(&world, |versions| {
        let mut second = versions[0].clone();
        second["name"] = json!("v1");
        second["storage"] = json!(false);
        versions.push(second);
    })
    .await?;
    wait_for("the second version", PATIENCE, async || {
        match proxy.count(|one| one.version == "v1" && one.resource == "dataplanes") {
            0 => Err("not watched yet"),
            _ => Ok(()),
        }
    })
    .await;
    holds_for(
        "every plane to be known",
        Duration::from_secs(3),
        async || {
            let found = world.issuances().get(ISSUANCE).await;
            let found = found.map_err(|error| error.to_string())?;
            let status = found.status.unwrap_or_default();
            match certificates(&status).len() == all {
                true => Ok(()),
                false => Err(describe(&status)),
            }
        },
    )
    .await;
    world.ready().await;

    // No version is served: what is known stays, and nothing rests on it.
    change_versions(&world, |versions| {
        for version in versions {
            version["served"] = json!(false);
        }
    })
    .await?;
    let status = world.condition("PlanesWired", "False", "Unreadable").await;
    let told = message(&status, "PlanesWired");
    assert!(told.contains("dataplanes.openchoreo.dev"), "{told}");
    assert_eq!(certificates(&status).len(), all);
    let new = Ca::replacement(1);
    world.put_ca(&new).await?;
    world
        .condition("CertificatesReady", "False", "WaitingForPeers")
        .await;
    holds_for("the gateway to wait", Duration::from_secs(2), async || {
        let chain = world
            .secret_text(CONTROL_PLANE, "cluster-gateway-tls", "tls.crt")
            .await;
        let by_new = external_ca_tests::openssl::verify(
            &new.certificate,
            &chain,
            external_ca_tests::openssl::Purpose::Server(
                "cluster-gateway.openchoreo-control-plane.svc",
            ),
        );
        match by_new {
            Ok(_) => Err("it has moved".to_owned()),
            Err(_) => Ok(()),
        }
    })
    .await;

    let api = dynamic_api(
        &world.admin,
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        None,
    )
    .await?;
    change_versions(&world, |versions| versions[0]["served"] = json!(true)).await?;
    api.delete("dataplanes.openchoreo.dev", &DeleteParams::default())
        .await?;
    wait_for("the kind to be gone", PATIENCE, async || {
        let found = world
            .issuances()
            .get(ISSUANCE)
            .await
            .map_err(|error| error.to_string())?;
        let status = found.status.unwrap_or_default();
        match certificates(&status).len() == all - 1 {
            true => Ok(()),
            false => Err(describe(&status)),
        }
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn a_passing_fault_of_discovery_passes() -> Result<()> {
    let world = World::any().await?;
    world.put_ca(&Ca::guide()).await?;
    world.put_planes().await?;
    let proxy = Proxy::start(&world.cluster).await?;
    let _operator = world.operator(Some(&proxy)).await?;
    world.issue().await?;
    world.ready().await;
    proxy.set_fault(|one, _| {
        match one.path.starts_with("/apis/openchoreo.dev") && one.verb == Verb::Other {
            true => Fault::UNAVAILABLE,
            false => Fault::Pass,
        }
    });
    world.condition("PlanesWired", "False", "Unreadable").await;
    proxy.clear_fault();
    world.ready().await;
    Ok(())
}
