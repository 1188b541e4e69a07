//! From v1.0 OpenChoreo's charts ask cert-manager for more than the guide's certificates: who has made them, and how they move.

use crate::checks::Checks;
use crate::screen::{Screen, seconds};
use crate::stage::Stage;
use crate::table::leaf;
use external_ca_tests::Result;
use external_ca_tests::apply::dynamic_api;
use external_ca_tests::cert_manager::{INTERNAL_CA, WEBHOOK, is_ready};
use external_ca_tests::kubelet::Stats;
use external_ca_tests::openchoreo::CONTROL_PLANE;
use external_ca_tests::openssl::{Purpose, fields, key_matches, pem_blocks, verify};
use external_ca_tests::wait::try_wait_for;
use external_ca_tests::webhooks::{Asked, Asking, ca_bundles};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(900);
/// Certificate, Secret.
const CLIENTS: [(&str, &str); 2] = [
    (
        "controller-manager-cluster-gateway-client",
        "controller-manager-cluster-gateway-client-tls",
    ),
    (
        "openchoreo-api-cluster-gateway-client",
        "openchoreo-api-cluster-gateway-client-tls",
    ),
];

/// Returns how many checks failed.
pub async fn check(screen: &mut Screen, stage: &Stage) -> Result<usize> {
    screen.step("Check what the chart asks cert-manager for, which is not installed");
    try_wait_for("every Certificate to be Ready", PATIENCE, async || {
        for name in [INTERNAL_CA, WEBHOOK, CLIENTS[0].0, CLIENTS[1].0] {
            match is_ready(&stage.world.admin, CONTROL_PLANE, name).await {
                Ok(true) => {}
                other => return Err(format!("{name}: {other:?}")),
            }
        }
        Ok(())
    })
    .await?;
    let asking = Asking::start(&stage.world.cluster, stage.reviewed.clone()).await?;
    let answered = try_wait_for("the webhooks to be trusted", PATIENCE, async || {
        let asked = asking.so_far();
        match asked.attempts > asked.failed_by_certificate + asked.failed_other {
            true => Ok(()),
            false => Err(format!("{asked:?}")),
        }
    });
    answered.await?;
    let mut failed = stored(screen, stage).await?;
    let mut checks = Checks::default();
    called(&mut checks, &stage.kubelet.internal_stats());
    failed += checks.show(
        screen,
        &screen.bold("The gateway's internal API answers its two clients"),
    );
    Ok(failed)
}

/// The same for what stands in the cluster.
async fn stored(screen: &Screen, stage: &Stage) -> Result<usize> {
    let ca = text(stage, INTERNAL_CA, "ca.crt").await;
    let mut checks = Checks::default();
    let found = fields(&ca);
    checks.equal("CA:TRUE", found.basic_constraints.as_str(), "CA:TRUE");
    checks.equal("RSA 4096", found.public_key.as_str(), "rsaEncryption 4096");
    for (_, secret) in CLIENTS {
        let client = leaf(stage, CONTROL_PLANE, secret).await?;
        let whole = key_matches(&client.certificate, &client.key);
        checks.holds(format!("{secret} has its key"), whole);
        let verified = verify(&ca, &client.certificate, Purpose::Client);
        checks.add("openssl verify -purpose sslclient", verified);
    }
    let mut failed = checks.show(
        screen,
        &screen.bold("The CA of the gateway's internal API, and its clients"),
    );
    let served = leaf(stage, CONTROL_PLANE, WEBHOOK).await?;
    let bundles = ca_bundles(&stage.world.admin).await?;
    let mut checks = Checks::default();
    let verified = bundles
        .values()
        .try_for_each(|bundle| verify(bundle, &served.certificate, Purpose::Any));
    checks.add(
        format!("openssl verify against {} caBundles", bundles.len()),
        verified,
    );
    checks.holds(
        "the API server has asked its webhooks, and was answered",
        true,
    );
    failed += checks.show(screen, &screen.bold("The webhook's certificate"));
    Ok(failed)
}

