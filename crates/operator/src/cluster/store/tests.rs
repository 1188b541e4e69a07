//! What comes late undoes nothing.

use std::sync::Arc;

use external_ca_api::PlaneKind;
use external_ca_core::model::facts;
use external_ca_core::model::{
    Cluster, MaterialKind, MaterialRef, ObjectRef, Plane, Pod, Read, Workload,
};
use external_ca_core::snapshot::ListedPods;
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
    plane_of(resource_version, json!({"spec": spec}))
}

fn plane_of(resource_version: &str, data: Value) -> Plane {
    let metadata = serde_json::from_value(json!({
        "name": "dataplane", "namespace": "default", "resourceVersion": resource_version,
    }))
    .unwrap();
    facts::plane(PlaneKind::DataPlane, &metadata, &data, None)
        .unwrap()
        .unwrap()
}

/// A pod of the agent's, as a version of it shows it.
fn pod(resource_version: &str, uid: &str, status: Value) -> Pod {
    let object = serde_json::from_value(json!({
        "metadata": {"name": "cluster-agent-0", "namespace": "openchoreo-data-plane", "uid": uid,
            "resourceVersion": resource_version},
        "spec": {"containers": [{"name": "agent"}], "volumes": [
            {"name": "tls", "secret": {"secretName": "cluster-agent-tls"}},
        ]},
        "status": status,
    }));
    facts::pod(&object.unwrap()).unwrap()
}

fn config_map(resource_version: &str) -> ConfigMap {
    let object = json!({
        "metadata": {"name": "bundle", "namespace": "ns", "resourceVersion": resource_version},
    });
    serde_json::from_value(object).unwrap()
}

fn running() -> Value {
    json!({"phase": "Running", "containerStatuses": [{"state": {"running": {}}}]})
}

