//! What the guide takes for granted: a cluster, a CA, OpenChoreo. And the operator.

use crate::screen::Screen;
use external_ca_tests::apply::{MANAGER, apply_documents, apply_yaml, create_namespace, documents};
use external_ca_tests::cert_manager::{CRDS, control_plane_from};
use external_ca_tests::crds::{CrdSource, Release, openchoreo_crds_from};
use external_ca_tests::openchoreo::{
    CONTROL_PLANE, ClientCa, PlaneType, agent, control_plane_of, plane,
};
use external_ca_tests::openssl::{Ca, GUIDE_SUBJECT};
use external_ca_tests::webhooks::{Reviewed, reviewed, serve_kinds};
use external_ca_tests::world::{CA_SECRET, NAMESPACES, World};
use external_ca_tests::{ControlPlane, Kubelet, KubeletOptions, Operator, Result, chart};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

/// Where the plane resources live.
pub const PLANE_NAMESPACE: &str = "default";

/// Everything that runs. It ends, in this order, when this is dropped.
pub struct Stage {
    pub operator: Operator,
    pub kubelet: Kubelet,
    pub world: World,
    pub ca: Ca,
    pub ca_dir: PathBuf,
    /// What OpenChoreo's webhooks look at, where the charts' own objects are installed.
    pub reviewed: Vec<Reviewed>,
}

impl Stage {
    /// Steps 1 to 5.
    pub async fn build(screen: &mut Screen, release: Release) -> Result<Self> {
        let world = start_control_plane(screen, release).await?;
        let ca_dir = world.cluster.dir().join("ca");
        let ca = make_ca(screen, &ca_dir).await?;
        install_chart(screen, &world).await?;
        let reviewed = install_openchoreo(screen, &world).await?;
        world.put_ca(&ca).await?;
        screen.step("Run the operator, and play kubelet for OpenChoreo's pods");
        screen.say(format!(
            "Secret {CONTROL_PLANE}/{CA_SECRET} from ca.crt and ca.key"
        ));
        let operator = world.operator(None).await?;
        screen.say(format!(
            "operator: process {}, as ServiceAccount {}/{}, with the chart's Roles and no others",
            operator.process().id(),
            chart::NAMESPACE,
            chart::RELEASE
        ));
        let options = KubeletOptions {
            // Agents try a further connection all the time, so that no failing moment goes unseen.
            probe_interval: Some(Duration::from_millis(100)),
            managers: release == Release::V1_2,
            ..KubeletOptions::default()
        };
        let kubelet = Kubelet::start(&world.cluster, options).await?;
        screen.say("kubelet: starts a real gateway and real agents; their pods wait for their certificates");
        Ok(Self {
            operator,
            kubelet,
            world,
            ca,
            ca_dir,
            reviewed,
        })
    }

    /// The data, the build or workflow, and the observability plane.
    pub fn planes(&self) -> [PlaneType; 3] {
        self.world.plane_types()
    }
}

/// The planeID of the demo's plane of that type.
pub fn plane_id(plane: PlaneType) -> &'static str {
    match plane {
        PlaneType::Data => "eu-data",
        PlaneType::Build => "eu-build",
        PlaneType::Workflow => "eu-workflow",
        PlaneType::Observability => "eu-observability",
    }
}

async fn start_control_plane(screen: &mut Screen, release: Release) -> Result<World> {
    screen.step("Start a control plane");
    screen.note("real etcd, kube-apiserver and kube-controller-manager, RBAC on; built once, the first time takes minutes");
    let [cluster] = ControlPlane::start_many().await?;
    let admin = cluster.admin().await;
    let version = admin.apiserver_version().await?;
    screen.say(format!(
        "Kubernetes {} at {}",
        version.git_version,
        cluster.url()
    ));
    Ok(World {
        cluster,
        admin,
        release,
    })
}

