//! What stands under `ca.crt` beside a certificate that is written: it is read as soon as the certificate is.

use std::collections::BTreeMap;

use external_ca_api::{CertificateState, REPLACES_ANNOTATION};

use super::draft::{Draft, RETRY};
use crate::domain::fitness::LeafContext;
use crate::domain::{BundlePlace, Generate, SecretForm, SelfSigned};
use crate::finding::Area;
use crate::model::{Injected, Leaf, MaterialRef, ObjectRef, Read};
use crate::reason::Problem;
use crate::trust::{Guards, Place, holds};
use crate::x509::Certificate;

/// What a Secret is to hold beside its certificate.
pub(super) enum Beside {
    /// Nothing: bundles have objects of their own.
    Nothing,
    Bundle(Vec<Certificate>),
    /// It is not known which anchors are still needed.
    Unknown,
}

impl Beside {
    pub(super) fn bundle(self) -> Option<Vec<Certificate>> {
        match self {
            Self::Bundle(bundle) => Some(bundle),
            Self::Nothing | Self::Unknown => None,
        }
    }
}

impl Draft<'_> {
    /// What is to stand beside the next certificate: at least what stands there. An anchor leaves by a step of its own, which
    /// rests on more than a certificate does.
    pub(super) fn beside(
        &self,
        guards: &Guards<'_>,
        target: &ObjectRef,
        form: &SecretForm,
    ) -> Beside {
        if form.bundle == BundlePlace::Elsewhere {
            return Beside::Nothing;
        }
        let place = Place::Material(MaterialRef::secret(target.clone()));
        let Some(mut bundle) = guards.wanted(&place) else {
            return Beside::Unknown;
        };
        for anchor in guards.view.stored(&place).unwrap_or_default() {
            if !bundle.contains(anchor) {
                bundle.push(anchor.clone());
            }
        }
        Beside::Bundle(bundle)
    }

    /// A leaf without what its readers verify their peers by would be worse than none.
    pub(super) fn wait_for_bundle(
        &mut self,
        context: &LeafContext<'_>,
        why: Problem,
    ) -> CertificateState {
        let message = format!(
            "{}; it waits until what stands in its authority's other Secrets can be read",
            why.message
        );
        let problem = Problem::new(why.reason, message);
        self.wait(Area::Certificates, context.leaf.material(), problem);
        self.wake_in(RETRY);
        CertificateState::Waiting
    }

    /// What stands beside an authority that is made where there is none: the anchors that its leaves chain to, where any of
    /// them tells.
    pub(super) fn beside_new(&self, new: &Generate) -> Option<Vec<Certificate>> {
        if new.form.bundle == BundlePlace::Elsewhere {
            return None;
        }
        let mut needed: Vec<Certificate> = Vec::new();
        if let SelfSigned::Ca(_) = new.profile {
            let material = self.observed.material.values();
            let anchors = material
                .filter_map(|read| read.found())
                .flat_map(|found| &found.anchors);
            for anchor in anchors {
                if !needed.contains(anchor) && self.is_chained_to(anchor) {
                    needed.push(anchor.clone());
                }
            }
        }
        Some(needed)
    }

    fn is_chained_to(&self, anchor: &Certificate) -> bool {
        let mut leaves = self.domain.wanted.presented();
        leaves.any(|leaf| {
            let stored = self.observed.material.get(&leaf.material());
            match stored
                .and_then(|read| read.found())
                .map(|found| &found.leaf)
            {
                Some(Leaf::Present { chain, .. }) => {
                    let anchor = std::slice::from_ref(anchor);
                    holds(chain, anchor, leaf.profile.usages, self.now)
                }
                _ => false,
            }
        })
    }

    /// Pods may hold what stood there before it was deleted.
    pub(super) fn marks_of_new(
        &self,
        target: &ObjectRef,
        new: &Generate,
    ) -> BTreeMap<&'static str, String> {
        let material = MaterialRef::secret(target.clone());
        let is_held = self.observed.has_started_reader(&material);
        let is_beside = new.form.bundle == BundlePlace::Beside;
        let mut injected = self.observed.injected.values();
        let mut is_injected =
            || injected.any(|read| read.found().is_some_and(Injected::trusts_any));
        let replaces = is_beside && (is_held || self.was_trusted() || is_injected());
        replaces
            .then(|| (REPLACES_ANNOTATION, "unknown".to_owned()))
            .into_iter()
            .collect()
    }

    fn was_trusted(&self) -> bool {
        self.previous()
            .is_some_and(|earlier| earlier.trust.is_some())
    }

    /// Whether what signs itself is kept aside until it is trusted: API servers trust another, or may as they did before.
    pub(super) fn waits_for_trust(&self, new: &Generate) -> bool {
        let mut injected = self.observed.injected.values();
        matches!(new.profile, SelfSigned::Leaf(_))
            && injected.any(|read| match read.as_ref() {
                // Others read it from the Secret, which is not there.
                Read::Found(found) => !found.is_others && found.trusts_any(),
                Read::Absent => false,
                Read::Unknown(_) => self.was_trusted(),
            })
    }
}
