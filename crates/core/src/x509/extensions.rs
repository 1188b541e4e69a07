//! A certificate's extensions, as Go reads them.

use super::constraints::{NameConstraints, Names};
use super::der::{
    BOOLEAN, Der, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, ascii, dotted, each, is_oid,
};
use super::profile::Usages;
use super::san::{San, go_domain, ip_from_bytes};
use super::uri::go_host;

/// One extension as it stands in a certificate.
pub(super) struct Extension<'a> {
    pub(super) oid: &'a [u8],
    pub(super) critical: bool,
    pub(super) value: &'a [u8],
}

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
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
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

/// The policy extensions of one certificate, with OIDs as their bytes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Policies {
    pub(super) asserted: Vec<Vec<u8>>,
    pub(super) mappings: Vec<(Vec<u8>, Vec<u8>)>,
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

const AUTHORITY_INFORMATION: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 1, 1];
const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];
const ANY_USAGE: &[u8] = &[0x55, 0x1d, 37, 0];

/// Whether Go acts on an extension; an error is why it refuses the certificate for it.
type Taken = Result<bool, &'static str>;

impl Extensions {
    /// The extensions, and why Go would refuse to read them.
    pub(super) fn read(list: &[Extension<'_>]) -> (Self, Option<&'static str>) {
        let mut read = Self::default();
        let mut defect = None;
        for (index, extension) in list.iter().enumerate() {
            let mut earlier = list.iter().take(index);
            if earlier.any(|earlier| earlier.oid == extension.oid) {
                defect.get_or_insert("it has an extension twice");
            }
            match read.take(extension) {
                Ok(false) if extension.critical => {
                    read.unhandled_critical
                        .get_or_insert_with(|| dotted(extension.oid));
                }
                Ok(_) => {}
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

    fn take(&mut self, extension: &Extension<'_>) -> Taken {
        let value = Der(extension.value);
        let read = |read: Option<()>, fault| read.map(|()| true).ok_or(fault);
        match extension.oid {
            [0x55, 0x1d, 14 | 35] if extension.critical => {
                Err("its key identifier is marked critical")
            }
            AUTHORITY_INFORMATION if extension.critical => {
                Err("its authority information access is marked critical")
            }
            [0x55, 0x1d, 14] => read(
                self.take_key_id(value),
                "its subject key identifier is malformed",
            ),
            [0x55, 0x1d, 15] => read(self.take_key_usage(value), "its key usage is malformed"),
            [0x55, 0x1d, 17] => {
                self.san = Some(extension.value.to_vec());
                self.take_names(value)
            }
            [0x55, 0x1d, 19] => read(
                self.take_basic_constraints(value),
                "its basic constraints are malformed",
            ),
            [0x55, 0x1d, 30] => {
                let (constraints, unhandled) = NameConstraints::read(value)?;
                self.name_constraints = Some(constraints);
                self.critical_name_constraints_unhandled = unhandled && extension.critical;
                Ok(!unhandled)
            }
            [0x55, 0x1d, 31] => read(
                distribution_points(value),
                "its CRL distribution points are malformed",
            ),
            [0x55, 0x1d, 35] => read(
                self.take_authority_key_id(value),
                "its authority key identifier is malformed",
            ),
            [0x55, 0x1d, 37] => read(
                self.take_extended_key_usage(value),
                "its extended key usages are malformed",
            ),
            [0x55, 0x1d, kind @ (32 | 33 | 36 | 54)] => read(
                self.policies.take(*kind, value),
                "its policy extensions are malformed",
            ),
            AUTHORITY_INFORMATION => read(
                access_descriptions(value),
                "its authority information access is malformed",
            ),
            _ => Ok(false),
        }
    }

    fn take_key_id(&mut self, mut value: Der<'_>) -> Option<()> {
        self.subject_key_id = Some(value.take(OCTET_STRING)?.to_vec());
        Some(())
    }

    fn take_authority_key_id(&mut self, mut value: Der<'_>) -> Option<()> {
        let id = Der(value.take(SEQUENCE)?).optional(0x80)?;
        self.authority_key_id = id.map(<[u8]>::to_vec);
        Some(())
    }

    fn take_key_usage(&mut self, mut value: Der<'_>) -> Option<()> {
        let bits = value.bit_string()?;
        let is_set = |bit: usize| {
            let byte = bits.get(bit / 8).copied().unwrap_or_default();
            byte & (0x80 >> (bit % 8)) != 0
        };
        self.key_usage = Some(KeyUsage {
            digital_signature: is_set(0),
            key_encipherment: is_set(2),
            key_cert_sign: is_set(5),
            crl_sign: is_set(6),
            other: [1, 3, 4, 7, 8].into_iter().any(is_set),
        });
        Some(())
    }

    fn take_basic_constraints(&mut self, mut value: Der<'_>) -> Option<()> {
        let mut content = Der(value.take(SEQUENCE)?);
        let is_ca = content.has(BOOLEAN) && content.boolean()?;
        let length = match content.has(INTEGER) {
            true => Some(content.int64(INTEGER).filter(|length| *length >= 0)?),
            false => None,
        };
        self.basic_constraints = Some((is_ca, length.and_then(counted)));
        Some(())
    }

    fn take_extended_key_usage(&mut self, mut value: Der<'_>) -> Option<()> {
        let mut read = ExtendedKeyUsage::default();
        let mut list = Der(value.take(SEQUENCE)?);
        while !list.is_empty() {
            match list.oid()? {
                ANY_USAGE => read.any = true,
                SERVER_AUTH => read.usages.server_auth = true,
                CLIENT_AUTH => read.usages.client_auth = true,
                _ => {}
            }
            read.listed = true;
        }
        self.extended_key_usage = Some(read);
        Some(())
    }

    fn take_names(&mut self, mut value: Der<'_>) -> Taken {
        const MALFORMED: &str = "its alternative names are malformed";
        let mut names = Der(value.take(SEQUENCE).ok_or(MALFORMED)?);
        while !names.is_empty() {
            let (tag, content) = names.any().ok_or(MALFORMED)?;
            let text = || ascii(content).ok_or("it has an alternative name that is not ASCII");
            match tag {
                0x81 => self.emails.push(text()?.to_owned()),
                0x82 => self.sans.push(San::Dns(text()?.to_owned())),
                0x86 => {
                    let host = go_host(text()?).ok_or("it has a URI that cannot be parsed")?;
                    if !go_domain(&host, false) {
                        return Err("it has a URI whose host is no domain");
                    }
                    self.sans.push(San::Uri(text()?.to_owned()));
                }
                0x87 => {
                    let address = ip_from_bytes(content);
                    let address = address.ok_or("it has an IP address of a strange length")?;
                    self.sans.push(San::Ip(address));
                }
                _ => {}
            }
        }
        Ok(!self.sans.is_empty() || !self.emails.is_empty())
    }
}

impl Policies {
    /// Takes in the extension `2.5.29.<kind>`.
    fn take(&mut self, kind: u8, mut value: Der<'_>) -> Option<()> {
        if kind == 54 {
            self.inhibit_any = counted(value.int64(INTEGER)?);
            return Some(());
        }
        let mut content = Der(value.take(SEQUENCE)?);
        match kind {
            32 => {
                while !content.is_empty() {
                    let oid = Der(content.take(SEQUENCE)?).take(OBJECT_IDENTIFIER)?;
                    let again = self.asserted.iter().any(|earlier| earlier == oid);
                    self.asserted
                        .push(Some(oid.to_vec()).filter(|_| is_oid(oid) && !again)?);
                }
            }
            33 => {
                while !content.is_empty() {
                    let mut pair = Der(content.take(SEQUENCE)?);
                    let from = pair.take(OBJECT_IDENTIFIER)?;
                    let to = pair.take(OBJECT_IDENTIFIER)?;
                    self.mappings.push((from.to_vec(), to.to_vec()));
                }
            }
            _ => {
                if content.has(0x80) {
                    self.require_explicit = counted(content.int64(0x80)?);
                }
                if content.has(0x81) {
                    self.inhibit_mapping = counted(content.int64(0x81)?);
                }
            }
        }
        Some(())
    }
}

/// How many; less than nothing counts for nothing, and very many for as many as matter.
fn counted(number: i64) -> Option<u32> {
    (number >= 0).then(|| u32::try_from(number).unwrap_or(u32::MAX))
}

fn distribution_points(mut value: Der<'_>) -> Option<()> {
    each(value.take(SEQUENCE)?, SEQUENCE, |point| {
        let Some(name) = Der(point).optional(0xa0)? else {
            return Some(());
        };
        let mut names = Der(Der(name).take(0xa0)?);
        while names.has(0x86) {
            names.take(0x86)?;
        }
        Some(())
    })
}

fn access_descriptions(mut value: Der<'_>) -> Option<()> {
    each(value.take(SEQUENCE)?, SEQUENCE, |description| {
        let mut description = Der(description);
        description.oid()?;
        description.optional(0x86).map(drop)
    })
}
