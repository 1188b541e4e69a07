use jiff::SignedDuration;

use super::key_algorithm::KeyAlgorithm;
use super::san::{San, dns_defect, go_domain, ip_defect, uri_defect};

/// The longest common name, in characters: RFC 5280's ub-common-name.
pub const MAX_COMMON_NAME: usize = 64;

/// RFC 5280's ub-organization-name.
const MAX_ORGANIZATION: usize = 64;

/// More names than that in one certificate make handshakes fail, and no message says why.
const MAX_SANS: usize = 256;

/// What a leaf is for: its extended key usages.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Usages {
    /// TLS server.
    pub server_auth: bool,
    /// TLS client.
    pub client_auth: bool,
}

impl Usages {
    /// A server's.
    pub const SERVER: Self = Self {
        server_auth: true,
        client_auth: false,
    };
    /// A client's.
    pub const CLIENT: Self = Self {
        server_auth: false,
        client_auth: true,
    };
    /// Both.
    pub const BOTH: Self = Self {
        server_auth: true,
        client_auth: true,
    };

    /// Whether every wanted usage is among these.
    pub fn covers(self, wanted: Self) -> bool {
        (self.server_auth || !wanted.server_auth) && (self.client_auth || !wanted.client_auth)
    }

    /// Each usage by itself.
    pub(super) fn each(self) -> impl Iterator<Item = Self> {
        [Self::SERVER, Self::CLIENT]
            .into_iter()
            .filter(move |usage| self.covers(*usage))
    }
}

/// Everything that a leaf says but its issuer, its serial number and when it starts.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct LeafProfile {
    /// The subject's common name.
    pub common_name: String,
    /// The subject's organizations, each a part of its own.
    pub organizations: Vec<String>,
    /// The subject alternative names.
    pub sans: Vec<San>,
    /// What it is for; at least one.
    pub usages: Usages,
    /// The kind of its key.
    pub key: KeyAlgorithm,
    /// How long it is valid, unless its CA ends before.
    pub duration: SignedDuration,
    /// By which rules the rest of it is made.
    pub style: Style,
}

/// By which rules a leaf is made.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub enum Style {
    /// The guide's: a common name, at least one extended key usage, and the key usage that follows from it.
    #[default]
    Guide,
    /// cert-manager's: each part as it is asked for, or left out.
    Asked(Asked),
}

/// What cert-manager's Certificates ask besides.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Asked {
    /// The subject's organizational units, each a part of its own.
    pub organizational_units: Vec<String>,
    /// Mailboxes among the subject alternative names.
    pub emails: Vec<String>,
    /// The key usages; none: without the extension.
    pub key_usages: AskedKeyUsages,
}

/// Key usages that are asked for by name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct AskedKeyUsages {
    /// `digital signature`, or `signing`.
    pub digital_signature: bool,
    /// `content commitment`.
    pub content_commitment: bool,
    /// `key encipherment`.
    pub key_encipherment: bool,
    /// `data encipherment`.
    pub data_encipherment: bool,
    /// `key agreement`.
    pub key_agreement: bool,
}

/// Why a profile makes no certificate that verifiers would take.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProfileError {
    /// The common name is empty, too long or holds control characters.
    #[error("the common name {name:?} {defect}")]
    CommonName {
        /// The name.
        name: String,
        /// What is wrong with it.
        defect: &'static str,
    },
    /// An organization is empty, too long or holds control characters.
    #[error("the organization {name:?} {defect}")]
    Organization {
        /// The name.
        name: String,
        /// What is wrong with it.
        defect: &'static str,
    },
    /// A subject alternative name is rubbish.
    #[error("the subject alternative name {san} {defect}")]
    SubjectAlternativeName {
        /// The name.
        san: San,
        /// What is wrong with it.
        defect: &'static str,
    },
    /// A server certificate without a name that a client could ask for.
    #[error("a server certificate needs at least one DNS name or IP address")]
    NoServerName,
    /// Neither a common name nor any other.
    #[error("it has no name: give a common name, DNS names, IP addresses, URIs or mailboxes")]
    NoName,
    /// A mailbox that is none.
    #[error("{0:?} is no mailbox")]
    Mailbox(String),
    /// Too many names.
    #[error("{0} subject alternative names are too many: at most 256")]
    TooManyNames(usize),
    /// Neither server nor client.
    #[error("the certificate is for nothing: name server auth, client auth or both as its usages")]
    NoUsage,
    /// A key that is not made.
    #[error(
        "keys of the kind {0} are not made: take RSA 2048, 3072, 4096 or 8192, ECDSA P-256, P-384 or P-521, or Ed25519"
    )]
    Key(KeyAlgorithm),
    /// No time to be valid in.
    #[error("the duration must be longer than nothing")]
    Duration,
}

