//! The proxy counts, and breaks what it is told to break.

use external_ca_tests::proxy::{Fault, Proxy, Verb, WatchFault, When};
use external_ca_tests::wait::{PATIENCE, wait_for};
use external_ca_tests::{ControlPlane, Result, apply::apply_yaml};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use std::time::Duration;

const EDITOR: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: editor, namespace: default}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: editor, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}
subjects: [{kind: ServiceAccount, name: editor, namespace: default}]
";

struct Scene {
    _cluster: ControlPlane,
    proxy: Proxy,
    direct: Api<ConfigMap>,
    proxied: Api<ConfigMap>,
}

async fn scene() -> Result<Scene> {
    let cluster = ControlPlane::start().await?;
    apply_yaml(&cluster.admin().await, EDITOR).await?;
    let proxy = Proxy::start(&cluster).await?;
    let kubeconfig = cluster
        .kubeconfig_for("default", "editor", Some(proxy.url()))
        .await?;
    let mut config = external_ca_tests::control_plane::config_of(&kubeconfig).await;
    config.default_retry = false;
    Ok(Scene {
        direct: Api::default_namespaced(cluster.admin().await),
        proxied: Api::default_namespaced(Client::try_from(config)?),
        _cluster: cluster,
        proxy,
    })
}

async fn apply(api: &Api<ConfigMap>, name: &str) -> kube::Result<ConfigMap> {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    api.patch(
        name,
        &PatchParams::apply("test").force(),
        &Patch::Apply(object),
    )
    .await
}

#[tokio::test]
async fn counts_and_breaks_requests() -> Result<()> {
    let Scene {
        _cluster,
        proxy,
        direct,
        proxied,
    } = scene().await?;

    // Counting.
    apply(&proxied, "one").await?;
    proxied.get("one").await?;
    assert_eq!((proxy.reads(), proxy.writes()), (1, 1));
    assert_eq!(
        proxy.log()[0].to_string(),
        "apply configmaps default/one -> 201"
    );
    assert_eq!(
        proxy.log()[1].to_string(),
        "get configmaps default/one -> 200"
    );
    proxy.reset();
    assert_eq!((proxy.reads(), proxy.writes()), (0, 0));

    // A watch streams: an event comes while the request is open, and a cut ends it.
    let only_two = WatchParams {
        bookmarks: false,
        ..WatchParams::default().fields("metadata.name=two")
    };
    let mut watch = proxied.watch(&only_two, "0").await?.boxed();
    apply(&direct, "two").await?;
    let event = tokio::time::timeout(PATIENCE, watch.try_next()).await??;
    assert!(
        matches!(&event, Some(WatchEvent::Added(map)) if map.name_any() == "two"),
        "{event:?}"
    );
    assert_eq!(proxy.count(|r| r.verb == Verb::Watch && r.name == "two"), 1);
    proxy.cut();
    wait_for("the watch to end", PATIENCE, async || {
        match watch.try_next().await {
            Ok(None) | Err(_) => Ok(()),
            Ok(Some(event)) => Err(format!("{event:?}")),
        }
    })
    .await;

    // Faults, by the number of the write.
    proxy.reset();
    proxy.set_fault(|_, write| match write {
        1 => Fault::DropBefore,
        2 => Fault::DropAfter,
        3 => Fault::CONFLICT,
        4 => Fault::Delay(Duration::from_millis(50)),
        _ => Fault::Pass,
    });
    apply(&proxied, "before").await.unwrap_err();
    assert!(direct.get_opt("before").await?.is_none());
    apply(&proxied, "after").await.unwrap_err();
    assert!(direct.get_opt("after").await?.is_some());
    assert!(
        matches!(apply(&proxied, "x").await, Err(kube::Error::Api(status)) if status.is_conflict())
    );
    apply(&proxied, "late").await?;
    assert_eq!(proxy.writes(), 4);
    let statuses: Vec<_> = proxy.log().iter().map(|request| request.status).collect();
    assert_eq!(statuses, [None, None, Some(409), Some(201)]);

    // A partition.
    proxy.partition();
    proxied.get("one").await.unwrap_err();
    proxy.clear_fault();
    proxied.get("one").await?;
    Ok(())
}

