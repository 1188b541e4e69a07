//! What the API server says of OpenChoreo's plane kinds.

use std::collections::{BTreeSet, HashMap};

use external_ca_api::PlaneKind;
use external_ca_core::model::discovery::{self, Answers, Ask, ServedKind};
use kube::Client;
use serde_json::Value;

/// What there is to know of plane kinds.
#[derive(PartialEq)]
pub struct State {
    /// Those that are served.
    pub kinds: Vec<ServedKind>,
    /// Those that are not, though their CustomResourceDefinition exists or cannot be read, and why.
    pub hidden: Vec<(PlaneKind, String)>,
    /// Which of their schemas are published, by hash.
    schemas: BTreeSet<String>,
}

/// The plane kinds that are served now, and the state of their schemas.
pub async fn state(client: &Client, known: Option<&State>) -> Result<State, kube::Error> {
    let mut answers = Answers::new();
    let kinds = ask(client, &mut answers, discovery::kinds).await?;
    let schemas = ask(client, &mut answers, |answers| {
        discovery::schemas(answers, &kinds)
    })
    .await?;
    // At rest nothing is asked that is known.
    let unchanged = known.is_some_and(|known| known.hidden.is_empty() && known.kinds == kinds);
    let hidden = if unchanged {
        Vec::new()
    } else {
        hidden(client, &kinds).await
    };
    Ok(State {
        kinds,
        hidden,
        schemas,
    })
}

async fn hidden(client: &Client, kinds: &[ServedKind]) -> Vec<(PlaneKind, String)> {
    let mut hidden = Vec::new();
    for (kind, definitions) in discovery::unserved(kinds) {
        for name in definitions {
            let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
            let why = match get(client, path).await {
                Ok(None) => continue,
                Ok(Some(_)) => "though it exists; let it serve a version",
                Err(kube::Error::Api(status)) if status.code == 403 => {
                    "and may not be read; grant the operator get on it (the chart's ClusterRole does)"
                }
                Err(_) => "and cannot be read at present",
            };
            let why = format!(
                "the {kind:?}s cannot be read: the CustomResourceDefinition {name} serves none, {why}"
            );
            hidden.push((kind, why));
        }
    }
    hidden
}

/// How each kind spells a reference to a Secret in clientCA.
pub async fn reference_fields(
    client: &Client,
    kinds: &[ServedKind],
) -> Result<HashMap<PlaneKind, &'static str>, kube::Error> {
    ask(client, &mut Answers::new(), |answers| {
        discovery::reference_fields(answers, kinds)
    })
    .await
}

/// Asks until a question is answered.
pub async fn ask<T>(
    client: &Client,
    answers: &mut Answers,
    question: impl Fn(&Answers) -> Result<T, Ask>,
) -> Result<T, kube::Error> {
    discovery::ask(answers, question, |path| get(client, path)).await
}

async fn get(client: &Client, path: String) -> Result<Option<Value>, kube::Error> {
    let request = http::Request::get(path)
        .body(Vec::new())
        .map_err(kube::Error::HttpError)?;
    match client.request::<Value>(request).await {
        Ok(value) => Ok(Some(value)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}
