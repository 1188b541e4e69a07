//! What comes late undoes nothing.

use external_ca_api::PlaneKind;
use external_ca_core::model::facts;
use external_ca_core::model::{MaterialKind, MaterialRef, ObjectRef, Plane, Read, Workload};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

use super::Store;

fn deployment(resource_version: &str, generation: i64, observed: i64) -> Workload {
    let object: Deployment = serde_json::from_value(json!({
        "metadata": {
            "name": "cluster-agent",
            "namespace": "openchoreo-data-plane",
            "resourceVersion": resource_version,
            "generation": generation,
        },
        "spec": {"selector": {}, "template": {"spec": {"containers": [], "volumes": [
            {"name": "tls", "secret": {"secretName": "cluster-agent-tls"}},
        ]}}},
        "status": {"observedGeneration": observed},
    }))
    .unwrap();
    facts::deployment(&object).unwrap()
}

fn plane(resource_version: &str, spec: Value) -> Plane {
    let metadata = serde_json::from_value(json!({
        "name": "dataplane", "namespace": "default", "resourceVersion": resource_version,
    }))
    .unwrap();
    facts::plane(
        PlaneKind::DataPlane,
        &metadata,
        &json!({"spec": spec}),
        None,
    )
    .unwrap()
}

#[test]
fn an_answer_does_not_undo_what_the_watch_has_told_since() {
    let (store, _changes) = Store::new();
    let reference = deployment("1", 1, 1).workload;
    let version = |store: &Store| {
        let facts = store.facts();
        facts
            .seen
            .workloads
            .get(&reference)
            .map(|workload| workload.resource_version.clone())
    };
    store.update(|facts| facts.workload_seen(deployment("9", 1, 1)));
    store.update(|facts| facts.workload_seen(deployment("12", 2, 2)));
    store.update(|facts| facts.workload_answered(deployment("10", 2, 1)));
    assert_eq!(version(&store).as_deref(), Some("12"));
    store.update(|facts| facts.workload_gone(&reference, Some("13")));
    store.update(|facts| facts.workload_answered(deployment("12", 2, 1)));
    assert_eq!(version(&store), None);
}

/// What a store is told of a ConfigMap: a version that exists (of a watch, a read, or an answer), or that it is gone.
#[derive(Clone, Copy, Debug)]
enum Told {
    Found(&'static str),
    Deleted(&'static str),
    NotFound,
    Unknown,
}

#[test]
fn what_is_told_late_changes_nothing() {
    use Told::{Deleted, Found, NotFound, Unknown};
    let cases: [(&[Told], Option<&str>); 10] = [
        (&[Found("9"), Deleted("10")], None),
        // An answer does not bring back what was deleted since.
        (&[Found("9"), Deleted("10"), Found("9")], None),
        (&[Found("9"), Deleted("10"), Found("12")], Some("12")),
        // Deleted and made anew by ourselves: the watch tells of the deletion after our answer.
        (&[Found("9"), Found("12"), Deleted("10")], Some("12")),
        (
            &[Found("9"), Found("12"), Deleted("10"), Found("12")],
            Some("12"),
        ),
        (&[Found("9"), Found("12"), Deleted("13"), Found("12")], None),
        // A read that found nothing was answered before the object was made.
        (&[Found("12"), NotFound, Found("12")], Some("12")),
        (&[NotFound, Found("12"), Deleted("11")], Some("12")),
        (&[Found("12"), Unknown, Found("12")], Some("12")),
        (&[Found("12"), Unknown, Deleted("11"), Found("11")], None),
    ];
    for (told, expected) in cases {
        let (store, _changes) = Store::new();
        let key = MaterialRef {
            kind: MaterialKind::ConfigMap,
            object: ObjectRef::new("openchoreo-data-plane", "cluster-gateway-ca"),
        };
        for one in told {
            match one {
                Found(version) => {
                    let object = json!({"metadata": {"resourceVersion": version}});
                    let object: ConfigMap = serde_json::from_value(object).unwrap();
                    store.config_map(&key.object, Read::Found(&object));
                }
                Deleted(version) => {
                    store.update(|facts| facts.material_deleted(&key, Some(version)))
                }
                NotFound => {
                    let before = store.known_version(&key);
                    store.update(|facts| facts.material_absent(&key, before.as_deref()));
                }
                Unknown => store.config_map(&key.object, Read::Unknown("timed out".into())),
            }
        }
        assert_eq!(store.known_version(&key).as_deref(), expected, "{told:?}");
    }
}

#[test]
fn a_late_deletion_takes_no_plane_and_no_workload_away() {
    let (store, _changes) = Store::new();
    store.update(|facts| facts.plane_seen(plane("12", json!({}))));
    let reference = plane("1", json!({})).plane;
    store.update(|facts| facts.plane_gone(&reference, Some("10")));
    assert!(store.facts().seen.planes.contains_key(&reference));
    store.update(|facts| facts.plane_gone(&reference, Some("13")));
    assert!(!store.facts().seen.planes.contains_key(&reference));

    store.update(|facts| facts.workload_seen(deployment("12", 1, 1)));
    let reference = deployment("1", 1, 1).workload;
    store.update(|facts| facts.workload_gone(&reference, Some("10")));
    assert!(store.facts().seen.workloads.contains_key(&reference));
    store.update(|facts| facts.workload_gone(&reference, Some("13")));
    assert!(!store.facts().seen.workloads.contains_key(&reference));
}

#[test]
fn nor_does_the_watch_undo_what_an_answer_has_told() {
    let (store, _changes) = Store::new();
    store.update(|facts| facts.plane_seen(plane("9", json!({"planeID": "a"}))));
    store.update(|facts| facts.plane_answered(plane("11", json!({"planeID": "b"}))));
    store.update(|facts| facts.plane_seen(plane("10", json!({"planeID": "a"}))));
    let reference = plane("1", json!({})).plane;
    assert_eq!(store.facts().seen.planes[&reference].resource_version, "11");
}
