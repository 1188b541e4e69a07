//! The names of an issuance, and of the objects that it stands for.

use external_ca_api::ExternalCAIssuance;

use crate::model::{MaterialKind, MaterialRef, ObjectRef};

/// The issuance's namespace.
pub fn namespace(issuance: &ExternalCAIssuance) -> &str {
    issuance.metadata.namespace.as_deref().unwrap_or_default()
}

/// The issuance as `<namespace>/<name>`.
pub fn identity(issuance: &ExternalCAIssuance) -> String {
    format!(
        "{}/{}",
        namespace(issuance),
        issuance.metadata.name.as_deref().unwrap_or_default()
    )
}

/// The CA Secret.
pub fn ca_secret(issuance: &ExternalCAIssuance) -> ObjectRef {
    let external_ca_api::Issuer::CaSecret(secret) = &issuance.spec.issuer;
    ObjectRef::new(namespace(issuance), &secret.name)
}

/// The trust Secret of the control plane: the one that planes may refer to.
pub fn trust_secret(issuance: &ExternalCAIssuance) -> MaterialRef {
    MaterialRef {
        kind: MaterialKind::Secret,
        object: ObjectRef::new(namespace(issuance), &issuance.spec.trust.secret_name),
    }
}

/// The ConfigMap with the bundle in the issuance's own namespace.
pub fn home_bundle(issuance: &ExternalCAIssuance) -> MaterialRef {
    MaterialRef {
        kind: MaterialKind::ConfigMap,
        object: ObjectRef::new(namespace(issuance), &issuance.spec.trust.config_map_name),
    }
}
