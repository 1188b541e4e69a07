//! The snapshot of one issuance, from what was last seen.

use std::collections::BTreeSet;
use std::sync::Arc;

use external_ca_api::{ClientCa, ExternalCAIssuance, MANAGER};
use external_ca_core::checks::ca_reason;
use external_ca_core::desired::{ca_secret, desired, identity, namespace, trust_secret};
use external_ca_core::observed::{
    Claims, GeneratedCa, Issuer, Material, MaterialKind, MaterialRef, ObjectRef, Observed, Read,
    WorkloadKind,
};
use external_ca_core::x509::CertificateAuthority;
use external_ca_core::{Problem, Reason};
use jiff::Timestamp;

use crate::reconcile::Context;
use crate::watches::workloads_of;

/// The snapshot, or nothing while first reads are under way.
pub fn observe(
    context: &Context,
    issuance: &Arc<ExternalCAIssuance>,
    now: Timestamp,
) -> Option<Observed> {
    let planes = {
        let facts = context.store.facts();
        if !facts.unsynced.is_empty() {
            return None;
        }
        facts.planes.values().cloned().collect::<Vec<_>>()
    };
    let wanted = desired(issuance, &planes);
    let home = namespace(issuance);
    let authority = ca_secret(issuance);
    let anchor_keys: Vec<(String, String)> = issuance
        .spec
        .trust
        .additional_anchors
        .iter()
        .filter_map(|entry| entry.config_map_ref.as_ref())
        .map(|reference| (reference.name.clone(), reference.key.clone()))
        .collect();

    let material: Vec<MaterialRef> = std::iter::once(trust_secret(issuance))
        .chain(wanted.trust_places.iter().cloned())
        .chain(wanted.leaves.values().map(|leaf| leaf.material()))
        .filter(|material| context.served.contains(&material.object.namespace))
        .collect();
    let mut needs: Vec<MaterialRef> = Vec::new();
    if context.served.contains(home) {
        needs.push(MaterialRef {
            kind: MaterialKind::Secret,
            object: authority.clone(),
        });
        needs.extend(anchor_keys.iter().map(|(name, _)| MaterialRef {
            kind: MaterialKind::ConfigMap,
            object: ObjectRef::new(home, name),
        }));
    }
    needs.extend(material.iter().cloned());
    {
        // A watch or read that is already running fills these in; a new one is started below.
        let mut facts = context.store.facts();
        let mut fresh = Vec::new();
        if context.served.contains(home) && !facts.authorities.contains_key(&authority) {
            facts.authorities.insert(authority.clone(), Read::Absent);
            fresh.push(MaterialRef {
                kind: MaterialKind::Secret,
                object: authority.clone(),
            });
        }
        for (name, key) in &anchor_keys {
            let entry = (ObjectRef::new(home, name), key.clone());
            if !facts.anchors.contains_key(&entry) {
                facts.anchors.insert(entry.clone(), Read::Absent);
                fresh.push(MaterialRef {
                    kind: MaterialKind::ConfigMap,
                    object: entry.0,
                });
            }
        }
        // Seen before it was known to hold a CA or anchors: it is read again for that.
        for stale in fresh {
            if facts.material.contains_key(&stale) {
                facts.unsee(&stale);
                let watches = Arc::clone(&context.watches);
                tokio::spawn(async move { watches.read(stale).await });
            }
        }
    }
    context.watches.want(&identity(issuance), needs.clone());

    let facts = context.store.facts();
    if needs.iter().any(|need| !facts.material.contains_key(need)) {
        return None;
    }
    let relevant: BTreeSet<String> = wanted
        .trust_places
        .iter()
        .map(|place| &place.object.namespace)
        .chain(wanted.leaves.keys().map(|target| &target.namespace))
        .flat_map(|namespace| {
            [
                WorkloadKind::Deployment,
                WorkloadKind::StatefulSet,
                WorkloadKind::DaemonSet,
            ]
            .map(|kind| workloads_of(kind, namespace))
        })
        .collect();
    let unreadable = facts
        .unreadable
        .iter()
        .filter(|(list, _)| relevant.contains(*list) || !list.contains("of the namespace"))
        .map(|(_, why)| why.clone())
        .collect();
    let issuer = if context.served.contains(home) {
        issuer(facts.authorities.get(&authority), &authority, now)
    } else {
        let message = format!(
            "the operator is not told to serve the namespace {home}; add it to the chart's namespaces.serve"
        );
        Issuer::Refused(Problem::new(Reason::NamespaceNotServed, message))
    };
    let ca_secret = MaterialRef {
        kind: MaterialKind::Secret,
        object: authority.clone(),
    };
    let generated = facts.material.get(&ca_secret);
    let generated = generated.and_then(|read| generated_ca(read.found()?, &identity(issuance)));
    Some(Observed {
        issuance: Arc::clone(issuance),
        served: Arc::clone(&context.served),
        plane_namespaces: Arc::clone(&context.plane_namespaces),
        issuer,
        generated,
        anchor_config_maps: anchor_keys
            .into_iter()
            .map(|(name, key)| {
                let read = facts
                    .anchors
                    .get(&(ObjectRef::new(home, &name), key.clone()))
                    .cloned();
                ((name, key), read.unwrap_or(Read::Absent))
            })
            .collect(),
        material: material
            .into_iter()
            .filter_map(|key| facts.material.get(&key).map(|read| (key, Arc::clone(read))))
            .collect(),
        planes: planes.clone(),
        workloads: facts.workloads.values().cloned().collect(),
        unreadable,
        claims: claims(context, issuance, &planes),
    })
}

