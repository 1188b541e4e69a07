//! Name constraints, as Go applies them.

use std::net::IpAddr;

use super::der::{Der, SEQUENCE, ascii};
use super::mailbox::Mailbox;
use super::san::{San, constrainable_host, go_domain, ip_bytes};

/// What a CA lets its certificates be called.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct NameConstraints {
    permitted: Subtrees,
    excluded: Subtrees,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Subtrees {
    dns: Vec<String>,
    ip: Vec<(Vec<u8>, Vec<u8>)>,
    email: Vec<String>,
    uri: Vec<String>,
}

/// The names that constraints are applied to.
#[derive(Clone, Copy)]
pub(super) struct Names<'a> {
    pub(super) sans: &'a [San],
    pub(super) emails: &'a [String],
}

impl NameConstraints {
    /// The constraints, and whether some are of a kind that Go does not apply (directory names above all): it then
    /// refuses every chain where the extension is critical. An error is what makes Go refuse the certificate itself.
    pub(super) fn read(mut value: Der<'_>) -> Result<(Self, bool), &'static str> {
        let content = value.take(SEQUENCE).filter(|_| value.is_empty());
        let mut content = Der(content.ok_or(MALFORMED)?);
        let permitted = content.optional(0xa0).ok_or(MALFORMED)?.unwrap_or_default();
        let excluded = content.optional(0xa1).ok_or(MALFORMED)?.unwrap_or_default();
        if !content.is_empty() {
            return Err(MALFORMED);
        }
        if permitted.is_empty() && excluded.is_empty() {
            return Err("its name constraints are empty");
        }
        let (permitted, unhandled_permitted) = Subtrees::read(Der(permitted))?;
        let (excluded, unhandled_excluded) = Subtrees::read(Der(excluded))?;
        let constraints = Self {
            permitted,
            excluded,
        };
        Ok((constraints, unhandled_permitted || unhandled_excluded))
    }

    /// Why one of these names may not stand in a certificate below this CA.
    pub(super) fn violation(&self, names: Names<'_>) -> Option<String> {
        let no_host = |uri: &String| {
            format!("URI {uri:?} has no DNS name as its host, and the CA has name constraints")
        };
        if let Some(uri) = names.sans.iter().find_map(|san| match san {
            San::Uri(uri) if constrainable_host(uri).is_none() => Some(uri),
            _ => None,
        }) {
            return Some(no_host(uri));
        }
        let of_sans = names.sans.iter().find_map(|san| {
            let verdict = match san {
                San::Dns(name) if !go_domain(name, false) => Some("is not a DNS name"),
                San::Dns(name) => domain(&self.permitted.dns, &self.excluded.dns, name),
                San::Uri(uri) => domain(
                    &self.permitted.uri,
                    &self.excluded.uri,
                    &constrainable_host(uri).unwrap_or_default(),
                ),
                San::Ip(address) => {
                    let bytes = ip_bytes(address);
                    judge(&self.permitted.ip, &self.excluded.ip, |network| {
                        contains(network, &bytes)
                    })
                }
            };
            verdict.map(|verdict| format!("{san} {verdict}"))
        });
        of_sans.or_else(|| {
            names.emails.iter().find_map(|email| {
                self.email(email)
                    .map(|verdict| format!("email:{email} {verdict}"))
            })
        })
    }

    fn email(&self, email: &str) -> Option<&'static str> {
        let Some(mailbox) = Mailbox::parse(email) else {
            return Some("is not a mailbox");
        };
        let matches = |constraint: &String, excluded: bool| {
            if constraint.contains('@') {
                Mailbox::parse(constraint).is_some_and(|one| one == mailbox)
            } else {
                domain_matches(constraint, &mailbox.domain, excluded)
            }
        };
        let permitted = &self.permitted.email;
        if !permitted.is_empty() && !permitted.iter().any(|one| matches(one, false)) {
            return Some(NOT_PERMITTED);
        }
        let mut excluded = self.excluded.email.iter();
        excluded.any(|one| matches(one, true)).then_some(EXCLUDED)
    }
}

const NOT_PERMITTED: &str = "is not among the names that the CA's name constraints permit";
const EXCLUDED: &str = "is excluded by the CA's name constraints";

const MALFORMED: &str = "its name constraints are malformed";
const INVALID: &str = "it has an invalid name constraint";

impl Subtrees {
    fn read(mut list: Der<'_>) -> Result<(Self, bool), &'static str> {
        let mut subtrees = Self::default();
        let mut unhandled = false;
        while !list.is_empty() {
            let base = list.take(SEQUENCE).and_then(|subtree| Der(subtree).any());
            let (tag, content) = base.ok_or(MALFORMED)?;
            let text = || ascii(content).ok_or(INVALID);
            match tag {
                0x81 if text()?.contains('@') => {
                    Mailbox::parse(text()?).ok_or(INVALID)?;
                    subtrees.email.push(text()?.to_owned());
                }
                0x81 => subtrees.email.push(domain_constraint(text()?)?),
                0x82 => subtrees.dns.push(domain_constraint(text()?)?),
                0x86 if text()?.parse::<IpAddr>().is_ok() => return Err(INVALID),
                0x86 => subtrees.uri.push(domain_constraint(text()?)?),
                0x87 => subtrees.ip.push(network(content).ok_or(INVALID)?),
                _ => unhandled = true,
            }
        }
        Ok((subtrees, unhandled))
    }
}

fn domain_constraint(name: &str) -> Result<String, &'static str> {
    let name = go_domain(name, true).then(|| name.to_owned());
    name.ok_or(INVALID)
}

/// Address and mask.
fn network(content: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let sound = matches!(content.len(), 8 | 32);
    let (address, mask) = content.split_at_checked(content.len() / 2)?;
    (sound && is_prefix_mask(mask)).then(|| (address.to_vec(), mask.to_vec()))
}

