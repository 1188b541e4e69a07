//! The core's floors: a file imports what stands on its own floor or below.

use super::imports::{Sources, imports};

/// From the ground up; what stands on one floor may import each other.
const FLOORS: [&[&str]; 11] = [
    &["x509"],
    &["reason"],
    &["model"],
    &["domain"],
    &["trust"],
    &["finding"],
    &["plan"],
    &["snapshot"],
    &["report"],
    &["diagnosis", "forecast", "adopt"],
    &["lib"],
];

/// Each import that leads up, and each file that stands on no floor.
pub fn upwards(directory: &str, sources: &Sources) -> Vec<String> {
    let floor = |path: &str| {
        let room = path.split(['/', '.']).next().unwrap_or_default();
        FLOORS.iter().position(|floor| floor.contains(&room))
    };
    let homeless = sources.keys().filter(|path| floor(path).is_none());
    let homeless =
        homeless.map(|path| format!("{directory}/{path}: name its floor in tests/house"));
    let imports = imports(sources);
    let up = imports
        .iter()
        .filter(|import| floor(&import.from) < floor(&import.to));
    let up = up.map(|import| {
        let (from, line, to) = (&import.from, import.line, &import.to);
        format!("{directory}/{from}:{line}: imports {to}, which stands on a floor above")
    });
    homeless.chain(up).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_that_leads_up_is_found() {
        let sources = [
            ("lib.rs", "mod model; mod plan; mod report;"),
            ("model.rs", "use crate::plan::Step;"),
            ("plan.rs", "pub struct Step; use crate::model::Plane;"),
            ("report.rs", "use crate::plan::Step;"),
            ("attic.rs", ""),
        ];
        let sources = sources.map(|(path, text)| (path.to_owned(), text.to_owned()));
        let found = upwards("src", &sources.into());
        assert_eq!(
            found,
            [
                "src/attic.rs: name its floor in tests/house",
                "src/model.rs:1: imports plan.rs, which stands on a floor above",
            ]
        );
    }
}