/// What a list of the agent's namespace shows.
fn listed(version: &str, pods: &[Pod]) -> ListedPods {
    let mut listed = ListedPods {
        namespace: (Cluster::Local, "openchoreo-data-plane".into()),
        version: version.into(),
        ..ListedPods::default()
    };
    pods.iter().for_each(|pod| listed.add(pod.clone()));
    listed
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

/// A report counts that came after the last change: each minute another one comes of each plane.
#[test]
fn a_heartbeat_is_news_only_where_the_last_one_came_before_a_change() {
    let (store, _changes) = Store::new();
    let beat = |version: &str, time: &str| {
        let report = json!({"connected": true, "lastHeartbeatTime": time});
        let plane = plane_of(version, json!({"status": {"agentConnection": report}}));
        store.facts().plane_seen(plane)
    };
    let leaf = MaterialRef {
        kind: MaterialKind::ConfigMap,
        object: ObjectRef::new("ns", "bundle"),
    };
    let changed_at = |version: &str, time: &str| {
        let config_map: ConfigMap = serde_json::from_value(json!({
            "metadata": {"name": "bundle", "namespace": "ns", "resourceVersion": version,
                "managedFields": [{"manager": "m", "operation": "Apply", "time": time,
                    "fieldsV1": {"f:data": {"f:ca.crt": {}}}}]},
            "data": {"ca.crt": version},
        }))
        .unwrap();
        store.config_map(&leaf.object, Read::Found(&config_map));
    };
    assert!(beat("1", "2026-11-27T10:00:00Z"));
    changed_at("2", "2026-11-27T10:00:30Z");
    assert!(
        beat("3", "2026-11-27T10:01:00Z"),
        "the first after a change"
    );
    assert!(!beat("4", "2026-11-27T10:02:00Z"));
    let reference = plane("1", json!({})).plane;
    let known = || {
        store.facts().seen.planes[&reference]
            .resource_version
            .clone()
    };
    assert_eq!(known(), "4", "what is written next is written over it");
    let heartbeat = store.facts().seen.planes[&reference].agent_heartbeat;
    assert_eq!(
        heartbeat,
        Some("2026-11-27T10:02:00Z".parse().unwrap()),
        "a change of 10:01:30 may still be seen"
    );
    changed_at("5", "2026-11-27T10:02:30Z");
    assert!(beat("6", "2026-11-27T10:03:00Z"));
    assert!(!beat("7", "2026-11-27T10:04:00Z"));
    let gone = plane_of(
        "8",
        json!({"status": {"agentConnection": {"connected": false}}}),
    );
    assert!(store.facts().plane_seen(gone));
}

#[test]
fn a_plane_that_is_read_wins_over_a_newer_version_that_was_known_when_it_was_asked_for() {
    for (before, expected) in [(Some("10"), "7"), (Some("9"), "10"), (None, "10")] {
        let (store, _changes) = Store::new();
        store.update(|facts| facts.plane_seen(plane("10", json!({}))));
        store.update(|facts| facts.plane_read(plane("7", json!({})), before));
        let reference = plane("7", json!({})).plane;
        let facts = store.facts();
        assert_eq!(facts.seen.planes[&reference].resource_version, expected);
    }
}

/// The UID of the agent's pod, where it is known.
fn known_pod(store: &Store) -> Option<String> {
    let facts = store.facts();
    let mut pods = facts.seen.pods.values();
    pods.next().map(|pod| pod.uid.clone())
}

#[test]
fn a_late_deletion_takes_no_newer_pod_away() {
    let (store, _changes) = Store::new();
    let reference = pod("1", "a", running()).pod;
    let gone = |uid: &str, version: &str| {
        store.update(|facts| facts.pod_gone(&reference, Some(uid), Some(version)));
        known_pod(&store)
    };
    store.update(|facts| facts.pod_seen(pod("12", "b", running())));
    assert_eq!(gone("a", "10").as_deref(), Some("b"));
    // Without an order of versions the UID alone tells.
    assert_eq!(gone("a", "unordered").as_deref(), Some("b"));
    store.update(|facts| facts.pod_seen(pod("9", "a", running())));
    assert_eq!(known_pod(&store).as_deref(), Some("b"));
    assert_eq!(gone("b", "13"), None);
}

#[test]
fn what_alters_no_fact_of_a_pod_is_no_change() {
    let (store, _changes) = Store::new();
    let seen = |pod| store.facts().pod_seen(pod);
    assert!(seen(pod("1", "a", running())));
    let busy = json!({"phase": "Running", "podIP": "10.0.0.1", "containerStatuses":
        [{"state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}, "imageID": "x"}]});
    assert!(!seen(pod("2", "a", busy)));
    assert!(!seen(pod("1", "a", json!({"phase": "Failed"}))), "late");
    assert!(seen(pod("3", "a", json!({"phase": "Failed"}))), "ended");
    assert_eq!(known_pod(&store), None);
    assert!(!seen(pod("4", "a", json!({"phase": "Failed"}))));
}

#[test]
fn a_pod_that_does_not_parse_is_named_until_it_does() {
    let (store, _changes) = Store::new();
    let reference = pod("1", "a", running()).pod;
    let broken = |version| {
        let why = "status: wrong".to_owned();
        let mut facts = store.facts();
        facts.pod_broken(reference.clone(), Some(version), why)
    };
    store.update(|facts| facts.pod_seen(pod("5", "a", running())));
    assert!(!broken("4"), "late");
    assert!(broken("6"));
    assert_eq!(known_pod(&store), None);
    assert!(store.facts().seen.broken_pods.contains_key(&reference));
    assert!(store.facts().pod_seen(pod("7", "a", running())));
    assert!(store.facts().seen.broken_pods.is_empty());
}

#[test]
fn a_list_tells_what_the_watch_has_not_told_yet_and_nothing_else() {
    let (store, _changes) = Store::new();
    let list = |version: &str, pods: &[Pod]| store.facts().pods_listed(&listed(version, pods));
    // The watch is behind: the old pod is gone, a new one of the same name is there.
    store.update(|facts| facts.pod_seen(pod("5", "a", running())));
    assert!(list("9", &[pod("8", "b", running())]));
    assert_eq!(known_pod(&store).as_deref(), Some("b"));
    let reference = pod("1", "a", running()).pod;
    assert!(!store.facts().pod_gone(&reference, Some("a"), Some("7")));
    assert!(!store.facts().pod_seen(pod("8", "b", running())));
    // The watch is ahead: what was deleted since does not come back.
    assert!(store.facts().pod_gone(&reference, Some("b"), Some("11")));
    assert!(!list("10", &[pod("8", "b", running())]));
    assert_eq!(known_pod(&store), None);
    // One that a newer list shows stays, whatever an older one does not show.
    assert!(list("14", &[pod("13", "c", running())]));
    assert!(!list("12", &[]));
    assert_eq!(known_pod(&store).as_deref(), Some("c"));
}

#[test]
fn a_client_ca_that_is_too_large_is_no_plane_and_is_named() {
    let pem = "A".repeat(64 * 1024 + 1);
    let metadata = serde_json::from_value(json!({"name": "dataplane", "namespace": "default"}));
    let object = json!({"spec": {"clusterAgent": {"clientCA": {"value": pem}}}});
    let read = facts::plane(PlaneKind::DataPlane, &metadata.unwrap(), &object, None);
    let told = read.unwrap_err().to_string();
    assert!(
        told.contains("65537 bytes") && told.contains("clientCA"),
        "{told}"
    );
}

#[test]
fn it_is_told_what_has_changed_and_once() {
    let (store, _heard) = Store::new();
    let seen = |version, spec| {
        let plane = plane(version, spec);
        let reference = plane.plane.clone();
        store.update_plane(&reference, |facts| facts.plane_seen(plane));
    };
    seen("1", json!({"planeID": "eu-1"}));
    seen("2", json!({"planeID": "eu-1"}));
    seen("3", json!({"planeID": "eu-2"}));
    let target = ObjectRef::new("ns", "bundle");
    store.config_map(&target, Read::Found(&config_map("1")));
    store.config_map(&target, Read::Found(&config_map("2")));
    let news = store.news();
    let ids = news.planes.iter().map(|(before, after)| {
        let id = |plane: &Option<_>| plane.as_ref().map(|one: &Arc<Plane>| one.plane_id.clone());
        (id(before), id(after))
    });
    let id = |id: &str| Some(id.to_owned());
    assert_eq!(
        ids.collect::<Vec<_>>(),
        [(None, id("eu-1")), (id("eu-1"), id("eu-2"))]
    );
    let told: Vec<_> = news.material.iter().map(|one| &one.object).collect();
    assert_eq!((told, news.concerns_all), (vec![&target], false));
    let news = store.news();
    assert!(news.planes.is_empty() && news.material.is_empty() && !news.concerns_all);
    store.config_map(&target, Read::Absent);
    store.announce_change();
    let news = store.news();
    assert!(news.concerns_all && news.material.is_empty());
    for index in 0..2_000 {
        let target = ObjectRef::new("ns", format!("bundle-{index}"));
        store.config_map(&target, Read::Absent);
    }
    assert!(store.news().concerns_all, "too many to be told one by one");
}
