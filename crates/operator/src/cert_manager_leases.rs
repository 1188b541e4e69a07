//! Whether cert-manager itself is at work, by the Leases of its two programs: each half stands aside for its own.

use std::sync::Arc;
use std::time::Duration;

use external_ca_core::model::lenient::Lenient;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;

use crate::context::Context;
use crate::error::bounded;
use crate::front_end_state::Half;

/// The Lease of the program that issues.
const CONTROLLER: &str = "cert-manager-controller";
/// That of the one that injects.
const INJECTOR: &str = "cert-manager-cainjector-leader-election";
/// How often they are read.
const INTERVAL: Duration = Duration::from_secs(10);
/// One that was renewed within this time is held.
const HELD: SignedDuration = SignedDuration::from_secs(60);

/// Keeps reading them, where cert-manager's kinds are served.
pub async fn follow(context: Arc<Context>) {
    loop {
        if context.cluster.serves_cert_manager() {
            let front_end = &context.front_end;
            look(&context, CONTROLLER, &front_end.controller).await;
            look(&context, INJECTOR, &front_end.injector).await;
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

async fn look(context: &Context, name: &str, half: &Half) {
    let namespace = &context.front_end.lease_namespace;
    let api: Api<Lenient<Lease>> = Api::namespaced(context.client.clone(), namespace);
    let read = bounded(api.get_opt(name)).await;
    let now = context.clock.read().now;
    let held = match read.map(|found| found.map(Lenient::into_decoded).transpose()) {
        Ok(Ok(None)) => None,
        Ok(Ok(Some(lease))) => is_held(&lease, now).then(|| "it is renewed".to_owned()),
        Ok(Err(error)) => Some(error.to_string()),
        Err(error) => Some(error.to_string()),
    };
    if half.set_held(held.is_some()) {
        match held {
            Some(why) => {
                tracing::info!(lease = %format!("{namespace}/{name}"), why, "cert-manager is at work, or may be: this half stands aside")
            }
            None => {
                tracing::info!(lease = %format!("{namespace}/{name}"), "cert-manager is not at work")
            }
        }
        context.cluster.announce_to_front_end();
    }
}

fn is_held(lease: &Lease, now: Timestamp) -> bool {
    let spec = lease.spec.as_ref();
    let holder = spec.and_then(|spec| spec.holder_identity.as_deref());
    let renewed = spec.and_then(|spec| spec.renew_time.as_ref());
    let is_recent = renewed.is_some_and(|time| time.0.duration_until(now) < HELD);
    is_recent && holder.is_some_and(|holder| !holder.is_empty())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_lease_is_held_while_it_is_renewed() {
        let now: Timestamp = "2026-01-01T00:10:00Z".parse().unwrap();
        let cases = [
            (
                json!({"holderIdentity": "a", "renewTime": "2026-01-01T00:09:30.000000Z"}),
                true,
            ),
            (
                json!({"holderIdentity": "a", "renewTime": "2026-01-01T00:08:30.000000Z"}),
                false,
            ),
            (
                json!({"holderIdentity": "", "renewTime": "2026-01-01T00:09:30.000000Z"}),
                false,
            ),
            (json!({"holderIdentity": "a"}), false),
            (json!({}), false),
        ];
        for (spec, expected) in cases {
            let lease: Lease =
                serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
            assert_eq!(is_held(&lease, now), expected, "{spec}");
        }
    }
}
