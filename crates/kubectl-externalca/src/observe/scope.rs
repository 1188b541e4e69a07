//! Where the operator works, as its Deployment says.

use std::sync::Arc;

use external_ca_core::model::facts::flag;
use external_ca_core::snapshot::{Scope, WrittenNames};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::ListParams;
use kube::{Api, Client};

use crate::error::api_message;

const OPERATOR: &str = "app.kubernetes.io/name=external-ca-operator";

/// The namespaces that the operator of that namespace serves; none where that cannot be read.
pub async fn read(client: &Client, home: &str, notes: &mut Vec<String>) -> Option<Scope> {
    let api: Api<Deployment> = Api::all(client.clone());
    let found = api.list(&ListParams::default().labels(OPERATOR)).await;
    let why = match found.as_ref().map(|found| of(&found.items, home)) {
        Ok(Some(scope)) => return Some(scope),
        Ok(None) => "no Deployment of it was found".to_owned(),
        Err(error) => api_message(error),
    };
    notes.push(format!(
        "which namespaces the operator serves is not known ({why}); it is taken to serve all that the issuance has to do with"
    ));
    None
}

/// From the arguments of its container. Of several operators the one that serves `home` counts.
fn of(deployments: &[Deployment], home: &str) -> Option<Scope> {
    let mut scopes: Vec<Scope> = deployments.iter().filter_map(scope).collect();
    let serving = scopes.iter().position(|scope| scope.served.contains(home));
    match serving {
        Some(index) => Some(scopes.swap_remove(index)),
        None => scopes.pop(),
    }
}

fn scope(deployment: &Deployment) -> Option<Scope> {
    let pod = deployment.spec.as_ref()?.template.spec.as_ref()?;
    let words = pod
        .containers
        .iter()
        .flat_map(|container| container.args.iter().flatten());
    let words: Vec<&str> = words.map(String::as_str).collect();
    let list = |name: &str| {
        let value = flag(&words, name)?;
        Some(value.split(',').map(String::from).collect())
    };
    let guide = WrittenNames::default();
    Some(Scope {
        served: Arc::new(list("--namespaces")?),
        plane_namespaces: Arc::new(list("--plane-namespaces").unwrap_or_default()),
        names: Arc::new(WrittenNames {
            leaves: list("--leaf-secrets").unwrap_or(guide.leaves),
            bundles: list("--trust-names").unwrap_or(guide.bundles),
        }),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn operator(args: &[&str]) -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"name": "external-ca-operator"},
            "spec": {"selector": {}, "template": {"spec": {"containers": [
                {"name": "operator", "args": args},
            ]}}},
        }))
        .unwrap()
    }

    #[test]
    fn the_operator_that_serves_the_namespace_counts() {
        let one = operator(&["run", "--namespaces=a,b", "--plane-namespaces=default"]);
        let other = operator(&["run", "--namespaces=c"]);
        let found = of(&[one.clone(), other.clone()], "b").unwrap();
        let served: Vec<&String> = found.served.iter().collect();
        assert_eq!(served, ["a", "b"]);
        assert!(found.plane_namespaces.contains("default"));
        assert!(of(&[other, one], "x").is_some());
        assert_eq!(of(&[operator(&["run"])], "a"), None);
        assert_eq!(of(&[], "a"), None);
    }
}
