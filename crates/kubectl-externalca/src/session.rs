//! The connection, and how to answer.

use std::io::IsTerminal;

use external_ca_api::ExternalCAIssuance;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

use crate::cli::{Format, Global, Name};
use crate::error::Error;
use crate::output::Paint;

/// What every command works with.
pub struct Session {
    /// The API server.
    pub client: Client,
    /// The namespace that was asked for; none for all.
    pub namespace: Option<String>,
    /// The form of the answer.
    pub format: Format,
    /// Whether it may have colour.
    pub paint: Paint,
}

impl Session {
    /// Connects as the command line says.
    pub async fn open(global: &Global) -> Result<Self, Error> {
        let options = KubeConfigOptions {
            context: global.context.clone(),
            ..KubeConfigOptions::default()
        };
        let config = match &global.kubeconfig {
            Some(path) => {
                Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await?
            }
            None if global.context.is_some() => Config::from_kubeconfig(&options).await?,
            None => Config::infer().await?,
        };
        let own = config.default_namespace.clone();
        let namespace = global.namespace.clone().unwrap_or(own);
        Ok(Self {
            client: Client::try_from(config).map_err(|error| Error::api("connecting", error))?,
            namespace: (!global.all_namespaces).then_some(namespace),
            format: global.output,
            paint: Paint::for_stdout(
                std::io::stdout().is_terminal(),
                std::env::var_os("NO_COLOR"),
            ),
        })
    }

    /// The issuances of the namespace, or of all.
    pub fn issuances(&self) -> Api<ExternalCAIssuance> {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    /// All issuances of the namespace, or of all, or the one of that name; there is one at least.
    pub async fn find(&self, name: Option<&str>) -> Result<Vec<ExternalCAIssuance>, Error> {
        let found = self.list(name).await?;
        match found.is_empty() {
            false => Ok(found),
            true => Err(self.not_found(name)),
        }
    }

    /// The same, where there may be none.
    pub async fn list(&self, name: Option<&str>) -> Result<Vec<ExternalCAIssuance>, Error> {
        let place = self.place();
        let failed = |error| Error::api(format!("the ExternalCAIssuances {place}"), error);
        match (name, &self.namespace) {
            (Some(name), Some(_)) => {
                let found = self.issuances().get_opt(name).await.map_err(failed)?;
                Ok(found.into_iter().collect())
            }
            _ => {
                let list = self.issuances().list(&ListParams::default()).await;
                let named = |found: &ExternalCAIssuance| {
                    name.is_none() || found.metadata.name.as_deref() == name
                };
                Ok(list.map_err(failed)?.into_iter().filter(named).collect())
            }
        }
    }

    /// That there is none.
    pub fn not_found(&self, name: Option<&str>) -> Error {
        let place = self.place();
        Error::NotFound(match name {
            Some(name) => format!("there is no ExternalCAIssuance {name} {place}"),
            None => format!("there is no ExternalCAIssuance {place}"),
        })
    }

    fn place(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("in the namespace {namespace}"),
            None => "in any namespace".to_owned(),
        }
    }

    /// The issuance that a verb is for.
    pub async fn one(&self, name: &Name) -> Result<ExternalCAIssuance, Error> {
        let mut found = self.find(name.name.as_deref()).await?;
        if found.len() > 1 {
            let names: Vec<String> = found
                .iter()
                .map(external_ca_core::domain::identity)
                .collect();
            return Err(Error::NotFound(format!(
                "there are several ExternalCAIssuances, name one (and its namespace with -n): {}",
                names.join(", ")
            )));
        }
        found
            .pop()
            .ok_or_else(|| Error::NotFound("there is no ExternalCAIssuance".into()))
    }
}
