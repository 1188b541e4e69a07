//! A certificate's extensions, as Go reads them.

use x509_parser::extensions::{self as parsed, GeneralName, ParsedExtension, X509Extension};

use super::constraints::{NameConstraints, Names};
use super::profile::Usages;
use super::san::{San, go_domain, ip_from_bytes, uri_host};

/// The key usage extension's bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeyUsage {
    /// Signatures other than those on certificates and CRLs; a TLS handshake is one.
    pub digital_signature: bool,
    /// RSA key exchange.
    pub key_encipherment: bool,
    /// Signatures on certificates.
    pub key_cert_sign: bool,
    /// Signatures on CRLs.
    pub crl_sign: bool,
    /// Any of the five others is set.
    pub other: bool,
}

impl KeyUsage {
    /// An empty one does, as Go has it.
    pub(super) fn lets_sign_certificates(self) -> bool {
        self == Self::default() || self.key_cert_sign
    }
}

/// The extended key usages that a certificate lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ExtendedKeyUsage {
    any: bool,
    usages: Usages,
    /// Any usage at all stands in it.
    listed: bool,
}

impl ExtendedKeyUsage {
    /// The usages that it lists by name; `any` counts as both.
    pub(super) fn by_name(self) -> Usages {
        if self.any { Usages::BOTH } else { self.usages }
    }

    /// Whether a chain through its certificate may serve that usage.
    pub(super) fn allows(self, wanted: Usages) -> bool {
        !self.listed || self.any || self.usages.covers(wanted)
    }
}

/// The policy extensions of one certificate, with OIDs in dotted form.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Policies {
    pub(super) asserted: Vec<String>,
    pub(super) mappings: Vec<(String, String)>,
    pub(super) require_explicit: Option<u32>,
    pub(super) inhibit_mapping: Option<u32>,
    pub(super) inhibit_any: Option<u32>,
}

/// The extensions; of a version 1 or 2 certificate none.
#[derive(Default)]
pub(super) struct Extensions {
    pub(super) basic_constraints: Option<(bool, Option<u32>)>,
    pub(super) key_usage: Option<KeyUsage>,
    pub(super) extended_key_usage: Option<ExtendedKeyUsage>,
    pub(super) subject_key_id: Option<Vec<u8>>,
    pub(super) authority_key_id: Option<Vec<u8>>,
    pub(super) san: Option<Vec<u8>>,
    pub(super) sans: Vec<San>,
    emails: Vec<String>,
    pub(super) name_constraints: Option<NameConstraints>,
    pub(super) policies: Policies,
    pub(super) unhandled_critical: Option<String>,
    pub(super) critical_name_constraints_unhandled: bool,
}

impl Extensions {
    /// The extensions, and why Go would refuse to read them.
    pub(super) fn read(list: &[X509Extension<'_>]) -> (Self, Option<&'static str>) {
        let mut read = Self::default();
        let mut defect = None;
        for (index, extension) in list.iter().enumerate() {
            if list
                .iter()
                .take(index)
                .any(|earlier| earlier.oid == extension.oid)
            {
                defect.get_or_insert("it has an extension twice");
            }
            match read.take(extension) {
                Ok(true) => {}
                Ok(false) if extension.critical => {
                    read.unhandled_critical
                        .get_or_insert_with(|| extension.oid.to_string());
                }
                Ok(false) => {}
                Err(fault) => {
                    defect.get_or_insert(fault);
                }
            }
        }
        (read, defect)
    }

    /// The mailboxes among its names.
    pub(super) fn emails(&self) -> &[String] {
        &self.emails
    }

    /// The names that constraints above it apply to; none without the extension.
    pub(super) fn constrained_names(&self) -> Option<Names<'_>> {
        self.san.as_ref().map(|_| Names {
            sans: &self.sans,
            emails: &self.emails,
        })
    }

    /// Takes one extension in; false if Go does not act on it, an error if Go refuses the certificate for it.
    fn take(&mut self, extension: &X509Extension<'_>) -> Result<bool, &'static str> {
        match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(parsed) => {
                self.basic_constraints = Some((parsed.ca, parsed.path_len_constraint));
            }
            ParsedExtension::KeyUsage(parsed) => self.key_usage = Some(parsed.into()),
            ParsedExtension::ExtendedKeyUsage(parsed) => {
                self.extended_key_usage = Some(parsed.into());
            }
            ParsedExtension::SubjectKeyIdentifier(parsed) => {
                if extension.critical {
                    return Err("its subject key identifier is marked critical");
                }
                self.subject_key_id = Some(parsed.0.to_vec());
            }
            ParsedExtension::AuthorityKeyIdentifier(parsed) => {
                if extension.critical {
                    return Err("its authority key identifier is marked critical");
                }
                self.authority_key_id = parsed.key_identifier.as_ref().map(|id| id.0.to_vec());
            }
            ParsedExtension::SubjectAlternativeName(parsed) => {
                self.san = Some(extension.value.to_vec());
                return self.take_names(&parsed.general_names);
            }
            ParsedExtension::NameConstraints(parsed) => {
                let (constraints, unhandled) = NameConstraints::parse(parsed)?;
                self.name_constraints = Some(constraints);
                self.critical_name_constraints_unhandled = unhandled && extension.critical;
                return Ok(!unhandled);
            }
            ParsedExtension::CRLDistributionPoints(_) => {}
            ParsedExtension::AuthorityInfoAccess(_) if extension.critical => {
                return Err("its authority information access is marked critical");
            }
            ParsedExtension::AuthorityInfoAccess(_) => {}
            ParsedExtension::ParseError { .. } if is_read_by_go(&extension.oid.to_string()) => {
                return Err("it has a malformed extension");
            }
            other => return Ok(self.policies.take(other)),
        }
        Ok(true)
    }

