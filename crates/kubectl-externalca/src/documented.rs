//! The command line that the documentation prints is the one that there is.
#![allow(clippy::unwrap_used, clippy::panic)]

use clap::Parser;

use crate::cli::Cli;

#[path = "../../core/tests/documents/mod.rs"]
mod documents;

#[test]
fn every_documented_command_is_understood() {
    let mut seen = 0;
    for (page, text) in documents::pages() {
        for command in documents::commands(&text) {
            let command = command.trim_start_matches("source <(");
            let name = ["kubectl externalca ", "kubectl-externalca "];
            let Some(arguments) = name.iter().find_map(|name| command.strip_prefix(name)) else {
                continue;
            };
            let arguments = arguments.split(['>', '|', ')']).next().unwrap_or_default();
            if arguments.starts_with('…') {
                continue;
            }
            let words = std::iter::once("externalca").chain(arguments.split_whitespace());
            if let Err(error) = Cli::try_parse_from(words) {
                panic!("{page}: {command}: {error}");
            }
            seen += 1;
        }
    }
    assert!(seen > 15, "{seen}");
}
