use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::uri::go_host;

/// One subject alternative name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum San {
    /// A DNS name, perhaps with a wildcard as its leftmost label.
    Dns(String),
    /// An IP address.
    Ip(IpAddr),
    /// A URI, as SPIFFE identities are.
    Uri(String),
}

impl San {
    /// Whether both say the same; DNS names do in any case of letters.
    pub fn matches(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Dns(a), Self::Dns(b)) => a.eq_ignore_ascii_case(b),
            _ => self == other,
        }
    }

    /// Whether two lists name the same, in any order.
    pub fn same(some: &[Self], others: &[Self]) -> bool {
        let within = |one: &[Self], all: &[Self]| one.iter().all(|san| san.is_in(all));
        within(some, others) && within(others, some)
    }

    /// Whether a list names the same.
    pub fn is_in(&self, all: &[Self]) -> bool {
        all.iter().any(|other| other.matches(self))
    }

    /// Whether a client that dials this host accepts the name; a wildcard stands for one whole label.
    pub(super) fn covers(&self, host: &str) -> bool {
        match self {
            Self::Dns(name) => {
                let parent = host.split_once('.').map(|(_, parent)| parent);
                name.eq_ignore_ascii_case(host)
                    || name
                        .strip_prefix("*.")
                        .zip(parent)
                        .is_some_and(|(name, parent)| name.eq_ignore_ascii_case(parent))
            }
            Self::Ip(address) => host.parse() == Ok(*address),
            Self::Uri(_) => false,
        }
    }
}

impl fmt::Display for San {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "DNS:{name}"),
            Self::Ip(address) => write!(f, "IP:{address}"),
            Self::Uri(uri) => write!(f, "URI:{uri}"),
        }
    }
}

/// An address as certificates hold it: four or sixteen bytes, never anything between.
pub(super) fn ip_from_bytes(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(|four| IpAddr::V4(Ipv4Addr::from(four)))
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(|sixteen| IpAddr::V6(Ipv6Addr::from(sixteen))))
        .ok()
}

pub(super) fn ip_bytes(address: &IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    }
}

/// The authority's host (with its port) of an absolute URI; empty where it has none, as in `urn:x:y`.
pub(super) fn uri_host(uri: &str) -> Option<&str> {
    let (scheme, rest) = uri.split_once(':')?;
    let mut characters = scheme.chars();
    if !characters.next()?.is_ascii_alphabetic()
        || !characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    {
        return None;
    }
    let Some(rest) = rest.strip_prefix("//") else {
        return Some("");
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    Some(
        authority
            .rsplit_once('@')
            .map_or(authority, |(_, host)| host),
    )
}

/// The host without its port, in lower case, where name constraints can be applied to it.
pub(super) fn constrainable_host(uri: &str) -> Option<String> {
    let host = go_host(uri)?.to_ascii_lowercase();
    if host.is_empty() || host.starts_with('[') {
        return None;
    }
    let host = match host.split_once(':') {
        Some((_, port)) if port.contains(':') => return None,
        Some((name, _)) => name.to_owned(),
        None => host,
    };
    host.parse::<IpAddr>().is_err().then_some(host)
}

/// What Go takes for a domain name in a certificate: no empty label (a constraint may start with a dot), no blanks.
pub(super) fn go_domain(name: &str, constraint: bool) -> bool {
    if name.is_empty() {
        return true;
    }
    let labels = if constraint {
        name.strip_prefix('.').unwrap_or(name)
    } else {
        name
    };
    labels
        .split('.')
        .all(|label| !label.is_empty() && label.bytes().all(|byte| (33..=126).contains(&byte)))
}

/// Why this is no DNS name to put into a certificate (RFC 1123, and underscores, which verifiers take and scaffolds have; a wildcard
/// only as the whole leftmost label).
pub(super) fn dns_defect(name: &str) -> Option<&'static str> {
    let labels: Vec<&str> = name.split('.').collect();
    if name.is_empty() {
        return Some("is empty");
    }
    if name.parse::<IpAddr>().is_ok() {
        return Some("is an IP address: list it under the IP addresses");
    }
    if name.len() > 253 {
        return Some("is longer than 253 characters");
    }
    for (index, label) in labels.iter().enumerate() {
        if label.is_empty() {
            return Some("has an empty label");
        }
        if *label == "*" && index == 0 && labels.len() > 1 {
            continue;
        }
        if label.contains('*') {
            return Some("has a wildcard that is not its whole leftmost label");
        }
        if label.len() > 63 {
            return Some("has a label longer than 63 characters");
        }
        if !label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        {
            return Some(
                "has characters other than letters, digits, hyphens, underscores and dots",
            );
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Some("has a label that starts or ends with a hyphen");
        }
    }
    // No top-level domain is a number; what ends in one is a mistyped address.
    if labels
        .last()
        .is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()))
    {
        return Some("ends in a number");
    }
    None
}

/// Why this is no URI to put into a certificate.
pub(super) fn uri_defect(uri: &str) -> Option<&'static str> {
    if uri.is_empty() {
        return Some("is empty");
    }
    if uri.len() > 2048 {
        return Some("is longer than 2048 characters");
    }
    if !uri.is_ascii() {
        return Some("has characters other than ASCII: percent-encode them");
    }
    if uri
        .bytes()
        .any(|byte| !byte.is_ascii_graphic() || b"\"<>\\^`{|}".contains(&byte))
    {
        return Some("has blanks, control characters or others that a URI cannot hold");
    }
    let mut escapes = uri.split('%');
    escapes.next();
    if escapes.any(|rest| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() != 2) {
        return Some("has a percent sign that two hexadecimal digits do not follow");
    }
    let Some(host) = uri_host(uri) else {
        return Some("is not absolute: it has no scheme");
    };
    let (_, rest) = uri.split_once(':').unwrap_or_default();
    if rest.is_empty() || rest == "//" {
        return Some("has nothing after its scheme");
    }
    if rest.starts_with("//") {
        let name = host.rsplit_once(':').map_or(host, |(name, port)| {
            if port.bytes().all(|byte| byte.is_ascii_digit()) {
                name
            } else {
                host
            }
        });
        let bracketed = name
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let address = bracketed.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok());
        if !address && name.parse::<IpAddr>().is_err() && dns_defect(name).is_some() {
            return Some("has a host that is neither a DNS name nor an IP address");
        }
    }
    None
}

