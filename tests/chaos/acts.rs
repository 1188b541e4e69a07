//! What happens, done: by people and the cluster, past the proxy.

use external_ca_tests::Result;
use external_ca_tests::openchoreo::PlaneType;
use external_ca_tests::wait::{PATIENCE, try_wait_for};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use crate::fleet::Fleet;
use crate::judge::Judge;
use crate::scene::{BUNDLE, FOREIGN, STRANGER, Scene};
use crate::story::{Act, Bundle, Leaf, Place, Story, Workload};

/// Who edits by hand.
const SOMEBODY: &str = "somebody";
const WIPED: &str = "# wiped\n";

pub async fn happen(scene: &Scene, judge: &Judge, fleet: &mut Fleet, story: &Story) -> Result<()> {
    judge.excuse(WIPED);
    for (after, act) in &story.acts {
        tokio::time::sleep(*after).await;
        fleet.mend().await?;
        let done = happens(scene, judge, fleet, act).await;
        done.map_err(|error| format!("{act:?}: {error}"))?;
    }
    Ok(())
}

async fn happens(scene: &Scene, judge: &Judge, fleet: &mut Fleet, act: &Act) -> Result<()> {
    let people = People { scene, judge };
    match act {
        Act::ReplaceCa(ca) => scene.put_ca(*ca).await?,
        Act::Weather(weather) => scene.falls(weather),
        Act::Cut => scene.proxy.cut(),
        Act::Kill(which) => fleet.kill(*which).await?,
        Act::Stop => fleet.stop().await?,
        Act::Continue => fleet.go_on().await?,
        Act::DeletePlane(plane) => people.delete_plane(*plane).await?,
        Act::MakePlane(plane) => people.make_plane(*plane).await?,
        Act::RemakePlane(plane) => {
            people.delete_plane(*plane).await?;
            scene.make_plane(*plane).await?;
        }
        Act::DeleteLeaf(leaf) => people.delete_leaf(*leaf).await?,
        Act::DamageLeaf(leaf) => people.damage_leaf(*leaf).await?,
        Act::DeleteBundle(bundle) => drop(people.delete(*bundle).await?),
        Act::WipeBundle(bundle) => people.wipe(*bundle).await?,
        Act::Plant(Place::Bundle(bundle)) => people.plant(*bundle).await?,
        Act::Plant(Place::ClientCa(plane)) => people.plant_in(*plane).await?,
        Act::RemakeBundle(bundle) => people.remake(*bundle).await?,
        Act::Restart(workload) => people.restart(*workload).await?,
        Act::RestartContainer(workload) => people.restart_container(*workload),
        Act::DeletePod(workload) => people.delete_pod(*workload).await?,
        Act::Hold(workload) => {
            let (namespace, _) = scene.workload(*workload);
            scene.kubelet.hold(&namespace);
        }
        Act::Release(workload) => scene.kubelet.release(&scene.workload(*workload).0),
    }
    Ok(())
}

/// People, and whatever else works on the cluster.
struct People<'a> {
    scene: &'a Scene,
    judge: &'a Judge,
}

/// A bundle's object, whichever kind it has.
struct Target {
    api: Api<DynamicObject>,
    /// How the judge calls it.
    place: String,
    is_secret: bool,
}

impl Target {
    async fn read(&self) -> Result<Option<(DynamicObject, String)>> {
        let Some(found) = self.api.get_opt(BUNDLE).await? else {
            return Ok(None);
        };
        let text = found.data["data"]["ca.crt"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let text = match self.is_secret {
            true => {
                let bytes: k8s_openapi::ByteString = serde_json::from_value(json!(text))?;
                String::from_utf8(bytes.0)?
            }
            false => text,
        };
        Ok(Some((found, text)))
    }

    /// The field that a text is written to.
    fn data(&self, text: &str) -> Value {
        match self.is_secret {
            true => json!({"data": {"ca.crt": k8s_openapi::ByteString(text.into())}}),
            false => json!({"data": {"ca.crt": text}}),
        }
    }
}

impl People<'_> {
    fn target(&self, bundle: Bundle) -> Target {
        let (namespace, client) = (self.scene.bundle(bundle), self.scene.admin.clone());
        let kind = if bundle == Bundle::Secret {
            "Secret"
        } else {
            "ConfigMap"
        };
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", kind));
        Target {
            api: Api::namespaced_with(client, &namespace, &resource),
            place: format!("{kind} {namespace}/{BUNDLE}"),
            is_secret: bundle == Bundle::Secret,
        }
    }

    /// Waits until there is something to edit, and edits it where nobody has changed it meanwhile.
    async fn edit(&self, bundle: Bundle, change: impl Fn(&str) -> String) -> Result<()> {
        let target = self.target(bundle);
        let outcome = try_wait_for("an edit", PATIENCE, async || {
            let found = target.read().await.map_err(|error| error.to_string())?;
            let Some((object, text)) = found else {
                return Ok(());
            };
            let mut patch = target.data(&change(&text));
            patch["metadata"] = json!({"resourceVersion": object.resource_version()});
            patched(
                target
                    .api
                    .patch(BUNDLE, &by_hand(), &Patch::Merge(patch))
                    .await,
            )
        });
        Ok(outcome.await?)
    }

    async fn plant(&self, bundle: Bundle) -> Result<()> {
        let target = self.target(bundle);
        if target.api.get_opt(BUNDLE).await?.is_none() {
            return Ok(());
        }
        self.edit(bundle, |text| format!("{text}{}", FOREIGN.certificate))
            .await?;
        self.judge.planted(target.place);
        Ok(())
    }

