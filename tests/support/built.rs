//! Programs that are built once into a cache: each script prints the directory that holds them.

use crate::{Result, repository};
use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

/// The directory with etcd, kube-apiserver and kube-controller-manager (minutes, the first time on a machine).
pub async fn control_plane() -> Result<PathBuf> {
    directory("tests/controlplane/build.sh", None).await
}

/// The program that plays OpenChoreo's gateway and agents, and verifies chains as Go does.
pub async fn peers() -> Result<PathBuf> {
    Ok(directory("tests/peers/build.sh", None).await?.join("peers"))
}

/// A tool of `tests/tools.sh`: helm, kustomize, …
pub async fn tool(name: &'static str) -> Result<PathBuf> {
    Ok(directory("tests/tools.sh", Some(name)).await?.join(name))
}

async fn directory(script: &'static str, argument: Option<&'static str>) -> Result<PathBuf> {
    type Cell = Arc<tokio::sync::OnceCell<PathBuf>>;
    type Key = (&'static str, Option<&'static str>);
    static KNOWN: OnceLock<Mutex<HashMap<Key, Cell>>> = OnceLock::new();
    let cell = KNOWN
        .get_or_init(Mutex::default)
        .lock()
        .unwrap()
        .entry((script, argument))
        .or_default()
        .clone();
    let built = cell.get_or_try_init(|| async {
        tokio::task::spawn_blocking(move || {
            let path = repository().join(script);
            let output = Command::new(&path)
                .args(argument)
                .stdin(Stdio::null())
                .stderr(Stdio::inherit())
                .output()
                .map_err(|error| format!("{}: {error}", path.display()))?;
            if !output.status.success() {
                return Err(format!(
                    "{} {}: {}",
                    path.display(),
                    argument.unwrap_or_default(),
                    output.status
                ));
            }
            Ok(PathBuf::from(
                String::from_utf8_lossy(&output.stdout).trim(),
            ))
        })
        .await
        .map_err(|error| error.to_string())?
    });
    Ok(built.await?.clone())
}
