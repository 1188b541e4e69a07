//! A certificate that stands in thousands of objects is kept once.

use std::collections::HashSet;

use external_ca_core::model::{Leaf, Material, Plane};
use external_ca_core::x509::Certificate;

/// Past so many, the table is begun anew: what stood somewhere once need not be kept for ever.
const MANY: usize = 1_000;

/// CAs that stand anywhere.
#[derive(Default)]
pub struct SharedCertificates(HashSet<Certificate>);

impl SharedCertificates {
    /// Has a Secret or ConfigMap share its CAs with all others.
    pub fn share_material(&mut self, material: &mut Material) {
        self.share(&mut material.anchors);
        if let Leaf::Present { chain, .. } = &mut material.leaf {
            // The first is its own.
            self.share(chain.iter_mut().skip(1));
        }
    }

    /// Has a plane share its anchors.
    pub fn share_plane(&mut self, plane: &mut Plane) {
        self.share(&mut plane.anchors);
    }

    fn share<'a>(&mut self, certificates: impl IntoIterator<Item = &'a mut Certificate>) {
        for certificate in certificates {
            match self.0.get(certificate) {
                Some(known) => *certificate = known.clone(),
                None => {
                    if self.0.len() >= MANY {
                        self.0.clear();
                    }
                    self.0.insert(certificate.clone());
                }
            }
        }
    }
}
