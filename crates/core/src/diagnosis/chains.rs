//! Chains that verifiers refuse: which word, and what to do.

use super::finding::{Finding, FindingWord, Symptom, Word};
use crate::domain::Role;
use crate::reason::Reason;
use crate::x509::{Certificate, VerifyError};

/// Whether no trusted certificate leads to the issuer.
pub(super) fn is_unknown(error: &VerifyError) -> bool {
    matches!(error, VerifyError::UnknownAuthority { .. })
}

/// The CA whose key signed the leaf, though the leaf names it otherwise: verifiers compare names byte for byte.
pub(super) fn misnamed<'a>(
    leaf: &Certificate,
    known: &[&'a Certificate],
) -> Option<&'a Certificate> {
    known
        .iter()
        .find(|ca| ca.subject_der() != leaf.issuer_der() && leaf.signature_verifies_with(ca))
        .copied()
}

pub(super) fn issuer_name(object: impl ToString, leaf: &Certificate, ca: &Certificate) -> Finding {
    let same_text = if leaf.issuer() == ca.subject() {
        "; they read alike but are encoded differently"
    } else {
        ""
    };
    Finding::error(
        FindingWord::IssuerNameDiffers,
        object,
        format!(
            "the CA's key signed it, but its issuer is not the CA's subject byte for byte: {} and {}{same_text}",
            leaf.issuer(),
            ca.subject()
        ),
    )
    .cause("the tool that signed it wrote the CA's name anew, in another order or encoding; verifiers find no CA of that name")
    .fix("have it issued by a tool that copies the CA's subject as it is: this operator, or openssl x509 -req -CA ca.crt -CAkey ca.key")
    .symptom(Symptom::UnknownAuthority)
}

pub(super) fn incomplete(object: impl ToString, error: &VerifyError) -> Finding {
    Finding::error(
        Reason::ChainIncomplete,
        object,
        format!("tls.crt does not lead to the CA that peers trust: {error}"),
    )
    .cause("an intermediate is missing after the leaf; peers hold only the root, and fetch nothing")
    .fix("append the intermediates to tls.crt, nearest first, without the root: cat leaf.crt intermediate.crt > tls.crt")
    .symptom(Symptom::UnknownAuthority)
}

pub(super) fn stranger(
    object: impl ToString,
    role: Role,
    leaf: &Certificate,
    ca: Option<&str>,
) -> Finding {
    let not = ca.map_or_else(String::new, |ca| format!(", not by {ca}"));
    Finding::error(
        Reason::SignerChanged,
        object,
        format!(
            "the certificate {} was signed by {}{not}, and those who verify it do not trust that",
            leaf.subject(),
            leaf.issuer()
        ),
    )
    .cause("it comes from another CA, or the CA was made anew under the same name and this was left behind")
    .fix("have it signed by the CA that peers trust: let the operator issue it (kubectl externalca plan says what it waits for), or put the other CA into the CA Secret")
    .symptom(match role {
        Role::Agent => Symptom::NotValidForAnyPlane,
        Role::Gateway | Role::Further => Symptom::UnknownAuthority,
    })
}

pub(super) fn refused_chain(object: impl ToString, word: Word, error: &VerifyError) -> Finding {
    Finding::error(word, object, error.to_string())
        .cause("verifiers refuse the whole chain for it")
        .fix("have that CA certificate reissued, or use another CA: put it into the CA Secret, and every certificate follows")
        .symptom(Symptom::BadCertificate)
}

/// The word, and whether it is about a CA.
pub(super) fn verdict(error: &VerifyError) -> (Word, bool) {
    match error {
        VerifyError::EmptyChain | VerifyError::Malformed { .. } => {
            (Reason::CertificateInvalid.into(), false)
        }
        VerifyError::UnhandledCriticalExtension { .. } => {
            (Reason::CACertificateInvalid.into(), true)
        }
        VerifyError::NotYetValid { .. } => (Reason::CANotYetValid.into(), true),
        VerifyError::Expired { .. } => (Reason::CAExpired.into(), true),
        VerifyError::NotAuthorizedToSign { .. } => (Reason::NotACA.into(), true),
        VerifyError::TooManyIntermediates { .. } => (Reason::CAPathLengthExceeded.into(), true),
        VerifyError::WeakSignature { .. } => (Reason::CAWeakSignature.into(), true),
        VerifyError::UnknownAuthority { .. } | VerifyError::SignatureLimit => {
            (Reason::ChainIncomplete.into(), false)
        }
        VerifyError::IncompatibleUsage { .. } => (Reason::CAUsageNotAllowed.into(), true),
        VerifyError::NameConstraints(_) => (Reason::CANameConstraints.into(), true),
        VerifyError::Policies => (Reason::CAPolicyConstraints.into(), true),
    }
}