impl ProfileError {
    /// One CamelCase word for conditions, Events and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::CommonName { .. } | Self::Organization { .. } => "SubjectInvalid",
            Self::SubjectAlternativeName { .. }
            | Self::NoServerName
            | Self::NoName
            | Self::Mailbox(_)
            | Self::TooManyNames(_) => "NamesInvalid",
            Self::NoUsage => "UsageMissing",
            Self::Key(_) => "KeyAlgorithmUnsupported",
            Self::Duration => "DurationInvalid",
        }
    }
}

impl LeafProfile {
    /// The common names of its subject.
    pub fn common_names(&self) -> &[String] {
        match (&self.style, self.common_name.as_str()) {
            (Style::Asked(_), "") => &[],
            _ => std::slice::from_ref(&self.common_name),
        }
    }

    /// The organizational units of its subject.
    pub fn organizational_units(&self) -> &[String] {
        match &self.style {
            Style::Asked(asked) => &asked.organizational_units,
            Style::Guide => &[],
        }
    }

    /// The mailboxes among its names.
    pub fn emails(&self) -> &[String] {
        match &self.style {
            Style::Asked(asked) => &asked.emails,
            Style::Guide => &[],
        }
    }

    /// Whether a certificate may be minted from this.
    pub fn validate(&self) -> Result<(), ProfileError> {
        match &self.style {
            Style::Guide => validate_subject(&self.common_name, &self.organizations)?,
            Style::Asked(asked) => {
                self.common_names().iter().try_for_each(validate_name)?;
                let parts = self.organizations.iter();
                parts
                    .chain(&asked.organizational_units)
                    .try_for_each(validate_part)?;
                if let Some(email) = asked.emails.iter().find(|email| !is_mailbox(email)) {
                    return Err(ProfileError::Mailbox(email.clone()));
                }
                let has_name = !self.sans.is_empty() || !asked.emails.is_empty();
                if self.common_names().is_empty() && !has_name {
                    return Err(ProfileError::NoName);
                }
            }
        }
        for san in &self.sans {
            let defect = match san {
                San::Dns(name) => dns_defect(name),
                San::Ip(address) => ip_defect(address),
                San::Uri(uri) => uri_defect(uri),
            };
            if let Some(defect) = defect {
                return Err(ProfileError::SubjectAlternativeName {
                    san: san.clone(),
                    defect,
                });
            }
        }
        if self.sans.len() > MAX_SANS {
            return Err(ProfileError::TooManyNames(self.sans.len()));
        }
        let mut sans = self.sans.iter();
        let has_host = sans.any(|san| matches!(san, San::Dns(_) | San::Ip(_)));
        if self.style == Style::Guide && self.usages.server_auth && !has_host {
            return Err(ProfileError::NoServerName);
        }
        if self.style == Style::Guide && self.usages == Usages::default() {
            return Err(ProfileError::NoUsage);
        }
        if let KeyAlgorithm::Rsa(bits) = self.key
            && !matches!(bits, 2048 | 3072 | 4096 | 8192)
        {
            return Err(ProfileError::Key(self.key));
        }
        validate_duration(self.duration)
    }
}

pub(super) fn validate_subject(
    common_name: &str,
    organizations: &[String],
) -> Result<(), ProfileError> {
    validate_name(common_name)?;
    organizations.iter().try_for_each(validate_part)
}

fn validate_name(name: impl AsRef<str>) -> Result<(), ProfileError> {
    let name = name.as_ref();
    text_defect(name, MAX_COMMON_NAME).map_or(Ok(()), |defect| {
        Err(ProfileError::CommonName {
            name: name.to_owned(),
            defect,
        })
    })
}

