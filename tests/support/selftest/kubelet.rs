//! The harness that plays node and kubelet: pods wait for their mounts, run, restart and go; agents make real handshakes
//! with a gateway, and what fails is counted.

use external_ca_tests::apply::{apply_yaml, create_namespace};
use external_ca_tests::crds::{CrdSource, Release, openchoreo_crds_from, openchoreo_crds_yaml};
use external_ca_tests::kubelet::{Hold, Role, rolled_out};
use external_ca_tests::openchoreo::{self, CONTROL_PLANE, ClientCa, PlaneType};
use external_ca_tests::openssl::Ca;
use external_ca_tests::wait::{PATIENCE, wait_for};
use external_ca_tests::{ControlPlane, Kubelet, KubeletOptions, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerState, Pod, Secret};
use kube::api::{Api, DynamicObject, ListParams};
use kube::{Client, ResourceExt};
use std::time::Duration;

const DATA: &str = "openchoreo-data-plane";
const OBSERVABILITY: &str = "openchoreo-observability-plane";
const GATEWAY: &str = "cluster-gateway";
const AGENT: &str = "cluster-agent-dataplane";

/// The state that the guide leads to: the charts' objects, one CA, hand-made leaves, planes with the CA inline.
async fn guide(client: &Client, release: Release, source: CrdSource) -> Result<()> {
    for namespace in [CONTROL_PLANE, DATA, OBSERVABILITY] {
        create_namespace(client, namespace).await?;
    }
    apply_yaml(
        client,
        &openchoreo_crds_from(source, release).join("\n---\n"),
    )
    .await?;
    let ca = Ca::guide();
    let agent = ca.agent_leaf("default");
    let value = ClientCa::Value(&ca.certificate);
    let objects = openchoreo::join([
        openchoreo::control_plane(CONTROL_PLANE),
        openchoreo::tls_secret(
            CONTROL_PLANE,
            "cluster-gateway-tls",
            &ca.server_leaf(CONTROL_PLANE),
        ),
        openchoreo::trust(CONTROL_PLANE, &ca.certificate, true),
        openchoreo::tls_secret(DATA, "cluster-agent-tls", &agent),
        openchoreo::trust(DATA, &ca.certificate, false),
        openchoreo::tls_secret(OBSERVABILITY, "cluster-agent-tls", &agent),
        openchoreo::trust(OBSERVABILITY, &ca.certificate, false),
        openchoreo::plane("DataPlane", Some("default"), "default", None, &value),
        openchoreo::plane(
            "ClusterObservabilityPlane",
            None,
            "shared",
            Some("default"),
            &value,
        ),
        openchoreo::agent(PlaneType::Data, DATA, "default", 2),
        openchoreo::agent(PlaneType::Observability, OBSERVABILITY, "default", 1),
    ]);
    apply_yaml(client, &objects).await?;
    Ok(())
}

async fn restart(client: &Client, namespace: &str, deployment: &str) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    deployments.restart(deployment).await?;
    rolled_out(client, namespace, deployment, PATIENCE).await
}

/// A pod that shows why it does not start.
async fn waits_for(client: &Client, namespace: &str, what: &str) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    wait_for(&format!("a pod to wait for {what}"), PATIENCE, async || {
        let pods = pods
            .list(&ListParams::default())
            .await
            .map_err(|error| error.to_string())?;
        let statuses = pods
            .items
            .iter()
            .filter_map(|pod| pod.status.as_ref()?.container_statuses.as_ref());
        let reasons: Vec<_> = statuses
            .flatten()
            .filter_map(|container| container.state.as_ref()?.waiting.as_ref()?.message.clone())
            .collect();
        if reasons.iter().any(|reason| reason.ends_with(what)) {
            Ok(())
        } else {
            Err(format!("{reasons:?}"))
        }
    })
    .await;
}

