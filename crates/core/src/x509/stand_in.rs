use std::sync::Arc;

use super::ca::CertificateAuthority;
use super::ca_chain::CaChain;
use super::certificate::Certificate;
use super::encode::signed_anew;
use super::key::{PrivateKey, generate};
use super::key_algorithm::KeyAlgorithm;
use super::mint::MintError;

/// A CA whose certificates say what another's say, byte for byte, with keys that were made for it and are thrown away. A
/// forecast lets it sign in the place of a CA whose key it lacks, or must not use. What it signs serves only that: no
/// verifier trusts it.
pub struct StandIn {
    real: CaChain,
    authority: Arc<CertificateAuthority>,
}

impl StandIn {
    /// Stands in for a CA.
    pub fn of(real: &CaChain) -> Result<Self, MintError> {
        let mut keys = Vec::new();
        for _ in real.chain() {
            keys.push(generate(KeyAlgorithm::EcdsaP256).map_err(|_| MintError::Encoding)?);
        }
        let mut certificates = Vec::new();
        for (index, certificate) in real.chain().enumerate() {
            let own = keys.get(index).ok_or(MintError::Encoding)?;
            // Verifiers skip the signature on an anchor.
            let signer = keys.get(index + 1).unwrap_or(own);
            certificates.push(again(certificate, Some(own), signer)?);
        }
        let mut certificates = certificates.into_iter();
        let issuing = certificates.next().ok_or(MintError::Encoding)?;
        let key = keys.into_iter().next().ok_or(MintError::Encoding)?;
        let chain = CaChain::new(issuing, certificates.collect());
        Ok(Self {
            real: real.clone(),
            authority: Arc::new(CertificateAuthority::new(key, chain)),
        })
    }

    /// The CA.
    pub fn authority(&self) -> &Arc<CertificateAuthority> {
        &self.authority
    }

    /// What stands for a certificate: for one of the CA its counterpart, for one that it has signed the same under the
    /// stand-in's signature; any other for itself.
    pub fn replace(&self, certificate: &Certificate) -> Result<Certificate, MintError> {
        let mut pairs = self.real.chain().zip(self.authority.chain());
        if let Some((_, counterpart)) = pairs.find(|(real, _)| *real == certificate) {
            return Ok(counterpart.clone());
        }
        if certificate.signed_by(self.real.certificate()) {
            again(certificate, None, self.authority.key())
        } else {
            Ok(certificate.clone())
        }
    }

    /// What a certificate of the stand-in stands for; any other is itself.
    pub fn restore(&self, certificate: &Certificate) -> Certificate {
        let mut pairs = self.real.chain().zip(self.authority.chain());
        let found = pairs.find(|(_, counterpart)| *counterpart == certificate);
        found.map_or(certificate, |(real, _)| real).clone()
    }
}

fn again(
    certificate: &Certificate,
    own: Option<&PrivateKey>,
    signer: &PrivateKey,
) -> Result<Certificate, MintError> {
    let spki = own.map(PrivateKey::spki_der);
    let der = signed_anew(certificate.der(), spki, signer)?;
    Certificate::from_der(der).map_err(|_| MintError::Encoding)
}