/// An organization, or a unit of one.
pub(super) fn validate_part(part: impl AsRef<str>) -> Result<(), ProfileError> {
    let name = part.as_ref();
    text_defect(name, MAX_ORGANIZATION).map_or(Ok(()), |defect| {
        Err(ProfileError::Organization {
            name: name.to_owned(),
            defect,
        })
    })
}

/// As far as certificates and their name constraints go.
fn is_mailbox(text: &str) -> bool {
    let parts = text.rsplit_once('@');
    let is_plain = text.is_ascii() && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    is_plain
        && parts.is_some_and(|(local, host)| {
            !local.is_empty() && go_domain(host, false) && !host.is_empty()
        })
}

pub(super) fn validate_duration(duration: SignedDuration) -> Result<(), ProfileError> {
    if duration.as_secs() < 1 {
        Err(ProfileError::Duration)
    } else {
        Ok(())
    }
}

fn text_defect(text: &str, limit: usize) -> Option<&'static str> {
    if text.trim().is_empty() {
        Some("is empty")
    } else if text.trim() != text {
        Some("starts or ends with a blank")
    } else if text.chars().count() > limit {
        Some("is longer than 64 characters")
    } else if text.chars().any(char::is_control) {
        Some("holds a control character")
    } else {
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn server() -> LeafProfile {
        LeafProfile {
            common_name: "cluster-gateway".to_owned(),
            organizations: vec!["OpenChoreo".to_owned()],
            sans: vec![San::Dns("cluster-gateway.ns.svc".to_owned())],
            usages: Usages::SERVER,
            key: KeyAlgorithm::Rsa(2048),
            duration: SignedDuration::from_hours(8760),
            style: Style::Guide,
        }
    }

    #[test]
    fn the_guides_profiles_pass() {
        assert_eq!(server().validate(), Ok(()));
        let client = LeafProfile {
            usages: Usages::CLIENT,
            sans: Vec::new(),
            ..server()
        };
        assert_eq!(client.validate(), Ok(()));
    }

    fn refused(change: impl FnOnce(&mut LeafProfile)) -> &'static str {
        let mut profile = server();
        change(&mut profile);
        profile.validate().unwrap_err().reason()
    }

    #[test]
    fn a_subject_is_neither_empty_nor_too_long() {
        for name in ["", " a", "a\0b", &"a".repeat(65)] {
            let reason = refused(|profile| profile.common_name = name.to_owned());
            assert_eq!(reason, "SubjectInvalid", "{name:?}");
        }
        for name in ["", &"ä".repeat(65)] {
            let reason = refused(|profile| profile.organizations = vec![name.to_owned()]);
            assert_eq!(reason, "SubjectInvalid", "{name:?}");
        }
        let longest = LeafProfile {
            common_name: "ä".repeat(64),
            ..server()
        };
        assert_eq!(longest.validate(), Ok(()));
    }

    #[test]
    fn names_are_such_as_clients_ask_for() {
        let dns = |name: &str| San::Dns(name.to_owned());
        let uri = |uri: &str| San::Uri(uri.to_owned());
        let cases = [
            vec![dns("a..b")],
            vec![dns("10.0.0.1/8")],
            vec![San::Ip("0.0.0.0".parse().unwrap())],
            vec![uri("a b")],
            vec![uri("spiffe://a/b")],
            Vec::new(),
            vec![dns("a"); 257],
        ];
        for sans in cases {
            let reason = refused(|profile| profile.sans.clone_from(&sans));
            assert_eq!(reason, "NamesInvalid", "{:?}", sans.first());
        }
    }

    #[test]
    fn usage_key_and_duration_are_such_as_can_be_made() {
        let reason = refused(|profile| profile.usages = Usages::default());
        assert_eq!(reason, "UsageMissing");
        for bits in [1024, 2047] {
            let reason = refused(|profile| profile.key = KeyAlgorithm::Rsa(bits));
            assert_eq!(reason, "KeyAlgorithmUnsupported", "{bits}");
        }
        for duration in [SignedDuration::ZERO, SignedDuration::from_secs(-1)] {
            let reason = refused(|profile| profile.duration = duration);
            assert_eq!(reason, "DurationInvalid", "{duration}");
        }
    }
}
