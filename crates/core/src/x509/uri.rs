//! URIs, as Go's `net/url` takes them apart.

use std::net::Ipv6Addr;

/// The host (with its port, without escapes) of a URI; empty where it has none, none where Go cannot parse it.
pub(super) fn go_host(uri: &str) -> Option<String> {
    let (uri, fragment) = uri.split_once('#').unwrap_or((uri, ""));
    if uri.bytes().any(|byte| byte.is_ascii_control()) || !is_escaped_well(fragment) {
        return None;
    }
    if uri == "*" {
        return Some(String::new());
    }
    let (scheme, rest) = scheme(uri)?;
    let rest = rest.split('?').next().unwrap_or_default();
    if !rest.starts_with('/') {
        let segment = rest.split('/').next().unwrap_or_default();
        // With a scheme it is opaque; without one, its first segment may hold no colon.
        return (!scheme.is_empty() || (!segment.contains(':') && is_escaped_well(rest)))
            .then(String::new);
    }
    let has_authority = !scheme.is_empty() || !rest.starts_with("///");
    let (host, path) = match rest.strip_prefix("//").filter(|_| has_authority) {
        Some(rest) => {
            let end = rest.find('/').unwrap_or(rest.len());
            let (authority, path) = rest.split_at_checked(end)?;
            (host_of(scheme, authority)?, path)
        }
        None => (String::new(), rest),
    };
    is_escaped_well(path).then_some(host)
}

/// The scheme, if there is one, and what follows.
fn scheme(uri: &str) -> Option<(&str, &str)> {
    for (at, byte) in uri.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at == 0 => return None,
            b':' => return uri.split_once(':'),
            _ => break,
        }
    }
    Some(("", uri))
}

fn host_of(scheme: &str, authority: &str) -> Option<String> {
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (user, host),
        None => ("", authority),
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte);
    if !user.bytes().all(plain) || !user.split(':').all(is_escaped_well) {
        return None;
    }
    if let Some(literal) = host.strip_prefix('[') {
        return literal_host(literal);
    }
    if host.contains('[') {
        return None;
    }
    // A colon more than the port's is forgiven where schemes are not the web's.
    let web = ["http", "https"]
        .iter()
        .any(|web| scheme.eq_ignore_ascii_case(web));
    let port = if web {
        host.split_once(':')
    } else {
        host.rsplit_once(':')
    };
    if port.is_some_and(|(_, port)| !is_port(port)) {
        return None;
    }
    unescape(host, false)
}

/// What follows `[`: an IPv6 address, perhaps with a zone, `]`, and perhaps a port.
fn literal_host(literal: &str) -> Option<String> {
    let (address, port) = literal.rsplit_once(']')?;
    if literal.contains('[') || !(port.is_empty() || port.strip_prefix(':').is_some_and(is_port)) {
        return None;
    }
    let (address, zone) = match address.split_once("%25") {
        Some((address, zone)) => (unescape(address, false)?, Some(unescape(zone, true)?)),
        None => (unescape(address, false)?, None),
    };
    let (number, inner) = match address.split_once('%') {
        Some((number, inner)) => (number, Some(inner)),
        None => (address.as_str(), None),
    };
    let zone = match (inner, zone) {
        (Some(inner), Some(zone)) => Some(format!("{inner}%{zone}")),
        (Some(inner), None) => Some(inner.to_owned()),
        (None, zone) => zone,
    };
    number.parse::<Ipv6Addr>().ok()?;
    match zone {
        None => Some(format!("[{number}]{port}")),
        Some(zone) => (!zone.is_empty()).then(|| format!("[{number}%{zone}]{port}")),
    }
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether two hexadecimal digits follow each percent sign.
fn is_escaped_well(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| escaped(rest).is_some())
}

fn escaped(after_percent: &str) -> Option<u8> {
    let digits = after_percent.get(..2)?;
    let hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    hexadecimal.then(|| u8::from_str_radix(digits, 16).ok())?
}

/// A host without its escapes: of bytes that are not ASCII (no domain has those) and the percent sign; in a zone also of
/// what a host may hold, and blanks.
fn unescape(host: &str, zone: bool) -> Option<String> {
    let mut plain = String::new();
    let mut rest = host;
    while let Some(byte) = rest.bytes().next() {
        if byte != b'%' {
            plain.push(Some(char::from(byte)).filter(|_| is_of_host(byte))?);
            rest = rest.get(1..)?;
            continue;
        }
        let byte = escaped(rest.get(1..)?)?;
        let permitted = byte == b'%' || (zone && (byte == b' ' || is_of_host(byte)));
        plain.push(Some(char::from(byte)).filter(|_| permitted)?);
        rest = rest.get(3..)?;
    }
    Some(plain)
}

fn is_of_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~!\"$&'()*+,:;<=>[]".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::go_host;

    // Go 1.26's net/url was given the same texts.
    #[test]
    fn what_go_takes_for_a_uri() {
        for (uri, host) in [
            ("spiffe://a.svc/x", Some("a.svc")),
            ("https://u:p@a.svc:8/", Some("a.svc:8")),
            ("https://[::1]:8/", Some("[::1]:8")),
            ("https://[fe80::1%25e]/", Some("[fe80::1%e]")),
            ("spiffe://a:b:8/", Some("a:b:8")),
            ("https://a%25b/", Some("a%b")),
            ("urn:a:b", Some("")),
            ("//a.svc/x", Some("a.svc")),
            ("///a", Some("")),
            ("*", Some("")),
            ("", Some("")),
            ("https://u]p@h/", None),
            ("http://::1:8/", None),
            ("https://a:b:8/", None),
            ("https://a.svc:x/", None),
            ("https://[::1", None),
            ("https://[10.0.0.1]/", None),
            ("https://a[::1]/", None),
            ("https://a^b/", None),
            ("https://a%41/", None),
            ("https://a/%zz", None),
            ("https://a/#%zz", None),
            ("https://u%zz@a/", None),
            (":a", None),
            ("1a://b", None),
            ("https://a\u{7f}/", None),
        ] {
            assert_eq!(go_host(uri).as_deref(), host, "{uri}");
        }
    }
}
