//! Whether cert-manager itself is at work: its Leases and what it has written are looked at every few seconds.

use std::sync::Arc;
use std::time::Duration;

use external_ca_core::domain::certmanager::{
    Aside, AtWork, CONTROLLER_LEASE, INJECTOR_LEASE, at_work,
};
use external_ca_core::model::Read;
use external_ca_core::model::lenient::Lenient;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;

use crate::context::Context;
use crate::error::bounded;

/// How often they are looked at.
const INTERVAL: Duration = Duration::from_secs(10);

/// Keeps looking, where cert-manager's kinds are served.
pub async fn follow(context: Arc<Context>) {
    loop {
        if context.cluster.serves_cert_manager() {
            look(&context).await;
            tokio::time::sleep(INTERVAL).await;
        } else {
            // It is announced.
            tokio::select! {
                () = context.cluster.cert_manager_served() => {}
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }
}

async fn look(context: &Context) {
    let controller = read(context, CONTROLLER_LEASE).await;
    let injector = read(context, INJECTOR_LEASE).await;
    let seen = context
        .cluster
        .cert_manager(|seen| seen.cert_manager.clone());
    let Some(objects) = seen else {
        // The first lists are under way.
        return;
    };
    let now = context.clock.read().now;
    let found = at_work(&controller, &injector, &objects, now);
    let AtWork {
        controller,
        injector,
    } = &found;
    for (half, aside) in [("controller", controller), ("injector", injector)] {
        context.metrics.stands_aside(half, aside.is_some());
    }
    let known = context.front_end.set_at_work(found.clone());
    if known.as_ref() == Some(&found) {
        return;
    }
    let known = known.as_ref();
    tell(
        "controller",
        known.map(|known| &known.controller),
        controller,
    );
    tell("injector", known.map(|known| &known.injector), injector);
    context.cluster.announce_to_front_end();
}

async fn read(context: &Context, name: &str) -> Read<Lease> {
    let namespace = &context.front_end.lease_namespace;
    let api: Api<Lenient<Lease>> = Api::namespaced(context.client.clone(), namespace);
    let read = bounded(api.get_opt(name)).await;
    match read.map(|found| found.map(Lenient::into_decoded).transpose()) {
        Ok(Ok(None)) => Read::Absent,
        Ok(Ok(Some(lease))) => Read::Found(lease),
        Ok(Err(error)) => Read::Unknown(error.to_string()),
        Err(error) => Read::Unknown(error.to_string()),
    }
}

/// The first look at a half is news, whatever it finds.
fn tell(half: &str, known: Option<&Option<Aside>>, found: &Option<Aside>) {
    if known == Some(found) {
        return;
    }
    match found {
        Some(why) => {
            tracing::info!(half, why = %why, "cert-manager is at work, or may be: this half stands aside");
        }
        None => tracing::info!(half, "cert-manager is not at work"),
    }
}
