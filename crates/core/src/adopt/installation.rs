//! A live installation, and what finds its way around in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::diagnosis::CertManagerCertificate;
use crate::domain::is_agent_of;
use crate::model::{
    Leaf, Material, MaterialKind, MaterialRef, ObjectRef, Plane, Read, Workload, WorkloadRef,
};
use crate::x509::{CaChain, Certificate};

/// What exists.
#[derive(Clone, Debug, Default)]
pub struct Installation {
    /// The control plane's namespace.
    pub namespace: String,
    /// The CAs whose keys stand in Secrets of that namespace.
    pub authorities: Vec<(ObjectRef, Arc<CaChain>)>,
    /// What workloads mount.
    pub material: BTreeMap<MaterialRef, Arc<Read<Material>>>,
    /// Every plane resource.
    pub planes: Vec<Arc<Plane>>,
    /// Workloads of the namespaces that were looked at.
    pub workloads: Vec<Arc<Workload>>,
    /// Those that run a gateway.
    pub gateways: BTreeSet<WorkloadRef>,
    /// cert-manager's `Certificate` objects.
    pub certificates: Vec<CertManagerCertificate>,
}

impl Installation {
    pub(super) fn stored(&self, material: &MaterialRef) -> Option<&Material> {
        self.material.get(material)?.found()
    }

    pub(super) fn leaf(&self, material: &MaterialRef) -> Option<Certificate> {
        match &self.stored(material)?.leaf {
            Leaf::Present { chain, .. } => chain.first().filter(|leaf| !leaf.is_ca()).cloned(),
            _ => None,
        }
    }

    pub(super) fn secrets<'a>(
        &self,
        workload: &'a Workload,
    ) -> impl Iterator<Item = &'a MaterialRef> {
        let mounts = workload.mounts.iter();
        mounts.filter(|mount| mount.kind == MaterialKind::Secret)
    }

    /// The Secret that the gateway presents.
    pub(super) fn gateway(&self) -> Option<(ObjectRef, Certificate)> {
        let mut gateways = self.workloads.iter().filter(|workload| {
            self.gateways.contains(&workload.workload)
                && workload.workload.object.namespace == self.namespace
        });
        gateways.find_map(|workload| {
            self.secrets(workload)
                .find_map(|secret| Some((secret.object.clone(), self.leaf(secret)?)))
        })
    }

    pub(super) fn agent_of(&self, plane: &Plane) -> Option<&Arc<Workload>> {
        let mut workloads = self.workloads.iter();
        workloads.find(|workload| is_agent_of(workload, plane))
    }

    /// The Secret that an agent presents: one with a leaf, or the only one there is.
    pub(super) fn agent_secret(&self, workload: &Workload) -> Option<ObjectRef> {
        let all: Vec<&MaterialRef> = self.secrets(workload).collect();
        let leaf = all.iter().find(|secret| self.leaf(secret).is_some());
        let only = all.first().filter(|_| all.len() == 1);
        leaf.or(only).map(|secret| secret.object.clone())
    }

    pub(super) fn agent_leaves(&self) -> Vec<(ObjectRef, Certificate)> {
        let mut found: BTreeMap<ObjectRef, Certificate> = BTreeMap::new();
        for workload in self.planes.iter().filter_map(|plane| self.agent_of(plane)) {
            let Some(object) = self.agent_secret(workload) else {
                continue;
            };
            let material = MaterialRef {
                kind: MaterialKind::Secret,
                object: object.clone(),
            };
            if let Some(leaf) = self.leaf(&material) {
                found.insert(object, leaf);
            }
        }
        found.into_iter().collect()
    }
}