#[tokio::test]
async fn pods_wait_for_their_mounts_run_and_go() -> Result<()> {
    let cluster = ControlPlane::start().await?;
    let client = cluster.admin().await;
    create_namespace(&client, CONTROL_PLANE).await?;
    create_namespace(&client, DATA).await?;
    let kubelet = Kubelet::start(&cluster, KubeletOptions::default()).await?;
    apply_yaml(&client, &openchoreo::control_plane(CONTROL_PLANE)).await?;

    // The controller-manager mounts a *Secret* cluster-gateway-ca, which the guide forgets.
    waits_for(
        &client,
        CONTROL_PLANE,
        r#"secret "cluster-gateway-ca" not found"#,
    )
    .await;
    let ca = Ca::guide();
    apply_yaml(
        &client,
        &openchoreo::trust(CONTROL_PLANE, &ca.certificate, true),
    )
    .await?;
    rolled_out(&client, CONTROL_PLANE, "controller-manager", PATIENCE).await?;

    // The gateway reads its files when it starts, and not again.
    let leaf = ca.server_leaf(CONTROL_PLANE);
    apply_yaml(
        &client,
        &openchoreo::tls_secret(CONTROL_PLANE, "cluster-gateway-tls", &leaf),
    )
    .await?;
    rolled_out(&client, CONTROL_PLANE, GATEWAY, PATIENCE).await?;
    let gateway = || {
        kubelet
            .pods(CONTROL_PLANE)
            .into_iter()
            .find(|pod| pod.role == Role::Gateway)
            .unwrap()
    };
    let loaded =
        || std::fs::read_to_string(gateway().volumes.join("server-certs/tls.crt")).unwrap();
    assert_eq!(loaded(), leaf.certificate);
    let next = ca.server_leaf(CONTROL_PLANE);
    apply_yaml(
        &client,
        &openchoreo::tls_secret(CONTROL_PLANE, "cluster-gateway-tls", &next),
    )
    .await?;
    let before = gateway();
    kubelet.crash(CONTROL_PLANE, &before.name);
    wait_for("the gateway to come back", PATIENCE, async || {
        let now = gateway();
        if now.starts == 2 && now.ready {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    })
    .await;
    assert_eq!(loaded(), leaf.certificate, "a crash re-reads nothing");
    kubelet.restart(CONTROL_PLANE, &before.name).await?;
    assert_eq!(loaded(), next.certificate, "a restart does");

    // A namespace that is held has a stuck rollout: the old pod goes on, and a new one gets nowhere.
    kubelet.hold_at(CONTROL_PLANE, Hold::Ready);
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), CONTROL_PLANE);
    deployments.restart(GATEWAY).await?;
    let gateways = || {
        kubelet
            .pods(CONTROL_PLANE)
            .into_iter()
            .filter(|pod| pod.role == Role::Gateway)
            .collect::<Vec<_>>()
    };
    wait_for(
        "a second gateway to have started",
        PATIENCE,
        async || match gateways() {
            pods if pods.len() == 2 && pods.iter().all(|pod| pod.starts > 0) => Ok(()),
            pods => Err(format!("{pods:?}")),
        },
    )
    .await;
    let stuck = gateways().into_iter().find(|pod| pod.name != before.name);
    let stuck = stuck.unwrap().name;
    wait_for(
        "it to run without being ready",
        PATIENCE,
        async || match shown(&client, CONTROL_PLANE, &stuck).await {
            Some((state, _)) if state.running.is_some() => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )
    .await;
    rolled_out(&client, CONTROL_PLANE, GATEWAY, Duration::from_secs(1))
        .await
        .unwrap_err();
    assert_eq!(
        gateways()
            .iter()
            .filter(|pod| pod.ready)
            .map(|pod| &pod.name)
            .collect::<Vec<_>>(),
        [&before.name]
    );
    kubelet.release(CONTROL_PLANE);
    rolled_out(&client, CONTROL_PLANE, GATEWAY, PATIENCE).await?;
    wait_for(
        "the old gateway's end",
        PATIENCE,
        async || match gateways().as_slice() {
            [new] if new.name != before.name => Ok(()),
            pods => Err(format!("{pods:?}")),
        },
    )
    .await;
    assert!(
        kubelet
            .log_of(CONTROL_PLANE, &before.name)
            .contains("cluster gateway stopped")
    );
    Ok(())
}

