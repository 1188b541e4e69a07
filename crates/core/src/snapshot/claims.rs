//! Which issuance wants what: nothing has two owners. It is made once for all issuances, and asked by each.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use external_ca_api::{ClientCa, ExternalCAIssuance};
use jiff::Timestamp;

use super::needs::{Needs, Wants};
use super::scope::Scope;
use crate::domain::certmanager::Others;
use crate::domain::{ca_secret, desired, identity, namespace, selected};
use crate::model::{Claims, MaterialKind, MaterialRef, ObjectRef, Plane, PlaneRef};

/// When it was made; of the same second the UID decides.
type Age = (Option<Timestamp>, Option<String>);

/// Claims of all issuances of the served namespaces.
#[derive(Debug, Default)]
pub struct ClaimTable {
    /// The oldest first.
    claimants: Vec<Claimant>,
    /// Who wants it, by their places among the claimants.
    material: HashMap<MaterialRef, Vec<usize>>,
    planes: HashMap<PlaneRef, Vec<usize>>,
    /// Whose CA Secret it is, likewise.
    authorities: HashMap<ObjectRef, Vec<usize>>,
    /// Their names.
    issuances: Arc<BTreeSet<String>>,
    /// What each wants, by UID and generation.
    wants: HashMap<(Option<String>, Option<i64>), Wants>,
}

#[derive(Debug)]
struct Claimant {
    age: Age,
    identity: String,
    namespace: String,
    authority: ObjectRef,
}

fn age(issuance: &ExternalCAIssuance) -> Age {
    let metadata = &issuance.metadata;
    let created = metadata.creation_timestamp.as_ref().map(|time| time.0);
    (created, metadata.uid.clone())
}

impl ClaimTable {
    /// Over all issuances, and the planes that exist.
    pub fn new(
        issuances: &[Arc<ExternalCAIssuance>],
        planes: &[Arc<Plane>],
        scope: &Scope,
    ) -> Self {
        Self::over(issuances, &scope.split(planes).0, scope)
    }

    /// The same over the planes that may be written.
    pub fn over(
        issuances: &[Arc<ExternalCAIssuance>],
        planes: &[Arc<Plane>],
        scope: &Scope,
    ) -> Self {
        let served = issuances.iter();
        let served = served.filter(|one| scope.served.contains(namespace(one)));
        let served: BTreeMap<Age, &Arc<_>> = served.map(|one| (age(one), one)).collect();
        let mut table = Self::default();
        for (index, (age, issuance)) in served.into_iter().enumerate() {
            let wanted = desired(issuance, planes);
            let wants = Wants::of(issuance, &wanted, scope);
            let version = (age.1.clone(), issuance.metadata.generation);
            table.wants.insert(version, wants);
            let leaves = wanted.all().map(|leaf| leaf.material());
            for target in leaves.chain(wanted.trust_places.iter().cloned()) {
                let claimed = table.material.entry(target).or_default();
                if claimed.last() != Some(&index) {
                    claimed.push(index);
                }
            }
            if issuance.spec.planes.client_ca != ClientCa::Unmanaged {
                for plane in &wanted.planes {
                    let claimed = table.planes.entry(plane.plane.clone());
                    claimed.or_default().push(index);
                }
            }
            let authority = ca_secret(issuance);
            let owned = table.authorities.entry(authority.clone());
            owned.or_default().push(index);
            table.claimants.push(Claimant {
                age,
                identity: identity(issuance),
                namespace: namespace(issuance).to_owned(),
                authority,
            });
        }
        let names = table.claimants.iter().map(|one| one.identity.clone());
        table.issuances = Arc::new(names.collect());
        table
    }

    /// What an issuance wants, where it is one of those.
    pub fn wants(&self, issuance: &ExternalCAIssuance) -> Option<&Wants> {
        let metadata = &issuance.metadata;
        let version = (metadata.uid.clone(), metadata.generation);
        self.wants.get(&version)
    }

    /// What issuances have, of all that cert-manager's objects may want.
    pub fn others(&self) -> Others {
        let mut others = Others::default();
        for (target, claimed) in &self.material {
            let first = claimed.first().and_then(|first| self.claimants.get(*first));
            if let Some(first) = first.filter(|_| target.kind == MaterialKind::Secret) {
                let identity = first.identity.clone();
                others.claims.insert(target.object.clone(), identity);
            }
        }
        for claimant in &self.claimants {
            let identity = claimant.identity.clone();
            others
                .authorities
                .insert(claimant.authority.clone(), identity);
        }
        others
    }

    /// What others own of what a domain of the front end needs: all issuances win over it.
    pub fn of_declared(&self, needs: &Needs, others: impl Iterator<Item = String>) -> Claims {
        let mut claims = Claims::default();
        let mut names = self.issuances.as_ref().clone();
        names.extend(others);
        claims.issuances = Arc::new(names);
        for claimant in &self.claimants {
            let identity = claimant.identity.clone();
            claims
                .authorities
                .insert(claimant.authority.clone(), identity);
        }
        let owner = |target: &MaterialRef| {
            let first = self.material.get(target)?.first()?;
            self.claimants.get(*first)
        };
        let claimed = needs.objects().filter_map(|one| {
            let owner = owner(&one)?.identity.clone();
            Some((one, owner))
        });
        claims.material = claimed.collect();
        claims
    }

    /// What others own of what an issuance needs.
    pub fn of(&self, issuance: &ExternalCAIssuance, needs: &Needs) -> Claims {
        let (own, home) = (age(issuance), namespace(issuance));
        let claimants = |places: &Vec<usize>| {
            let claimants = places.iter().filter_map(|place| self.claimants.get(*place));
            claimants.filter(|other| other.age.1 != own.1).collect()
        };
        let mut claims = Claims {
            issuances: Arc::clone(&self.issuances),
            ..Claims::default()
        };
        for object in needs.material.iter().chain(&needs.elsewhere) {
            let others = self.authorities.get(&object.object);
            let others: Vec<&Claimant> = others.map(claimants).unwrap_or_default();
            // The owner of a namespace decides on its CA. In one namespace the older issuance does: else one that names a
            // standing leaf as its CA would stop that leaf's renewal.
            let mut deciding = others.iter().rev();
            let deciding = deciding.find(|other| other.age < own || other.namespace != home);
            if let Some(other) = deciding {
                let authority = object.object.clone();
                claims.authorities.insert(authority, other.identity.clone());
            }
        }
        let older = |claimed: Option<&Vec<usize>>| {
            let first = claimed?
                .first()
                .and_then(|first| self.claimants.get(*first))?;
            (first.age < own).then(|| first.identity.clone())
        };
        for one in needs.objects().chain(needs.elsewhere.iter().cloned()) {
            if let Some(owner) = older(self.material.get(&one)) {
                claims.material.insert(one, owner);
            }
        }
        for plane in selected(issuance, &needs.planes) {
            if let Some(owner) = older(self.planes.get(&plane.plane)) {
                claims.planes.insert(plane.plane.clone(), owner);
            }
        }
        claims
    }
}
