//! Where a turn's report goes: the issuance's status, or the memory of a domain and the status of its Certificates.

use std::sync::Arc;

use external_ca_api::ExternalCAIssuanceStatus;
use external_ca_core::Problem;
use external_ca_core::plan::Step;
use external_ca_core::report::Decision;

use crate::certificates::CertificateWriter;
use crate::context::{Context, StatusMemory};
use crate::declaration::{Basis, Declaration};
use crate::report::{StatusWriter, Stored};

/// What stores a report.
pub enum Writer<'a> {
    /// An issuance's.
    Issuance(StatusWriter<'a>),
    /// That of a domain of cert-manager's objects.
    CertManager(CertificateWriter<'a>),
}

impl<'a> Writer<'a> {
    /// Rests on what was last stored.
    pub fn new(
        context: &'a Context,
        cached: &Declaration,
        memory: &StatusMemory,
        earlier: Option<&Arc<ExternalCAIssuanceStatus>>,
    ) -> Self {
        match cached {
            Declaration::Issuance(issuance) => {
                Self::Issuance(StatusWriter::new(context, issuance, memory))
            }
            Declaration::CertManager(declared) => {
                Self::CertManager(CertificateWriter::new(context, declared, memory, earlier))
            }
        }
    }

    /// Stores a status ahead of the steps that rest on it. What is returned ends the turn.
    pub async fn store_first(
        &mut self,
        status: &ExternalCAIssuanceStatus,
        memory: &mut StatusMemory,
    ) -> Option<Stored> {
        match self {
            Self::Issuance(writer) => writer.store_first(status, memory).await,
            Self::CertManager(writer) => writer.store_first(status, memory).await,
        }
    }

    /// Tells what a turn came to.
    pub async fn report(
        &mut self,
        basis: &Basis,
        decision: Decision,
        failures: &[(Step, Problem)],
        done: &[Problem],
        memory: &mut StatusMemory,
    ) -> Stored {
        match (self, basis) {
            (Self::Issuance(writer), _) => {
                let Decision { status, events, .. } = decision;
                writer.report(status, events, done, memory).await
            }
            (Self::CertManager(writer), Basis::CertManager { snapshot, .. }) => {
                writer
                    .report(snapshot, decision, failures, done, memory)
                    .await
            }
            // They are made of the same declaration.
            (Self::CertManager(_), Basis::Issuance(_)) => Stored::Yes,
        }
    }
}
