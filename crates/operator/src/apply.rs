//! Carries out a plan, step by step. The only place that writes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use external_ca_api::{
    ExternalCAIssuance, ISSUANCE_ANNOTATION, MANAGER, MATERIAL_HASH_ANNOTATION, RENEW_ANNOTATION,
};
use external_ca_core::domain::{ca_secret, generated_ca_profile, identity};
use external_ca_core::model::facts;
use external_ca_core::model::lenient::Lenient;
use external_ca_core::model::{
    Issuer as ObservedIssuer, Material, MaterialKind, MaterialRef, ObjectRef, Observed, PlaneRef,
    Read, WorkloadKind, WorkloadRef,
};
use external_ca_core::plan::{
    Consume, GenerateCa, IssueLeaf, Restart, Round, Step, WirePlane, Wiring, WriteBundle,
};
use external_ca_core::trust::Place;
use external_ca_core::x509::{
    self, Certificate, CertificateAuthority, KeyAlgorithm, LeafProfile, PrivateKey, encode_bundle,
};
use external_ca_core::{Problem, Reason};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference, Secret};
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType};
use kube::{Api, Resource, ResourceExt};
use serde_json::{Value, json};

use crate::cluster::MaterialObject;
use crate::context::Context;
use crate::error::{Error, bounded};
use crate::issuers::{Issuer, SigningRequest};

/// After this long no further certificate is begun: the status is written and the rest planned anew.
const SLICE: Duration = Duration::from_secs(2);
/// So many writes that cost only the API server anything run at once.
const WRITES: usize = 8;

/// What came of a plan.
#[derive(Default)]
pub struct Outcome {
    /// What was done.
    pub done: Vec<Problem>,
    /// Which objects were written.
    pub written: Vec<String>,
    /// What failed.
    pub failed: Vec<(Step, Error)>,
    /// Whether anything is left to do, or must be looked at again.
    pub unfinished: bool,
    /// Planes that may have been written, or not: to be read before anything is decided.
    pub in_doubt: BTreeSet<PlaneRef>,
    /// The issuance's version, where it was written.
    pub version: Option<String>,
}

/// What came of a step.
enum Done {
    /// What there is to say of it.
    Said(Problem),
    /// An annotation was taken off the issuance, which has this version now.
    Consumed(Option<String>),
    /// There was nothing to do.
    Nothing,
}

/// Carries out the steps in order, each kind side by side: bundles, planes, certificates, and the rest one by one.
pub async fn apply(
    context: &Context,
    observed: &Observed,
    steps: Vec<Step>,
    now: Timestamp,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut rounds: BTreeMap<Round, Vec<Step>> = BTreeMap::new();
    for step in steps {
        rounds.entry(step.round()).or_default().push(step);
    }
    let mut round = |round| rounds.remove(&round).unwrap_or_default();
    for writes in [round(Round::Trust), round(Round::Planes)] {
        if !writes.is_empty() && !still_signs(context, observed, now).await {
            outcome.unfinished = true;
            return outcome;
        }
        let results = futures::stream::iter(writes)
            .map(|step| async move { (run(context, observed, &step, now).await, step) })
            .buffer_unordered(WRITES);
        let mut doubt = false;
        for (result, step) in results.collect::<Vec<_>>().await {
            if result.as_ref().is_err_and(Error::leaves_doubt) {
                doubt = true;
                look_again(context, &step, &mut outcome).await;
            }
            outcome.add(result, step);
        }
        if doubt {
            // What follows rests on who trusts what.
            return outcome;
        }
    }
    let leaves = round(Round::Certificates);
    // A renewal that was asked for is granted as a whole, or asked for again.
    let asked = leaves.iter().any(
        |step| matches!(step, Step::IssueLeaf(IssueLeaf { why, .. }) if why.reason == Reason::RenewRequested),
    );
    let started = Instant::now();
    let results = futures::stream::iter(leaves)
        .map(|step| async move {
            if !asked && started.elapsed() > SLICE {
                return (None, step);
            }
            (Some(run(context, observed, &step, now).await), step)
        })
        .buffer_unordered(context.parallel * 2);
    for (result, step) in results.collect::<Vec<_>>().await {
        match result {
            Some(result) => {
                if result.as_ref().is_err_and(Error::leaves_doubt) {
                    look_again(context, &step, &mut outcome).await;
                }
                outcome.add(result, step);
            }
            None => outcome.unfinished = true,
        }
    }
    for step in round(Round::Rest) {
        if step
            == Step::Consume(Consume {
                annotation: RENEW_ANNOTATION,
            })
            && outcome
                .failed
                .iter()
                .any(|(step, _)| matches!(step, Step::IssueLeaf(_)))
        {
            continue;
        }
        outcome.add(run(context, observed, &step, now).await, step);
    }
    outcome
}

