//! Whoever meets a word of the operator finds it in docs/troubleshooting.md.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use external_ca_core::Reason;
use external_ca_core::diagnosis::FindingWord;

/// The operator's and the doctor's.
fn words() -> impl Iterator<Item = &'static str> {
    let reasons = Reason::ALL.iter().map(|reason| reason.as_str());
    reasons.chain(FindingWord::ALL.iter().map(|word| word.as_str()))
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
    // Every link within the page leads to a heading.
    for link in text.split("](#").skip(1) {
        let anchor = link.split(')').next().unwrap();
        let found = text.lines().any(|line| {
            let heading = line.trim_start_matches('#').trim();
            line.starts_with('#') && heading.to_lowercase().replace(' ', "-") == anchor
        });
        assert!(found, "docs/troubleshooting.md: no heading for #{anchor}");
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
