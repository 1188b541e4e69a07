//! Whoever meets a word of the operator finds it in docs/troubleshooting.md.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use external_ca_core::Reason;
use external_ca_core::diagnosis::FindingWord;

#[test]
fn every_word_has_a_section_with_something_in_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/troubleshooting.md");
    let text = std::fs::read_to_string(path).unwrap();
    let reasons = Reason::ALL.iter().map(|reason| reason.as_str());
    let findings = FindingWord::ALL.iter().map(|word| word.as_str());
    for reason in reasons.chain(findings) {
        let heading = format!("\n### {reason}\n");
        let (_, after) = text
            .split_once(&heading)
            .unwrap_or_else(|| panic!("docs/troubleshooting.md has no section {reason}"));
        let section = after.split("\n#").next().unwrap();
        assert!(section.trim().len() > 40, "{reason}: {section}");
    }
}
