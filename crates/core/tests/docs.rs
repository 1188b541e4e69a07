//! What the documentation names exists: words, files, targets, values and fields. And every word has its section.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod documents;

use std::path::{Path, PathBuf};

use external_ca_api::ExternalCAIssuance;
use external_ca_core::Reason;
use external_ca_core::diagnosis::FindingWord;
use external_ca_core::domain::certmanager::CertificateWord;
use kube::CustomResourceExt;
use serde_json::Value;

use documents::{blocks, commands, pages, root, spans};

/// The operator's, those of Certificates' conditions, and the doctor's.
fn words() -> impl Iterator<Item = &'static str> {
    let reasons = Reason::ALL.iter().map(|reason| reason.as_str());
    let certificates = CertificateWord::ALL.iter().map(|word| word.as_str());
    let findings = FindingWord::ALL.iter().map(|word| word.as_str());
    reasons.chain(certificates).chain(findings)
}

fn troubleshooting() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/troubleshooting.md");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn every_section_is_of_a_word_that_there_is_and_stands_once() {
    let text = troubleshooting();
    let sections: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .collect();
    for section in &sections {
        let known = words().any(|word| word == *section);
        assert!(known, "docs/troubleshooting.md: {section} is no word");
        let times = sections.iter().filter(|other| other == &section).count();
        assert_eq!(times, 1, "docs/troubleshooting.md: {section}");
    }
}

#[test]
fn every_word_has_a_section_with_something_in_it() {
    let text = troubleshooting();
    for reason in words() {
        let heading = format!("\n### {reason}\n");
        let (_, after) = text
            .split_once(&heading)
            .unwrap_or_else(|| panic!("docs/troubleshooting.md has no section {reason}"));
        let section = after.split("\n#").next().unwrap();
        assert!(section.trim().len() > 40, "{reason}: {section}");
    }
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    for (page, text) in pages() {
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            // `](` stands in regular expressions, too.
            if link.contains("://") || link.contains('[') {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let here = Path::new(&page).parent().unwrap();
            let target = match file {
                "" => root().join(&page),
                file => root().join(here).join(file),
            };
            assert!(target.exists(), "{page}: {link}");
            if anchor.is_empty() {
                continue;
            }
            let there = std::fs::read_to_string(target).unwrap();
            let mut headings = there.lines().filter(|line| line.starts_with('#'));
            assert!(
                headings.any(|line| slug(line) == anchor),
                "{page}: no heading for {link}"
            );
        }
    }
}

/// Signed by the agents' CA, the client certificates of the gateway's internal API break OpenChoreo v1.2.
#[test]
fn no_sample_signs_for_the_internal_api() {
    no_sample_says(&[
        "openchoreo-controller-manager",
        "openchoreo-api",
        "cluster-gateway-client-tls",
    ]);
}

/// Those are made without being named, and an agents' CA that signs for a client makes an agent of it.
#[test]
fn no_sample_signs_for_a_client_or_for_what_the_front_end_makes() {
    let values = root().join("charts/external-ca-operator/values.yaml");
    let values = std::fs::read_to_string(values).unwrap();
    let lines = values.lines().skip_while(|line| *line != "certManager:");
    let lines = lines.skip_while(|line| *line != "  secrets:").skip(1);
    let secrets = lines.map_while(|line| line.strip_prefix("    - "));
    let forbidden: Vec<&str> = secrets.chain(["ClientAuth"]).collect();
    assert!(forbidden.contains(&"cluster-gateway-internal-ca"));
    no_sample_says(&forbidden);
}

fn no_sample_says(forbidden: &[&str]) {
    let samples = std::fs::read_dir(root().join("config/samples")).unwrap();
    let mut read = 0;
    for sample in samples {
        let path = sample.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let yaml = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'));
        for line in yaml {
            let found = forbidden.iter().find(|name| line.contains(*name));
            assert_eq!(found, None, "{}: {line}", path.display());
        }
        read += 1;
    }
    assert!(read > 5);
}

/// A heading's anchor, as GitHub makes it.
fn slug(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = words.chars().filter_map(|letter| match letter {
        ' ' => Some('-'),
        '-' | '_' => Some(letter),
        other => other.is_alphanumeric().then_some(other),
    });
    kept.collect()
}

#[test]
fn every_command_names_what_there_is() {
    let makefile = std::fs::read_to_string(root().join("Makefile")).unwrap();
    let values = values();
    let annotations = [
        external_ca_api::RENEW_ANNOTATION,
        external_ca_api::ROTATE_ANNOTATION,
        external_ca_api::ADOPT_ANNOTATION,
        external_ca_api::PROCEED_ANNOTATION,
        external_ca_api::ISSUANCE_ANNOTATION,
        external_ca_api::ANCHORS_ANNOTATION,
        external_ca_api::MATERIAL_HASH_ANNOTATION,
        external_ca_api::MEMORY_ANNOTATION,
        external_ca_api::INJECTED_ANNOTATION,
        // The API's group and version, not an annotation.
        "pki.openchoreo.dev/v1alpha1",
    ];
    for (page, text) in pages() {
        for command in commands(&text) {
            let words: Vec<&str> = command
                .split([' ', ',', '|', '(', ')'])
                .map(|word| word.trim_matches(['\'', '"', ';']))
                .collect();
            if words.first() == Some(&"make") {
                let targets = words.iter().skip(1);
                for target in targets.take_while(|word| !word.contains(['=', '#'])) {
                    let rule = format!("\n{target}:");
                    assert!(makefile.contains(&rule), "{page}: make {target}");
                }
            }
            for (flag, setting) in words.iter().zip(words.iter().skip(1)) {
                if flag.starts_with("--set") {
                    let key = setting.split(['=', '[']).next().unwrap();
                    assert!(has(&values, key), "{page}: {command}: no value {key}");
                }
            }
            for word in words {
                let place = word.split('/').next().unwrap();
                let in_crates = matches!(place, "core" | "operator");
                let ours = matches!(place, "charts" | "config" | "deploy" | "tests" | "crates");
                // `…` stands for something, `*` for several.
                if !(ours || in_crates) || !word.contains('/') || word.contains(['*', '…']) {
                    continue;
                }
                let path = root()
                    .join(if in_crates { "crates" } else { "" })
                    .join(word);
                assert!(path.exists(), "{page}: {command}: no file {word}");
            }
        }
        let named = text.split("pki.openchoreo.dev/").skip(1);
        for name in named {
            let name: String = name
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '-')
                .collect();
            let name = format!("pki.openchoreo.dev/{}", name.trim_end_matches('-'));
            assert!(annotations.contains(&name.as_str()), "{page}: {name}");
        }
    }
}

