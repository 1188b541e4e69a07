//! What must be read before an issuance can be planned.

use std::collections::BTreeSet;
use std::sync::Arc;

use external_ca_api::{ExternalCAIssuance, ExternalCAIssuanceStatus};

use super::mounted::told_namespaces;
use super::scope::Scope;
use crate::domain::certmanager::DeclaredDomain;
use crate::domain::{Desired, ca_secret, desired, namespace, trust_secret};
use crate::model::{InjectRef, ListRef, MaterialKind, MaterialRef, ObjectRef, Plane};

/// What must be read before an issuance can be planned.
#[derive(Clone, Debug, PartialEq)]
pub struct Needs {
    /// The CA Secret; none where its namespace is not served.
    pub authority: Option<ObjectRef>,
    /// The ConfigMaps with additional anchors, and their keys.
    pub anchors: Vec<(ObjectRef, String)>,
    /// Bundles and leaves.
    pub material: Vec<MaterialRef>,
    /// The lists of workloads that may mount them.
    pub lists: BTreeSet<ListRef>,
    pub(super) planes: Vec<Arc<Plane>>,
    pub(super) strangers: Vec<Arc<Plane>>,
    /// Objects of the API server that hold a bundle.
    pub injected: BTreeSet<InjectRef>,
    /// Bundles and leaves in namespaces that are not served: nothing is read of them.
    pub elsewhere: Vec<MaterialRef>,
    /// Whether planes are part of the domain.
    wires_planes: bool,
}

/// What follows from an issuance's spec and the names of its planes alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wants {
    /// The trust Secret, bundles and leaves, most important first.
    pub(super) material: Vec<MaterialRef>,
    /// The same in namespaces that are not served.
    pub(super) elsewhere: Vec<MaterialRef>,
    /// The lists of workloads that may mount them.
    lists: BTreeSet<ListRef>,
}

impl Wants {
    /// Of what an issuance wants.
    pub fn of(issuance: &ExternalCAIssuance, wanted: &Desired, scope: &Scope) -> Self {
        let leaves = wanted.all().map(|leaf| leaf.material());
        let places = wanted.trust_places.iter();
        let material = std::iter::once(trust_secret(issuance))
            .chain(places.clone().cloned())
            .chain(leaves);
        let mut seen = BTreeSet::new();
        let material = material.filter(|one| seen.insert(one.clone()));
        let (material, elsewhere) =
            material.partition(|one| scope.served.contains(&one.object.namespace));
        let leaves = wanted.all().map(|leaf| &leaf.target.namespace);
        let namespaces: BTreeSet<&String> = places
            .map(|place| &place.object.namespace)
            .chain(leaves)
            .collect();
        let lists = namespaces.into_iter();
        let lists = lists.flat_map(|namespace| ListRef::of_consumers(namespace));
        Self {
            lists: lists.collect(),
            material,
            elsewhere,
        }
    }
}

impl Needs {
    /// What an issuance needs, over the planes that exist, and over what is mounted by names that the operator writes.
    pub fn of(
        issuance: &ExternalCAIssuance,
        planes: Vec<Arc<Plane>>,
        mounted: &BTreeSet<MaterialRef>,
        scope: &Scope,
    ) -> Self {
        let planes = scope.split(&planes);
        let wants = Wants::of(issuance, &desired(issuance, &planes.0), scope);
        Self::over(issuance, &wants, planes, mounted, scope)
    }

    /// The same where it is known what it wants, and which planes are those of strangers.
    pub fn over(
        issuance: &ExternalCAIssuance,
        wants: &Wants,
        (planes, strangers): (Vec<Arc<Plane>>, Vec<Arc<Plane>>),
        mounted: &BTreeSet<MaterialRef>,
        scope: &Scope,
    ) -> Self {
        let home = namespace(issuance);
        let is_served = scope.served.contains(home);
        let additional = issuance.spec.trust.additional_anchors.iter();
        let anchors = additional
            .filter(|_| is_served)
            .filter_map(|entry| entry.config_map_ref.as_ref())
            .map(|reference| (ObjectRef::new(home, &reference.name), reference.key.clone()))
            .collect();
        let mut material = wants.material.clone();
        if !mounted.is_empty() {
            let wanted: BTreeSet<&MaterialRef> = wants.material.iter().collect();
            let more = mounted.iter().filter(|one| !wanted.contains(one));
            material.extend(more.cloned());
        }
        // Whom it left behind there, only their lists tell.
        let told = told_namespaces(issuance.status.as_ref()).into_iter();
        let told = told.filter_map(|namespace| scope.served.get(namespace));
        let more = mounted.iter().map(|one| &one.object.namespace);
        let more: BTreeSet<&String> = more.chain(told).collect();
        let mut lists = wants.lists.clone();
        lists.extend(more.into_iter().flat_map(|one| ListRef::of_consumers(one)));
        Self {
            authority: is_served.then(|| ca_secret(issuance)),
            anchors,
            material,
            lists,
            planes,
            strangers,
            injected: BTreeSet::new(),
            elsewhere: wants.elsewhere.clone(),
            wires_planes: true,
        }
    }

    /// What a domain needs that cert-manager's objects declare.
    pub fn of_declared(
        declared: &DeclaredDomain,
        mounted: &BTreeSet<MaterialRef>,
        injected: BTreeSet<InjectRef>,
        earlier: Option<&ExternalCAIssuanceStatus>,
        scope: &Scope,
    ) -> Self {
        let material: BTreeSet<MaterialRef> = declared.material().union(mounted).cloned().collect();
        let told = told_namespaces(earlier).into_iter();
        let told = told.filter_map(|namespace| scope.served.get(namespace));
        let namespaces = material.iter().map(|one| &one.object.namespace);
        let lists = namespaces.chain(told);
        let lists = lists.flat_map(|namespace| ListRef::of_consumers(namespace));
        Self {
            authority: Some(declared.authority.secret.clone()),
            anchors: Vec::new(),
            lists: lists.collect(),
            material: material.into_iter().collect(),
            injected,
            planes: Vec::new(),
            strangers: Vec::new(),
            elsewhere: Vec::new(),
            wires_planes: false,
        }
    }

    /// Whether it needs a list: those of planes, and of workloads that may mount its material.
    pub fn needs(&self, list: &ListRef) -> bool {
        self.wires_planes && list.is_of_planes() || self.lists.contains(list)
    }

    /// Every Secret and ConfigMap of it, most important first.
    pub fn objects(&self) -> impl Iterator<Item = MaterialRef> + '_ {
        let authority = self.authority.iter().map(|object| MaterialRef {
            kind: MaterialKind::Secret,
            object: object.clone(),
        });
        let anchors = self.anchors.iter().map(|(object, _)| MaterialRef {
            kind: MaterialKind::ConfigMap,
            object: object.clone(),
        });
        authority
            .chain(anchors)
            .chain(self.material.iter().cloned())
    }
}
