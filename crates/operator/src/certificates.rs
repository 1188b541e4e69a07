//! What a turn of a domain of cert-manager's objects tells: what its guards remember, and the status of its Certificates.

use std::sync::Arc;
use std::time::Instant;

use external_ca_api::{ExternalCAIssuanceStatus, MEMORY_ANNOTATION};
use external_ca_core::domain::certmanager::DeclaredDomain;
use external_ca_core::finding::{Area, Finding, Severity};
use external_ca_core::model::{
    CertManagerKind, CertManagerObject, CertManagerRef, ObjectRef, Snapshot,
};
use external_ca_core::plan::Step;
use external_ca_core::report::bounded::memory as remembered;
use external_ca_core::report::certificates::CertificateReport;
use external_ca_core::report::{Decision, Notice, certificates};
use external_ca_core::{Problem, Reason};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use serde::Serialize;
use serde_json::json;

use crate::apply::write::merge_status;
use crate::backoff::backoff;
use crate::context::{Context, StatusMemory};
use crate::declaration::Declaration;
use crate::error::{Error, bounded};
use crate::report::{STATUS_FAILURES, STATUS_PAUSE, Stored, summary, tell};

/// Who writes the annotation. The operator's own entry among the Secret's managed fields tells when the bundle in it was last
/// written, and pods that mount the Secret are judged by that time: what is remembered is no news to them.
const MEMORY_MANAGER: &str = "external-ca-operator-memory";

/// Stores what one turn of a domain tells.
pub struct CertificateWriter<'a> {
    context: &'a Context,
    declared: Arc<DeclaredDomain>,
    /// What the annotation says, as far as is known.
    stored: Option<Arc<ExternalCAIssuanceStatus>>,
}

impl<'a> CertificateWriter<'a> {
    /// Rests on what was last stored, and on the cache where that is not known.
    pub fn new(
        context: &'a Context,
        declared: &Arc<DeclaredDomain>,
        memory: &StatusMemory,
        earlier: Option<&Arc<ExternalCAIssuanceStatus>>,
    ) -> Self {
        let known = || context.cluster.memory(&declared.authority.secret);
        let stored = memory.stored.clone();
        Self {
            context,
            declared: Arc::clone(declared),
            stored: stored
                .or_else(|| known().map(Arc::new))
                .filter(|_| earlier.is_some()),
        }
    }

    /// Stores what is to be remembered ahead of the steps that rest on it. What is returned ends the turn.
    pub async fn store_first(
        &mut self,
        status: &ExternalCAIssuanceStatus,
        memory: &mut StatusMemory,
    ) -> Option<Stored> {
        let stored = self.store(status, memory).await;
        if matches!(stored, Stored::Yes) {
            memory.concluded = Some(Arc::new(status.clone()));
        }
        stored.ends_turn(memory)
    }

    /// Tells what a turn came to.
    pub async fn report(
        &mut self,
        snapshot: &Snapshot,
        mut decision: Decision,
        failures: &[(Step, Problem)],
        done: &[Problem],
        memory: &mut StatusMemory,
    ) -> Stored {
        let context = self.context;
        memory.concluded = Some(Arc::new(decision.status.clone()));
        let stored = self.store(&decision.status, memory).await;
        if !context.front_end.issues() {
            return stored;
        }
        let declaration = Declaration::CertManager(Arc::clone(&self.declared));
        let turned = std::mem::take(&mut decision.events);
        for notice in turned.into_iter().chain(summary(done)) {
            tell(context, &declaration, notice).await;
        }
        let failed = failures.iter().map(|(step, problem)| {
            let object = step.object();
            Finding::new(
                Area::Certificates,
                Severity::Problem,
                object,
                problem.clone(),
            )
        });
        decision.problems.extend(failed);
        for (certificate, target) in self.declared.certificates() {
            self.tell_certificate(certificate, target, snapshot, &decision)
                .await;
        }
        stored
    }

    async fn tell_certificate(
        &self,
        certificate: &ObjectRef,
        target: &ObjectRef,
        snapshot: &Snapshot,
        decision: &Decision,
    ) {
        let name = CertManagerRef {
            kind: CertManagerKind::Certificate,
            object: certificate.clone(),
        };
        let object = self
            .context
            .cluster
            .cert_manager(|seen| seen.cert_manager.0.get(&name).cloned());
        let Some(object) = object.flatten() else {
            return;
        };
        let now = self.context.clock.read().now;
        let (declared, object) = (&self.declared, object.as_ref());
        let report = certificates::planned(object, target, declared, snapshot, decision, now);
        tell_certificate(self.context, &name, object, &report).await;
    }

