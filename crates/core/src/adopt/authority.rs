//! Which CA an installation has.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::installation::Installation;
use crate::model::ObjectRef;
use crate::x509::{CaChain, Certificate};

/// The CA Secret of OpenChoreo's guide.
const GUIDE_CA: &str = "cluster-gateway-external-ca";

impl Installation {
    /// The CA with the key that signed most of the leaves, the gateway's first.
    pub(super) fn authority(
        &self,
        leaves: &[(ObjectRef, Certificate)],
        notes: &mut Vec<String>,
    ) -> String {
        if leaves.is_empty() {
            let mut secrets = self.authorities.iter();
            if !secrets.any(|(secret, _)| secret.name == GUIDE_CA) {
                notes.push(format!(
                    "bring a CA before you apply this: kubectl -n {} create secret tls {GUIDE_CA} --cert=ca.crt --key=ca.key",
                    self.namespace,
                ));
            }
            return GUIDE_CA.into();
        }
        let signed = |ca: &CaChain| {
            let mine = leaves
                .iter()
                .filter(|(_, leaf)| leaf.signed_by(ca.certificate()));
            mine.count()
        };
        let mut candidates: Vec<&(ObjectRef, Arc<CaChain>)> = self
            .authorities
            .iter()
            .filter(|(_, ca)| signed(ca) > 0)
            .collect();
        candidates.sort_by_key(|(secret, ca)| {
            let gateway = leaves
                .first()
                .is_some_and(|(_, leaf)| leaf.signed_by(ca.certificate()));
            // Of copies the one that no workload mounts.
            let mounted = self
                .workloads
                .iter()
                .any(|workload| self.secrets(workload).any(|mount| mount.object == *secret));
            (!gateway, mounted, usize::MAX - signed(ca), secret.clone())
        });
        let Some((secret, ca)) = candidates.first() else {
            let issuers: BTreeSet<&str> = leaves.iter().map(|(_, leaf)| leaf.issuer()).collect();
            let issuers: Vec<&str> = issuers.into_iter().collect();
            notes.push(format!(
                "the key of the CA that signed what exists ({}) is in no Secret of {}. Put it there before you apply this: kubectl -n {} \
                 create secret tls {GUIDE_CA} --cert=ca.crt --key=ca.key. If you no longer have it, put a new CA there: everything is then \
                 issued anew, by the same staged move",
                issuers.join("; "),
                self.namespace,
                self.namespace,
            ));
            return GUIDE_CA.into();
        };
        let mounted = self
            .workloads
            .iter()
            .filter(|workload| self.secrets(workload).any(|mount| mount.object == *secret));
        let mounted: Vec<String> = mounted
            .map(|workload| workload.workload.to_string())
            .collect();
        if !mounted.is_empty() {
            notes.push(format!(
                "the Secret {secret} holds the CA's key, and {} mounts it. Better: copy it to a Secret of another name and name that here; \
                 docs/migrating.md says how",
                mounted.join(", ")
            ));
        }
        for (target, leaf) in leaves
            .iter()
            .filter(|(_, leaf)| !leaf.signed_by(ca.certificate()))
        {
            notes.push(format!(
                "Secret {target} was signed by {}, not by that CA: it is issued anew once that CA is trusted",
                leaf.issuer()
            ));
        }
        secret.name.clone()
    }
}
