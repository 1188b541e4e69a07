//! A CA's public side: which certificate issues, and how verifiers get from it to an anchor.

use jiff::Timestamp;

use super::bundle::{Bundle, parse_bundle};
use super::ca_checks::{check_path, check_validity};
use super::ca_error::CaError;
use super::certificate::Certificate;
use super::constraints::Names;
use super::profile::LeafProfile;

/// Larger inputs are refused unread. A chain of four RSA-4096 certificates is 8 KiB.
pub(super) const MAX_PEM: usize = 64 * 1024;

/// No real hierarchy is deeper.
const MAX_DEPTH: usize = 10;

/// Paths that are looked at where CAs are cross-signed.
const MAX_PATHS: usize = 32;

/// The public side of a CA: its certificate with the chain up to the anchor. Enough to plan with; signing takes the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaChain {
    /// The certificate that issues.
    issuing: Certificate,
    /// Each issuer from there on, up to the anchor.
    above: Vec<Certificate>,
    /// The same without the root, in one piece.
    intermediates: Vec<Certificate>,
}

impl CaChain {
    /// Reads a CA's certificate with its chain, in any order, where the key is not at hand: the one that issues is the
    /// one that none of the others was issued by.
    pub fn from_pem(text: &[u8], now: Timestamp) -> Result<Self, CaError> {
        if text.len() > MAX_PEM {
            let bytes = text.len();
            return Err(CaError::TooLarge {
                part: "tls.crt",
                bytes,
            });
        }
        Self::from_pool(&readable("tls.crt", text)?.certificates, now)
    }

    /// The same from certificates.
    fn from_pool(pool: &[Certificate], now: Timestamp) -> Result<Self, CaError> {
        let issues = |candidate: &&Certificate| {
            let mut others = pool.iter().filter(|other| other != candidate);
            !others.any(|other| other.signed_by(candidate))
        };
        let candidates = pool.iter().filter(issues);
        Self::sound(candidates, pool, now)?.ok_or(CaError::CertificateMissing)
    }

    /// The chain of a certificate that issues, from others that were found.
    pub fn of(
        issuing: &Certificate,
        pool: &[Certificate],
        now: Timestamp,
    ) -> Result<Self, CaError> {
        Self::sound(std::iter::once(issuing), pool, now)?.ok_or(CaError::CertificateMissing)
    }

