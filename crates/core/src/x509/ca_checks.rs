//! What verifiers ask of a CA's certificates.

use jiff::Timestamp;

use super::ca_error::CaError;
use super::certificate::Certificate;
use super::key_algorithm::KeyAlgorithm;

/// A path from the certificate that issues up to the anchor.
pub(super) fn check_path(path: &[&Certificate], now: Timestamp) -> Result<(), CaError> {
    path.iter()
        .enumerate()
        .try_for_each(|(below, certificate)| check(certificate, below, now))
}

/// One certificate of the chain, with that many CAs below it.
fn check(certificate: &Certificate, below: usize, now: Timestamp) -> Result<(), CaError> {
    let subject = || certificate.subject().to_owned();
    let invalid = |problem: String| CaError::CertificateUnusable {
        subject: subject(),
        problem,
    };
    if !certificate.is_ca() {
        return Err(CaError::NotACertificateAuthority { subject: subject() });
    }
    if !certificate.may_sign_certificates() {
        return Err(CaError::KeyUsageMissing { subject: subject() });
    }
    check_validity(certificate, now)?;
    let what = || format!("the key of the CA certificate {}", certificate.subject());
    match certificate.key_algorithm() {
        Some(KeyAlgorithm::Rsa(bits)) if bits < 2048 => {
            return Err(CaError::WeakKey { what: what() });
        }
        Some(KeyAlgorithm::Rsa(bits)) if bits > 8192 => {
            return Err(CaError::UnsupportedKey { what: what() });
        }
        None => return Err(CaError::UnsupportedKey { what: what() }),
        Some(_) => {}
    }
    if let Some(hash) = certificate.weak_signature() {
        return Err(CaError::WeakSignature {
            subject: subject(),
            hash,
        });
    }
    if let Some(allowed) = certificate
        .path_length()
        .filter(|allowed| (*allowed as usize) < below)
    {
        return Err(CaError::PathLengthExceeded {
            subject: subject(),
            allowed,
        });
    }
    if certificate.has_unhandled_name_constraints() {
        let problem = "some are of a kind that Go does not apply, so that gateway and agents would refuse every \
                       certificate below it"
            .to_owned();
        return Err(CaError::NameConstraints {
            subject: subject(),
            problem,
        });
    }
    if let Some(extension) = certificate.unhandled_critical() {
        return Err(invalid(format!(
            "it has a critical extension that verifiers do not know: {extension}"
        )));
    }
    certificate
        .defect()
        .map_or(Ok(()), |defect| Err(invalid(defect.to_owned())))
}

pub(super) fn check_validity(certificate: &Certificate, now: Timestamp) -> Result<(), CaError> {
    let subject = || certificate.subject().to_owned();
    if now < certificate.not_before() {
        return Err(CaError::NotYetValid {
            subject: subject(),
            not_before: certificate.not_before(),
        });
    }
    if now > certificate.not_after() {
        return Err(CaError::Expired {
            subject: subject(),
            not_after: certificate.not_after(),
        });
    }
    Ok(())
}
