//! What `kubectl externalca adopt` says where there is little to take over.

use std::sync::Arc;

use external_ca_core::adopt::{Installation, adopt};
use external_ca_core::model::ObjectRef;

use super::pieces::{HOME, ca};

#[test]
fn where_no_certificate_exists_the_ca_of_the_guide_is_taken() {
    let notes = |authorities| {
        let installation = Installation {
            namespace: HOME.into(),
            authorities,
            ..Installation::default()
        };
        let notes = adopt(&installation, "cluster-gateway").notes;
        notes
            .into_iter()
            .filter(|note| note.contains("CA"))
            .collect::<Vec<_>>()
    };
    let stored = |name: &str| {
        let public_side = Arc::clone(ca(0).public_side());
        (ObjectRef::new(HOME, name), public_side)
    };
    assert_eq!(notes(vec![stored("cluster-gateway-external-ca")]), [""; 0]);

    let missing = notes(vec![stored("another")]);
    assert!(missing[0].starts_with("bring a CA"), "{missing:?}");
    assert_eq!(missing.len(), 1, "{missing:?}");
}