/// Not every object is watched, and a watch may be behind.
async fn look_again(context: &Context, step: &Step, outcome: &mut Outcome) {
    match step {
        Step::WriteBundle(WriteBundle { target, .. }) => drop(context.cluster.read(target).await),
        Step::IssueLeaf(IssueLeaf { target, .. }) => {
            let secret = MaterialRef {
                kind: MaterialKind::Secret,
                object: target.clone(),
            };
            context.cluster.read(&secret).await;
        }
        Step::WirePlane(WirePlane { plane, .. }) => {
            outcome.in_doubt.insert(plane.clone());
        }
        _ => {}
    }
}

impl Outcome {
    fn add(&mut self, result: Result<Done, Error>, step: Step) {
        self.unfinished = true;
        match result {
            Ok(done) => {
                self.written.push(step.object());
                match done {
                    Done::Said(problem) => self.done.push(problem),
                    Done::Consumed(version) => self.version = version,
                    Done::Nothing => {}
                }
            }
            Err(Error::Changed) => {}
            Err(error) => self.failed.push((step, error)),
        }
    }
}

async fn run(
    context: &Context,
    observed: &Observed,
    step: &Step,
    now: Timestamp,
) -> Result<Done, Error> {
    let issuance = &observed.issuance;
    if !are_as_seen(context, observed, step.rests_on()).await {
        return Err(Error::Changed);
    }
    match step {
        Step::GenerateCa(GenerateCa {
            target,
            resource_version,
            marks,
        }) => {
            let version = resource_version.as_deref();
            generate_ca(context, issuance, target, (version, marks), now)
                .await
                .map(Done::Said)
        }
        Step::WriteBundle(WriteBundle {
            target,
            resource_version,
            anchors,
            marks,
            ..
        }) => {
            let version = resource_version.as_deref();
            write_bundle(context, issuance, target, version, (anchors, marks))
                .await
                .map(Done::Said)
        }
        Step::WirePlane(WirePlane {
            plane,
            resource_version,
            client_ca,
            ..
        }) => wire(context, plane, resource_version, client_ca)
            .await
            .map(Done::Said),
        Step::IssueLeaf(IssueLeaf {
            target,
            profile,
            reuse_key,
            why,
            marks,
            trusted_by,
        }) => {
            let ObservedIssuer::Ready(authority) = &observed.issuer else {
                return Ok(Done::Nothing);
            };
            let leaf = (target, profile, *reuse_key, marks, trusted_by.as_slice());
            issue(context, observed, authority, leaf, now).await?;
            context.metrics.issued.inc();
            Ok(Done::Said(Problem::new(
                Reason::Issued,
                format!("issued Secret {target} ({})", why.reason),
            )))
        }
        Step::Restart(Restart {
            workload,
            resource_version,
            material_hash,
        }) => {
            let restarted = restart(context, workload, resource_version, material_hash).await?;
            context.metrics.restarts.inc();
            say_restarted(context, issuance, &restarted).await;
            Ok(Done::Said(Problem::new(
                Reason::Restarted,
                format!("restarted {workload}: the material it mounts has changed"),
            )))
        }
        Step::Consume(Consume { annotation }) => consume(context, issuance, annotation)
            .await
            .map(Done::Consumed),
    }
}

/// Takes an annotation off the issuance, and returns its version then.
async fn consume(
    context: &Context,
    issuance: &ExternalCAIssuance,
    annotation: &str,
) -> Result<Option<String>, Error> {
    let api: Api<Lenient<ExternalCAIssuance>> = Api::namespaced(
        context.client.clone(),
        &issuance.namespace().unwrap_or_default(),
    );
    let patch = json!({"metadata": {"annotations": {annotation: null}}});
    let patched = bounded(api.patch(&issuance.name_any(), &merge(), &Patch::Merge(patch))).await?;
    Ok(patched.resource_version())
}

/// Server-side apply. What did not exist when it was looked at is not taken from whoever made it meanwhile: that is a
/// conflict, and the object is looked at again.
fn apply_params(existed: bool) -> PatchParams {
    PatchParams {
        force: existed,
        ..PatchParams::apply(MANAGER)
    }
}