    /// The first candidate with a path that verifiers would accept; none where there is no candidate.
    pub(super) fn sound<'a>(
        candidates: impl Iterator<Item = &'a Certificate>,
        pool: &[Certificate],
        now: Timestamp,
    ) -> Result<Option<Self>, CaError> {
        let mut error = None;
        for candidate in candidates {
            for path in paths(candidate, pool) {
                match check_path(&path, now) {
                    Ok(()) => {
                        let above = path.into_iter().skip(1).cloned().collect();
                        return Ok(Some(Self::new(candidate.clone(), above)));
                    }
                    Err(found) => {
                        error.get_or_insert(found);
                    }
                }
            }
        }
        error.map_or(Ok(None), Err)
    }

    pub(super) fn new(issuing: Certificate, above: Vec<Certificate>) -> Self {
        let all = std::iter::once(&issuing).chain(&above);
        let intermediates = all
            .filter(|certificate| !certificate.is_self_signed())
            .cloned()
            .collect();
        Self {
            issuing,
            above,
            intermediates,
        }
    }

    /// The certificate that issues.
    pub fn certificate(&self) -> &Certificate {
        &self.issuing
    }

    /// The chain of a certificate that is its own anchor.
    pub fn of_itself(certificate: Certificate) -> Self {
        Self::new(certificate, Vec::new())
    }

    /// Whether it has issued a certificate. One that is no CA has issued itself only.
    pub fn issued(&self, certificate: &Certificate) -> bool {
        match self.issuing.is_ca() {
            true => certificate.signed_by(&self.issuing),
            false => *certificate == self.issuing,
        }
    }

    /// What follows a leaf in its `tls.crt`: the issuing certificate and those above it, without the root.
    ///
    /// Only a self-signed certificate is left out. Where no root is at hand the anchor is an intermediate, and it
    /// stays: peers that trust the root need it, and to those that trust it itself it does no harm.
    pub fn intermediates(&self) -> &[Certificate] {
        &self.intermediates
    }

    /// What verifiers are told to trust: the root if it is at hand, else the topmost certificate that is.
    pub fn anchor(&self) -> &Certificate {
        self.above.last().unwrap_or(&self.issuing)
    }

    /// The issuing certificate and all above it, the anchor last.
    pub fn chain(&self) -> impl DoubleEndedIterator<Item = &Certificate> + Clone {
        std::iter::once(&self.issuing).chain(&self.above)
    }

    /// When the first of the chain, anchor included, ends.
    pub fn not_after(&self) -> Timestamp {
        self.chain()
            .map(Certificate::not_after)
            .min()
            .unwrap_or(Timestamp::MIN)
    }

    /// When the last of the chain, anchor included, starts.
    pub fn not_before(&self) -> Timestamp {
        self.chain()
            .map(Certificate::not_before)
            .max()
            .unwrap_or(Timestamp::MAX)
    }

    /// Whether verifiers would accept such a leaf below this chain.
    pub fn permits(&self, profile: &LeafProfile) -> Result<(), CaError> {
        for (below, certificate) in self.chain().enumerate() {
            let subject = || certificate.subject().to_owned();
            if let Some(usage) = profile
                .usages
                .each()
                .find(|usage| !certificate.allows(*usage))
            {
                let usage = if usage.server_auth {
                    "serverAuth"
                } else {
                    "clientAuth"
                };
                return Err(CaError::UsageNotAllowed {
                    subject: subject(),
                    usage,
                });
            }
            let names = Names {
                sans: &profile.sans,
                emails: &[],
            };
            if let Some(problem) = certificate
                .name_constraints()
                .and_then(|c| c.violation(names))
                && !profile.sans.is_empty()
            {
                return Err(CaError::NameConstraints {
                    subject: subject(),
                    problem,
                });
            }
            // Counted down by each certificate below; what an anchor demands is not asked for.
            let demanded = certificate.policies().require_explicit;
            if certificate != self.anchor()
                && demanded.is_some_and(|skip| skip as usize <= below + 1)
            {
                return Err(CaError::PolicyConstraints { subject: subject() });
            }
        }
        Ok(())
    }

    /// Whether one more CA may stand below this chain.
    pub(super) fn permits_intermediate(&self) -> Result<(), CaError> {
        for (below, certificate) in self.chain().enumerate() {
            if let Some(allowed) = certificate
                .path_length()
                .filter(|allowed| *allowed as usize <= below)
            {
                return Err(CaError::PathLengthExceeded {
                    subject: certificate.subject().to_owned(),
                    allowed,
                });
            }
        }
        Ok(())
    }

    /// Whether the whole chain is valid at that time.
    pub(super) fn check_validity(&self, now: Timestamp) -> Result<(), CaError> {
        self.chain()
            .try_for_each(|certificate| check_validity(certificate, now))
    }
}

/// A certificate cut short is a mistake to tell the person about, not one to pass over.
pub(super) fn readable(part: &'static str, text: &[u8]) -> Result<Bundle, CaError> {
    let bundle = parse_bundle(text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text));
    let problem = match bundle.unreadable.first() {
        Some(unreadable) => unreadable.to_string(),
        None if bundle.certificates.is_empty() && Certificate::from_der(text.to_vec()).is_ok() => {
            "it is DER, not PEM".to_owned()
        }
        None => return Ok(bundle),
    };
    Err(CaError::CertificateInvalid { part, problem })
}

/// The ways up from a certificate: those that end in a self-signed one, or, if none does, those that end nowhere.
fn paths<'a>(start: &'a Certificate, pool: &'a [Certificate]) -> Vec<Vec<&'a Certificate>> {
    let (mut complete, mut partial) = (Vec::new(), Vec::new());
    let mut open = vec![vec![start]];
    while let Some(path) = open.pop() {
        let Some(last) = path.last() else { continue };
        if complete.len() + partial.len() + open.len() >= MAX_PATHS || last.is_self_signed() {
            complete.push(path);
            continue;
        }
        let mut parents: Vec<&Certificate> = Vec::new();
        for parent in pool {
            if !path.contains(&parent) && !parents.contains(&parent) && last.signed_by(parent) {
                parents.push(parent);
            }
        }
        if parents.is_empty() || path.len() >= MAX_DEPTH {
            partial.push(path);
            continue;
        }
        // The last one pushed is looked at first, and the order of the file should win.
        for parent in parents.into_iter().rev() {
            let mut longer = path.clone();
            longer.push(parent);
            open.push(longer);
        }
    }
    if complete.is_empty() {
        partial
    } else {
        complete
    }
}
