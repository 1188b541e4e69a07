use jiff::Timestamp;

use super::certificate::Certificate;
use super::policy;
use super::profile::Usages;

/// As many as Go tries before it gives up on a pile of look-alike CAs.
const MAX_SIGNATURE_CHECKS: u32 = 100;

/// Why a chain does not verify.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum VerifyError {
    /// No certificate was presented.
    #[error("there is no certificate")]
    EmptyChain,
    /// A presented certificate that Go would refuse to read.
    #[error("the certificate {subject} is malformed: {defect}")]
    Malformed {
        /// Whose certificate.
        subject: String,
        /// What is wrong with it.
        defect: &'static str,
    },
    /// A critical extension that verifiers do not know.
    #[error(
        "the certificate {subject} has a critical extension that verifiers do not know: {extension}"
    )]
    UnhandledCriticalExtension {
        /// Whose certificate.
        subject: String,
        /// The extension's OID.
        extension: String,
    },
    /// Not valid yet.
    #[error("the certificate {subject} is valid only from {not_before}")]
    NotYetValid {
        /// Whose certificate.
        subject: String,
        /// When it starts.
        not_before: Timestamp,
    },
    /// Expired.
    #[error("the certificate {subject} expired at {not_after}")]
    Expired {
        /// Whose certificate.
        subject: String,
        /// When it ended.
        not_after: Timestamp,
    },
    /// An issuer that is no CA, or may not sign certificates.
    #[error("the certificate {subject} may not sign certificates")]
    NotAuthorizedToSign {
        /// Whose certificate.
        subject: String,
    },
    /// A path length constraint.
    #[error("the certificate {subject} allows fewer intermediates below it")]
    TooManyIntermediates {
        /// Whose certificate.
        subject: String,
    },
    /// A signature that rests on SHA-1 or MD5.
    #[error("the certificate {subject} is signed with {hash}, which verifiers refuse")]
    WeakSignature {
        /// Whose certificate.
        subject: String,
        /// The hash.
        hash: &'static str,
    },
    /// No chain leads to an anchor.
    #[error(
        "the certificate {subject} is signed by an unknown authority: no trusted certificate leads to {issuer}"
    )]
    UnknownAuthority {
        /// The last certificate that was reached.
        subject: String,
        /// The issuer that is not there.
        issuer: String,
    },
    /// An extended key usage is missing somewhere in the chain.
    #[error("the certificate {subject} does not allow its chain to be used for {usage}")]
    IncompatibleUsage {
        /// Whose certificate.
        subject: String,
        /// The usage asked for.
        usage: &'static str,
    },
    /// A name that a CA's name constraints forbid.
    #[error("{0}")]
    NameConstraints(String),
    /// A CA demands a certificate policy that the chain does not have.
    #[error("a certificate of the chain demands a certificate policy that the others do not have")]
    Policies,
    /// Too many ways to look at.
    #[error("no chain was found among the first 100 signatures")]
    SignatureLimit,
}

impl VerifyError {
    /// One CamelCase word for conditions, Events and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::EmptyChain => "CertificateMissing",
            Self::Malformed { .. } => "CertificateInvalid",
            Self::UnhandledCriticalExtension { .. } => "UnhandledCriticalExtension",
            Self::NotYetValid { .. } => "NotYetValid",
            Self::Expired { .. } => "Expired",
            Self::NotAuthorizedToSign { .. } => "NotACertificateAuthority",
            Self::TooManyIntermediates { .. } => "PathLengthExceeded",
            Self::WeakSignature { .. } => "WeakSignature",
            Self::UnknownAuthority { .. } => "UnknownAuthority",
            Self::IncompatibleUsage { .. } => "IncompatibleUsage",
            Self::NameConstraints(_) => "NameConstraints",
            Self::Policies => "PolicyConstraints",
            Self::SignatureLimit => "SignatureLimit",
        }
    }
}

