//! Mailboxes, as Go takes RFC 2821 apart.

use super::san::go_domain;

/// A mailbox: what stands before its `@`, without quotes, and its domain in lower case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Mailbox {
    local: String,
    pub(super) domain: String,
}

impl Mailbox {
    /// None where Go would not take it for one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (local, rest) = match text.strip_prefix('"') {
            Some(rest) => quoted(rest)?,
            None => atoms(text)?,
        };
        let domain = rest.strip_prefix('@')?;
        // A constraint's domain may start with a dot, a mailbox's may not.
        go_domain(domain, false).then(|| Self {
            local,
            domain: domain.to_ascii_lowercase(),
        })
    }
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let mut local = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => return Some((local, characters.as_str())),
            '\\' => local.push(
                characters
                    .next()
                    .filter(|c| !matches!(c, '\0' | '\n' | '\r') && c.is_ascii())?,
            ),
            '\0' | '\t' | '\n' | '\r' => return None,
            plain if plain.is_ascii() => local.push(plain),
            _ => return None,
        }
    }
    None
}

fn atoms(text: &str) -> Option<(String, &str)> {
    let mut local = String::new();
    let mut characters = text.chars();
    let rest = loop {
        let rest = characters.as_str();
        match characters.next() {
            Some('\\') => local.push(characters.next()?),
            Some(plain) if is_of_atom(plain) => local.push(plain),
            _ => break rest,
        }
    };
    let dots = local.starts_with('.') || local.ends_with('.') || local.contains("..");
    (!local.is_empty() && !dots).then_some((local, rest))
}

fn is_of_atom(character: char) -> bool {
    character.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(character)
}

#[cfg(test)]
mod tests {
    use super::Mailbox;

    #[test]
    fn what_go_takes_for_a_mailbox() {
        for (text, domain) in [
            ("a@svc", Some("svc")),
            ("A.b@Svc", Some("svc")),
            ("a@", Some("")),
            ("\"a b\"@svc", Some("svc")),
            ("\"a\\\"b\"@svc", Some("svc")),
            ("a\\@b@svc", Some("svc")),
            ("@svc", None),
            ("a", None),
            ("a@b@svc", Some("b@svc")),
            ("a b@svc", None),
            ("\"a@svc", None),
            (".a@svc", None),
            ("a.@svc", None),
            ("a..b@svc", None),
            ("a@.svc", None),
            ("a@b..svc", None),
            ("a\\", None),
        ] {
            let parsed = Mailbox::parse(text);
            assert_eq!(
                parsed.as_ref().map(|found| found.domain.as_str()),
                domain,
                "{text}"
            );
        }
    }
}