fn merge() -> PatchParams {
    PatchParams {
        field_manager: Some(MANAGER.into()),
        ..PatchParams::default()
    }
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| Error::Internal("the system has no randomness"))?;
    Ok(bytes)
}

/// Keys are made off the async threads, as many at once as there are cores.
async fn generate(context: &Context, algorithm: KeyAlgorithm) -> Result<PrivateKey, Error> {
    let _permit = context
        .keygen
        .acquire()
        .await
        .map_err(|_| Error::Internal("shutting down"))?;
    let made = tokio::task::spawn_blocking(move || x509::generate(algorithm)).await;
    Ok(made.map_err(|_| Error::Internal("making a key was cancelled"))??)
}

fn annotations(issuance: &ExternalCAIssuance) -> BTreeMap<&'static str, String> {
    BTreeMap::from([(ISSUANCE_ANNOTATION, identity(issuance))])
}

async fn generate_ca(
    context: &Context,
    issuance: &ExternalCAIssuance,
    target: &ObjectRef,
    (version, marks): (Option<&str>, &Marks),
    now: Timestamp,
) -> Result<Problem, Error> {
    let live: Option<Secret> = context.cluster.get(target).await?;
    let live_version = live.as_ref().and_then(|secret| secret.resource_version());
    if live_version.as_deref() != version {
        return Err(Error::Changed);
    }
    let key = generate(context, KeyAlgorithm::Rsa(4096)).await?;
    let certificate = x509::self_signed_ca(&key, &generated_ca_profile(), random()?, now)?;
    let secret = tls_secret(
        issuance,
        target,
        live_version,
        marks,
        certificate.to_pem().into_bytes(),
        &key,
    );
    apply_object::<Secret>(context, target, version.is_some(), secret).await?;
    Ok(Problem::new(
        Reason::Issued,
        format!("made the CA Secret {target}"),
    ))
}

/// Annotations that tell what an object was written for.
type Marks = BTreeMap<&'static str, String>;

fn tls_secret(
    issuance: &ExternalCAIssuance,
    target: &ObjectRef,
    resource_version: Option<String>,
    marks: &Marks,
    certificate: Vec<u8>,
    key: &PrivateKey,
) -> Value {
    let mut annotations = annotations(issuance);
    annotations.extend(marks.clone());
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {
            "name": target.name,
            "namespace": target.namespace,
            "resourceVersion": resource_version,
            "annotations": annotations,
        },
        "data": {
            "tls.crt": ByteString(certificate),
            "tls.key": ByteString(key.to_pem().as_bytes().to_vec()),
        },
    })
}

async fn write_bundle(
    context: &Context,
    issuance: &ExternalCAIssuance,
    target: &MaterialRef,
    resource_version: Option<&str>,
    (anchors, marks): (&[Certificate], &Marks),
) -> Result<Problem, Error> {
    if resource_version.is_none() {
        // A watch may be late, and another operator that leads has the same field manager, so that no conflict tells of it:
        // only the API server's own answer says that there is nothing to lose.
        let exists = match target.kind {
            MaterialKind::ConfigMap => {
                let live = context.cluster.get::<ConfigMap>(&target.object);
                live.await?.is_some()
            }
            MaterialKind::Secret => {
                let live = context.cluster.get::<Secret>(&target.object);
                live.await?.is_some()
            }
        };
        if exists {
            return Err(Error::Changed);
        }
    }
    let (name, namespace) = (&target.object.name, &target.object.namespace);
    let pem = encode_bundle(anchors);
    let mut annotations = annotations(issuance);
    annotations.extend(marks.clone());
    let object = |kind: &str, bundle: Value| {
        json!({
            "apiVersion": "v1",
            "kind": kind,
            "metadata": {
                "name": name,
                "namespace": namespace,
                "resourceVersion": resource_version,
                "annotations": annotations,
            },
            "data": {"ca.crt": bundle},
        })
    };
    let existed = resource_version.is_some();
    match target.kind {
        MaterialKind::ConfigMap => {
            let object = object("ConfigMap", json!(pem));
            apply_object::<ConfigMap>(context, &target.object, existed, object).await?;
        }
        MaterialKind::Secret => {
            let object = object("Secret", json!(ByteString(pem.into_bytes())));
            apply_object::<Secret>(context, &target.object, existed, object).await?;
        }
    }
    let subjects: Vec<&str> = anchors.iter().map(Certificate::subject).collect();
    Ok(Problem::new(
        Reason::TrustUpdated,
        format!("{target} now trusts {}", subjects.join("; ")),
    ))
}

