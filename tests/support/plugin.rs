//! The kubectl plugin's real program.

use crate::operator::cargo_build;
use crate::{Result, repository};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tokio::process::Command;

/// How a run of it ended.
#[derive(Clone, Debug)]
pub struct Run {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs it to its end, with a kubeconfig where there is a cluster.
pub async fn run(kubeconfig: Option<&Path>, args: &[&str]) -> Result<Run> {
    let binary = tokio::task::spawn_blocking(binary)
        .await?
        .map_err(String::clone)?;
    let mut command = Command::new(binary);
    command.args(args).current_dir(repository());
    // Without one it must not find another.
    command.env(
        "KUBECONFIG",
        kubeconfig.unwrap_or(Path::new("/nonexistent")),
    );
    let output = command.output().await?;
    Ok(Run {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout)?,
        stderr: String::from_utf8(output.stderr)?,
    })
}

fn binary() -> Result<&'static PathBuf, &'static String> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let build = || {
        cargo_build("kubectl-externalca", "kubectl-externalca")
            .map_err(|error| format!("building the plugin: {error}"))
    };
    BINARY.get_or_init(build).as_ref()
}
