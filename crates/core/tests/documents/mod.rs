//! The documentation as text: its pages, and the code in them.

use std::path::{Path, PathBuf};

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every page that people read: its path in the repository, and its text.
pub fn pages() -> Vec<(String, String)> {
    let mut paths: Vec<String> = std::fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| format!("docs/{}", entry.unwrap().file_name().display()))
        .collect();
    paths.sort();
    paths.extend(
        [
            "README.md",
            "CONTRIBUTING.md",
            "charts/external-ca-operator/README.md",
        ]
        .map(String::from),
    );
    let read = |path: String| {
        let text = std::fs::read_to_string(root().join(&path)).unwrap();
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

/// The blocks of a language, each without its fence and indentation.
pub fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut open: Option<(bool, usize)> = None;
    for line in text.lines() {
        let body = line.trim_start();
        match (body.strip_prefix("```"), open) {
            (Some(named), None) => {
                open = Some((named == language, line.len() - body.len()));
                if named == language {
                    found.push(String::new());
                }
            }
            (Some(_), Some(_)) => open = None,
            (None, Some((true, indent))) => {
                let block = found.last_mut().unwrap();
                block.push_str(line.get(indent..).unwrap_or_default());
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    found
}

/// What stands between backticks outside of blocks.
pub fn spans(text: &str) -> Vec<String> {
    let mut outside = true;
    let prose: Vec<&str> = text
        .lines()
        .filter(|line| {
            let fence = line.trim_start().starts_with("```");
            outside ^= fence;
            outside && !fence
        })
        .collect();
    let prose = prose.join(" ");
    prose.split('`').skip(1).step_by(2).map(squeeze).collect()
}

/// Every command that a page prints: a line of a block, or what stands between backticks. Comments are cut off.
pub fn commands(text: &str) -> Vec<String> {
    let scripts = blocks(text, "sh").join("\n").replace("\\\n", " ");
    let consoles = blocks(text, "console").join("\n");
    let typed = consoles.lines().filter_map(|line| line.strip_prefix("$ "));
    let lines = scripts.lines().chain(typed).map(|line| {
        let command = line.split(" # ").next().unwrap_or_default();
        squeeze(command)
    });
    lines.chain(spans(text)).collect()
}

fn squeeze(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
