//! The operator's real program as a child process, with a ServiceAccount's rights.

use crate::process::{Process, Program};
use crate::scratch::Scratch;
use crate::wait::{PATIENCE, try_wait_for};
use crate::{ControlPlane, Proxy, Result, built, chart, http, ports};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::OnceLock;
use std::time::Duration;

/// How to run it.
#[derive(Clone, Debug, Default)]
pub struct OperatorOptions {
    /// Who it is and where the API server is; never an administrator's.
    pub kubeconfig: PathBuf,
    /// The namespaces that it serves.
    pub namespaces: Vec<String>,
    /// Further arguments; they come last.
    pub args: Vec<String>,
    /// Further environment variables.
    pub env: Vec<(String, String)>,
    /// The program, where it is not the one that cargo builds or `EXTERNAL_CA_OPERATOR_BIN` names.
    pub binary: Option<PathBuf>,
}

impl OperatorOptions {
    /// With the rights of the chart's ServiceAccount ([`chart::install_operator_rbac`]), through a proxy where there is one.
    pub async fn installed(
        cluster: &ControlPlane,
        proxy: Option<&Proxy>,
        namespaces: &[&str],
    ) -> Result<Self> {
        let url = proxy.map(Proxy::url);
        Ok(Self {
            kubeconfig: cluster
                .kubeconfig_for(chart::NAMESPACE, chart::RELEASE, url)
                .await?,
            namespaces: namespaces.iter().map(ToString::to_string).collect(),
            ..Self::default()
        })
    }
}

/// A running operator; dropping it kills it.
pub struct Operator {
    process: Process,
    port: u16,
    options: OperatorOptions,
    dir: Scratch,
}

impl Operator {
    /// Starts it; [`Operator::ready`] waits until it is.
    pub async fn start(options: OperatorOptions) -> Result<Self> {
        let dir = Scratch::new("operator")?;
        let (process, port) = launch(&options, &dir).await?;
        Ok(Self {
            process,
            port,
            options,
            dir,
        })
    }

    /// Kills it if it runs, and starts it again with the same options; its log goes on.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.kill();
        (self.process, self.port) = launch(&self.options, &self.dir).await?;
        Ok(())
    }

    /// SIGKILL; returns when it is gone.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// SIGTERM; the status, or nothing where it had to be killed after ten seconds.
    pub async fn terminate(&self) -> Option<ExitStatus> {
        self.process.terminate(Duration::from_secs(10)).await
    }

    /// How it ended, if it has.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.process.exit_status()
    }

    /// Waits until `/readyz` answers 200; an error holds the end of its log.
    pub async fn ready(&self) -> Result<()> {
        let outcome = try_wait_for("the operator to be ready", PATIENCE, async || {
            if let Some(status) = self.process.exit_status() {
                return Ok(Err(format!("it ended with {status}")));
            }
            match http::get(self.port, "/readyz").await {
                Ok((200, _)) => Ok(Ok(())),
                Ok((status, body)) => Err(format!("{status} {body}")),
                Err(error) => Err(error.to_string()),
            }
        });
        let ready = outcome.await.and_then(|inner| inner);
        ready.map_err(|problem| format!("{problem}\n{}", self.process.log_tail(25)).into())
    }

    /// What it serves at this path of its HTTP address: status and body.
    pub async fn http(&self, path: &str) -> Result<(u16, String)> {
        Ok(http::get(self.port, path).await?)
    }

    /// The text of `/metrics`.
    pub async fn metrics(&self) -> Result<String> {
        Ok(self.http("/metrics").await?.1)
    }

    /// Where it serves HTTP on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it has printed, over restarts.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Its log file.
    pub fn log_file(&self) -> &Path {
        self.process.log_file()
    }

    /// Its process: signals, id, memory and processor time.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Resident memory, in KiB.
    pub fn rss_kib(&self) -> u64 {
        self.process.rss_kib()
    }

    /// Processor time used so far.
    pub fn cpu_seconds(&self) -> f64 {
        self.process.cpu_seconds()
    }
}

async fn launch(options: &OperatorOptions, dir: &Scratch) -> Result<(Process, u16)> {
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => tokio::task::spawn_blocking(binary)
            .await?
            .map_err(String::clone)?
            .clone(),
    };
    let port = ports::free();
    let mut args = vec![
        "run".to_owned(),
        format!("--namespaces={}", options.namespaces.join(",")),
        format!("--http-address=127.0.0.1:{port}"),
        format!("--lease-namespace={}", chart::NAMESPACE),
        "--log-format=json".to_owned(),
    ];
    args.extend(options.args.iter().cloned());
    let mut program = Program::new(binary)
        .args(args)
        .env("KUBECONFIG", &options.kubeconfig);
    for (name, value) in &options.env {
        program = program.env(name, value);
    }
    Ok((
        program.start("external-ca-operator", &dir.path().join("operator.log"))?,
        port,
    ))
}

/// The operator with what it has for tests only: the way to a [`crate::TestAuthority`].
pub fn for_tests() -> Result<&'static PathBuf, &'static String> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let build = || {
        let name = "external-ca-operator-for-tests";
        built::program_with("external-ca-operator", name, &["test-authority"])
            .map_err(|error| format!("building the operator for tests: {error}"))
    };
    BINARY.get_or_init(build).as_ref()
}

/// The operator's program: `EXTERNAL_CA_OPERATOR_BIN`, else what cargo builds.
pub fn binary() -> Result<&'static PathBuf, &'static String> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BINARY
        .get_or_init(|| match std::env::var_os("EXTERNAL_CA_OPERATOR_BIN") {
            Some(path) => Ok(PathBuf::from(path)),
            None => built::program("external-ca-operator")
                .map_err(|error| format!("building the operator: {error}")),
        })
        .as_ref()
}
