//! The stand-in's certificates in the place of the real CA's, and back.

use std::sync::Arc;

use external_ca_api::{AdditionalAnchor, ExternalCAIssuanceStatus};

use crate::model::{AuthorityState, Leaf, Material, Observed, Read, Signing};
use crate::plan::{Step, WirePlane, Wiring};
use crate::x509::{Certificate, MintError, StandIn, encode_bundle, parse_bundle};

/// Puts the stand-in in the place of the CA.
pub(super) fn replace(observed: &mut Observed, stand_in: &StandIn) -> Result<(), MintError> {
    let all = |found: &[Certificate]| -> Result<Vec<Certificate>, MintError> {
        found.iter().map(|one| stand_in.replace(one)).collect()
    };
    for stored in observed.material.values_mut() {
        if let Read::Found(material) = stored.as_ref() {
            let leaf = match &material.leaf {
                Leaf::Present { chain, key_matches } => Leaf::Present {
                    chain: all(chain)?,
                    key_matches: *key_matches,
                },
                other => other.clone(),
            };
            let anchors = all(&material.anchors)?;
            let mut handed_out = material.handed_out.clone();
            for (real, counterpart) in material.anchors.iter().zip(&anchors) {
                if handed_out.remove(&real.fingerprint().short()) {
                    handed_out.insert(counterpart.fingerprint().short());
                }
            }
            *stored = Arc::new(Read::Found(Material {
                leaf,
                anchors,
                handed_out,
                ..material.clone()
            }));
        }
    }
    for plane in &mut observed.planes {
        let anchors = all(&plane.anchors)?;
        Arc::make_mut(plane).anchors = anchors;
    }
    for read in observed.anchor_config_maps.values_mut() {
        if let Read::Found(found) = read {
            *found = all(found)?;
        }
    }
    let anchors = observed.authority.chain().map(|real| real.anchor().clone());
    let issuance = Arc::make_mut(&mut observed.issuance);
    for AdditionalAnchor { pem, .. } in &mut issuance.spec.trust.additional_anchors {
        if let Some(text) = pem {
            *text = encode_bundle(&all(&parse_bundle(text.as_bytes()).certificates)?);
        }
    }
    if let (Some(real), Some(status)) = (anchors, &mut issuance.status) {
        let counterpart = stand_in.replace(&real)?;
        rename(status, &real, &counterpart);
    }
    if let AuthorityState::Ready { chain, signing, .. } = &mut observed.authority.state {
        *chain = Arc::clone(stand_in.authority().public_side());
        *signing = Signing::Now;
    }
    Ok(())
}

/// The step with the real certificates.
pub(super) fn restore(step: &Step, real: impl Fn(&Certificate) -> Certificate) -> Step {
    let all = |found: &[Certificate]| found.iter().map(&real).collect::<Vec<_>>();
    let mut step = step.clone();
    match &mut step {
        Step::WriteBundle(bundle) => {
            let anchors = all(&bundle.anchors);
            for told in bundle.marks.values_mut() {
                for (counterpart, real) in bundle.anchors.iter().zip(&anchors) {
                    let [from, to] = [counterpart, real].map(|one| one.fingerprint().short());
                    *told = told.replace(&from, &to);
                }
            }
            bundle.anchors = anchors;
        }
        Step::WirePlane(WirePlane { client_ca, .. }) => match client_ca {
            Wiring::Value(pem) => {
                *pem = encode_bundle(&all(&parse_bundle(pem.as_bytes()).certificates));
            }
            Wiring::Reference { holds, .. } => *holds = all(holds),
        },
        _ => {}
    }
    step
}

/// The status with the fingerprints of the real certificates.
pub(super) fn restore_status(
    mut status: ExternalCAIssuanceStatus,
    stand_in: &StandIn,
) -> ExternalCAIssuanceStatus {
    let authority = stand_in.authority();
    for counterpart in [authority.anchor(), authority.certificate()] {
        rename(&mut status, counterpart, &stand_in.restore(counterpart));
    }
    status
}

/// The fingerprint of one certificate in the place of another's.
fn rename(status: &mut ExternalCAIssuanceStatus, from: &Certificate, to: &Certificate) {
    let (old, new) = (from.fingerprint(), to.fingerprint());
    let issuer = status
        .issuer
        .iter_mut()
        .map(|issuer| &mut issuer.fingerprint);
    let trust = status.trust.iter_mut().flat_map(|trust| {
        let anchors = trust.anchors.iter_mut();
        let anchors = anchors.map(|anchor| &mut anchor.fingerprint);
        anchors.chain(&mut trust.former)
    });
    for found in issuer.chain(trust) {
        if *found == old.to_string() {
            *found = new.to_string();
        }
    }
    let signers = status.certificates.iter_mut();
    for found in signers.filter_map(|certificate| certificate.signer.as_mut()) {
        if *found == old.short() {
            *found = new.short();
        }
    }
}
