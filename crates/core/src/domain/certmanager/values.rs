//! What the chart's values say of the front end, as they stand in the operator's arguments.

use std::collections::BTreeSet;

use super::compile::FrontEnd;
use crate::model::facts::flag;
use crate::model::{InjectKind, InjectRef};

/// The Secrets that Certificates may name, where nothing else is said: those of OpenChoreo's charts.
pub const SECRETS: &str = "cluster-gateway-internal-ca,controller-manager-cluster-gateway-client-tls,openchoreo-api-cluster-gateway-client-tls,controller-manager-webhook-server-cert,webhook-server-cert";
/// The CA Secrets that people make, likewise.
pub const CA_SECRETS: &str = "cluster-gateway-external-ca";
/// Where the Secrets of ClusterIssuers lie, likewise.
pub const CLUSTER_ISSUER_NAMESPACE: &str = "cert-manager";
/// Where cert-manager's own Leases lie, likewise.
pub const LEASE_NAMESPACE: &str = "kube-system";
/// The webhook configurations whose `caBundle` is written, likewise.
pub const WEBHOOK_CONFIGURATIONS: &str = "openchoreo-control-plane-mutating-webhook-configuration,openchoreo-control-plane-validating-webhook-configuration";

/// What the chart's values say of the front end.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    /// Whether it works at all.
    pub enabled: bool,
    /// What may be made, and where.
    pub front: FrontEnd,
    /// What bundles are injected into.
    pub injected: BTreeSet<InjectRef>,
    /// The namespace of cert-manager's own Leases.
    pub lease_namespace: String,
}

impl Values {
    /// From the operator's arguments, for these namespaces, beside issuances that write these names.
    pub fn from_arguments(
        words: &[&str],
        served: BTreeSet<String>,
        of_issuances: BTreeSet<String>,
    ) -> Self {
        let text = |name: &str, default: &str| flag(words, name).unwrap_or(default.to_owned());
        let list = |name: &str, default: &str| {
            let text = text(name, default);
            let names = text.split(',').filter(|name| !name.is_empty());
            names.map(str::to_owned).collect::<BTreeSet<String>>()
        };
        Self {
            enabled: text("--cert-manager", "true") == "true",
            front: FrontEnd {
                served,
                secrets: list("--cert-manager-secrets", SECRETS),
                cas: list("--ca-secrets", CA_SECRETS),
                of_issuances,
                cluster_namespace: text("--cluster-issuer-namespace", CLUSTER_ISSUER_NAMESPACE),
            },
            injected: injected(
                &list("--webhook-configurations", WEBHOOK_CONFIGURATIONS),
                &list("--injected-definitions", ""),
                &list("--injected-api-services", ""),
            ),
            lease_namespace: text("--cert-manager-lease-namespace", LEASE_NAMESPACE),
        }
    }
}

/// The objects of these names: those of webhook configurations are of either kind.
pub fn injected(
    webhooks: &BTreeSet<String>,
    definitions: &BTreeSet<String>,
    services: &BTreeSet<String>,
) -> BTreeSet<InjectRef> {
    use InjectKind::{
        APIService, CustomResourceDefinition, MutatingWebhookConfiguration,
        ValidatingWebhookConfiguration,
    };
    let all = [
        (ValidatingWebhookConfiguration, webhooks),
        (MutatingWebhookConfiguration, webhooks),
        (CustomResourceDefinition, definitions),
        (APIService, services),
    ];
    let objects = all.into_iter().flat_map(|(kind, names)| {
        let names = names.iter().cloned();
        names.map(move |name| InjectRef { kind, name })
    });
    objects.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_replaces_the_default_and_an_empty_one_names_nothing() {
        let values = |words: &[&str]| {
            Values::from_arguments(words, BTreeSet::new(), ["tls".to_owned()].into())
        };
        let plain = values(&["run"]);
        assert!(plain.enabled);
        assert_eq!(plain.front.secrets.len(), 5);
        assert_eq!(plain.injected.len(), 4, "two names, of two kinds");
        assert_eq!(plain.lease_namespace, "kube-system");
        let told = values(&[
            "run",
            "--cert-manager=false",
            "--cert-manager-secrets=a,b",
            "--webhook-configurations=",
            "--injected-definitions=x.y,z.y",
            "--cert-manager-lease-namespace",
            "leases",
        ]);
        assert!(!told.enabled);
        assert_eq!(told.front.secrets, ["a", "b"].map(str::to_owned).into());
        assert_eq!(told.lease_namespace, "leases");
        let names: Vec<String> = told.injected.iter().map(ToString::to_string).collect();
        assert_eq!(
            names,
            [
                "CustomResourceDefinition x.y",
                "CustomResourceDefinition z.y"
            ]
        );
    }
}