async fn wire(
    context: &Context,
    plane: &PlaneRef,
    resource_version: &str,
    client_ca: &Wiring,
) -> Result<Problem, Error> {
    let Some(api) = context.cluster.plane_api(plane) else {
        return Err(Error::Changed);
    };
    if let Wiring::Reference {
        secret,
        holds: needed,
        ..
    } = client_ca
    {
        let bundle = MaterialRef {
            kind: MaterialKind::Secret,
            object: secret.clone(),
        };
        if !holds(context, &bundle, needed).await {
            return Err(Error::Changed);
        }
    }
    let client_ca = match client_ca {
        Wiring::Value(pem) => json!({"value": pem}),
        Wiring::Reference { field, secret, .. } => json!({
            "value": null,
            *field: {"name": secret.name, "namespace": secret.namespace, "key": "ca.crt"},
        }),
    };
    // A merge patch and not an apply: an apply would make a plane that was deleted meanwhile.
    let patch = json!({
        "metadata": {"resourceVersion": resource_version},
        "spec": {"clusterAgent": {"clientCA": client_ca}},
    });
    let written = bounded(api.patch(&plane.name, &merge(), &Patch::Merge(patch))).await?;
    let written = written.into_decoded()?;
    context.cluster.wrote_plane(plane.kind, &written);
    Ok(Problem::new(Reason::PlaneWired, format!("wired {plane}")))
}

async fn issue(
    context: &Context,
    observed: &Observed,
    authority: &Arc<CertificateAuthority>,
    (target, profile, reuse_key, marks, trusted_by): (
        &ObjectRef,
        &LeafProfile,
        bool,
        &Marks,
        &[Place],
    ),
    now: Timestamp,
) -> Result<(), Error> {
    // The snapshot may be old, and "it does not exist" a guess: a key that was written is never replaced unseen.
    let live: Option<Secret> = context.cluster.get(target).await?;
    if !matches_snapshot(observed, target, live.as_ref()) {
        return Err(Error::Changed);
    }
    let stored = live
        .as_ref()
        .and_then(|secret| secret.data.as_ref())
        .and_then(|data| data.get("tls.key"));
    let key = match stored.filter(|_| reuse_key) {
        Some(pem) => PrivateKey::from_pem(&pem.0)?,
        None => generate(context, profile.key).await?,
    };
    if !still_signs(context, observed, now).await {
        return Err(Error::Changed);
    }
    for place in trusted_by {
        if !is_trusted_by(context, place, authority.anchor()).await {
            return Err(Error::Changed);
        }
    }
    let csr = x509::request(&key, profile)?;
    let request = SigningRequest {
        csr: &csr,
        profile,
        serial: random()?,
        now,
    };
    let issuer = Issuer::CaSecret(Arc::clone(authority));
    let asked = Instant::now();
    let answer = issuer.sign(&request).await;
    context
        .metrics
        .signed(issuer.kind(), answer.is_ok(), asked.elapsed());
    let chain = answer?;
    x509::check_issued(&chain, &key, profile, authority, now)?;

    let version = live.as_ref().and_then(|secret| secret.resource_version());
    let existed = version.is_some();
    let secret = tls_secret(
        &observed.issuance,
        target,
        version,
        marks,
        encode_bundle(&chain).into_bytes(),
        &key,
    );
    apply_object::<Secret>(context, target, existed, secret).await
}

/// Applies an object, and notes what came of it.
async fn apply_object<K: MaterialObject>(
    context: &Context,
    target: &ObjectRef,
    existed: bool,
    object: Value,
) -> Result<(), Error> {
    let api: Api<Lenient<K>> = context.cluster.api(&target.namespace);
    let (params, patch) = (apply_params(existed), Patch::Apply(object));
    let written = bounded(api.patch(&target.name, &params, &patch)).await?;
    context.cluster.wrote(target, &written.into_decoded()?);
    Ok(())
}

/// Whether the CA is still what the plan rests on. Where somebody has replaced it meanwhile, another operator that leads may
/// have dropped what this one would sign with, and sign with what this one would drop.
async fn still_signs(context: &Context, observed: &Observed, now: Timestamp) -> bool {
    let ObservedIssuer::Ready(authority) = &observed.issuer else {
        return true;
    };
    let secret = ca_secret(&observed.issuance);
    let Some(pem) = context.cluster.read_authority(&secret).await else {
        return false;
    };
    let stored = pem.authority(now);
    stored.is_ok_and(|stored| stored.certificate() == authority.certificate())
}

