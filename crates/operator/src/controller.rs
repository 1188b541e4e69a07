//! What begins a turn: a change of an issuance, a change in the cluster, the time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use external_ca_api::{ExternalCAIssuance, MANAGER};
use external_ca_core::model::lenient::Lenient;
use external_ca_core::plan;
use external_ca_core::snapshot::{Scope, WrittenNames};
use futures::{Stream, StreamExt, TryStreamExt, future};
use kube::runtime::controller::{self, Config};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{self, reflector};
use kube::runtime::watcher::Event;
use kube::runtime::{Controller, Predicate, WatchStreamExt, predicates};
use kube::{Api, Client};
use tokio::sync::{Semaphore, mpsc};

use crate::backoff::backoff;
use crate::cert_manager_leases;
use crate::cli::RunArgs;
use crate::clock::Clock;
use crate::cluster::{Cluster, Steady, Told, smallest_pages};
use crate::context::Context;
use crate::error::describe_watch;
use crate::front_end;
use crate::front_end_state::FrontEndState;
use crate::issuances;
use crate::issuers::Issuers;
use crate::pending::Pending;
use crate::reconcile::{on_error, reconcile};
use crate::telemetry::Metrics;

/// How often the clocks are compared.
const CLOCKS: Duration = Duration::from_secs(2);

/// Runs until the process is told to stop.
pub async fn run(
    client: Client,
    clock: Clock,
    args: &RunArgs,
    metrics: Arc<Metrics>,
    ready: Arc<AtomicBool>,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let (cluster, changes) = Cluster::new(client.clone());
    let (reader, writer) = reflector::store();
    let context = Arc::new(Context {
        clock,
        ..context(&client, args, Arc::clone(&cluster), reader.clone(), metrics)
    });
    let told = context.clock.clone();
    let front_end = &context.front_end;
    let injected = front_end.enabled.then(|| front_end.injected.clone());
    cluster.start(&context.scope.served, injected, move || told.read().now);
    if front_end.enabled {
        tokio::spawn(front_end::run(Arc::clone(&context)));
        tokio::spawn(cert_manager_leases::follow(Arc::clone(&context)));
    }
    tokio::spawn(compare_clocks(Arc::clone(&context)));
    tokio::spawn(drop_orphans(Arc::clone(&context)));
    let gone = Arc::clone(&context);
    let (told, known) = (Arc::clone(&context), reader.clone());
    let mut specs: HashMap<Option<String>, Option<i64>> = HashMap::new();
    let watch = Steady::new(Api::all(client), smallest_pages());
    let events = watched(watch, ready)
        .filter_map(move |event| future::ready(issuances::decoded(event, &told, &known).map(Ok)));
    let issuances = reflector(writer, events)
        .inspect(move |event| match event {
            Ok(Event::Delete(issuance)) => {
                specs.remove(&issuance.metadata.uid);
                gone.forget(issuance);
                // A Secret that it claimed may now be another's.
                gone.cluster.announce_change();
            }
            Ok(Event::InitDone) => {
                gone.front_end
                    .issuances_listed
                    .store(true, Ordering::Relaxed);
                gone.cluster.announce_to_front_end();
                gone.pending.orphaned.notify_one();
            }
            Ok(Event::InitApply(issuance) | Event::Apply(issuance)) => {
                let metadata = &issuance.metadata;
                let known = specs.insert(metadata.uid.clone(), metadata.generation);
                match known == Some(metadata.generation) {
                    true => gone.cluster.announce_to_front_end(),
                    // What it claims may now be another's, or be no other's any longer.
                    false => gone.cluster.announce_change(),
                }
            }
            Ok(Event::Init) | Err(_) => {}
        })
        .applied_objects()
        .predicate_filter(
            predicates::generation.combine(predicates::annotations),
            Default::default(),
        );

    Controller::for_stream(issuances, reader)
        .with_config(
            Config::default()
                .debounce(Duration::from_millis(50))
                .concurrency(4),
        )
        .reconcile_on(concerned(Arc::clone(&context), changes))
        .graceful_shutdown_on(stop)
        .run(reconcile, on_error, context)
        .map_err(|error| match error {
            controller::Error::QueueError(error) => {
                tracing::debug!(error = describe_watch(&error), "controller");
            }
            error => tracing::debug!(%error, "controller"),
        })
        .for_each(|_| future::ready(()))
        .await;
}

