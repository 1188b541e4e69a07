//! The arguments of a workload's containers.

use k8s_openapi::api::core::v1::PodTemplateSpec;

/// `--plane-type` and `--plane-id`, where an agent has them.
pub(super) fn agent(template: &PodTemplateSpec) -> Option<(String, String)> {
    template
        .spec
        .as_ref()?
        .containers
        .iter()
        .find_map(|container| {
            let words: Vec<&str> = container
                .command
                .iter()
                .chain(container.args.iter())
                .flatten()
                .map(String::as_str)
                .collect();
            Some((flag(&words, "--plane-type")?, flag(&words, "--plane-id")?))
        })
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