    fn take_names(&mut self, names: &[GeneralName<'_>]) -> Result<bool, &'static str> {
        for name in names {
            match name {
                GeneralName::DNSName(name) if name.is_ascii() => {
                    self.sans.push(San::Dns((*name).to_owned()))
                }
                GeneralName::RFC822Name(name) if name.is_ascii() => {
                    self.emails.push((*name).to_owned())
                }
                GeneralName::URI(uri) if uri.is_ascii() => {
                    if uri_host(uri).is_some_and(|host| !go_domain(host, false)) {
                        return Err("it has a URI whose host is no domain");
                    }
                    self.sans.push(San::Uri((*uri).to_owned()));
                }
                GeneralName::IPAddress(bytes) => match ip_from_bytes(bytes) {
                    Some(address) => self.sans.push(San::Ip(address)),
                    None => return Err("it has an IP address of a strange length"),
                },
                GeneralName::DNSName(_)
                | GeneralName::RFC822Name(_)
                | GeneralName::URI(_)
                | GeneralName::Invalid(..) => {
                    return Err("it has an alternative name that is not ASCII");
                }
                _ => {}
            }
        }
        Ok(!self.sans.is_empty() || !self.emails.is_empty())
    }
}

impl From<&parsed::KeyUsage> for KeyUsage {
    fn from(parsed: &parsed::KeyUsage) -> Self {
        Self {
            digital_signature: parsed.digital_signature(),
            key_encipherment: parsed.key_encipherment(),
            key_cert_sign: parsed.key_cert_sign(),
            crl_sign: parsed.crl_sign(),
            other: parsed.non_repudiation()
                || parsed.data_encipherment()
                || parsed.key_agreement()
                || parsed.encipher_only()
                || parsed.decipher_only(),
        }
    }
}

impl From<&parsed::ExtendedKeyUsage<'_>> for ExtendedKeyUsage {
    fn from(parsed: &parsed::ExtendedKeyUsage<'_>) -> Self {
        let usages = Usages {
            server_auth: parsed.server_auth,
            client_auth: parsed.client_auth,
        };
        let others = parsed.code_signing
            || parsed.email_protection
            || parsed.time_stamping
            || parsed.ocsp_signing
            || !parsed.other.is_empty();
        Self {
            any: parsed.any,
            usages,
            listed: parsed.any || others || usages != Usages::default(),
        }
    }
}

impl Policies {
    /// Takes one extension in; false if it is not about policies.
    fn take(&mut self, extension: &ParsedExtension<'_>) -> bool {
        match extension {
            ParsedExtension::CertificatePolicies(parsed) => {
                self.asserted = parsed
                    .iter()
                    .map(|policy| policy.policy_id.to_string())
                    .collect();
            }
            ParsedExtension::PolicyMappings(parsed) => {
                let mappings = parsed.mappings.iter().map(|mapping| {
                    (
                        mapping.issuer_domain_policy.to_string(),
                        mapping.subject_domain_policy.to_string(),
                    )
                });
                self.mappings = mappings.collect();
            }
            ParsedExtension::PolicyConstraints(parsed) => {
                self.require_explicit = parsed.require_explicit_policy;
                self.inhibit_mapping = parsed.inhibit_policy_mapping;
            }
            ParsedExtension::InhibitAnyPolicy(parsed) => self.inhibit_any = Some(parsed.skip_certs),
            _ => return false,
        }
        true
    }
}

/// The extensions whose malformed content makes Go refuse a certificate.
fn is_read_by_go(oid: &str) -> bool {
    const READ: &[&str] = &[
        "14", "15", "17", "19", "30", "31", "32", "33", "35", "36", "37", "54",
    ];
    oid.strip_prefix("2.5.29.")
        .is_some_and(|last| READ.contains(&last))
        || oid == "1.3.6.1.5.5.7.1.1"
}
