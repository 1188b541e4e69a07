//! What is told of a leaf, now and before.

use external_ca_api::{CertificateState, CertificateStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::draft::Draft;
use crate::domain::{DesiredLeaf, fitness, renewal_time};
use crate::model::{Material, Read};
use crate::reason::Reason;
use crate::trust::Guards;
use crate::x509::Certificate;

impl Draft<'_> {
    pub(super) fn certificate_status(
        &self,
        guards: &Guards<'_>,
        leaf: &DesiredLeaf,
        stored: &Read<Material>,
        state: CertificateState,
        reason: Option<Reason>,
    ) -> CertificateStatus {
        let found = fitness::certificate(stored);
        let lost = match found {
            Some(_) => None,
            None => self.told_of(leaf),
        };
        let by_issuer = found.is_some_and(|found| guards.view.ca.issued(found));
        CertificateStatus {
            target: leaf.target.to_string(),
            common_name: leaf.profile.common_name.clone(),
            serial: found
                .map(Certificate::serial_hex)
                .or_else(|| lost?.serial.clone()),
            signer: by_issuer.then(|| guards.view.ca.anchor().fingerprint().short()),
            not_after: found
                .map(|found| Time(found.not_after()))
                .or_else(|| lost?.not_after.clone()),
            renewal_time: found.map(|found| {
                let before = self.renewal_of(leaf).before;
                Time(renewal_time(found, before, leaf.profile.duration))
            }),
            state,
            reason: reason.map(|reason| reason.to_string()),
        }
    }
}
