//! CAs and certificates that sign themselves, with keys that are the same each time.

use std::collections::BTreeMap;

use external_ca_core::domain::SelfSigned;
use external_ca_core::model::{Leaf, Material};
use external_ca_core::x509::{
    CaProfile, Certificate, CertificateAuthority, encode_bundle, self_signed_ca, self_signed_leaf,
};
use jiff::{SignedDuration, Timestamp};

use super::world::CA;
use crate::cluster::Cluster;
use crate::pki::key;

/// A certificate, and the number of its key.
pub struct Pair {
    pub certificate: Certificate,
    pub key: u64,
}

/// A CA that people have made.
pub fn new_ca(cluster: &mut Cluster) -> Pair {
    let profile = CaProfile {
        common_name: CA.into(),
        organizations: Vec::new(),
        organizational_units: Vec::new(),
        path_length: None,
        duration: SignedDuration::from_hours(24 * 30),
    };
    let (number, now) = (cluster.next_serial(), cluster.now);
    sign_itself(cluster, &SelfSigned::Ca(profile), number, now)
}

/// Signs with the key of a number; there is no second certificate like it.
pub fn sign_itself(
    cluster: &mut Cluster,
    profile: &SelfSigned,
    number: u64,
    now: Timestamp,
) -> Pair {
    let serial = u128::from(cluster.next_serial()).to_be_bytes();
    let own = key(number);
    let certificate = match profile {
        SelfSigned::Ca(profile) => self_signed_ca(&own, profile, serial, now),
        SelfSigned::Leaf(profile) => self_signed_leaf(&own, profile, serial, now),
    };
    let certificate = certificate.unwrap();
    let keys = &mut cluster.cert_manager.keys;
    keys.insert(certificate.fingerprint(), number);
    Pair {
        certificate,
        key: number,
    }
}

/// What signs, by what a CA Secret holds.
pub fn authority(
    keys: &BTreeMap<external_ca_core::x509::Fingerprint, u64>,
    stored: &Material,
    now: Timestamp,
) -> Result<CertificateAuthority, external_ca_core::x509::CaError> {
    let chain = match &stored.leaf {
        Leaf::Present { chain, .. } => chain.as_slice(),
        Leaf::Empty | Leaf::Invalid(_) => &[],
    };
    let number = chain
        .first()
        .and_then(|first| keys.get(&first.fingerprint()));
    let own = number.map(|number| key(*number).to_pem().to_owned());
    let (pem, bundle) = (encode_bundle(chain), encode_bundle(&stored.anchors));
    let own = own.unwrap_or_default();
    CertificateAuthority::from_pem(pem.as_bytes(), own.as_bytes(), Some(bundle.as_bytes()), now)
}
