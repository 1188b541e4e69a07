//! Helm, and charts that render what a test hands them.

use crate::scratch::Scratch;
use crate::{ControlPlane, Result, built};
use serde_json::Value;
use std::path::PathBuf;
use tokio::process::Command;

/// A release of a chart of its own.
pub struct Helm {
    program: PathBuf,
    kubeconfig: PathBuf,
    namespace: String,
    release: String,
    dir: Scratch,
}

impl Helm {
    /// An empty chart, by the name of its release.
    pub async fn new(cluster: &ControlPlane, namespace: &str, release: &str) -> Result<Self> {
        let dir = Scratch::new("helm")?;
        let chart = format!("apiVersion: v2\nname: {release}\nversion: 1.0.0\n");
        dir.write("Chart.yaml", chart)?;
        std::fs::create_dir(dir.path().join("templates"))?;
        Ok(Self {
            program: built::tool("helm").await?,
            kubeconfig: cluster.admin_kubeconfig().to_owned(),
            namespace: namespace.to_owned(),
            release: release.to_owned(),
            dir,
        })
    }

    /// Puts a template into the chart.
    pub fn template(&self, text: &str) -> Result<()> {
        self.dir.write("templates/all.yaml", text)?;
        Ok(())
    }

    /// Makes the chart render these objects and no others, as they are.
    pub fn objects(&self, objects: &[Value]) -> Result<()> {
        let texts = objects.iter().map(|object| {
            let text = object.to_string().replace("{{", "{{\"{{\"}}");
            format!("---\n{text}\n")
        });
        self.template(&texts.collect::<String>())
    }

    /// `helm install`
    pub async fn install(&self) -> Result<()> {
        self.run(&["install", &self.release, &self.chart()]).await
    }

    /// `helm upgrade`
    pub async fn upgrade(&self) -> Result<()> {
        self.run(&["upgrade", &self.release, &self.chart()]).await
    }

    /// `helm uninstall`
    pub async fn uninstall(&self) -> Result<()> {
        self.run(&["uninstall", &self.release]).await
    }

    fn chart(&self) -> String {
        self.dir.path().display().to_string()
    }

    async fn run(&self, arguments: &[&str]) -> Result<()> {
        let output = Command::new(&self.program)
            .args(arguments)
            .args(["--namespace", &self.namespace])
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HELM_CACHE_HOME", self.dir.path())
            .env("HELM_CONFIG_HOME", self.dir.path())
            .env("HELM_DATA_HOME", self.dir.path())
            .kill_on_drop(true)
            .output()
            .await?;
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).into()),
        }
    }
}
