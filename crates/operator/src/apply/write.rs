//! The ways in which objects are written.

use std::collections::BTreeMap;
use std::fmt::Debug;

use external_ca_api::{ISSUANCE_ANNOTATION, MANAGER};
use external_ca_core::model::lenient::Lenient;
use external_ca_core::model::{MaterialKind, MaterialRef, ObjectRef, PlaneRef};
use external_ca_core::plan::Step;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cluster::{Cluster, MaterialObject};
use crate::declaration::Declaration;
use crate::error::{Error, bounded};

/// Annotations that tell what an object was written for.
pub type Marks = BTreeMap<&'static str, String>;

/// The metadata of a Secret or ConfigMap as it is applied. With a version, the write is a conflict where the object has
/// changed since.
pub fn metadata(
    declaration: &Declaration,
    target: &ObjectRef,
    resource_version: Option<&str>,
    marks: &Marks,
) -> Value {
    let annotations = annotations(declaration, marks);
    json!({
        "name": target.name,
        "namespace": target.namespace,
        "resourceVersion": resource_version,
        "annotations": annotations,
    })
}

/// What tells whose an object is, and what it was written for.
pub fn annotations(declaration: &Declaration, marks: &Marks) -> BTreeMap<&'static str, String> {
    let mut annotations = BTreeMap::from([(ISSUANCE_ANNOTATION, declaration.identity())]);
    annotations.extend(marks.clone());
    annotations
}

/// Applies a Secret or ConfigMap, and notes what came of it. What did not exist when it was read is not taken from the one that
/// made it meanwhile: that is a conflict, and the object is read again.
pub async fn apply_object<K: MaterialObject>(
    cluster: &Cluster,
    target: &ObjectRef,
    existed: bool,
    object: Value,
) -> Result<(), Error> {
    let params = PatchParams {
        force: existed,
        ..PatchParams::apply(MANAGER)
    };
    let api = cluster.api::<K>(&target.namespace);
    let written = bounded(api.patch(&target.name, &params, &Patch::Apply(object))).await?;
    cluster.wrote(target, &written.into_decoded()?);
    Ok(())
}

/// Merges a patch. An apply would make an object that was deleted meanwhile.
pub async fn merge<K: DeserializeOwned + Clone + Debug>(
    api: &Api<Lenient<K>>,
    name: &str,
    patch: Value,
) -> Result<Lenient<K>, Error> {
    bounded(api.patch(name, &merge_params(), &Patch::Merge(patch))).await
}

/// Merges into a spec. The write is a conflict where the object has changed since this version.
pub async fn merge_spec<K: DeserializeOwned + Clone + Debug>(
    api: &Api<Lenient<K>>,
    name: &str,
    resource_version: &str,
    spec: Value,
) -> Result<K, Error> {
    let patch = json!({"metadata": {"resourceVersion": resource_version}, "spec": spec});
    Ok(merge(api, name, patch).await?.into_decoded()?)
}

/// Merges a patch into a status.
pub async fn merge_status<K: DeserializeOwned>(
    api: &Api<Lenient<K>>,
    name: &str,
    patch: Value,
) -> Result<Lenient<K>, Error> {
    bounded(api.patch_status(name, &merge_params(), &Patch::Merge(patch))).await
}

fn merge_params() -> PatchParams {
    PatchParams {
        field_manager: Some(MANAGER.into()),
        ..PatchParams::default()
    }
}

/// Reads what a write may or may not have changed: not every object is watched, and a watch may be behind. A plane is
/// returned instead: the next turn reads it before it decides.
pub async fn read_in_doubt(cluster: &Cluster, step: &Step) -> Option<PlaneRef> {
    match step {
        Step::WriteBundle(step) => {
            cluster.read(&step.target).await;
        }
        Step::IssueLeaf(step) => {
            let secret = MaterialRef {
                kind: MaterialKind::Secret,
                object: step.target.clone(),
            };
            cluster.read(&secret).await;
        }
        Step::WirePlane(step) => return Some(step.plane.clone()),
        Step::GenerateCa(step) => {
            let secret = MaterialRef {
                kind: MaterialKind::Secret,
                object: step.target.clone(),
            };
            cluster.read(&secret).await;
        }
        // Its watch tells.
        Step::InjectBundle(_) => {}
        Step::Restart(_) | Step::DropRequest(_) | Step::Consume(_) => {}
    }
    None
}