#[tokio::test]
async fn holds_writes_before_and_after() -> Result<()> {
    let Scene {
        _cluster,
        proxy,
        direct,
        proxied,
    } = scene().await?;
    for (number, when, proceed, exists, exists_then) in [
        (1, When::Before, true, false, true),
        (2, When::Before, false, false, false),
        (3, When::After, true, true, true),
        (4, When::After, false, true, true),
    ] {
        let (name, api) = (format!("held-{number}"), proxied.clone());
        let point = proxy.on_write(number, when);
        let write = tokio::spawn({
            let name = name.clone();
            async move { apply(&api, &name).await }
        });
        let held = point.await;
        assert_eq!(held.request.name, name);
        assert!(!write.is_finished());
        assert_eq!(direct.get_opt(&name).await?.is_some(), exists, "{when:?}");
        if proceed {
            held.proceed()
        } else {
            held.discard()
        }
        assert_eq!(write.await?.is_ok(), proceed, "{when:?}");
        assert_eq!(
            direct.get_opt(&name).await?.is_some(),
            exists_then,
            "{when:?}"
        );
    }

    // A client that goes away while its write is held takes nothing back, and a discarded write does not happen.
    let point = proxy.on_write(5, When::Before);
    let write = tokio::spawn(async move { apply(&proxied, "gone").await.map(drop) });
    let held = point.await;
    write.abort();
    held.discard();
    assert!(direct.get_opt("gone").await?.is_none());
    Ok(())
}

type Told = BoxStream<'static, kube::Result<WatchEvent<ConfigMap>>>;

/// Watches from now on with a fault, and has an object made and deleted; somebody else has been told of it when this returns.
async fn watch(scene: &Scene, fault: WatchFault) -> Result<Told> {
    let Scene {
        direct, proxied, ..
    } = scene;
    scene.proxy.set_fault(move |_, _| Fault::Watch(fault));
    let version = direct.list(&ListParams::default()).await?.metadata;
    let version = version.resource_version.unwrap_or_default();
    let params = WatchParams {
        bookmarks: false,
        ..WatchParams::default().fields("metadata.name=watched")
    };
    let watch = proxied.watch(&params, &version).await?.boxed();
    let undisturbed = direct.watch(&params, &version).await?.boxed();
    apply(direct, "watched").await?;
    direct.delete("watched", &DeleteParams::default()).await?;
    assert_eq!(kinds(undisturbed, 2).await?, ["added", "deleted"]);
    Ok(watch)
}

async fn kinds(watch: Told, events: usize) -> Result<Vec<&'static str>> {
    let kinds = watch.take(events).map_ok(|event| match event {
        WatchEvent::Added(_) => "added",
        WatchEvent::Deleted(_) => "deleted",
        _ => "another",
    });
    Ok(tokio::time::timeout(PATIENCE, kinds.try_collect()).await??)
}

#[tokio::test]
async fn disturbs_watches_and_cuts_answers() -> Result<()> {
    let scene = scene().await?;
    let soon = Duration::from_millis(100);
    let late = watch(&scene, WatchFault::Late(soon)).await?;
    assert_eq!(kinds(late, 2).await?, ["added", "deleted"]);
    let swapped = watch(&scene, WatchFault::Swapped(PATIENCE)).await?;
    assert_eq!(kinds(swapped, 2).await?, ["deleted", "added"]);
    let repeated = watch(&scene, WatchFault::Repeated(soon)).await?;
    let mut repeated = kinds(repeated, 4).await?;
    assert_eq!(repeated[3], "deleted");
    repeated.sort();
    assert_eq!(repeated, ["added", "added", "deleted", "deleted"]);
    let again = watch(&scene, WatchFault::DeletedAgain(soon)).await?;
    assert_eq!(kinds(again, 3).await?, ["added", "deleted", "deleted"]);

    // A silent watch ends only with its connection.
    let mut silent = watch(&scene, WatchFault::Silent).await?;
    scene.proxy.cut();
    let end = tokio::time::timeout(PATIENCE, silent.try_next()).await?;
    assert!(matches!(end, Ok(None) | Err(_)), "{end:?}");

    scene.proxy.set_fault(|_, _| Fault::Cut(10));
    apply(&scene.proxied, "half").await.unwrap_err();
    assert!(scene.direct.get_opt("half").await?.is_some());
    Ok(())
}
