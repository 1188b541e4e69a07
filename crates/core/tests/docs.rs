//! Whoever meets a word of the operator finds it in docs/troubleshooting.md.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use external_ca_core::Reason;

#[test]
fn every_reason_has_a_section_with_something_in_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/troubleshooting.md");
    let text = std::fs::read_to_string(path).unwrap();
    for reason in Reason::ALL {
        let heading = format!("\n### {reason}\n");
        let (_, after) = text
            .split_once(&heading)
            .unwrap_or_else(|| panic!("docs/troubleshooting.md has no section {reason}"));
        let section = after.split("\n#").next().unwrap();
        assert!(section.trim().len() > 40, "{reason}: {section}");
    }
}
