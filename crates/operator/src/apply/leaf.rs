//! What issuing a leaf takes, whether the authority answers at once or later.

use std::time::Instant;

use external_ca_core::model::Snapshot;
use external_ca_core::plan::{IssueLeaf, is_off};
use external_ca_core::x509::{
    Certificate, Csr, Fingerprint, PrivateKey, check_issued, encode_bundle,
};
use external_ca_core::{Problem, Reason};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;

use super::keys::{TlsSecret, generate, random};
use super::preconditions::{is_as_seen, is_trusted_by, still_signs};
use super::write::apply_object;
use crate::context::Context;
use crate::declaration::Declaration;
use crate::error::Error;
use crate::issuers::{Issuer, IssuerError, Signed, SigningRequest, Ticket};

/// A leaf that is asked for.
pub struct Asking<'a> {
    /// What every turn shares.
    pub context: &'a Context,
    /// What declared it.
    pub declaration: &'a Declaration,
    /// What the step was planned from.
    pub observed: &'a Snapshot,
    /// What signs.
    pub issuer: &'a Issuer,
    /// The step.
    pub step: &'a IssueLeaf,
    /// When the turn began.
    pub now: Timestamp,
}

impl Asking<'_> {
    /// The leaf's Secret as it stands now. The snapshot may be old, and "it does not exist" a guess: a key that was written is
    /// never replaced unseen.
    pub async fn look(&self) -> Result<Option<Secret>, Error> {
        let target = &self.step.target;
        let live: Option<Secret> = self.context.cluster.get(target).await?;
        if is_as_seen(self.observed, target, live.as_ref()) {
            Ok(live)
        } else {
            Err(Error::Changed)
        }
    }

    /// A new key, or the one that is stored where it is to stay.
    pub async fn key(&self, live: Option<&Secret>) -> Result<PrivateKey, Error> {
        match stored_key(live).filter(|_| self.step.reuse_key) {
            Some(pem) => Ok(PrivateKey::from_pem(pem)?),
            None => generate(self.context, self.step.profile.key).await,
        }
    }

    /// The clock and the authority are still what the plan rests on, and whoever verifies the leaf trusts it.
    pub async fn check_preconditions(&self) -> Result<(), Error> {
        let cluster = &self.context.cluster;
        let authority = self.observed.authority.chain().ok_or(Error::Changed)?;
        if is_off(self.context.clock.read().ahead) {
            return Err(Error::Changed);
        }
        let authority_secret = self.declaration.authority();
        if !still_signs(cluster, &authority_secret, self.observed, self.now).await {
            return Err(Error::Changed);
        }
        for place in &self.step.trusted_by {
            if !is_trusted_by(cluster, place, authority.anchor()).await {
                return Err(Error::Changed);
            }
        }
        Ok(())
    }

    /// Asks the authority, or asks it again by its ticket.
    pub async fn sign(&self, csr: &Csr, ticket: Option<&Ticket>) -> Result<Signed, IssuerError> {
        let token = Fingerprint::of(csr.der()).to_string();
        let serial = random().map_err(|_| IssuerError::transient("there is no randomness"))?;
        let request = SigningRequest {
            csr,
            token: &token,
            profile: &self.step.profile,
            serial,
            now: self.now,
        };
        let asked = Instant::now();
        let answer = match ticket {
            Some(ticket) => self.issuer.ask_again(ticket, &request).await,
            None => self.issuer.sign(&request).await,
        };
        let result = match &answer {
            Ok(Signed::Issued(_)) => "signed",
            Ok(Signed::Pending(_)) => "pending",
            Err(_) => "error",
        };
        let metrics = &self.context.metrics;
        metrics.signed(self.issuer.kind(), result, asked.elapsed());
        answer
    }

    /// Stores key and certificate, where they are what was asked for.
    pub async fn store(
        &self,
        live: Option<&Secret>,
        key: &PrivateKey,
        chain: &[Certificate],
        now: Timestamp,
    ) -> Result<Problem, Error> {
        let Self { context, step, .. } = self;
        let authority = self.observed.authority.chain().ok_or(Error::Changed)?;
        check_issued(chain, key, &step.profile, authority, now)?;
        let version = live.and_then(|secret| secret.metadata.resource_version.as_deref());
        let (target, pem) = (&step.target, encode_bundle(chain));
        let secret = TlsSecret {
            declaration: self.declaration,
            target,
            resource_version: version,
            marks: &step.marks,
            form: &step.form,
            certificate: pem,
            key,
            bundle: step.bundle.as_deref().map(encode_bundle),
        };
        let (cluster, existed) = (&context.cluster, version.is_some());
        apply_object::<Secret>(cluster, target, existed, secret.to_object()).await?;
        context.metrics.issued.inc();
        Ok(Problem::new(
            Reason::Issued,
            format!("issued Secret {target} ({})", step.why.reason),
        ))
    }
}

fn stored_key(live: Option<&Secret>) -> Option<&[u8]> {
    let data = live?.data.as_ref()?;
    data.get("tls.key").map(|pem| pem.0.as_slice())
}
