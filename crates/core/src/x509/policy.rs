//! Certificate policies: only whether a chain is valid where a CA demands an explicit policy.

use std::collections::BTreeSet;

use super::certificate::Certificate;

/// 2.5.29.32.0
const ANY_POLICY: &[u8] = &[0x55, 0x1d, 32, 0];

/// RFC 5280 section 6.1 as updated by RFC 9618, with any policy acceptable to the user, leaf first.
///
/// The graph is kept as the set of policies expected of the next certificate: which path led to each of them matters
/// only to a user who wants a certain policy.
pub(super) fn valid(chain: &[&Certificate]) -> bool {
    let Some((_anchor, path)) = chain.split_last() else {
        return true;
    };
    if path.is_empty() {
        return true;
    }
    let infinite = u32::try_from(path.len())
        .unwrap_or(u32::MAX)
        .saturating_add(1);
    let (mut explicit, mut mapping, mut any) = (infinite, infinite, infinite);
    let mut expected: Option<BTreeSet<&[u8]>> = Some(BTreeSet::from([ANY_POLICY]));

    for (index, certificate) in path.iter().enumerate().rev() {
        let policies = certificate.policies();
        let self_issued = certificate.is_self_issued();
        let is_leaf = index == 0;

        expected = expected
            .filter(|_| !policies.asserted.is_empty())
            .map(|expected| {
                let any_counts = any > 0 || (!is_leaf && self_issued);
                let mut next: BTreeSet<&[u8]> = policies
                    .asserted
                    .iter()
                    .map(Vec::as_slice)
                    .filter(|policy| *policy != ANY_POLICY)
                    .filter(|policy| expected.contains(policy) || expected.contains(ANY_POLICY))
                    .collect();
                if any_counts && policies.asserted.iter().any(|policy| policy == ANY_POLICY) {
                    next.extend(expected);
                }
                next
            });
        if explicit == 0 && expected.is_none() {
            return false;
        }
        if is_leaf {
            break;
        }

        if let Some(set) = &mut expected {
            if mapping > 0
                && policies
                    .mappings
                    .iter()
                    .any(|(from, to)| from == ANY_POLICY || to == ANY_POLICY)
            {
                return false;
            }
            let mut mapped = BTreeSet::new();
            for (from, to) in &policies.mappings {
                if mapping > 0 && (set.contains(from.as_slice()) || set.contains(ANY_POLICY)) {
                    mapped.insert(to.as_slice());
                }
            }
            set.retain(|policy| !policies.mappings.iter().any(|(from, _)| from == policy));
            set.extend(mapped);
        }
        if !self_issued {
            explicit = explicit.saturating_sub(1);
            mapping = mapping.saturating_sub(1);
            any = any.saturating_sub(1);
        }
        explicit = policies.require_explicit.unwrap_or(explicit).min(explicit);
        mapping = policies.inhibit_mapping.unwrap_or(mapping).min(mapping);
        any = policies.inhibit_any.unwrap_or(any).min(any);
    }

    let leaf_demands = path
        .first()
        .is_some_and(|leaf| leaf.policies().require_explicit == Some(0));
    let required = explicit.saturating_sub(1) == 0 || leaf_demands;
    !required || expected.is_some_and(|set| !set.is_empty())
}
