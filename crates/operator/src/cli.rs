//! Command line and environment.

use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use external_ca_core::domain::certmanager::{
    CA_SECRETS, CLUSTER_ISSUER_NAMESPACE, LEASE_NAMESPACE, SECRETS, WEBHOOK_CONFIGURATIONS,
};
use kube::Client;

/// Issues, distributes and rotates OpenChoreo's cluster gateway and agent certificates from an external CA.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator.
    Run(Box<RunArgs>),
    /// Print the CustomResourceDefinition as YAML.
    Crd,
}

/// How to run.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Namespaces to serve: issuances are honoured there, and nothing is written anywhere else.
    #[arg(
        long,
        env = "EXTERNAL_CA_NAMESPACES",
        value_delimiter = ',',
        required = true
    )]
    pub namespaces: Vec<String>,

    /// Further namespaces whose plane resources may be wired.
    #[arg(long, env = "EXTERNAL_CA_PLANE_NAMESPACES", value_delimiter = ',')]
    pub plane_namespaces: Vec<String>,

    /// Names of the Secrets that leaf certificates are written to: where something mounts one, its certificate counts, also
    /// while no issuance asks for it.
    #[arg(
        long,
        env = "EXTERNAL_CA_LEAF_SECRETS",
        value_delimiter = ',',
        default_value = "cluster-gateway-tls,cluster-agent-tls"
    )]
    pub leaf_secrets: Vec<String>,

    /// Names of the ConfigMaps and Secrets that the CA bundle is written to, likewise.
    #[arg(
        long,
        env = "EXTERNAL_CA_TRUST_NAMES",
        value_delimiter = ',',
        default_value = "cluster-gateway-ca"
    )]
    pub trust_names: Vec<String>,

    /// Whether cert-manager's objects are honoured, where their kinds are served.
    #[arg(long, env = "EXTERNAL_CA_CERT_MANAGER", default_value_t = true, action = clap::ArgAction::Set)]
    pub cert_manager: bool,

    /// Names of the Secrets that cert-manager's Certificates may name.
    #[arg(
        long,
        env = "EXTERNAL_CA_CERT_MANAGER_SECRETS",
        value_delimiter = ',',
        default_value = SECRETS
    )]
    pub cert_manager_secrets: Vec<String>,

    /// Names of CA Secrets that people make: issuers may name them.
    #[arg(
        long,
        env = "EXTERNAL_CA_CA_SECRETS",
        value_delimiter = ',',
        default_value = CA_SECRETS
    )]
    pub ca_secrets: Vec<String>,

    /// Namespace of the Secrets of ClusterIssuers.
    #[arg(
        long,
        env = "EXTERNAL_CA_CLUSTER_ISSUER_NAMESPACE",
        default_value = CLUSTER_ISSUER_NAMESPACE
    )]
    pub cluster_issuer_namespace: String,

    /// Namespace of cert-manager's own Leases: while they are held, cert-manager does its work itself.
    #[arg(
        long,
        env = "EXTERNAL_CA_CERT_MANAGER_LEASE_NAMESPACE",
        default_value = LEASE_NAMESPACE
    )]
    pub cert_manager_lease_namespace: String,

    /// Names of webhook configurations whose caBundle is written.
    #[arg(
        long,
        env = "EXTERNAL_CA_WEBHOOK_CONFIGURATIONS",
        value_delimiter = ',',
        default_value = WEBHOOK_CONFIGURATIONS
    )]
    pub webhook_configurations: Vec<String>,

    /// Names of CustomResourceDefinitions whose conversion webhook's caBundle is written.
    #[arg(long, env = "EXTERNAL_CA_INJECTED_DEFINITIONS", value_delimiter = ',')]
    pub injected_definitions: Vec<String>,

    /// Names of APIServices whose caBundle is written.
    #[arg(long, env = "EXTERNAL_CA_INJECTED_API_SERVICES", value_delimiter = ',')]
    pub injected_api_services: Vec<String>,

    /// Address of /metrics, /healthz and /readyz.
    #[arg(long, env = "EXTERNAL_CA_HTTP_ADDRESS", default_value = "0.0.0.0:8080")]
    pub http_address: SocketAddr,

    /// Whether to work only while holding the Lease.
    #[arg(long, env = "EXTERNAL_CA_LEADER_ELECT", default_value_t = true, action = clap::ArgAction::Set)]
    pub leader_elect: bool,

    /// The operator's own namespace: that of the Lease, and of the Secret external-ca-pending. Default: the pod's.
    #[arg(long, env = "EXTERNAL_CA_LEASE_NAMESPACE")]
    pub lease_namespace: Option<String>,

    /// Name of the Lease.
    #[arg(
        long,
        env = "EXTERNAL_CA_LEASE_NAME",
        default_value = "external-ca-operator"
    )]
    pub lease_name: String,

    /// Where the test bed's authority listens: it signs in the place of every CA Secret's key.
    #[cfg(feature = "test-authority")]
    #[arg(long)]
    pub test_authority: Option<SocketAddr>,

    /// Form of the log.
    #[arg(long, env = "EXTERNAL_CA_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,

    /// Level or filter of the log, for example `info` or `info,external_ca_operator=debug`.
    #[arg(long, env = "EXTERNAL_CA_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
}

impl RunArgs {
    /// The namespace of what the operator keeps for itself.
    pub fn own_namespace(&self, client: &Client) -> String {
        let given = self.lease_namespace.clone();
        given.unwrap_or_else(|| client.default_namespace().to_owned())
    }
}

/// Form of the log.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}
