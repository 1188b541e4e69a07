//! `external-ca-operator`: the only IO. See `external-ca-core` for the decisions.

mod allocator;
mod apply;
mod backoff;
mod broken;
mod cert_manager_leases;
mod certificates;
mod claims;
mod cli;
mod clock;
mod cluster;
mod context;
mod controller;
mod declaration;
mod error;
mod front_end;
mod front_end_state;
mod gauges;
mod http;
mod issuances;
mod issuers;
mod lease;
mod logging;
mod observe;
mod pace;
mod pending;
mod reconcile;
mod report;
mod rest;
mod telemetry;
mod versions;
mod writer;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Parser;
use external_ca_api::ExternalCAIssuance;
use external_ca_core::model::lenient::Lenient;
use kube::api::ListParams;
use kube::client::ClientBuilder;
use kube::{Api, Client, Config, CustomResourceExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::cli::{Cli, Command, RunArgs};
use crate::clock::Clock;
use crate::error::bounded;
use crate::telemetry::Metrics;

#[derive(Debug, thiserror::Error)]
enum Fatal {
    #[error("no way to the API server: {0}")]
    Config(#[from] kube::config::InferConfigError),
    #[error("no way to the API server: {0}")]
    Client(#[from] kube::Error),
    #[error("cannot listen: {0}")]
    Listen(#[from] std::io::Error),
    #[error("the Lease cannot be had: {0}")]
    Lease(#[from] kube_lease_manager::LeaseManagerError),
    #[error("the Lease was lost to another operator")]
    LeaseLost,
    #[error("the CustomResourceDefinition cannot be printed: {0}")]
    Crd(#[from] serde_saphyr::ser_error::Error),
}

fn main() -> ExitCode {
    allocator::give_back();
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Crd => print_crd(),
        Command::Run(args) => {
            logging::init(args.log_format, &args.log_level);
            match tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
            {
                Ok(runtime) => {
                    let result = runtime.block_on(run(*args));
                    runtime.shutdown_timeout(Duration::from_secs(1));
                    result
                }
                Err(error) => Err(error.into()),
            }
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            eprintln!("external-ca-operator: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print_crd() -> Result<(), Fatal> {
    println!("# Generated from crates/api by `make generate`. Do not edit.");
    print!("{}", serde_saphyr::to_string(&ExternalCAIssuance::crd())?);
    Ok(())
}

async fn run(args: RunArgs) -> Result<(), Fatal> {
    let mut config = Config::infer().await?;
    // Failures are paced here, by issuance and by Retry-After; hidden retries would hold a turn up for minutes.
    config.default_retry = false;
    let clock = Clock::default();
    let client = ClientBuilder::try_from(config)?.with_layer(&clock).build();
    let metrics = Arc::new(Metrics::new());
    let ready = Arc::new(AtomicBool::new(false));
    let stop = stop_signal()?;
    let health = http::Health {
        ready: Arc::clone(&ready),
        metrics: Arc::clone(&metrics),
        series: http::Series::default(),
    };
    let server = tokio::spawn(http::serve(args.http_address, health));

    let work = async {
        // Standing by, there is nothing to finish.
        tokio::select! {
            () = wait_for_crd(&client, &ready) => {}
            () = stopped(stop.clone()) => return Ok(()),
        }
        if !args.leader_elect {
            metrics.leader.set(1);
            controller::run(client, clock, &args, metrics, ready, stopped(stop.clone())).await;
            return Ok(());
        }
        let mut lease = tokio::select! {
            leads = lease::acquire(client.clone(), &args) => leads?,
            () = stopped(stop.clone()) => return Ok(()),
        };
        metrics.leader.set(1);
        let result = tokio::select! {
            () = controller::run(client, clock, &args, metrics, ready, stopped(stop.clone())) => Ok(()),
            () = lease.lost() => Err(Fatal::LeaseLost),
        };
        // Dropping the channel ends the task, which gives the Lease back.
        drop(lease.holder);
        let _ = tokio::time::timeout(Duration::from_secs(5), lease.task).await;
        result
    };
    tokio::select! {
        result = work => result,
        served = server => match served {
            Ok(Err(error)) => Err(Fatal::Listen(error)),
            Ok(Ok(())) | Err(_) => Ok(()),
        },
        // What is under way has so long to end.
        () = async { stopped(stop.clone()).await; tokio::time::sleep(Duration::from_secs(20)).await } => Ok(()),
    }
}

/// Ready means that the API server serves our resource.
async fn wait_for_crd(client: &Client, ready: &AtomicBool) {
    let api: Api<Lenient<ExternalCAIssuance>> = Api::all(client.clone());
    let mut pause = Duration::from_millis(200);
    while let Err(error) = bounded(api.list(&ListParams::default().limit(1))).await {
        tracing::warn!("waiting for the CustomResourceDefinition: {error}");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(10));
    }
    ready.store(true, Ordering::Relaxed);
}

fn stop_signal() -> Result<watch::Receiver<bool>, std::io::Error> {
    let (sender, receiver) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!("stopping");
        let _ = sender.send(true);
        sender.closed().await;
    });
    Ok(receiver)
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
