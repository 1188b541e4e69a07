//! What must still hold when a step is carried out: the plan rests on a snapshot, and the cluster has gone on since.

use external_ca_core::domain::SelfSigned;
use external_ca_core::model::{
    Injected, Material, MaterialKind, MaterialRef, ObjectRef, Read, Snapshot, facts,
};
use external_ca_core::plan::GenerateCa;
use external_ca_core::snapshot::{namespaces_of_readers, unseen};
use external_ca_core::trust::Place;
use external_ca_core::x509::Certificate;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;

use crate::cluster::Cluster;
use crate::error::{Error, PodsUnread};

/// Whether the CA is still what the plan rests on. Where it was replaced meanwhile, another operator that leads may have
/// dropped what this one would sign with, and sign with what this one would drop.
pub async fn still_signs(
    cluster: &Cluster,
    secret: &ObjectRef,
    observed: &Snapshot,
    now: Timestamp,
) -> bool {
    // One that is no CA signs itself only, and waits beside its Secret.
    let Some(seen) = observed
        .authority
        .chain()
        .filter(|chain| chain.certificate().is_ca())
    else {
        return true;
    };
    let Some(pem) = cluster.read_authority(secret).await else {
        return false;
    };
    let stored = pem.authority(now);
    stored.is_ok_and(|stored| stored.public_side() == seen)
}

/// Whether a bundle holds these anchors.
pub async fn holds(cluster: &Cluster, bundle: &MaterialRef, anchors: &[Certificate]) -> bool {
    let read = cluster.read(bundle).await;
    let stored = read.as_ref().and_then(|read| read.found());
    stored.is_some_and(|stored| anchors.iter().all(|anchor| stored.anchors.contains(anchor)))
}

/// Whether what verifies a certificate trusts its CA, by what is stored now.
pub async fn is_trusted_by(cluster: &Cluster, place: &Place, anchor: &Certificate) -> bool {
    match place {
        Place::Material(bundle) => holds(cluster, bundle, std::slice::from_ref(anchor)).await,
        Place::ClientCa(plane) => {
            if !cluster.read_plane(plane).await {
                return false;
            }
            // What a reference leads to is a place of its own.
            let seen = cluster.plane(plane);
            seen.is_some_and(|seen| seen.value.is_none() || seen.anchors.contains(anchor))
        }
        Place::Injected(object) => match cluster.read_injected(object).await {
            Ok(found) => found.is_none_or(|found| found.anchors().contains(anchor)),
            Err(_) => false,
        },
    }
}

/// Whether a certificate that signs itself may take its place at once: no API server trusts another, by what is stored now.
pub async fn is_untrusted(
    cluster: &Cluster,
    observed: &Snapshot,
    step: &GenerateCa,
) -> Result<bool, Error> {
    if step.aside || !matches!(step.ca.profile, SelfSigned::Leaf(_)) {
        return Ok(true);
    }
    for (object, seen) in &observed.injected {
        let is_others = seen.found().is_some_and(|seen| seen.is_others);
        let live = cluster.read_injected(object).await?;
        if !is_others && live.as_ref().is_some_and(Injected::trusts_any) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether leaves are stored as they were seen.
pub async fn are_as_seen(cluster: &Cluster, observed: &Snapshot, leaves: &[MaterialRef]) -> bool {
    for leaf in leaves {
        let read = cluster.read(leaf).await;
        let stored = read.as_ref().and_then(|read| read.found());
        let seen = observed.material.get(leaf).and_then(|read| read.found());
        // The bundle beside a leaf may have changed: it is written in the same round.
        let same = |(stored, seen): (&Material, &Material)| {
            stored.resource_version == seen.resource_version
                || stored.leaf == seen.leaf && stored.created == seen.created
        };
        if !stored.zip(seen).is_some_and(same) {
            return false;
        }
    }
    true
}

/// Whether every pod that may read material of the domain is one that the plan knows.
pub async fn knows_every_pod(cluster: &Cluster, observed: &Snapshot) -> Result<bool, PodsUnread> {
    for namespace in namespaces_of_readers(observed) {
        let listed = cluster.read_pods(namespace).await;
        let listed = listed.map_err(|error| PodsUnread {
            namespace: namespace.to_owned(),
            why: error.to_string(),
        })?;
        if let Some(pod) = unseen(observed, &listed) {
            tracing::debug!(%pod, "it is newer than the plan");
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a leaf's Secret is what was seen of it. Where annotations alone have changed, it is.
pub fn is_as_seen(observed: &Snapshot, target: &ObjectRef, live: Option<&Secret>) -> bool {
    let key = MaterialRef {
        kind: MaterialKind::Secret,
        object: target.clone(),
    };
    let same = |seen: &Material, live: &Material| {
        seen.hash == live.hash
            && seen.leaf == live.leaf
            && seen.created == live.created
            && seen.has_key == live.has_key
    };
    match (observed.material.get(&key).map(AsRef::as_ref), live) {
        (Some(Read::Absent), None) => true,
        (Some(Read::Found(seen)), Some(live)) => same(seen, &facts::secret(live)),
        _ => false,
    }
}
