//! Which objects are watched, and which are read in turn: a watch is a connection.

use std::collections::{BTreeSet, HashSet};

use external_ca_core::model::MaterialRef;
use external_ca_core::snapshot::Needs;

/// Past so many, objects are read again one by one instead. CA Secrets are watched, however many there are.
const MAX_WATCHES: usize = 64;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;

/// What an issuance needs.
#[derive(PartialEq)]
pub struct Wanted {
    /// The CA Secret.
    authority: Option<MaterialRef>,
    /// Everything, most important first.
    objects: Vec<MaterialRef>,
    /// What it claims where nothing is read.
    elsewhere: Vec<MaterialRef>,
}

impl Wanted {
    /// Of an issuance.
    pub fn of(needs: &Needs) -> Self {
        let objects: Vec<MaterialRef> = needs.objects().collect();
        let authority = needs.authority.as_ref().and(objects.first()).cloned();
        Self {
            authority,
            objects,
            elsewhere: needs.elsewhere.clone(),
        }
    }

    fn all(&self) -> impl Iterator<Item = &MaterialRef> {
        self.objects.iter().chain(&self.elsewhere)
    }
}

/// Whether an issuance wants anything that it did not, or no longer does, that one of the others wants, too: whose it is may
/// have changed.
pub fn is_contested<'a>(
    before: Option<&Wanted>,
    after: &Wanted,
    others: impl Iterator<Item = &'a Wanted>,
) -> bool {
    let before: HashSet<_> = before.into_iter().flat_map(Wanted::all).collect();
    let after: HashSet<_> = after.all().collect();
    let changed: HashSet<_> = before.symmetric_difference(&after).collect();
    let mut wanted = others.flat_map(Wanted::all);
    wanted.any(|one| changed.contains(&one))
}

/// What is watched, and what is read in turn.
pub struct Shared {
    /// Watched.
    pub watched: BTreeSet<MaterialRef>,
    /// Read in turn.
    pub reread: BTreeSet<MaterialRef>,
}

/// Every CA Secret is watched; then round robin over the issuances each has its most important objects watched.
pub fn share<'a>(issuances: impl Iterator<Item = &'a Wanted> + Clone) -> Shared {
    let authorities = issuances.clone().filter_map(|one| one.authority.clone());
    let mut watched: BTreeSet<MaterialRef> = authorities.collect();
    let mut order: Vec<(usize, &MaterialRef)> = issuances
        .flat_map(|one| one.objects.iter().enumerate())
        .collect();
    order.sort();
    let mut reread = BTreeSet::new();
    for (_, material) in order {
        if watched.len() < MAX_WATCHES {
            watched.insert(material.clone());
        } else if !watched.contains(material) {
            reread.insert(material.clone());
        }
    }
    Shared { watched, reread }
}
