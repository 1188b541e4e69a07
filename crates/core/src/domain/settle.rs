//! What is wanted, settled by what is seen: of several that want one Secret, which has it; whether the control plane's
//! ConfigMap is a trust place.

use external_ca_api::ExternalCAIssuanceStatus;

use super::leaf::{Desired, DesiredLeaf, Role, describe};
use crate::model::{Leaf, MaterialRef, Read, Snapshot};
use crate::reason::{Problem, Reason};
use crate::x509::{Certificate, San};

impl Desired {
    /// OpenChoreo's control-plane chart makes the ConfigMap itself, and Helm refuses to install over one that was there
    /// before. So it is filled where it exists, and made only where something waits for it.
    pub(super) fn settle_home_bundle(&mut self, observed: &Snapshot, bundle: &MaterialRef) {
        let is_absent = observed
            .material
            .get(bundle)
            .is_none_or(|read| **read == Read::Absent);
        let home = &bundle.object.namespace;
        let has_agent = self
            .all()
            .any(|leaf| leaf.role == Role::Agent && leaf.target.namespace == *home);
        let of_workloads = observed.workloads.iter().map(|one| &one.mounts);
        let of_pods = observed.pods.iter().map(|pod| &pod.mounts);
        let mut mounts = of_workloads.chain(of_pods);
        if is_absent && !has_agent && !mounts.any(|mounts| mounts.contains(bundle)) {
            self.trust_places.remove(bundle);
        }
    }

    /// The claimant that has the Secret keeps it, and renewal goes on; the others are told. It stands by what is stored, or else by
    /// what was last told of it. Of the others, and of all where none stands, only what is stored counts.
    pub(super) fn settle_contests(
        &mut self,
        observed: &Snapshot,
        earlier: Option<&ExternalCAIssuanceStatus>,
    ) {
        for (target, mut claimants) in std::mem::take(&mut self.contested) {
            let first = claimants.first().map(DesiredLeaf::material);
            let found = first.and_then(|first| observed.material.get(&first)?.found());
            let certificate = found.and_then(|found| match &found.leaf {
                Leaf::Present { chain, .. } => chain.first(),
                Leaf::Empty | Leaf::Invalid(_) => None,
            });
            let name = target.to_string();
            let mut entries = earlier.iter().flat_map(|status| &status.certificates);
            let told = entries.find(|entry| entry.target == name);
            let told = told.map(|entry| entry.common_name.as_str());
            let owner = owner(&claimants, certificate, told);
            let owner = owner.map(|index| claimants.remove(index));
            let message = match (&owner, claimants.as_slice()) {
                (Some(owner), rest) => format!(
                    "{} wants the Secret {target}, which {} has; give each a Secret or namespace of its own (spec.agents)",
                    names(rest),
                    describe(owner),
                ),
                (None, all) => format!(
                    "{} both want the Secret {target}; give each a Secret or namespace of its own (spec.agents)",
                    names(all),
                ),
            };
            let problem = Problem::new(Reason::Conflict, message);
            self.problems.push((Some(target.clone()), problem));
            claimants.into_iter().for_each(|leaf| self.block(leaf));
            self.leaves.extend(owner.map(|leaf| (target, leaf)));
        }
    }
}

fn owner(
    claimants: &[DesiredLeaf],
    stored: Option<&Certificate>,
    told: Option<&str>,
) -> Option<usize> {
    let is_named = |leaf: &DesiredLeaf| {
        let name = &leaf.profile.common_name;
        match stored {
            Some(stored) => stored.common_names().contains(name),
            None => told == Some(name.as_str()),
        }
    };
    let has_names =
        |leaf: &DesiredLeaf| San::same(&leaf.profile.sans, stored.map_or(&[], Certificate::sans));
    let mut left: Vec<usize> = (0..claimants.len()).collect();
    let rules: [&dyn Fn(&DesiredLeaf) -> bool; 2] = [&is_named, &has_names];
    for rule in rules {
        let holds = |index: &usize| claimants.get(*index).is_some_and(rule);
        let kept: Vec<usize> = left.iter().copied().filter(holds).collect();
        if !kept.is_empty() {
            left = kept;
        }
    }
    match left.as_slice() {
        [only] => Some(*only),
        _ => None,
    }
}

fn names(leaves: &[DesiredLeaf]) -> String {
    let names: Vec<String> = leaves.iter().map(describe).collect();
    names.join(" and ")
}