/// Whether a bundle holds these anchors.
async fn holds(context: &Context, bundle: &MaterialRef, anchors: &[Certificate]) -> bool {
    let read = context.cluster.read(bundle).await;
    let stored = read.as_ref().and_then(|read| read.found());
    stored.is_some_and(|stored| anchors.iter().all(|anchor| stored.anchors.contains(anchor)))
}

/// Whether what verifies a certificate trusts its CA, by what is stored now.
async fn is_trusted_by(context: &Context, place: &Place, anchor: &Certificate) -> bool {
    match place {
        Place::Material(bundle) => holds(context, bundle, std::slice::from_ref(anchor)).await,
        Place::ClientCa(plane) => {
            if !context.cluster.read_plane(plane).await {
                return false;
            }
            let seen = context.cluster.plane(plane);
            // What a reference leads to is a place of its own.
            seen.is_some_and(|seen| seen.value.is_none() || seen.anchors.contains(anchor))
        }
    }
}

/// Whether leaves are stored as they were seen.
async fn are_as_seen(context: &Context, observed: &Observed, leaves: &[MaterialRef]) -> bool {
    for leaf in leaves {
        let read = context.cluster.read(leaf).await;
        let stored = read.as_ref().and_then(|read| read.found());
        let seen = observed.material.get(leaf).and_then(|read| read.found());
        let same = |(stored, seen): (&Material, &Material)| {
            stored.resource_version == seen.resource_version
        };
        if !stored.zip(seen).is_some_and(same) {
            return false;
        }
    }
    true
}

fn matches_snapshot(observed: &Observed, target: &ObjectRef, live: Option<&Secret>) -> bool {
    let key = MaterialRef {
        kind: MaterialKind::Secret,
        object: target.clone(),
    };
    let seen = observed.material.get(&key).map(AsRef::as_ref);
    let same = |seen: &Material, live: &Material| {
        seen.hash == live.hash
            && seen.leaf == live.leaf
            && seen.created == live.created
            && seen.has_key == live.has_key
    };
    match (seen, live) {
        (Some(Read::Absent), None) => true,
        (Some(Read::Found(seen)), Some(live)) => same(seen, &facts::secret(live)),
        _ => false,
    }
}

async fn restart(
    context: &Context,
    workload: &WorkloadRef,
    resource_version: &str,
    material_hash: &str,
) -> Result<ObjectReference, Error> {
    let patch = Patch::Merge(json!({
        "metadata": {"resourceVersion": resource_version},
        "spec": {"template": {"metadata": {"annotations": {MATERIAL_HASH_ANNOTATION: material_hash}}}},
    }));
    let ObjectRef { namespace, name } = &workload.object;
    let client = context.client.clone();
    let (seen, reference) = match workload.kind {
        WorkloadKind::Deployment => {
            let api: Api<Lenient<Deployment>> = Api::namespaced(client, namespace);
            let answer = bounded(api.patch(name, &merge(), &patch)).await?;
            let answer = answer.into_decoded()?;
            (facts::deployment(&answer), answer.object_ref(&()))
        }
        WorkloadKind::StatefulSet => {
            let api: Api<Lenient<StatefulSet>> = Api::namespaced(client, namespace);
            let answer = bounded(api.patch(name, &merge(), &patch)).await?;
            let answer = answer.into_decoded()?;
            (facts::stateful_set(&answer), answer.object_ref(&()))
        }
        WorkloadKind::DaemonSet => {
            let api: Api<Lenient<DaemonSet>> = Api::namespaced(client, namespace);
            let answer = bounded(api.patch(name, &merge(), &patch)).await?;
            let answer = answer.into_decoded()?;
            (facts::daemon_set(&answer), answer.object_ref(&()))
        }
    };
    if let Some(seen) = seen {
        context.cluster.wrote_workload(seen);
    }
    Ok(reference)
}

/// An Event on the workload too: its owner looks there, and not at the issuance.
async fn say_restarted(
    context: &Context,
    issuance: &ExternalCAIssuance,
    workload: &ObjectReference,
) {
    let event = Event {
        type_: EventType::Normal,
        reason: Reason::Restarted.to_string(),
        note: Some(format!(
            "restarted by {MANAGER} for ExternalCAIssuance {}: the material it mounts has changed",
            identity(issuance)
        )),
        action: "Restart".into(),
        secondary: Some(issuance.object_ref(&())),
    };
    if let Err(error) = bounded(context.recorder.publish(&event, workload)).await {
        tracing::debug!(%error, "event");
    }
}
