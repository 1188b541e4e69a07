//! Name constraints, as Go applies them.

use x509_parser::extensions::{GeneralName, GeneralSubtree};

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
    pub(super) fn parse(
        parsed: &x509_parser::extensions::NameConstraints<'_>,
    ) -> Result<(Self, bool), &'static str> {
        let (permitted, unhandled_permitted) = subtrees(parsed.permitted_subtrees.as_deref())?;
        let (excluded, unhandled_excluded) = subtrees(parsed.excluded_subtrees.as_deref())?;
        if parsed.permitted_subtrees.is_none() && parsed.excluded_subtrees.is_none() {
            return Err("empty name constraints");
        }
        Ok((
            Self {
                permitted,
                excluded,
            },
            unhandled_permitted || unhandled_excluded,
        ))
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
        let Some((local, host)) = email.rsplit_once('@') else {
            return Some("is not a mailbox");
        };
        if local.is_empty() || !go_domain(host, false) {
            return Some("is not a mailbox");
        }
        let matches = |constraint: &String, excluded: bool| match constraint.rsplit_once('@') {
            Some((l, h)) => l == local && h.eq_ignore_ascii_case(host),
            None => domain_matches(constraint, host, excluded),
        };
        if !self.permitted.email.is_empty()
            && !self.permitted.email.iter().any(|c| matches(c, false))
        {
            return Some(NOT_PERMITTED);
        }
        self.excluded
            .email
            .iter()
            .any(|c| matches(c, true))
            .then_some(EXCLUDED)
    }
}

const NOT_PERMITTED: &str = "is not among the names that the CA's name constraints permit";
const EXCLUDED: &str = "is excluded by the CA's name constraints";

fn subtrees(list: Option<&[GeneralSubtree<'_>]>) -> Result<(Subtrees, bool), &'static str> {
    let mut subtrees = Subtrees::default();
    let mut unhandled = false;
    for GeneralSubtree { base } in list.unwrap_or_default() {
        match base {
            GeneralName::DNSName(name) => subtrees.dns.push(constraint(name)?),
            GeneralName::URI(name) if name.parse::<std::net::IpAddr>().is_ok() => {
                return Err("a URI constraint that is an IP address");
            }
            GeneralName::URI(name) => subtrees.uri.push(constraint(name)?),
            GeneralName::RFC822Name(mailbox) if mailbox.contains('@') && mailbox.is_ascii() => {
                subtrees.email.push((*mailbox).to_owned());
            }
            GeneralName::RFC822Name(name) => subtrees.email.push(constraint(name)?),
            GeneralName::IPAddress(bytes) => {
                let half = match bytes.len() {
                    8 => 4,
                    32 => 16,
                    _ => return Err("an IP constraint of a strange length"),
                };
                let (address, mask) = bytes.split_at(half);
                if !is_prefix_mask(mask) {
                    return Err("an IP constraint whose mask is no prefix");
                }
                subtrees.ip.push((address.to_vec(), mask.to_vec()));
            }
            GeneralName::Invalid(..) => return Err("an unreadable name constraint"),
            _ => unhandled = true,
        }
    }
    Ok((subtrees, unhandled))
}

fn constraint(name: &str) -> Result<String, &'static str> {
    if name.is_ascii() && go_domain(name, true) {
        Ok(name.to_owned())
    } else {
        Err("an invalid name constraint")
    }
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
