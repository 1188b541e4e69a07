//! From a live installation, made by hand or by cert-manager, to the issuance that takes it over.

mod authority;
mod describe;
mod installation;
mod minimal;

use external_ca_api::{CaSecret, ExternalCAIssuance, ExternalCAIssuanceSpec, Issuer};

use crate::domain::desired;
use crate::model::{MaterialKind, MaterialRef, ObjectRef};
use crate::x509::Certificate;

pub use installation::Installation;
pub use minimal::minimal;

/// The issuance that takes an installation over.
#[derive(Clone, Debug)]
pub struct Adoption {
    /// With all defaults filled in.
    pub issuance: ExternalCAIssuance,
    /// What a person must know or do first.
    pub notes: Vec<String>,
}

/// Finds the issuance that wants what exists.
pub fn adopt(installation: &Installation, name: &str) -> Adoption {
    let mut notes = Vec::new();
    let gateway = installation.gateway();
    let leaves: Vec<(ObjectRef, Certificate)> = gateway
        .iter()
        .cloned()
        .chain(installation.agent_leaves())
        .collect();
    let ca = installation.authority(&leaves, &mut notes);
    let mut spec = ExternalCAIssuanceSpec {
        issuer: Issuer::CaSecret(CaSecret {
            name: ca,
            generate: false,
        }),
        certificate_defaults: Default::default(),
        gateway: Default::default(),
        agents: Vec::new(),
        planes: Default::default(),
        trust: Default::default(),
        certificates: Vec::new(),
        rollout: Default::default(),
        rotation: Default::default(),
        paused: false,
    };
    match &gateway {
        Some((secret, leaf)) => installation.describe_gateway(&mut spec, secret, leaf),
        None => notes.push(format!(
            "no gateway with a certificate was found in {}: one is issued to the Secret {}",
            installation.namespace, spec.gateway.secret_name
        )),
    }
    installation.defaults(&mut spec, &leaves);
    installation.trust(&mut spec);
    installation.agents(&mut spec, &mut notes);
    installation.client_ca(&mut spec, &mut notes);
    let mut issuance = ExternalCAIssuance::new(name, spec);
    issuance.metadata.namespace = Some(installation.namespace.clone());
    warn_of_cert_manager(installation, &issuance, &mut notes);
    Adoption { issuance, notes }
}

/// Notes which of its Certificates write Secrets that the issuance wants, too.
fn warn_of_cert_manager(
    installation: &Installation,
    issuance: &ExternalCAIssuance,
    notes: &mut Vec<String>,
) {
    let wanted = desired(issuance, &installation.planes);
    let Issuer::CaSecret(ca) = &issuance.spec.issuer;
    let ca = ObjectRef::new(&installation.namespace, &ca.name);
    for certificate in installation
        .certificates
        .iter()
        .filter(|certificate| certificate.has_status)
    {
        let bundle = MaterialRef {
            kind: MaterialKind::Secret,
            object: certificate.secret.clone(),
        };
        if wanted.leaves.contains_key(&certificate.secret)
            || wanted.trust_places.contains(&bundle)
            || certificate.secret == ca
        {
            notes.push(format!(
                    "cert-manager's Certificate {} writes the Secret {}, too: stop its controller, or kubectl -n {} delete certificate {} \
                     (the Secret stays), before you apply this",
                    certificate.object, certificate.secret, certificate.object.namespace, certificate.object.name
                ));
        }
    }
}