#[tokio::test]
async fn a_guides_end_state_connects_and_a_naive_replacement_fails() -> Result<()> {
    let cluster = ControlPlane::start().await?;
    let client = cluster.admin().await;
    let (release, source) = (Release::V0_17, CrdSource::available(Release::V0_17)[0]);
    guide(&client, release, source).await?;
    let options = KubeletOptions {
        probe_interval: Some(Duration::from_millis(100)),
        ..KubeletOptions::default()
    };
    let kubelet = Kubelet::start(&cluster, options).await?;
    rolled_out(&client, CONTROL_PLANE, GATEWAY, PATIENCE).await?;
    kubelet.connected(3).await;
    let planes: Api<DynamicObject> = external_ca_tests::apply::dynamic_api(
        &client,
        "openchoreo.dev/v1alpha1",
        "DataPlane",
        Some("default"),
    )
    .await?;
    wait_for("the plane to report its agents", PATIENCE, async || {
        let plane = planes
            .get("default")
            .await
            .map_err(|error| error.to_string())?;
        let connection = &plane.data["status"]["agentConnection"];
        if connection["connectedAgents"] == 2 {
            Ok(())
        } else {
            Err(connection.to_string())
        }
    })
    .await;

    // Restarts on both sides cost connections, but no verification.
    restart(&client, CONTROL_PLANE, GATEWAY).await?;
    restart(&client, DATA, AGENT).await?;
    let good = kubelet.connected(3).await;
    assert_eq!(good.failed_by_certificate, 0, "{good:#?}");
    assert!(good.probes > 0 && good.connects >= 6, "{good:#?}");

    // One step: CA, leaves and bundles replaced at once, then everything restarted, one after the other.
    let next = Ca::replacement(1);
    let value = ClientCa::Value(&next.certificate);
    let objects = openchoreo::join([
        openchoreo::tls_secret(
            CONTROL_PLANE,
            "cluster-gateway-tls",
            &next.server_leaf(CONTROL_PLANE),
        ),
        openchoreo::trust(CONTROL_PLANE, &next.certificate, true),
        openchoreo::tls_secret(DATA, "cluster-agent-tls", &next.agent_leaf("default")),
        openchoreo::trust(DATA, &next.certificate, false),
        openchoreo::plane("DataPlane", Some("default"), "default", None, &value),
    ]);
    apply_yaml(&client, &objects).await?;
    restart(&client, CONTROL_PLANE, GATEWAY).await?;
    // First the gateway refuses the agents, whose plane trusts only the new CA; then, restarted, they refuse the gateway.
    let broken = wait_for("handshakes to fail", PATIENCE, async || {
        let stats = kubelet.stats().since(&good);
        let refuse = stats
            .last_errors
            .values()
            .any(|error| error.contains("x509"));
        if stats.failed_by_certificate > 0 && refuse {
            Ok(stats)
        } else {
            Err(format!("{stats:#?}"))
        }
    })
    .await;

    // It heals only when the agents have been restarted, too; the gateway's own counters tell the same story.
    restart(&client, DATA, AGENT).await?;
    wait_for(
        "the data plane's agents to be connected",
        PATIENCE,
        async || {
            let stats = kubelet.stats();
            let connected = stats
                .connected
                .iter()
                .filter(|(pod, connected)| pod.starts_with(DATA) && **connected)
                .count();
            if connected == 2 {
                Ok(())
            } else {
                Err(format!("{stats:#?}"))
            }
        },
    )
    .await;
    let gateways = kubelet.gateways().await;
    assert!(
        gateways.len() == 3 && gateways.values().any(|gateway| gateway.tls_errors > 0),
        "{gateways:#?}"
    );
    let last = kubelet.stop().await;
    assert!(
        last.failed_by_certificate >= broken.failed_by_certificate,
        "{last:#?}"
    );
    Ok(())
}