/// Replaces both, while they are used; returns how many checks failed.
pub async fn replace(screen: &mut Screen, stage: &Stage) -> Result<usize> {
    screen.step(
        "Replace the internal CA, with its key, and the webhook's certificate, while both are used",
    );
    screen.note("in stages: the next is trusted, loaded, presented; then the old one is dropped: this takes minutes");
    let start = Instant::now();
    let before = stage.kubelet.internal_stats();
    let asking = Asking::start(&stage.world.cluster, stage.reviewed.clone()).await?;
    let old = [INTERNAL_CA, WEBHOOK];
    let old = [
        text(stage, old[0], "tls.crt").await,
        text(stage, old[1], "tls.crt").await,
    ];
    let change = json!({
        "subject": {"organizations": ["OpenChoreo", "Next"]},
        "privateKey": {"rotationPolicy": "Always"},
    });
    patch(screen, stage, INTERNAL_CA, change).await?;
    let host = "controller-manager-webhook-service.openchoreo-control-plane.svc";
    let change = json!({"dnsNames": [host, "next.example.com"]});
    patch(screen, stage, WEBHOOK, change).await?;
    let moved = try_wait_for("both to be replaced", PATIENCE, async || {
        let ca = text(stage, INTERNAL_CA, "tls.crt").await;
        let served = text(stage, WEBHOOK, "tls.crt").await;
        if ca == old[0] || served == old[1] {
            return Err("an old one is in its place".to_owned());
        }
        for secret in [INTERNAL_CA, CLIENTS[0].1, CLIENTS[1].1] {
            if text(stage, secret, "ca.crt").await.trim() != ca.trim() {
                return Err(format!("{secret} trusts the old CA, too"));
            }
        }
        let bundles = ca_bundles(&stage.world.admin).await;
        let bundles = bundles.map_err(|error| error.to_string())?;
        for (webhook, bundle) in bundles {
            if pem_blocks(&bundle).len() != 1 {
                return Err(format!("{webhook} trusts the old certificate, too"));
            }
            verify(&bundle, &served, Purpose::Any)?;
        }
        Ok(())
    });
    moved.await?;
    let calls = stage.kubelet.internal_stats().since(&before);
    let asked = asking.so_far();
    let mut checks = Checks::default();
    called(&mut checks, &calls);
    reviewed(&mut checks, &asked);
    Ok(checks.show(
        screen,
        &screen.bold(&format!(
            "Both replaced, and nothing old trusted, after {}",
            seconds(start.elapsed())
        )),
    ))
}

fn called(checks: &mut Checks, calls: &Stats) {
    checks.holds(
        format!("{} calls answered", calls.connects),
        calls.connects > 0,
    );
    checks.equal(
        "calls that failed by certificate: 0",
        calls.failed_by_certificate,
        0,
    );
}

fn reviewed(checks: &mut Checks, asked: &Asked) {
    let good = asked.attempts - asked.failed_by_certificate - asked.failed_other;
    checks.holds(format!("{good} requests let in by the webhooks"), good > 0);
    checks.equal(
        "requests refused by certificate: 0",
        asked.failed_by_certificate,
        0,
    );
}

async fn text(stage: &Stage, secret: &str, key: &str) -> String {
    stage.world.secret_text(CONTROL_PLANE, secret, key).await
}

async fn patch(screen: &Screen, stage: &Stage, name: &str, spec: Value) -> Result<()> {
    let patch = json!({"spec": spec});
    screen.command(format!(
        "kubectl -n {CONTROL_PLANE} patch certificate {name} --type merge -p '{patch}'"
    ));
    let (version, kind) = ("cert-manager.io/v1", "Certificate");
    let api = dynamic_api(&stage.world.admin, version, kind, Some(CONTROL_PLANE)).await?;
    let params = PatchParams::default();
    api.patch(name, &params, &Patch::Merge(patch)).await?;
    Ok(())
}
