//! The arguments of containers.

use k8s_openapi::api::core::v1::EnvVar;

/// A container's command, arguments and environment.
pub(super) type Started<'a> = (
    Option<&'a [String]>,
    Option<&'a [String]>,
    Option<&'a [EnvVar]>,
);

/// `--plane-type` and `--plane-id`, where an agent has them, and all of them is known.
pub(super) fn agent<'a>(
    mut containers: impl Iterator<Item = Started<'a>>,
) -> Option<(String, String)> {
    containers.find_map(|(command, arguments, environment)| {
        let words = command.into_iter().chain(arguments).flatten();
        let words: Vec<&str> = words.map(String::as_str).collect();
        let value = |name| expanded(flag(&words, name)?, environment.unwrap_or_default());
        Some((value("--plane-type")?, value("--plane-id")?))
    })
}

/// With `$(NAME)` in it replaced, as Kubernetes does; none where a variable's value stands elsewhere.
fn expanded(mut text: String, environment: &[EnvVar]) -> Option<String> {
    for variable in environment {
        if let Some(value) = &variable.value {
            text = text.replace(&format!("$({})", variable.name), value);
        }
    }
    (!text.contains("$(")).then_some(text)
}

/// The value of a command line option, in either form.
pub fn flag(words: &[&str], name: &str) -> Option<String> {
    words.iter().enumerate().find_map(|(index, word)| {
        let rest = word.strip_prefix(name)?;
        match rest.strip_prefix('=') {
            Some(value) => Some(value.to_owned()),
            None if rest.is_empty() => words.get(index + 1).map(|value| (*value).to_owned()),
            None => None,
        }
    })
}
