//! Where the operator works, as its Deployment says.

use std::sync::Arc;

use external_ca_core::domain::certmanager::Values;
use external_ca_core::model::facts::flag;
use external_ca_core::snapshot::{Scope, WrittenNames};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::ListParams;
use kube::{Api, Client};

use crate::error::api_message;

const OPERATOR: &str = "app.kubernetes.io/name=external-ca-operator";

/// What an operator is told.
#[derive(Debug, PartialEq)]
pub struct Told {
    /// Where it works.
    pub scope: Scope,
    /// What it makes of cert-manager's objects.
    pub values: Values,
}

/// What the operator of that namespace is told, or why that is not known.
pub async fn read(client: &Client, home: &str) -> Result<Told, String> {
    let api: Api<Deployment> = Api::all(client.clone());
    let found = api.list(&ListParams::default().labels(OPERATOR)).await;
    let found = found.map_err(|error| api_message(&error))?;
    of(&found.items, home).ok_or_else(|| "no Deployment of it was found".to_owned())
}

/// From the arguments of its container. Of several operators the one that serves `home` counts.
fn of(deployments: &[Deployment], home: &str) -> Option<Told> {
    let mut all: Vec<Told> = deployments.iter().filter_map(told).collect();
    let mut serving = all.iter();
    match serving.position(|told| told.scope.served.contains(home)) {
        Some(index) => Some(all.swap_remove(index)),
        None => all.pop(),
    }
}

fn told(deployment: &Deployment) -> Option<Told> {
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
    let scope = Scope {
        served: Arc::new(list("--namespaces")?),
        plane_namespaces: Arc::new(list("--plane-namespaces").unwrap_or_default()),
        names: Arc::new(WrittenNames {
            leaves: list("--leaf-secrets").unwrap_or(guide.leaves),
            bundles: list("--trust-names").unwrap_or(guide.bundles),
        }),
    };
    Some(Told {
        values: values(&words, &scope),
        scope,
    })
}

/// What these arguments say of cert-manager's objects.
pub fn values(words: &[&str], scope: &Scope) -> Values {
    let names = &scope.names;
    let of_issuances = names.leaves.union(&names.bundles).cloned();
    Values::from_arguments(words, scope.served.as_ref().clone(), of_issuances.collect())
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
        let served: Vec<&String> = found.scope.served.iter().collect();
        assert_eq!(served, ["a", "b"]);
        assert_eq!(found.values.front.served, *found.scope.served);
        assert!(
            found
                .values
                .front
                .of_issuances
                .contains("cluster-gateway-ca")
        );
        assert!(found.scope.plane_namespaces.contains("default"));
        assert!(of(&[other, one], "x").is_some());
        assert_eq!(of(&[operator(&["run"])], "a"), None);
        assert_eq!(of(&[], "a"), None);
    }
}