/// The issuances that changes may concern, whenever anything has changed.
fn concerned(
    context: Arc<Context>,
    changes: mpsc::Receiver<()>,
) -> impl Stream<Item = reflector::ObjectRef<ExternalCAIssuance>> + Send {
    let told = futures::stream::unfold((context, changes), |(context, mut changes)| async move {
        changes.recv().await?;
        let concerned = futures::stream::iter(context.concerned());
        Some((concerned, (context, changes)))
    });
    told.flatten()
}

/// What the watch of issuances tells. Ready is who can read and watch them.
fn watched(
    watch: Steady<ExternalCAIssuance>,
    ready: Arc<AtomicBool>,
) -> impl Stream<Item = Event<Lenient<ExternalCAIssuance>>> + Send {
    let told = futures::stream::unfold(watch, |mut watch| async move {
        let told = watch.next().await;
        Some((told, watch))
    });
    told.filter_map(move |told| {
        let event = match told {
            Told::Event(Event::Init) => Some(Event::Init),
            Told::Event(event) => {
                ready.store(true, Ordering::Relaxed);
                Some(event)
            }
            Told::Watched => {
                ready.store(true, Ordering::Relaxed);
                None
            }
            Told::Failed(why) => {
                tracing::debug!(why, "watch of issuances");
                None
            }
            Told::Unreadable(why) | Told::Unwatched(why) => {
                if ready.swap(false, Ordering::Relaxed) {
                    tracing::warn!("the list of ExternalCAIssuances {why}");
                }
                None
            }
        };
        future::ready(event)
    })
}

/// What every turn shares, at the start.
fn context(
    client: &Client,
    args: &RunArgs,
    cluster: Arc<Cluster>,
    issuances: reflector::Store<ExternalCAIssuance>,
    metrics: Arc<Metrics>,
) -> Context {
    let parallel = std::thread::available_parallelism().map_or(1, usize::from);
    let reporter = Reporter {
        controller: MANAGER.into(),
        instance: std::env::var("HOSTNAME").ok(),
    };
    let scope = Scope {
        served: Arc::new(args.namespaces.iter().cloned().collect()),
        plane_namespaces: Arc::new(args.plane_namespaces.iter().cloned().collect()),
        names: Arc::new(WrittenNames {
            leaves: args.leaf_secrets.iter().cloned().collect(),
            bundles: args.trust_names.iter().cloned().collect(),
        }),
    };
    Context {
        client: client.clone(),
        clock: Clock::default(),
        cluster,
        issuances,
        front_end: FrontEndState::new(args, &scope),
        scope,
        metrics,
        recorder: Recorder::new(client.clone(), reporter),
        keygen: Semaphore::new(parallel),
        parallel,
        broken: Default::default(),
        claims: Default::default(),
        issuers: Issuers::new(args),
        pending: Pending::new(client.clone(), args.own_namespace(client)),
        memories: Default::default(),
    }
}

/// Has every issuance looked at when the clock goes wrong, or comes right: at rest nothing else does.
async fn compare_clocks(context: Arc<Context>) {
    let is_off = || plan::is_off(context.clock.read().ahead);
    let mut was_off = is_off();
    loop {
        tokio::time::sleep(CLOCKS).await;
        if was_off != is_off() {
            was_off = !was_off;
            context.cluster.announce_change();
        }
    }
}

/// Drops what waits for issuances that exist no longer: once all are listed, and when one is gone. The store's own
/// `wait_until_ready` is the controller's: it wakes one waiter only.
async fn drop_orphans(context: Arc<Context>) {
    loop {
        context.pending.orphaned.notified().await;
        let mut attempts = 0;
        let exists = |owner: &_| context.exists(owner);
        while let Err(error) = context.pending.drop_orphans(exists).await {
            attempts += 1;
            tracing::debug!(%error, "requests of issuances that are gone");
            tokio::time::sleep(backoff(attempts)).await;
        }
    }
}