#[test]
fn every_field_is_one_of_the_resource() {
    let schema = schema();
    let mut parts: Vec<Value> = ["spec", "status"]
        .map(|part| schema["properties"][part].clone())
        .into();
    // The chart's values are named in the same way.
    parts.push(values());
    for (page, text) in pages() {
        for block in blocks(&text, "yaml") {
            // Planes and Roles have schemas of their own.
            if block.contains("clusterAgent") || block.contains("kind: ClusterRole") {
                continue;
            }
            let yaml: Value = serde_saphyr::from_str(&block).unwrap();
            fits(&schema["properties"]["spec"], &yaml["spec"], &page);
        }
        for span in spans(&text) {
            let path: String = span
                .chars()
                .take_while(|c| c.is_alphanumeric() || ".[]*".contains(*c))
                .collect();
            let path = path.trim_matches('.').trim_end_matches(".*");
            let first = path.split(['.', '[']).next().unwrap();
            let theirs = [
                "spec.clusterAgent",
                "spec.planeID",
                "status.agentConnection",
                "certificates.cert",
            ];
            if !path.contains('.')
                || path.ends_with(".rs")
                || theirs.iter().any(|it| path.starts_with(it))
            {
                continue;
            }
            let whole = matches!(first, "spec" | "status");
            let ours = whole || parts.iter().any(|part| has(part, first));
            let known = has(&schema, path) || parts.iter().any(|part| has(part, path));
            assert!(!ours || known, "{page}: `{span}`: no field {path}");
        }
        for list in commands(&text)
            .iter()
            .flat_map(|command| command.split("{range ").skip(1))
        {
            let (list, rest) = list.split_once('}').unwrap();
            let list = list.trim_start_matches(".items[*]").trim_start_matches('.');
            let body = rest.split("{end}").next().unwrap();
            for field in body.split("{.").skip(1) {
                let field = field.split('}').next().unwrap();
                let path = format!("{list}.{field}");
                assert!(has(&schema, &path), "{page}: no field {path}");
            }
        }
    }
}

/// The resource's schema.
fn schema() -> Value {
    let crd = serde_json::to_value(ExternalCAIssuance::crd()).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// The schema of the chart's values.
fn values() -> Value {
    let path = root().join("charts/external-ca-operator/values.schema.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Whether a schema has the field of this path.
fn has(schema: &Value, path: &str) -> bool {
    let step = |schema: Value, name: &str| {
        let field = schema["properties"][name.split('[').next().unwrap()].clone();
        match &field["items"] {
            Value::Null => field,
            items => items.clone(),
        }
    };
    !path.split('.').fold(schema.clone(), step).is_null()
}

/// That an object has no field which its schema does not have.
fn fits(schema: &Value, value: &Value, place: &str) {
    for (name, field) in value.as_object().into_iter().flatten() {
        let known = &schema["properties"][name];
        let free = !schema["additionalProperties"].is_null() || schema["properties"].is_null();
        assert!(!known.is_null() || free, "{place}: no field {name}");
        fits(known, field, &format!("{place}: {name}"));
    }
    for item in value.as_array().into_iter().flatten() {
        fits(&schema["items"], item, place);
    }
}

/// `file::name` in docs/security.md: the name is a function's, in a file or folder of that name.
#[test]
fn every_threat_is_shown_by_a_test_that_there_is() {
    let text = std::fs::read_to_string(root().join("docs/security.md")).unwrap();
    let (_, section) = text.split_once("\n## Which test shows it\n").unwrap();
    let sources = sources();
    let mut count = 0;
    for name in spans(section) {
        if !name.contains("::") {
            continue;
        }
        let (file, function) = name.split_once("::").unwrap();
        let signature = format!("fn {function}(");
        let is_there = sources.iter().any(|path| {
            let mut parts = path.components();
            let is_named = path.file_stem().is_some_and(|stem| stem == file)
                || parts.any(|part| part.as_os_str() == file);
            is_named && std::fs::read_to_string(path).is_ok_and(|text| text.contains(&signature))
        });
        assert!(is_there, "docs/security.md: no test {name}");
        count += 1;
    }
    assert!(count > 20, "{count}");
}

/// Every file with Rust in it.
fn sources() -> Vec<PathBuf> {
    let mut folders = vec![root().join("crates"), root().join("tests")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|one| one == "rs") {
                found.push(path);
            }
        }
    }
    found
}