/// Whether this chain (leaf first, then whatever intermediates in any order) verifies against these anchors.
///
/// This is Go's `Certificate.Verify`, step by step, with each of the usages asked for in turn (none: any will do): an
/// anchor may be an intermediate, or the leaf itself even if it is no CA; the anchor's validity, path length, name
/// constraints and extended key usages count; key identifiers only order the candidates. Host names are not looked at.
pub fn verify(
    chain: &[Certificate],
    anchors: &[Certificate],
    usages: Usages,
    now: Timestamp,
) -> Result<(), VerifyError> {
    let Some((leaf, intermediates)) = chain.split_first() else {
        return Err(VerifyError::EmptyChain);
    };
    for certificate in chain {
        if let Some(defect) = certificate.defect() {
            return Err(VerifyError::Malformed {
                subject: certificate.subject().to_owned(),
                defect,
            });
        }
    }
    check(leaf, Role::Leaf, 0, now)?;
    let paths = if anchors.contains(leaf) {
        vec![vec![leaf]]
    } else {
        let mut search = Search {
            anchors,
            intermediates,
            now,
            checks: 0,
            hint: None,
            paths: Vec::new(),
        };
        search.extend(&mut vec![leaf]);
        search.result(leaf)?
    };
    if usages == Usages::default() {
        return accept(&paths, usages);
    }
    usages.each().try_for_each(|usage| accept(&paths, usage))
}

