//! Command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use external_ca_api::Duration;

/// What an issuance is doing, what it would do, and what to ask of it. Exit codes: 0 all is well, 1 the command failed,
/// 2 it was called wrongly, 3 it worked and something is not as it should be.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-externalca",
    bin_name = "kubectl externalca",
    version,
    about
)]
pub struct Cli {
    /// What every verb understands.
    #[command(flatten)]
    pub global: Global,
    /// The verb.
    #[command(subcommand)]
    pub command: Command,
}

/// Where, and in which form.
#[derive(Debug, Args)]
pub struct Global {
    /// Namespace of the issuance; the kubeconfig's by default.
    #[arg(short, long, global = true, value_name = "NAMESPACE")]
    pub namespace: Option<String>,

    /// Issuances of all namespaces.
    #[arg(short = 'A', long, global = true, conflicts_with = "namespace")]
    pub all_namespaces: bool,

    /// Context of the kubeconfig.
    #[arg(long, global = true)]
    pub context: Option<String>,

    /// The kubeconfig; $KUBECONFIG or ~/.kube/config by default.
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Form of the answer.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

/// Form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For people, with fingerprints and serial numbers.
    Wide,
    /// For programs.
    Json,
    /// For programs.
    Yaml,
}

/// The verbs. Each is a file in `commands`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show issuances: CA, who trusts what, certificates, planes, rollouts, and what each is waiting for; and the trust
    /// domains that cert-manager's objects declare.
    Status(StatusArgs),
    /// Show what the operator would do now, and why. Nothing is changed.
    Plan(PlanArgs),
    /// Say what is wrong, why, and what to do. Nothing is changed.
    Check(CheckArgs),
    /// Print the issuance that takes over what exists, and what would change. Nothing is changed.
    Adopt(AdoptArgs),
    /// Renew a certificate, or all, now.
    Renew(RenewArgs),
    /// Replace the CA that the operator made by the next one.
    Rotate(ActionArgs),
    /// Stop every write of an issuance: nothing is renewed until it is resumed.
    Pause(ActionArgs),
    /// Let a paused issuance go on.
    Resume(ActionArgs),
    /// Print the completion script of a shell.
    Completion {
        /// The shell.
        shell: Shell,
    },
}

/// An issuance.
#[derive(Debug, Args)]
pub struct Name {
    /// The issuance; may be left out where there is only one.
    pub name: Option<String>,
}

/// How to show an issuance.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The issuance; all of the namespace by default, and what cert-manager's objects declare there.
    pub name: Option<String>,

    /// Show it again whenever it changes.
    #[arg(short, long)]
    pub watch: bool,
}

/// What to plan.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The issuance.
    #[command(flatten)]
    pub issuance: Name,

    /// What would be done if these existed as the file says: an issuance, plane resources, or both; `-` for standard
    /// input.
    #[arg(short, long, value_name = "FILE")]
    pub filename: Option<PathBuf>,

    /// What would be done if the CA Secret held this CA: its certificate in PEM, with its chain. No key is needed.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

/// What to check.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The issuance; all of the namespace by default, and what cert-manager's objects declare there.
    pub name: Option<String>,

    /// Try the handshake with the gateway, with each agent's certificate: at this address (host:port), or through a
    /// port-forward to the gateway's pod.
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub connect: Option<String>,

    /// Files instead of a cluster.
    #[command(flatten)]
    pub files: FilesArgs,
}

/// Files that are checked without any cluster.
#[derive(Debug, Args)]
pub struct FilesArgs {
    /// The CA bundle of whoever verifies the certificate, in PEM.
    #[arg(long, value_name = "FILE", requires_all = ["cert", "role"], conflicts_with_all = ["name", "connect"])]
    pub ca: Option<PathBuf>,

    /// The certificate, leaf first.
    #[arg(long, value_name = "FILE", requires = "ca")]
    pub cert: Option<PathBuf>,

    /// Its key.
    #[arg(long, value_name = "FILE", requires = "ca")]
    pub key: Option<PathBuf>,

    /// What the certificate is for: the gateway's is a server's, an agent's a client's.
    #[arg(long, value_enum, requires = "ca")]
    pub role: Option<Role>,

    /// The plane that a client's certificate is for.
    #[arg(long, value_name = "ID", requires = "ca")]
    pub plane_id: Option<String>,

    /// A name by which the server is dialled; may be given more than once.
    #[arg(long, value_name = "NAME", requires = "ca")]
    pub dns: Vec<String>,
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum Role {
    Server,
    Client,
}

/// What to adopt.
#[derive(Debug, Args)]
pub struct AdoptArgs {
    /// Name of the issuance that is printed.
    #[arg(long, default_value = "cluster-gateway")]
    pub name: String,
}

/// What to renew.
#[derive(Debug, Args)]
pub struct RenewArgs {
    /// The certificate, as `<namespace>/<secret>`; the Secret's name alone means every one of that name.
    #[arg(default_value = "all")]
    pub certificate: String,

    /// The issuance; may be left out where there is only one.
    #[arg(long, value_name = "NAME")]
    pub issuance: Option<String>,

    /// Whether to wait.
    #[command(flatten)]
    pub wait: Wait,
}

/// What to ask of an issuance.
#[derive(Debug, Args)]
pub struct ActionArgs {
    /// The issuance.
    #[command(flatten)]
    pub issuance: Name,

    /// Whether to wait.
    #[command(flatten)]
    pub wait: Wait,
}

/// Whether to wait for the end.
#[derive(Debug, Args)]
pub struct Wait {
    /// Follow it to its end, at most so long.
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "30m", value_parser = duration)]
    pub wait: Option<std::time::Duration>,
}

/// A duration as the resource writes it: `90s`, `10m`, `1h30m`.
fn duration(text: &str) -> Result<std::time::Duration, String> {
    let parsed: Duration = text.parse().map_err(|error| format!("{error}"))?;
    std::time::Duration::try_from(parsed.0).map_err(|_| "it is negative".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
