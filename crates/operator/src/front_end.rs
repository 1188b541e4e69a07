//! cert-manager's objects, looked at whenever anything changes: compiled to trust domains, each of which has its turn.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use external_ca_core::domain::certmanager::{
    CertificateProblem, Compiled, DeclaredDomain, Verdict, compile_all,
};
use external_ca_core::domain::identity;
use external_ca_core::model::{
    CertManagerKind, CertManagerObject, CertManagerObjects, CertManagerRef, Material, MaterialRef,
    ObjectRef, Read,
};
use external_ca_core::report::certificates;
use futures::StreamExt;

use crate::certificates::{tell_certificate, write_status};
use crate::context::Context;
use crate::declaration::Declaration;
use crate::observe::{all_issuances, claims};
use crate::reconcile::turn;

/// So many domains have their turns at once.
const TURNS: usize = 4;
/// What changes in so short a time is looked at together.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// The shortest pause while bundles are injected and nothing else is done.
const ASIDE: Duration = Duration::from_secs(10);
/// In how long at the latest all is looked at again.
const RESYNC: Duration = Duration::from_secs(600);

/// Looks at cert-manager's objects whenever anything changes.
pub async fn run(context: Arc<Context>) {
    let mut due: HashMap<String, Instant> = HashMap::new();
    loop {
        let next = due.values().min().copied();
        let pause = next.map_or(RESYNC, |next| {
            next.saturating_duration_since(Instant::now())
        });
        tokio::select! {
            () = context.cluster.changed() => tokio::time::sleep(DEBOUNCE).await,
            () = tokio::time::sleep(pause.min(RESYNC)) => {}
        }
        let front_end = &context.front_end;
        if !front_end.issues() {
            context.metrics.certificates.keep(|_| false);
        }
        let works = front_end.issues() || front_end.injects();
        due = match works && front_end.issuances_listed.load(Ordering::Relaxed) {
            true => look(&context).await.unwrap_or_default(),
            false => HashMap::new(),
        };
    }
}

/// Compiles all objects, and gives each domain its turn. Returns when each is looked at again; nothing while first reads are
/// under way.
async fn look(context: &Arc<Context>) -> Option<HashMap<String, Instant>> {
    let others = claims(context)?.others();
    let settings = &context.front_end.settings;
    let objects = context
        .cluster
        .cert_manager(|seen| seen.cert_manager.clone())?;
    // Not under the store's lock: it is over all objects.
    let mut compiled = compile_all(&objects, settings, &others);
    let domains: BTreeMap<String, Arc<DeclaredDomain>> = std::mem::take(&mut compiled.domains)
        .into_values()
        .map(|domain| (domain.identity(), Arc::new(domain)))
        .collect();
    for gone in context.front_end.replace(domains.clone()) {
        context.forget_declared(&gone);
        context.pending.orphaned.notify_one();
    }
    let turns = futures::stream::iter(domains).map(|(identity, declared)| async move {
        let mut memory = context.recall(&identity);
        let declaration = Declaration::CertManager(declared);
        let mut wait = turn(context, &declaration, &mut memory).await;
        if !context.front_end.issues() {
            // What is due is left to cert-manager.
            wait = wait.max(ASIDE);
        }
        context.remember_declared(identity.clone(), memory);
        (identity, Instant::now() + wait)
    });
    let due: Vec<(String, Instant)> = turns.buffer_unordered(TURNS).collect().await;
    if context.front_end.issues() {
        tell_others(context, &objects, &compiled).await;
    }
    let served = &compiled.certificates;
    let certificates = &context.metrics.certificates;
    certificates.keep(|certificate| served.contains_key(certificate));
    Some(due.into_iter().collect())
}

/// The status of what belongs to no domain, and of Issuers.
async fn tell_others(context: &Context, objects: &CertManagerObjects, compiled: &Compiled) {
    let now = context.clock.read().now;
    let issuances = all_issuances(context);
    for (name, verdict) in &compiled.certificates {
        let kind = CertManagerKind::Certificate;
        let Some(object) = objects.get(kind, name) else {
            continue;
        };
        let report = match verdict {
            Verdict::Planned(_) => continue,
            Verdict::Refused(problem) => certificates::refused(object, problem, now),
            Verdict::Claimed { issuance, secret } => {
                let mut all = issuances.iter();
                let found = all.find(|one| identity(one) == *issuance);
                let status = found.and_then(|one| one.status.as_ref());
                let stored = stored(context, secret);
                let stored = stored.as_deref();
                certificates::claimed(object, issuance, status, secret, stored, now)
            }
        };
        let name = CertManagerRef {
            kind,
            object: name.clone(),
        };
        tell_certificate(context, &name, object, &report).await;
    }
    for (name, found) in &compiled.issuers {
        let Some(object) = objects.get(name.kind, &name.object) else {
            continue;
        };
        tell_issuer(
            context,
            name,
            object,
            found
                .clone()
                .map(|secret| secret.map(|secret| verified(context, &secret))),
        )
        .await;
    }
}

async fn tell_issuer(
    context: &Context,
    name: &CertManagerRef,
    object: &CertManagerObject,
    found: Result<Option<Result<(), String>>, CertificateProblem>,
) {
    let now = context.clock.read().now;
    let report = certificates::issuer(object, &found, now);
    write_status(context, name, object, &report).await;
}

fn stored(context: &Context, secret: &ObjectRef) -> Option<Arc<Read<Material>>> {
    let key = MaterialRef::secret(secret.clone());
    context
        .cluster
        .cert_manager(|seen| seen.material.get(&key).cloned())
        .flatten()
}

/// Whether the CA of an Issuer can sign.
fn verified(context: &Context, secret: &ObjectRef) -> Result<(), String> {
    let now = context.clock.read().now;
    context.cluster.verify_ca(secret, now)
}
