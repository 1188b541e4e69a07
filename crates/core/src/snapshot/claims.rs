//! Which issuance wants what: nothing has two owners. It is made once for all issuances, and asked by each.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use external_ca_api::{ClientCa, ExternalCAIssuance};
use jiff::Timestamp;

use super::needs::Needs;
use super::scope::Scope;
use crate::domain::certmanager::Others;
use crate::domain::{ca_secret, desired, identity, namespace};
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
        let (planes, _) = scope.split(planes);
        let served = issuances.iter();
        let served = served.filter(|one| scope.served.contains(namespace(one)));
        let served: BTreeMap<Age, &Arc<_>> = served.map(|one| (age(one), one)).collect();
        let mut table = Self::default();
        for (index, (age, issuance)) in served.into_iter().enumerate() {
            let wanted = desired(issuance, &planes);
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
            table.claimants.push(Claimant {
                age,
                identity: identity(issuance),
                namespace: namespace(issuance).to_owned(),
                authority: ca_secret(issuance),
            });
        }
        table
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
        claims.issuances.extend(others);
        for claimant in &self.claimants {
            claims.issuances.insert(claimant.identity.clone());
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
        let others = self.claimants.iter();
        let others = others.filter(|other| other.age.1 != own.1);
        let mut claims = Claims::default();
        for other in others {
            claims.issuances.insert(other.identity.clone());
            // The owner of a namespace decides on its CA. In one namespace the older issuance does: else one that names a
            // standing leaf as its CA would stop that leaf's renewal.
            if other.age < own || other.namespace != home {
                let authority = other.authority.clone();
                claims.authorities.insert(authority, other.identity.clone());
            }
        }
        let older = |claimed: Option<&Vec<usize>>| {
            let first = claimed?
                .first()
                .and_then(|first| self.claimants.get(*first))?;
            (first.age < own).then(|| first.identity.clone())
        };
        let material = needs.objects().chain(needs.elsewhere.iter().cloned());
        let material =
            material.filter_map(|one| Some((one.clone(), older(self.material.get(&one))?)));
        claims.material = material.collect();
        let planes = needs.planes.iter().map(|plane| &plane.plane);
        let planes = planes.filter_map(|one| Some((one.clone(), older(self.planes.get(one))?)));
        claims.planes = planes.collect();
        claims
    }
}
