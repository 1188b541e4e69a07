//! Programs that are built once into a cache: each script prints the directory that holds them.

use crate::{Result, repository};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
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

/// A program of this workspace, as cargo builds it in the profile and target directory of the running test. Package and
/// program have one name.
pub fn program(name: &str) -> Result<PathBuf> {
    program_with(name, name, &[])
}

/// A program of a package with these features.
pub fn program_with(package: &str, name: &str, features: &[&str]) -> Result<PathBuf> {
    // target/debug/deps/test-0123 -> target/debug
    let test = std::env::current_exe()?;
    let profile = test
        .ancestors()
        .find(|dir| dir.ends_with("deps") || dir.ends_with("examples"));
    let profile = profile
        .and_then(Path::parent)
        .or(test.parent())
        .ok_or("the test is in no directory")?;
    let profile_name = profile.file_name().ok_or("the profile has no name")?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", package, "--bin", name]);
    cargo.args(["--features", &features.join(",")]);
    cargo.arg("--profile").arg(if profile_name == "debug" {
        "dev".as_ref()
    } else {
        profile_name
    });
    cargo
        .arg("--target-dir")
        .arg(profile.parent().ok_or("the profile is in no directory")?);
    let output = cargo
        .current_dir(repository())
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(profile.join(name))
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
