//! `kubectl externalca plan` says what the operator then does, step for step.

use std::collections::BTreeSet;
use std::time::Duration;

use external_ca_tests::apply::apply_yaml;
use external_ca_tests::kubelet::{Kubelet, KubeletOptions};
use external_ca_tests::openchoreo::{
    CONTROL_PLANE, ClientCa, PlaneType, agent, control_plane_of, plane,
};
use external_ca_tests::openssl::Ca;
use external_ca_tests::proxy::{Proxy, RequestInfo};
use external_ca_tests::scratch::Scratch;
use external_ca_tests::wait::wait_for;
use external_ca_tests::world::{CA_SECRET, ISSUANCE, World, describe, issuance};
use external_ca_tests::{Operator, Plugin, Result};
use kube::ResourceExt;
use serde_json::Value;

const RENEW: &str = "pki.openchoreo.dev/renew";
const BUNDLE: &str = "cluster-gateway-ca";
const PLANE_ID: &str = "default";
/// A rotation restarts four workloads, one after the other, and the first twice.
const PATIENCE: Duration = Duration::from_secs(300);

/// OpenChoreo with running pods, and the operator behind a proxy that notes what it writes.
struct Stage {
    world: World,
    kubelet: Kubelet,
    proxy: Proxy,
    plugin: Plugin,
    dir: Scratch,
    operator: Operator,
}

impl Stage {
    async fn set(planes: &[PlaneType]) -> Result<Self> {
        let world = World::any().await?;
        let control_plane = control_plane_of(world.release, CONTROL_PLANE);
        apply_yaml(&world.admin, &control_plane).await?;
        for kind in planes {
            apply_yaml(&world.admin, &plane_of(*kind)).await?;
            let text = agent(*kind, kind.namespace(), PLANE_ID, 1);
            apply_yaml(&world.admin, &text).await?;
        }
        let kubelet = Kubelet::start(&world.cluster, KubeletOptions::default()).await?;
        let proxy = Proxy::start(&world.cluster).await?;
        world.put_ca(&Ca::replacement(0)).await?;
        let operator = world.operator(Some(&proxy)).await?;
        // It is at rest when nothing is written for a while: no restart may wait so long.
        let quick = serde_json::json!({"rollout": {"kubeletCache": "0s"}});
        world.issue_with(quick).await?;
        let plugin = Plugin::new(world.cluster.admin_kubeconfig());
        let stage = Self {
            plugin,
            dir: Scratch::new("plan")?,
            world,
            kubelet,
            proxy,
            operator,
        };
        stage.settled(&Ca::replacement(0)).await?;
        stage.kubelet.connected(planes.len()).await;
        Ok(stage)
    }

    /// Waits until all is at rest, and every bundle names this CA alone.
    async fn settled(&self, ca: &Ca) -> Result<()> {
        wait_for("the end", PATIENCE, async || {
            let issuance = self.world.issuances().get(ISSUANCE).await.unwrap();
            let asked = issuance.annotations().contains_key(RENEW);
            let status = issuance.status.clone().unwrap_or_default();
            let ready = status
                .conditions
                .iter()
                .any(|one| one.type_ == "Ready" && one.status == "True");
            let world = &self.world;
            let bundle = world.secret_text(CONTROL_PLANE, BUNDLE, "ca.crt").await;
            match ready && !asked && bundle.trim() == ca.certificate.trim() {
                true => Ok(()),
                false => Err(describe(&status)),
            }
        })
        .await;
        self.proxy.quiet(Duration::from_secs(3)).await?;
        Ok(())
    }

    async fn plan(&self, arguments: &[&str]) -> Result<Value> {
        let mut all = vec!["plan", "-n", CONTROL_PLANE, "-o", "json"];
        all.extend(arguments);
        let answer = self.plugin.run(&all).await?;
        assert_eq!(answer.code, 0, "{answer:?}");
        let planned = answer.json()?;
        assert_eq!(planned["end"]["ready"], true, "{planned:#}");
        self.proxy.reset();
        Ok(planned)
    }

    /// Everything that the operator has written since, in order, but the status.
    fn done(&self) -> Vec<String> {
        let all = self.proxy.requests(|request| {
            request.is_counted_write()
                && request.subresource.is_empty()
                && request.status.is_some_and(|status| status < 300)
        });
        all.iter().map(label).collect()
    }

