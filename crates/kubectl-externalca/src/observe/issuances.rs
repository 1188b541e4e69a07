//! Every issuance that may be read.

use std::sync::Arc;

use external_ca_api::ExternalCAIssuance;
use external_ca_core::model::lenient::Lenient;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

/// Older issuances may own what this one wants.
pub async fn read(
    client: &Client,
    home: &str,
    notes: &mut Vec<String>,
) -> Vec<Arc<ExternalCAIssuance>> {
    let everything = ListParams::default();
    let all: Api<Lenient<ExternalCAIssuance>> = Api::all(client.clone());
    let found = match all.list(&everything).await {
        Ok(found) => Ok(found),
        Err(_) => {
            notes.push(format!(
                "the ExternalCAIssuances of other namespaces than {home} cannot be read; none of them is expected to own the same objects"
            ));
            let own: Api<Lenient<ExternalCAIssuance>> = Api::namespaced(client.clone(), home);
            own.list(&everything).await
        }
    };
    match found {
        Ok(found) => {
            let mut decoded = Vec::new();
            for object in found {
                let name = format!(
                    "{}/{}",
                    object.namespace().unwrap_or_default(),
                    object.name_any()
                );
                match object.into_decoded() {
                    Ok(found) => decoded.push(Arc::new(found)),
                    Err(error) => notes.push(format!("ExternalCAIssuance {name}: {error}")),
                }
            }
            decoded
        }
        Err(_) => Vec::new(),
    }
}
