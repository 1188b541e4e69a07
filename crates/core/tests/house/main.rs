//! The house: files and functions are short, and imports point one way.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod circles;
mod code;
mod floors;
mod imports;
mod keyless;
mod length;

use std::path::{Path, PathBuf};

use imports::Sources;

#[test]
fn files_and_functions_are_short_and_imports_point_one_way() {
    let mut findings = Vec::new();
    for name in ["api", "core", "kubectl-externalca", "operator"] {
        let sources = sources(name);
        assert!(sources.len() > 2, "crates/{name}/src was not found");
        let directory = format!("crates/{name}/src");
        for (path, source) in &sources {
            findings.extend(length::too_long(&format!("{directory}/{path}"), source));
        }
        findings.extend(circles::circles(&directory, &sources));
    }
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn the_core_imports_down() {
    let found = floors::upwards("crates/core/src", &sources("core"));
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn no_key_reaches_a_snapshot() {
    let sources = sources("core");
    let models = sources.keys().filter(|path| path.starts_with("model/"));
    assert!(models.count() > 5, "crates/core/src/model was not found");
    assert_eq!(keyless::mentions(&sources), [""; 0]);
}

fn sources(name: &str) -> Sources {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(name)
        .join("src");
    let mut sources = Sources::new();
    for file in files(&root) {
        let path = file
            .strip_prefix(&root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        sources.insert(path, std::fs::read_to_string(&file).unwrap());
    }
    sources
}

/// Every Rust file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