/// Why this is no address to put into a certificate.
pub(super) fn ip_defect(address: &IpAddr) -> Option<&'static str> {
    if address.is_unspecified() {
        return Some("is the unspecified address: no client can connect to it");
    }
    if address.is_multicast() {
        return Some("is a multicast address: no client can connect to it");
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::{
        San, constrainable_host, dns_defect, go_domain, ip_defect, ip_from_bytes, uri_defect,
        uri_host,
    };

    #[test]
    fn dns_names() {
        let good = [
            "a",
            "cluster-gateway",
            "cluster-gateway.ns.svc",
            "cluster-gateway.ns.svc.cluster.local",
            "1a.example",
            "*.example.com",
            "*.svc",
            "xn--bcher-kva.example",
            "EXAMPLE.com",
            "3com.com",
            "0.a",
            "SERVICE_NAME.SERVICE_NAMESPACE.svc",
        ];
        for name in good {
            assert_eq!(dns_defect(name), None, "{name}");
        }
        let long_label = "a".repeat(64);
        let long_name = ["a"; 128].join(".");
        let bad = [
            "",
            "a b",
            "a..b",
            "10.0.0.1/8",
            "10.0.0.1",
            "::1",
            ".a",
            "a.",
            "a.*.b",
            "*",
            "*a.b",
            "**.b",
            "-a",
            "a-",
            "a.-b",
            "bücher.example",
            "a\nb",
            "a,b",
            "http://a",
            "a:443",
            "256.1.1.1",
            "a.1",
            &long_label,
            &long_name,
            "*.",
            "\u{0}",
        ];
        for name in bad {
            assert!(dns_defect(name).is_some(), "{name:?}");
        }
        assert_eq!(dns_defect(&"a".repeat(63)), None);
        assert_eq!(dns_defect(&["a"; 127].join(".")), None);
    }

    #[test]
    fn uris() {
        let good = [
            "spiffe://example.org/ns/a/sa/b",
            "https://a.example:8443/x?y#z",
            "urn:uuid:f81d4fae",
            "https://[::1]/",
            "https://10.0.0.1:80",
            "https://user@host.example/",
            "https://a/%20",
        ];
        for uri in good {
            assert_eq!(uri_defect(uri), None, "{uri}");
        }
        let bad = [
            "",
            "a",
            "/path",
            "//host/x",
            "1a://b",
            "a b://c",
            "https://a b/",
            "https://ä.example/",
            "https://",
            "https:///x",
            "urn:",
            "https://a..b/",
            "https://a/%2",
            "https://a/%zz",
            "https://a\n/",
            "https://a_b:x/",
            "https://[::1/",
            "https://a/<x>",
        ];
        for uri in bad {
            assert!(uri_defect(uri).is_some(), "{uri:?}");
        }
    }

    #[test]
    fn hosts_that_constraints_apply_to() {
        assert_eq!(uri_host("spiffe://Example.org:1/x"), Some("Example.org:1"));
        assert_eq!(
            constrainable_host("spiffe://Example.org:1/x").as_deref(),
            Some("example.org")
        );
        for uri in [
            "urn:a:b",
            "https://10.0.0.1/",
            "https://[::1]:8/",
            "no scheme",
        ] {
            assert_eq!(constrainable_host(uri), None, "{uri}");
        }
    }

    #[test]
    fn addresses() {
        assert!(ip_defect(&"0.0.0.0".parse().unwrap()).is_some());
        assert!(ip_defect(&"::".parse().unwrap()).is_some());
        assert!(ip_defect(&"224.0.0.1".parse().unwrap()).is_some());
        assert!(ip_defect(&"ff02::1".parse().unwrap()).is_some());
        assert!(ip_defect(&"127.0.0.1".parse().unwrap()).is_none());
        assert!(ip_from_bytes(&[1, 2, 3, 4, 5]).is_none());
    }

    #[test]
    fn dns_names_match_in_any_case() {
        assert!(San::Dns("A.b".to_owned()).matches(&San::Dns("a.B".to_owned())));
        assert!(!San::Uri("A:b".to_owned()).matches(&San::Uri("a:b".to_owned())));
    }

    proptest! {
        #[test]
        fn what_passes_is_made_of_labels(name in "[a-z0-9*. -]{0,20}") {
            if dns_defect(&name).is_none() {
                prop_assert!(go_domain(&name, false));
                prop_assert!(name.split('.').all(|label| !label.is_empty() && label.len() <= 63));
                prop_assert!(!name.trim_start_matches("*.").contains('*'));
                prop_assert!(!name.contains(' '));
            }
        }

        #[test]
        fn labels_joined_pass(labels in proptest::collection::vec("[a-z]([a-z0-9-]{0,10}[a-z0-9])?", 1..6)) {
            prop_assert_eq!(dns_defect(&labels.join(".")), None);
        }

        #[test]
        fn rubbish_never_panics(text in "\\PC{0,40}") {
            let _ = (dns_defect(&text), uri_defect(&text), constrainable_host(&text), go_domain(&text, true));
        }
    }
}