    async fn plant_in(&self, plane: PlaneType) -> Result<()> {
        let planes = self.scene.planes(plane);
        let mut planted = false;
        let outcome = try_wait_for("an edit", PATIENCE, async || {
            let found = planes
                .get_opt(plane.argument())
                .await
                .map_err(|error| error.to_string())?;
            let ca = found
                .as_ref()
                .map(|found| &found.data["spec"]["clusterAgent"]["clientCA"]["value"]);
            let (Some(object), Some(Value::String(text))) = (&found, ca) else {
                return Ok(());
            };
            let patch = json!({
                "metadata": {"resourceVersion": object.resource_version()},
                "spec": {"clusterAgent": {"clientCA": {"value": format!("{text}{}", FOREIGN.certificate)}}},
            });
            patched(
                planes
                    .patch(plane.argument(), &by_hand(), &Patch::Merge(patch))
                    .await,
            )?;
            planted = true;
            Ok::<_, String>(())
        });
        outcome.await?;
        if planted {
            self.judge.planted(format!("{} clientCA", plane.kind()));
        }
        Ok(())
    }

    async fn wipe(&self, bundle: Bundle) -> Result<()> {
        self.judge.uprooted(&self.target(bundle).place);
        self.edit(bundle, |_| WIPED.to_owned()).await
    }

    /// Returns what stood there.
    async fn delete(&self, bundle: Bundle) -> Result<Option<String>> {
        let target = self.target(bundle);
        self.judge.uprooted(&target.place);
        let found = target.read().await?;
        if found.is_some() {
            gone(target.api.delete(BUNDLE, &DeleteParams::default()).await)?;
        }
        Ok(found.map(|(_, text)| text))
    }

    async fn remake(&self, bundle: Bundle) -> Result<()> {
        let Some(text) = self.delete(bundle).await? else {
            return Ok(());
        };
        let target = self.target(bundle);
        let mut object = target.data(&format!("{text}{}", FOREIGN.certificate));
        object["metadata"] = json!({"name": BUNDLE});
        let object: DynamicObject = serde_json::from_value(object)?;
        match target.api.create(&by_hand_anew(), &object).await {
            Ok(_) => self.judge.planted(target.place),
            // The operator was faster.
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    async fn delete_plane(&self, plane: PlaneType) -> Result<()> {
        self.judge.uprooted(&format!("{} clientCA", plane.kind()));
        let planes = self.scene.planes(plane);
        gone(
            planes
                .delete(plane.argument(), &DeleteParams::default())
                .await,
        )
    }

    async fn make_plane(&self, plane: PlaneType) -> Result<()> {
        let planes = self.scene.planes(plane);
        match planes.get_opt(plane.argument()).await? {
            Some(_) => Ok(()),
            None => self.scene.make_plane(plane).await,
        }
    }

    async fn delete_leaf(&self, leaf: Leaf) -> Result<()> {
        let (namespace, name) = self.scene.leaf(leaf);
        let secrets: Api<Secret> = Api::namespaced(self.scene.admin.clone(), &namespace);
        gone(secrets.delete(name, &DeleteParams::default()).await)
    }

    /// With the certificate of a stranger, which is not the key's.
    async fn damage_leaf(&self, leaf: Leaf) -> Result<()> {
        let (namespace, name) = self.scene.leaf(leaf);
        let secrets: Api<Secret> = Api::namespaced(self.scene.admin.clone(), &namespace);
        self.judge.excuse(&STRANGER.certificate);
        let text = k8s_openapi::ByteString(STRANGER.certificate.clone().into());
        let patch = Patch::Merge(json!({"data": {"tls.crt": text}}));
        gone(secrets.patch(name, &by_hand(), &patch).await.map(drop))
    }

    async fn restart(&self, workload: Workload) -> Result<()> {
        let (namespace, name) = self.scene.workload(workload);
        let deployments: Api<Deployment> = Api::namespaced(self.scene.admin.clone(), &namespace);
        deployments.restart(&name).await?;
        Ok(())
    }

    /// It is not waited for: the pod may be held, or lack what it mounts.
    fn restart_container(&self, workload: Workload) {
        let (namespace, name) = self.scene.workload(workload);
        let pods = self.scene.kubelet.pods(&namespace);
        if let Some(pod) = pods.iter().find(|pod| pod.name.starts_with(&name)) {
            self.scene.kubelet.ask_for_restart(&namespace, &pod.name);
        }
    }

    async fn delete_pod(&self, workload: Workload) -> Result<()> {
        let (namespace, name) = self.scene.workload(workload);
        let pods: Api<Pod> = Api::namespaced(self.scene.admin.clone(), &namespace);
        let here = self.scene.kubelet.pods(&namespace);
        match here.iter().find(|pod| pod.name.starts_with(&name)) {
            Some(pod) => gone(pods.delete(&pod.name, &DeleteParams::default()).await),
            None => Ok(()),
        }
    }
}

fn by_hand() -> PatchParams {
    PatchParams {
        field_manager: Some(SOMEBODY.into()),
        ..PatchParams::default()
    }
}

fn by_hand_anew() -> kube::api::PostParams {
    kube::api::PostParams {
        field_manager: Some(SOMEBODY.into()),
        ..kube::api::PostParams::default()
    }
}

/// An edit that came too late is tried again; where its object is gone, there is nothing to edit.
fn patched<T>(outcome: kube::Result<T>) -> Result<(), String> {
    match outcome {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// Whatever is not there need not be deleted.
fn gone<T>(outcome: kube::Result<T>) -> Result<()> {
    match outcome {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(error.into()),
    }
}