    /// Stores what the guards are to remember, over what was read, and over nothing else.
    async fn store(
        &mut self,
        status: &ExternalCAIssuanceStatus,
        memory: &mut StatusMemory,
    ) -> Stored {
        if !self.context.front_end.issues() {
            // The Secret is cert-manager's.
            memory.note_stored();
            return Stored::Yes;
        }
        let new = remembered(status);
        let secret = &self.declared.authority.secret;
        let version = self.context.cluster.version(secret);
        // Where there is no Secret, there is no authority, and nothing that could be forgotten.
        let (Some(version), false) = (version, self.stored.as_deref() == Some(&new)) else {
            memory.note_stored();
            return Stored::Yes;
        };
        let now = Instant::now();
        if let Some(retry) = memory.retry.filter(|retry| *retry > now) {
            return Stored::Later(retry - now);
        }
        match self.write(secret, &version, &new).await {
            Ok(()) => {
                self.stored = Some(Arc::new(new));
                memory.stored.clone_from(&self.stored);
                memory.retry = None;
                memory.note_stored();
                Stored::Yes
            }
            Err(Error::Changed) => Stored::Changed,
            Err(error) => {
                memory.failures = memory.failures.saturating_add(1);
                memory.unstorable |= error.is_final() || memory.failures >= STATUS_FAILURES;
                let pause = backoff(memory.failures).min(STATUS_PAUSE);
                memory.retry = Some(Instant::now() + pause);
                self.tell_unstored(&error).await;
                Stored::Failed(pause)
            }
        }
    }

    async fn write(
        &self,
        secret: &ObjectRef,
        version: &str,
        memory: &ExternalCAIssuanceStatus,
    ) -> Result<(), Error> {
        let text = serde_json::to_string(memory)
            .map_err(|_| Error::Internal("what is to be remembered cannot be put into words"))?;
        let patch = json!({"metadata": {
            "resourceVersion": version,
            "annotations": {MEMORY_ANNOTATION: text},
        }});
        let cluster = &self.context.cluster;
        let api = cluster.api::<Secret>(&secret.namespace);
        let params = PatchParams {
            field_manager: Some(MEMORY_MANAGER.into()),
            ..PatchParams::default()
        };
        let written = bounded(api.patch(&secret.name, &params, &Patch::Merge(patch))).await?;
        cluster.wrote(secret, &written.into_decoded()?);
        Ok(())
    }

    async fn tell_unstored(&self, error: &Error) {
        let declaration = Declaration::CertManager(Arc::clone(&self.declared));
        let message = format!(
            "{}: what is to be remembered cannot be stored in the annotation {MEMORY_ANNOTATION} of its Secret: {error}; until it is, no anchor is dropped",
            declaration.name()
        );
        self.context.metrics.failed(Reason::WriteFailed);
        let notice = Notice {
            is_warning: true,
            problem: Problem::new(Reason::WriteFailed, message),
        };
        tell(self.context, &declaration, notice).await;
    }
}

/// Tells of a Certificate, as series and as its status.
pub async fn tell_certificate(
    context: &Context,
    name: &CertManagerRef,
    object: &CertManagerObject,
    report: &CertificateReport,
) {
    let series = &context.metrics.certificates;
    series.report(&name.object, report);
    write_status(context, name, object, report).await;
}

/// Writes a status where it says something else than the one that is stored.
pub async fn write_status<T>(
    context: &Context,
    name: &CertManagerRef,
    object: &CertManagerObject,
    report: &T,
) where
    T: Serialize + PartialEq + Default + for<'de> serde::Deserialize<'de>,
{
    if certificates::told::<T>(object) == *report {
        return;
    }
    let cluster = &context.cluster;
    let patch = json!({"metadata": {"resourceVersion": object.resource_version}, "status": report});
    let written = merge_status(&cluster.cert_manager_api(name), &name.object.name, patch).await;
    match written.and_then(|written| Ok(written.into_decoded()?)) {
        Ok(written) => cluster.wrote_cert_manager(name, &written),
        Err(Error::Changed) => {}
        Err(error) => {
            context.metrics.failed(Reason::WriteFailed);
            tracing::warn!(%error, object = %name.object, "the status cannot be stored");
        }
    }
}
