//! What every peer holds at a moment: stored, and in the files of each pod.

use std::collections::BTreeMap;
use std::fs::DirEntry;
use std::path::Path;
use std::sync::Arc;

use external_ca_core::x509::Usages;
use external_ca_tests::Result;
use external_ca_tests::openchoreo::PlaneType;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use crate::scene::{BUNDLE, Scene};
use crate::story::{Leaf, PLANES};

/// PEM, by who holds it.
pub type Held = BTreeMap<String, Arc<str>>;

/// One side presents a leaf, the other has a bundle: each with each.
#[derive(Clone, Debug)]
pub struct Conversation {
    pub usages: Usages,
    pub presented: Held,
    pub trusted: Held,
}

/// Every conversation: the gateway's with whoever has a bundle, and the agents' of each plane with the gateway.
pub async fn take(scene: &Scene) -> Result<Vec<Conversation>> {
    let all = ListParams::default();
    let mut gateway = Conversation {
        usages: Usages::SERVER,
        presented: Held::new(),
        trusted: Held::new(),
    };
    let mut agents: BTreeMap<String, Held> = BTreeMap::new();
    let home = scene.home();
    for namespace in scene.namespaces() {
        let presented = match namespace == home {
            true => &mut gateway.presented,
            false => agents.entry(namespace.clone()).or_default(),
        };
        // First what pods hold: a pod that loads something afterwards is in the next sample.
        in_pods(scene, &namespace, presented, &mut gateway.trusted);
        let secrets: Api<Secret> = Api::namespaced(scene.admin.clone(), &namespace);
        for secret in secrets.list(&all).await? {
            let (who, name) = (
                format!("Secret {namespace}/{}", secret.name_any()),
                secret.name_any(),
            );
            let mut data = secret.data.unwrap_or_default();
            let mut text = |key| Some(String::from_utf8_lossy(&data.remove(key)?.0).into());
            let is_leaf = [Leaf::Gateway, Leaf::Agent(PLANES[0])]
                .map(|leaf| scene.leaf(leaf).1)
                .contains(&name.as_str());
            match name.as_str() {
                BUNDLE => gateway
                    .trusted
                    .extend(text("ca.crt").map(|text| (who, text))),
                _ if is_leaf => presented.extend(text("tls.crt").map(|text| (who, text))),
                _ => {}
            }
        }
        let maps: Api<ConfigMap> = Api::namespaced(scene.admin.clone(), &namespace);
        for map in maps
            .list(&all)
            .await?
            .into_iter()
            .filter(|map| map.name_any() == BUNDLE)
        {
            let text = map.data.and_then(|mut data| data.remove("ca.crt"));
            let who = format!("ConfigMap {namespace}/{BUNDLE}");
            gateway.trusted.extend(text.map(|text| (who, text.into())));
        }
    }
    let mut conversations = Vec::new();
    for plane in PLANES {
        let presented = agents.remove(&scene.namespace(plane)).unwrap_or_default();
        let trusted = client_ca(scene, plane, &gateway.trusted).await?;
        conversations.push(Conversation {
            usages: Usages::CLIENT,
            presented,
            trusted: trusted.into_iter().collect(),
        });
    }
    conversations.push(gateway);
    Ok(conversations)
}

/// What the gateway reads at each connection of an agent.
async fn client_ca(
    scene: &Scene,
    plane: PlaneType,
    bundles: &Held,
) -> Result<Option<(String, Arc<str>)>> {
    let found = scene.planes(plane).get_opt(plane.argument()).await?;
    let who = format!("{} clientCA", plane.kind());
    Ok(found.and_then(|found| {
        let ca = &found.data["spec"]["clusterAgent"]["clientCA"];
        let text = match (ca["value"].as_str(), ca["secretRef"]["name"].as_str()) {
            (Some(value), _) => Arc::from(value),
            (None, Some(name)) => bundles
                .get(&format!("Secret {}/{name}", scene.home()))?
                .clone(),
            (None, None) => Arc::from(""),
        };
        Some((who, text))
    }))
}

fn in_pods(scene: &Scene, namespace: &str, presented: &mut Held, trusted: &mut Held) {
    for pod in scene.kubelet.pods(namespace) {
        let volumes = std::fs::read_dir(&pod.volumes)
            .into_iter()
            .flatten()
            .flatten();
        // The API server's own CA is in each pod, too.
        let is_own = |volume: &DirEntry| {
            volume
                .file_name()
                .to_string_lossy()
                .starts_with("kube-api-access")
        };
        for volume in volumes.filter(|volume| !is_own(volume)) {
            let who = format!(
                "Pod {namespace}/{} start {}",
                pod.name,
                pod.volumes.file_name().unwrap_or_default().display()
            );
            let file = |name: &str| read(&volume.path().join(name));
            presented.extend(file("tls.crt").map(|text| (who.clone(), text)));
            trusted.extend(file("ca.crt").map(|text| (who.clone(), text)));
        }
    }
}

fn read(path: &Path) -> Option<Arc<str>> {
    Some(String::from_utf8_lossy(&std::fs::read(path).ok()?).into())
}