/// What others have put into the Secret since is theirs.
fn generated_ca(stored: &Material, issuance: &str) -> Option<GeneratedCa> {
    let ours =
        stored.issuance.as_deref() == Some(issuance) && stored.manager.as_deref() == Some(MANAGER);
    ours.then(|| GeneratedCa {
        resource_version: stored.resource_version.clone(),
        request: stored.renewal.clone(),
    })
}

fn issuer(
    pem: Option<&Read<Arc<crate::store::CaPem>>>,
    secret: &ObjectRef,
    now: Timestamp,
) -> Issuer {
    match pem {
        None | Some(Read::Absent) => Issuer::Absent,
        Some(Read::Unknown(why)) => Issuer::Refused(Problem::new(
            Reason::CASecretUnreadable,
            format!("the CA Secret {secret}: {why}"),
        )),
        Some(Read::Found(pem)) => {
            match CertificateAuthority::from_pem(
                &pem.certificate,
                &pem.key,
                pem.root.as_deref(),
                now,
            ) {
                Ok(authority) => Issuer::Ready(Arc::new(authority)),
                Err(error) => Issuer::Refused(Problem::new(
                    ca_reason(&error),
                    format!("the CA Secret {secret}: {error}"),
                )),
            }
        }
    }
}

/// What older issuances want: nothing has two owners.
fn claims(
    context: &Context,
    issuance: &ExternalCAIssuance,
    planes: &[Arc<external_ca_core::observed::Plane>],
) -> Claims {
    let age = |issuance: &ExternalCAIssuance| {
        let created = issuance
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|time| time.0);
        (created, issuance.metadata.uid.clone())
    };
    let mut claims = Claims::default();
    for other in context.issuances.state() {
        if other.metadata.uid == issuance.metadata.uid
            || age(&other) > age(issuance)
            || !context.served.contains(namespace(&other))
        {
            continue;
        }
        let owner = identity(&other);
        let wanted = desired(&other, planes);
        let leaves = wanted.leaves.values().map(|leaf| leaf.material());
        let material = leaves.chain(wanted.trust_places.iter().cloned());
        claims
            .material
            .extend(material.map(|target| (target, owner.clone())));
        if other.spec.planes.client_ca != ClientCa::Unmanaged {
            let planes = wanted.planes.iter().map(|plane| plane.plane.clone());
            claims
                .planes
                .extend(planes.map(|plane| (plane, owner.clone())));
        }
    }
    claims
}