/// One of the paths must serve the usage.
fn accept(paths: &[Vec<&Certificate>], usage: Usages) -> Result<(), VerifyError> {
    let mut first_error = None;
    for path in paths {
        match judge(path, usage) {
            Ok(()) => return Ok(()),
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    first_error.map_or(Ok(()), Err)
}

fn judge(path: &[&Certificate], usage: Usages) -> Result<(), VerifyError> {
    if !policy::valid(path) {
        return Err(VerifyError::Policies);
    }
    if let Some(certificate) = path
        .iter()
        .rev()
        .find(|certificate| !certificate.allows(usage))
    {
        let usage = if usage.server_auth {
            "server auth"
        } else {
            "client auth"
        };
        return Err(VerifyError::IncompatibleUsage {
            subject: certificate.subject().to_owned(),
            usage,
        });
    }
    name_violation(path).map_or(Ok(()), |violation| {
        Err(VerifyError::NameConstraints(violation))
    })
}

/// Why a name in the chain (leaf first) is against the constraints of a certificate above it.
fn name_violation(chain: &[&Certificate]) -> Option<String> {
    chain.iter().enumerate().find_map(|(index, certificate)| {
        let names = certificate.constrained_names()?;
        let above = chain.get(index + 1..).unwrap_or_default();
        above
            .iter()
            .filter_map(|issuer| issuer.name_constraints())
            .find_map(|c| c.violation(names))
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Leaf,
    Intermediate,
    Anchor,
}

/// What a certificate must be by itself to stand where it stands, `below` intermediates above the leaf.
fn check(
    certificate: &Certificate,
    role: Role,
    below: usize,
    now: Timestamp,
) -> Result<(), VerifyError> {
    let subject = || certificate.subject().to_owned();
    if let Some(extension) = certificate.unhandled_critical() {
        return Err(VerifyError::UnhandledCriticalExtension {
            subject: subject(),
            extension: extension.to_owned(),
        });
    }
    if now < certificate.not_before() {
        return Err(VerifyError::NotYetValid {
            subject: subject(),
            not_before: certificate.not_before(),
        });
    }
    if now > certificate.not_after() {
        return Err(VerifyError::Expired {
            subject: subject(),
            not_after: certificate.not_after(),
        });
    }
    if role == Role::Intermediate && !certificate.is_ca() {
        return Err(VerifyError::NotAuthorizedToSign { subject: subject() });
    }
    if role != Role::Leaf
        && certificate
            .path_length()
            .is_some_and(|length| below > length as usize)
    {
        return Err(VerifyError::TooManyIntermediates { subject: subject() });
    }
    Ok(())
}

/// Whether `issuer` signed `child` and was allowed to. `None`: it did not sign it at all.
fn check_signature(child: &Certificate, issuer: &Certificate) -> Option<Result<(), VerifyError>> {
    // A version 1 root has no basic constraints, and is taken; one of version 3 without is not.
    let unfit = (issuer.version() == 3 || issuer.has_basic_constraints()) && !issuer.is_ca();
    if unfit || !issuer.may_sign_certificates() {
        return Some(Err(VerifyError::NotAuthorizedToSign {
            subject: issuer.subject().to_owned(),
        }));
    }
    if let Some(hash) = child.weak_signature() {
        return Some(Err(VerifyError::WeakSignature {
            subject: child.subject().to_owned(),
            hash,
        }));
    }
    child.signed_by(issuer).then_some(Ok(()))
}

struct Search<'a> {
    anchors: &'a [Certificate],
    intermediates: &'a [Certificate],
    now: Timestamp,
    checks: u32,
    /// Why the first candidate that came near was not taken: more telling than "unknown authority".
    hint: Option<VerifyError>,
    paths: Vec<Vec<&'a Certificate>>,
}

impl<'a> Search<'a> {
    fn extend(&mut self, path: &mut Vec<&'a Certificate>) {
        let Some(child) = path.last().copied() else {
            return;
        };
        for (role, pool) in [
            (Role::Anchor, self.anchors),
            (Role::Intermediate, self.intermediates),
        ] {
            for candidate in candidates(pool, child) {
                self.checks = self.checks.saturating_add(1);
                if self.checks > MAX_SIGNATURE_CHECKS {
                    return;
                }
                if candidate.defect().is_some() || is_in(path, candidate) {
                    continue;
                }
                let verdict = match check_signature(child, candidate) {
                    None => continue,
                    Some(Ok(())) => check(candidate, role, path.len().saturating_sub(1), self.now),
                    Some(error) => error,
                };
                if let Err(error) = verdict {
                    self.hint.get_or_insert(error);
                    continue;
                }
                path.push(candidate);
                if role == Role::Anchor {
                    self.paths.push(path.clone());
                } else {
                    self.extend(path);
                }
                path.pop();
            }
        }
    }

    fn result(self, leaf: &Certificate) -> Result<Vec<Vec<&'a Certificate>>, VerifyError> {
        if !self.paths.is_empty() {
            return Ok(self.paths);
        }
        if self.checks > MAX_SIGNATURE_CHECKS {
            return Err(VerifyError::SignatureLimit);
        }
        Err(self.hint.unwrap_or_else(|| {
            let last = last_reached(leaf, self.intermediates);
            VerifyError::UnknownAuthority {
                subject: last.subject().to_owned(),
                issuer: last.issuer().to_owned(),
            }
        }))
    }
}

/// Those whose subject is the child's issuer; the ones whose key identifier fits come first.
fn candidates<'a>(pool: &'a [Certificate], child: &Certificate) -> Vec<&'a Certificate> {
    let mut found: Vec<&Certificate> = pool
        .iter()
        .filter(|certificate| certificate.subject_der() == child.issuer_der())
        .collect();
    found.sort_by_key(|certificate| {
        match (certificate.subject_key_id(), child.authority_key_id()) {
            (ours, theirs) if ours == theirs => 0,
            (None, Some(_)) | (Some(_), None) => 1,
            _ => 2,
        }
    });
    found
}

/// The same subject, key and names again: cross-signed CAs would otherwise go round in circles.
fn is_in(path: &[&Certificate], candidate: &Certificate) -> bool {
    path.iter().any(|certificate| {
        certificate.subject_der() == candidate.subject_der()
            && certificate.spki_der() == candidate.spki_der()
            && certificate.san_extension() == candidate.san_extension()
    })
}

/// Follows the presented chain upwards, so that the error names the issuer that is really missing.
fn last_reached<'a>(leaf: &'a Certificate, intermediates: &'a [Certificate]) -> &'a Certificate {
    let mut last = leaf;
    for _ in intermediates {
        let issuer = intermediates
            .iter()
            .find(|issuer| !issuer.is_self_issued() && last.signed_by(issuer));
        match issuer {
            Some(issuer) => last = issuer,
            None => break,
        }
    }
    last
}