    /// Rounds one after the other; what is in one is done side by side. A plane is narrowed as soon as the gateway has
    /// reported its agent, which may be later than planned.
    fn compare(&self, planned: &Value) {
        let all = self.done();
        let mut done = all.iter().peekable();
        let mut owed = BTreeSet::new();
        for round in rounds(planned) {
            owed.extend(round);
            while done.next_if(|step| owed.remove(*step)).is_some() {}
            let late = owed.iter().all(|step| step.starts_with("WirePlane"));
            assert!(late, "{owed:?}\n{planned:#}\n{all:#?}");
        }
        assert!(owed.is_empty(), "{owed:?}\n{planned:#}\n{all:#?}");
        assert_eq!(done.next(), None, "{planned:#}\n{all:#?}");
    }
}

fn plane_of(kind: PlaneType) -> String {
    let (kind, name) = (kind.kind(), kind.argument());
    plane(
        kind,
        Some("default"),
        name,
        Some(PLANE_ID),
        &ClientCa::Nothing,
    )
}

fn rounds(planned: &Value) -> Vec<BTreeSet<String>> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let turns = list(&planned["turns"]);
    let rounds = turns.iter().flat_map(|turn| list(&turn["rounds"]));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let step = |step: &Value| format!("{} {}", text(&step["action"]), text(&step["object"]));
    rounds
        .map(|round| list(&round).iter().map(step).collect())
        .collect()
}

/// A write, as the plan calls it.
fn label(request: &RequestInfo) -> String {
    let name = format!("{}/{}", request.namespace, request.name);
    match request.resource.as_str() {
        "configmaps" => format!("WriteBundle ConfigMap {name}"),
        "secrets" if request.name == BUNDLE => format!("WriteBundle Secret {name}"),
        "secrets" => format!("IssueCertificate Secret {name}"),
        "deployments" => format!("Restart Deployment {name}"),
        "externalcaissuances" => format!("RemoveAnnotation annotation {RENEW}"),
        other => {
            let kinds = [PlaneType::Data, PlaneType::Build, PlaneType::Observability];
            let kind = kinds
                .into_iter()
                .map(PlaneType::kind)
                .find(|kind| other == format!("{}s", kind.to_lowercase()));
            format!("WirePlane {} {name}", kind.unwrap_or(other))
        }
    }
}

#[tokio::test]
async fn a_plan_is_what_the_operator_then_does() -> Result<()> {
    let stage = Stage::set(&[PlaneType::Data, PlaneType::Observability]).await?;
    let world = &stage.world;
    let cas = [0, 1].map(Ca::replacement);

    // Nothing to do.
    assert!(rounds(&stage.plan(&[]).await?).is_empty());

    // A renewal.
    let mut renewed = issuance(ISSUANCE);
    renewed["metadata"]["annotations"] = serde_json::json!({RENEW: "all"});
    let file = stage.dir.write("renewal.json", renewed.to_string())?;
    let planned = stage.plan(&["-f", file.to_str().unwrap()]).await?;
    assert!(planned.to_string().contains("Restart"), "{planned:#}");
    world.annotate(RENEW, "all").await?;
    stage.settled(&cas[0]).await?;
    stage.compare(&planned);

    // A CA replacement, whose key the plan does not have.
    let file = stage.dir.write("new-ca.crt", &cas[1].certificate)?;
    let planned = stage.plan(&["--ca", file.to_str().unwrap()]).await?;
    assert!(rounds(&planned).len() > 6, "{planned:#}");
    world.put_ca(&cas[1]).await?;
    stage.settled(&cas[1]).await?;
    stage.compare(&planned);

    // A new plane.
    let text = plane_of(PlaneType::Build);
    let file = stage.dir.write("plane.yaml", &text)?;
    let planned = stage.plan(&["-f", file.to_str().unwrap()]).await?;
    let build = PlaneType::Build.namespace();
    assert!(planned.to_string().contains(build), "{planned:#}");
    apply_yaml(&world.admin, &text).await?;
    wait_for("the new plane", PATIENCE, async || {
        let status = world.issuances().get(ISSUANCE).await.unwrap().status;
        match status.unwrap_or_default().certificates_ready.as_deref() {
            Some("4/4") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    stage.settled(&cas[1]).await?;
    stage.compare(&planned);
    assert_eq!(stage.operator.exit_status(), None);
    assert!(
        !stage.operator.log().contains(CA_SECRET),
        "nothing was wrong with the CA"
    );
    Ok(())
}
