//! The kubectl plugin's real program.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::OnceLock;

use serde_json::Value;
use tokio::process::Command;

use crate::{Result, built};

/// The plugin, for who has this kubeconfig.
pub struct Plugin {
    kubeconfig: PathBuf,
}

/// How a command ended.
#[derive(Debug)]
pub struct Answer {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub text: String,
    /// Standard error.
    pub error: String,
}

impl Answer {
    /// Standard output as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.text).map_err(|why| format!("{why}: {self:?}").into())
    }
}

impl Plugin {
    /// For who has this kubeconfig.
    pub fn new(kubeconfig: impl Into<PathBuf>) -> Self {
        Self {
            kubeconfig: kubeconfig.into(),
        }
    }

    /// Runs it to its end.
    pub async fn run(&self, arguments: &[&str]) -> Result<Answer> {
        let program = tokio::task::spawn_blocking(binary).await?;
        let output = Command::new(program.map_err(String::clone)?)
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await?;
        Ok(Answer {
            code: output.status.code().unwrap_or(-1),
            text: String::from_utf8(output.stdout)?,
            error: String::from_utf8(output.stderr)?,
        })
    }
}

fn binary() -> Result<&'static PathBuf, &'static String> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BINARY
        .get_or_init(|| {
            built::program("kubectl-externalca")
                .map_err(|error| format!("building the plugin: {error}"))
        })
        .as_ref()
}