/// The guide's two commands, as it prints them.
async fn make_ca(screen: &mut Screen, dir: &Path) -> Result<Ca> {
    screen.step("Make the CA with the guide's OpenSSL commands");
    std::fs::create_dir_all(dir)?;
    let subject = format!("-subj \"{GUIDE_SUBJECT}\"");
    for command in [
        "openssl genrsa -out ca.key 4096".to_owned(),
        format!(
            "openssl req -x509 -new -nodes -key ca.key -sha256 -days 3650 -out ca.crt {subject}"
        ),
    ] {
        screen.command(&command);
        let output = Command::new("sh")
            .args(["-c", &command])
            .current_dir(dir)
            .kill_on_drop(true)
            .output()
            .await?;
        if !output.status.success() {
            return Err(format!("{command}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
    }
    Ok(Ca {
        certificate: std::fs::read_to_string(dir.join("ca.crt"))?,
        key: std::fs::read_to_string(dir.join("ca.key"))?,
        parents: String::new(),
    })
}

/// All of the chart but its Deployment: there is no node that could pull the image.
async fn install_chart(screen: &mut Screen, world: &World) -> Result<()> {
    screen.step("Install the operator's chart");
    screen.command(format!(
        "helm template {} charts/external-ca-operator --namespace {} --include-crds",
        chart::RELEASE,
        chart::NAMESPACE
    ));
    for namespace in NAMESPACES.iter().chain([&chart::NAMESPACE]) {
        create_namespace(&world.admin, namespace).await?;
    }
    let mut objects = documents(&chart::operator_objects(&json!({})).await?)?;
    objects.retain(|object| object["kind"] != "Deployment");
    let count = objects.len();
    apply_documents(&world.admin, objects, MANAGER).await?;
    screen.say(format!(
        "{count} objects applied: CRD, ServiceAccount, Roles in five namespaces, …"
    ));
    screen.note("not its Deployment: no node here pulls images. The operator runs as a process instead, with the same rights");
    Ok(())
}

/// Returns what its webhooks look at.
async fn install_openchoreo(screen: &mut Screen, world: &World) -> Result<Vec<Reviewed>> {
    let (version, builder) = match world.release {
        Release::V0_17 => ("v0.17", "build"),
        Release::V1_2 => ("v1.2", "workflow"),
    };
    screen.step(&format!(
        "Install OpenChoreo {version}: control plane, and a data, a {builder} and an observability plane"
    ));
    let source = CrdSource::available(world.release)[0];
    for crd in openchoreo_crds_from(source, world.release) {
        apply_yaml(&world.admin, &crd).await?;
    }
    screen.say(match source {
        CrdSource::Real => "objects and CRDs: as OpenChoreo published them",
        CrdSource::Fixture => {
            "objects and CRDs: cut-down ones (the published ones are not at hand)"
        }
    });
    let mut kinds = BTreeSet::new();
    match world.release {
        Release::V0_17 => {
            apply_yaml(
                &world.admin,
                &control_plane_of(world.release, CONTROL_PLANE),
            )
            .await?;
            screen.say(format!(
                "{CONTROL_PLANE}: Deployments cluster-gateway, controller-manager"
            ));
        }
        Release::V1_2 => {
            apply_yaml(&world.admin, CRDS).await?;
            let objects = control_plane_from(source, world.release);
            kinds = reviewed(&objects);
            serve_kinds(&world.admin, &kinds).await?;
            let of_kind = |kind: &str| objects.iter().filter(|one| one["kind"] == kind).count();
            screen.say(format!(
                "{CONTROL_PLANE}: what its chart renders, {} Deployments and {} Certificates among it",
                of_kind("Deployment"),
                of_kind("Certificate")
            ));
            screen.note("cert-manager's CRDs, as the guide has it, and no cert-manager");
            apply_documents(&world.admin, objects, MANAGER).await?;
        }
    }
    for kind in world.plane_types() {
        let (name, id) = (kind.argument(), plane_id(kind));
        let resource = plane(
            kind.kind(),
            Some(PLANE_NAMESPACE),
            name,
            Some(id),
            &ClientCa::Nothing,
        );
        apply_yaml(&world.admin, &resource).await?;
        apply_yaml(&world.admin, &agent(kind, kind.namespace(), id, 1)).await?;
        screen.say(format!(
            "{}: Deployment {}; {} {PLANE_NAMESPACE}/{name} with planeID {id}",
            kind.namespace(),
            kind.deployment(),
            kind.kind(),
        ));
    }
    Ok(kinds.into_iter().collect())
}