#[tokio::test]
async fn each_releases_kinds_work_by_value_and_by_reference() -> Result<()> {
    for release in Release::ALL {
        for source in CrdSource::available(release) {
            let cluster = ControlPlane::start().await?;
            let client = cluster.admin().await;
            guide(&client, release, source).await?;
            let by_reference = ClientCa::Secret {
                release,
                name: "cluster-gateway-ca",
                key: "ca.crt",
                namespace: Some(CONTROL_PLANE),
            };
            for kind in release.kinds() {
                let cluster_kind = format!("Cluster{kind}");
                let yaml = openchoreo::join([
                    openchoreo::plane(
                        kind,
                        Some("default"),
                        "by-reference",
                        Some("default"),
                        &by_reference,
                    ),
                    openchoreo::plane(
                        &cluster_kind,
                        None,
                        "by-reference",
                        Some("default"),
                        &by_reference,
                    ),
                    openchoreo::plane(kind, Some("default"), "empty", None, &ClientCa::Nothing),
                ]);
                let made = apply_yaml(&client, &yaml).await?;
                let field = release.reference_field();
                assert_eq!(
                    made[0].data["spec"]["clusterAgent"]["clientCA"][field]["key"],
                    "ca.crt"
                );
                let refused =
                    openchoreo::plane(&cluster_kind, None, "refused", None, &ClientCa::Nothing);
                apply_yaml(&client, &refused).await.unwrap_err();
                let refused = openchoreo::plane(
                    kind,
                    Some("default"),
                    "refused",
                    Some("Bad_"),
                    &ClientCa::Nothing,
                );
                apply_yaml(&client, &refused).await.unwrap_err();
            }
            // Only the reference is left to verify the agents by.
            external_ca_tests::apply::dynamic_api(
                &client,
                "openchoreo.dev/v1alpha1",
                "DataPlane",
                Some("default"),
            )
            .await?
            .delete("default", &Default::default())
            .await?;
            let kubelet = Kubelet::start(&cluster, KubeletOptions::default()).await?;
            kubelet.connected(3).await;
            // The real charts' objects bring up what ours do.
            if let (Some(control_plane), Some(data_plane)) = (
                openchoreo::rendered("control-plane"),
                openchoreo::rendered("data-plane"),
            ) {
                apply_yaml(&client, &openchoreo::join([control_plane, data_plane])).await?;
                apply_yaml(
                    &client,
                    &openchoreo::trust(CONTROL_PLANE, &Ca::guide().certificate, true),
                )
                .await?;
                for (namespace, name) in [
                    (CONTROL_PLANE, GATEWAY),
                    (CONTROL_PLANE, "controller-manager"),
                    (DATA, AGENT),
                ] {
                    rolled_out(&client, namespace, name, PATIENCE).await?;
                }
                kubelet.connected(2).await;
            }
            let secrets: Api<Secret> = Api::namespaced(client, DATA);
            assert_eq!(
                secrets.get("cluster-agent-tls").await?.name_any(),
                "cluster-agent-tls"
            );
            assert_eq!(kubelet.stop().await.failed_by_certificate, 0);
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_agent_in_another_cluster_reaches_the_gateway() -> Result<()> {
    let [control, plane] = ControlPlane::start_many().await?;
    let (client, remote) = (control.admin().await, plane.admin().await);
    let ca = Ca::guide();
    create_namespace(&client, CONTROL_PLANE).await?;
    apply_yaml(&client, &openchoreo_crds_yaml(Release::V1_2)).await?;
    let objects = openchoreo::join([
        openchoreo::control_plane_of(Release::V0_17, CONTROL_PLANE),
        openchoreo::tls_secret(
            CONTROL_PLANE,
            "cluster-gateway-tls",
            &ca.server_leaf_for(&["gateway.example.com"]),
        ),
        openchoreo::plane(
            "DataPlane",
            Some("default"),
            "far",
            None,
            &ClientCa::Value(&ca.certificate),
        ),
    ]);
    apply_yaml(&client, &objects).await?;
    create_namespace(&remote, DATA).await?;
    let objects = openchoreo::join([
        openchoreo::agent_at(PlaneType::Data, DATA, "far", 1, "gateway.example.com:443"),
        openchoreo::tls_secret(DATA, "cluster-agent-tls", &ca.agent_leaf("far")),
        openchoreo::trust(DATA, &ca.certificate, false),
    ]);
    apply_yaml(&remote, &objects).await?;

    let here = Kubelet::start(&control, KubeletOptions::default()).await?;
    let gateway = here.service_address(CONTROL_PLANE, GATEWAY);
    let options = KubeletOptions {
        hosts: [("gateway.example.com".to_owned(), gateway)].into(),
        ..KubeletOptions::default()
    };
    let there = Kubelet::start(&plane, options).await?;
    let stats = there.connected(1).await;
    assert_eq!(stats.failed_by_certificate, 0, "{stats:#?}");
    assert_eq!(here.stats().attempts, 0);
    Ok(())
}

/// What the API server shows of the containers of a pod: the state of the first one, and whether it was told to end.
async fn shown(client: &Client, namespace: &str, name: &str) -> Option<(ContainerState, bool)> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pod = pods.get_opt(name).await.ok()??;
    let is_told = pod.metadata.deletion_timestamp.is_some();
    let mut statuses = pod.status?.container_statuses?.into_iter();
    Some((statuses.next()?.state?, is_told))
}

#[tokio::test]
async fn a_pod_that_ends_slowly_keeps_its_connections_and_gets_no_new_ones() -> Result<()> {
    let cluster = ControlPlane::start().await?;
    let client = cluster.admin().await;
    guide(
        &client,
        Release::V0_17,
        CrdSource::available(Release::V0_17)[0],
    )
    .await?;
    let options = KubeletOptions {
        end_takes: [(CONTROL_PLANE.to_owned(), Duration::from_secs(3))].into(),
        ..KubeletOptions::default()
    };
    let kubelet = Kubelet::start(&cluster, options).await?;
    kubelet.connected(3).await;
    let gateways = || {
        let mut pods = kubelet.pods(CONTROL_PLANE);
        pods.retain(|pod| pod.role == Role::Gateway);
        pods
    };
    let old = gateways().remove(0);
    let connects = kubelet.stats().connects;
    let pods: Api<Pod> = Api::namespaced(client.clone(), CONTROL_PLANE);
    pods.delete(&old.name, &Default::default()).await?;
    wait_for("a new gateway beside the old one", PATIENCE, async || {
        let all = gateways();
        match all.iter().filter(|pod| pod.ready).count() {
            1 if all.len() == 2 => Ok(()),
            _ => Err(format!("{all:?}")),
        }
    })
    .await;
    let (state, is_told) = shown(&client, CONTROL_PLANE, &old.name).await.unwrap();
    assert!(is_told && state.running.is_some(), "{state:?}");
    let stats = kubelet.stats();
    assert_eq!(stats.connected_agents(), 3, "they stay where they are");
    assert_eq!(stats.connects, connects);

    let ended = wait_for("its end", PATIENCE, async || {
        let shown = shown(&client, CONTROL_PLANE, &old.name).await;
        match shown.and_then(|(state, _)| state.terminated) {
            Some(ended) => Ok(Some(ended)),
            None if gateways().len() == 1 => Ok(None),
            None => Err("it runs".to_owned()),
        }
    })
    .await;
    assert!(ended.is_none_or(|ended| ended.exit_code == 0));
    kubelet.connected(3).await;
    assert_eq!(kubelet.stop().await.failed_by_certificate, 0);
    Ok(())
}
