//! Answers as text. Nothing here reads or writes.

pub mod findings;
mod paint;
pub mod plan;
pub mod progress;
pub mod status;
mod time;
mod tree;

pub use paint::{Paint, Tone};
pub use tree::aligned;

use external_ca_api::ExternalCAIssuance;
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::Error;

/// As JSON.
pub fn json(value: &impl Serialize) -> Result<String, Error> {
    let text = serde_json::to_string_pretty(value).map_err(|why| Error::Output(why.to_string()))?;
    Ok(text + "\n")
}

/// As YAML.
pub fn yaml(value: &impl Serialize) -> Result<String, Error> {
    serde_saphyr::to_string(value).map_err(|why| Error::Output(why.to_string()))
}

/// Issuances as `kubectl get -o json` prints them: one by itself, several as a List.
pub fn list(issuances: &[ExternalCAIssuance]) -> Value {
    let object = |issuance: &ExternalCAIssuance| {
        let mut issuance = issuance.clone();
        issuance.metadata.managed_fields = None;
        json!(issuance)
    };
    match issuances {
        [one] => object(one),
        many => json!({
            "apiVersion": "v1",
            "kind": "List",
            "items": many.iter().map(object).collect::<Vec<_>>(),
        }),
    }
}