fn is_prefix_mask(mask: &[u8]) -> bool {
    let mut ended = false;
    mask.iter().all(|byte| {
        let fits = if ended {
            *byte == 0
        } else {
            byte.leading_ones() + byte.trailing_zeros() >= 8
        };
        ended |= *byte != 0xff;
        fits
    })
}

fn contains((address, mask): &(Vec<u8>, Vec<u8>), ip: &[u8]) -> bool {
    address.len() == ip.len()
        && address
            .iter()
            .zip(mask)
            .zip(ip)
            .all(|((address, mask), byte)| address & mask == byte & mask)
}

fn judge<T>(permitted: &[T], excluded: &[T], matches: impl Fn(&T) -> bool) -> Option<&'static str> {
    if !permitted.is_empty() && !permitted.iter().any(&matches) {
        return Some(NOT_PERMITTED);
    }
    excluded.iter().any(matches).then_some(EXCLUDED)
}

fn domain(permitted: &[String], excluded: &[String], name: &str) -> Option<&'static str> {
    if !permitted.is_empty()
        && !permitted
            .iter()
            .any(|constraint| domain_matches(constraint, name, false))
    {
        return Some(NOT_PERMITTED);
    }
    excluded
        .iter()
        .any(|constraint| domain_matches(constraint, name, true))
        .then_some(EXCLUDED)
}

/// `example.com` is itself and everything below it, `.example.com` only what is below, the empty constraint everything.
fn domain_matches(constraint: &str, name: &str, excluded: bool) -> bool {
    let (constraint, name) = (constraint.to_ascii_lowercase(), name.to_ascii_lowercase());
    if constraint.is_empty() {
        return true;
    }
    let below = name.strip_suffix(&constraint);
    if below
        .is_some_and(|rest| rest.is_empty() || constraint.starts_with('.') || rest.ends_with('.'))
    {
        return true;
    }
    // A wildcard could stand for the excluded name itself.
    let parent = |name: &str| {
        name.find('.')
            .and_then(|dot| name.get(dot..))
            .map(str::to_owned)
    };
    excluded
        && name.starts_with('*')
        && parent(&name).is_some_and(|p| parent(&constraint) == Some(p))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{NameConstraints, Names, Subtrees, domain_matches, is_prefix_mask};
    use crate::x509::San;

    #[test]
    fn domains() {
        let cases = [
            ("example.com", "example.com", false, true),
            ("example.com", "a.Example.com", false, true),
            ("example.com", "aexample.com", false, false),
            ("example.com", "com", false, false),
            (".example.com", "example.com", false, false),
            (".example.com", "a.example.com", false, true),
            ("", "anything", false, true),
            ("example.com", "*.example.com", false, true),
            ("a.example.com", "*.example.com", false, false),
            ("a.example.com", "*.example.com", true, true),
            ("a.b.example.com", "*.example.com", true, false),
        ];
        for (constraint, name, excluded, expected) in cases {
            assert_eq!(
                domain_matches(constraint, name, excluded),
                expected,
                "{constraint} {name}"
            );
        }
    }

    #[test]
    fn masks() {
        assert!(is_prefix_mask(&[255, 255, 0, 0]));
        assert!(is_prefix_mask(&[255, 254, 0, 0]));
        assert!(is_prefix_mask(&[0, 0, 0, 0]));
        assert!(is_prefix_mask(&[255; 16]));
        assert!(!is_prefix_mask(&[255, 0, 255, 0]));
        assert!(!is_prefix_mask(&[0b1010_0000, 0, 0, 0]));
    }

    fn violates(constraints: &NameConstraints, san: San) -> bool {
        constraints
            .violation(Names {
                sans: &[san],
                emails: &[],
            })
            .is_some()
    }

    #[test]
    fn a_kind_without_constraints_is_free_and_others_are_bound() {
        let ten = (vec![10, 0, 0, 0], vec![255, 0, 0, 0]);
        let constraints = NameConstraints {
            permitted: Subtrees {
                dns: vec!["svc".to_owned()],
                ip: vec![ten],
                ..Subtrees::default()
            },
            excluded: Subtrees {
                dns: vec!["bad.svc".to_owned()],
                ..Subtrees::default()
            },
        };
        let dns = |name: &str| San::Dns(name.to_owned());
        let ip = |address: &str| San::Ip(address.parse().unwrap());
        assert!(!violates(&constraints, dns("gateway.ns.svc")));
        assert!(violates(&constraints, dns("gateway.ns.svc.cluster.local")));
        assert!(violates(&constraints, dns("x.bad.svc")));
        assert!(violates(&constraints, dns("*.svc")));
        assert!(!violates(&constraints, ip("10.1.2.3")));
        assert!(violates(&constraints, ip("11.1.2.3")));
        assert!(violates(&constraints, ip("fd00::1")));
        assert!(!violates(
            &constraints,
            San::Uri("spiffe://anything/x".to_owned())
        ));
        assert!(violates(&constraints, San::Uri("urn:x:y".to_owned())));
    }

    #[test]
    fn mailboxes() {
        let constraints = NameConstraints {
            permitted: Subtrees {
                email: vec!["a@b.c".to_owned(), "d.e".to_owned()],
                ..Subtrees::default()
            },
            excluded: Subtrees::default(),
        };
        for (email, fine) in [
            ("a@B.c", true),
            ("x@b.c", false),
            ("x@d.e", true),
            ("x@y.d.e", true),
            ("x", false),
        ] {
            let names = Names {
                sans: &[],
                emails: &[email.to_owned()],
            };
            assert_eq!(constraints.violation(names).is_none(), fine, "{email}");
        }
    }
}
