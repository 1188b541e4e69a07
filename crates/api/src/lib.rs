//! The `ExternalCAIssuance` resource: its types and nothing else.
//!
//! The CustomResourceDefinition in `config/crd` and the reference in `docs/` are generated from these types.

#![forbid(unsafe_code)]

mod duration;
mod plane_kind;
mod spec;
mod status;

pub use duration::Duration;
pub use plane_kind::PlaneKind;
pub use spec::*;
pub use status::*;

/// API group of the resource and prefix of every annotation and label the operator writes.
pub const GROUP: &str = "pki.openchoreo.dev";

/// Annotation on an issuance, consumed once: the name of a leaf (`<namespace>/<secret>`), or `all`, to renew now.
pub const RENEW_ANNOTATION: &str = "pki.openchoreo.dev/renew";

/// Annotation on an issuance, consumed once, with any value: replace the CA that the operator generated.
pub const ROTATE_ANNOTATION: &str = "pki.openchoreo.dev/rotate";

/// Annotation on an issuance, consumed once, with any value: the agents that are named as `AgentsUnproven` have loaded what is
/// stored; the move to another CA goes on.
pub const PROCEED_ANNOTATION: &str = "pki.openchoreo.dev/proceed";

/// Annotation on an issuance: Secrets (`<namespace>/<name>`, comma separated, or `all`) that hold another identity
/// and that the operator may nevertheless replace.
pub const ADOPT_ANNOTATION: &str = "pki.openchoreo.dev/adopt";

/// Annotation on a Secret or ConfigMap: the issuance (`<namespace>/<name>`) that manages it.
pub const ISSUANCE_ANNOTATION: &str = "pki.openchoreo.dev/issuance";

/// Annotation on the Secret of a leaf or of a generated CA: the request that it was made for, so that none is granted twice.
pub const RENEWAL_ANNOTATION: &str = "pki.openchoreo.dev/renewal";

/// Annotation on a Secret or ConfigMap that was made in place of one that may have been there before, or written over its
/// first content, and pods may still hold that: the serial number of the lost certificate, or the fingerprints of the
/// anchors it may have named, in hex.
pub const REPLACES_ANNOTATION: &str = "pki.openchoreo.dev/replaces";

/// Annotation on the Secret of a leaf that replaced one of the same CA (RFC 3339): since when that CA's certificates stand
/// there.
pub const SIGNED_SINCE_ANNOTATION: &str = "pki.openchoreo.dev/signed-since";

/// Annotation on a bundle: which of its anchors the issuance put there or is about to take out (the first 16 hex digits of
/// their fingerprints, comma separated), so that one that is made anew takes out what it would have.
pub const ANCHORS_ANNOTATION: &str = "pki.openchoreo.dev/anchors";

/// Annotation on the Secret of a leaf that replaced another (RFC 3339): when the first certificate ends that running pods
/// may still hold.
pub const HELD_UNTIL_ANNOTATION: &str = "pki.openchoreo.dev/held-until";

/// Annotation on a pod template: what its pods load at start, as `<kind>/<name>=<hash>.<since>` entries, comma separated.
pub const MATERIAL_HASH_ANNOTATION: &str = "pki.openchoreo.dev/material-hash";

/// Annotation on the Secret of an authority that cert-manager's objects declare: what the guards remember of its trust domain.
pub const MEMORY_ANNOTATION: &str = "pki.openchoreo.dev/memory";

/// On an object whose `caBundle` the operator has written. The operator gives up the field itself, so that Helm and server-side
/// apply may set it; the entry of this annotation among the managed fields keeps the time of the write.
pub const INJECTED_ANNOTATION: &str = "pki.openchoreo.dev/injected";

/// The field manager of every write.
pub const MANAGER: &str = "external-ca-operator";
