//! The CA is replaced while agents keep connecting.

use std::time::Duration;

use external_ca_api::Phase;
use external_ca_tests::Result;
use external_ca_tests::kubelet::{Stats, rolled_out};
use external_ca_tests::openchoreo::CONTROL_PLANE;
use external_ca_tests::openssl::{Ca, pem_blocks};
use external_ca_tests::wait::wait_for;
use external_ca_tests::world::{ISSUANCE, describe};

use crate::stage::{HANDSHAKES, Stage};

/// The namespace whose agents take their time.
const SLOW: &str = "openchoreo-observability-plane";
const SLOW_PLANE: &str = "ObservabilityPlane";
const PATIENCE: Duration = Duration::from_secs(300);

/// While the slow plane's new pods do not come up, the rotation waits for them: visibly, and with the old CA trusted
/// everywhere.
async fn stuck(stage: &Stage, old: &Ca, new: &Ca) {
    wait_for(
        "the rotation to wait for the slow plane",
        PATIENCE,
        async || {
            let issuance = stage.world.issuances().get(ISSUANCE).await;
            let status = issuance.map_err(|error| error.to_string())?.status;
            let status = status.unwrap_or_default();
            let waits = status
                .retiring()
                .any(|anchor| !anchor.waiting_for.is_empty());
            let slow = |workload: &&_| is_in(workload, SLOW);
            let named = status.rollouts.iter().find(slow).is_some();
            let lacks = |(_, bundle): &(String, String)| !bundle.contains(new.certificate.trim());
            let spread = !stage.bundles().await.iter().any(lacks);
            match waits && named && spread && status.phase == Some(Phase::Rotating) {
                true => Ok(()),
                false => Err(describe(&status)),
            }
        },
    )
    .await;
    // The clientCA of another plane may drop the old CA already: it verifies that plane's agents only.
    let moved = |place: &str| place.ends_with("Plane") && place != SLOW_PLANE;
    for (place, bundle) in stage.bundles().await {
        let is_trusted = bundle.contains(old.certificate.trim());
        assert!(moved(&place) || is_trusted, "{place}: {bundle}");
    }
}

fn is_in(rollout: &external_ca_api::RolloutStatus, namespace: &str) -> bool {
    rollout.workload.contains(&format!(" {namespace}/"))
}

pub async fn none_failed(stage: Stage, before: &Stats) {
    let counted = stage.kubelet.stop().await.since(before);
    assert!(counted.attempts >= HANDSHAKES, "{counted:#?}");
    assert_eq!(counted.failed_by_certificate, 0, "{counted:#?}");
    println!(
        "{} handshakes attempted, {} failed by certificate, {} found nobody there",
        counted.attempts, counted.failed_by_certificate, counted.failed_other
    );
}

#[tokio::test]
async fn from_a_to_b_to_c() -> Result<()> {
    let [a, b, c] = [0, 1, 2].map(Ca::replacement);
    let stage = Stage::set().await?;
    let _operator = stage.by_operator(&a).await?;
    let before = stage.kubelet.stats();

    stage.kubelet.hold(SLOW);
    stage.world.put_ca(&b).await?;
    stuck(&stage, &a, &b).await;
    stage.handshakes(&before).await;
    stuck(&stage, &a, &b).await;
    stage.kubelet.release(SLOW);
    stage.settled(&b).await;

    stage.world.put_ca(&c).await?;
    stage.settled(&c).await;
    stage.connected().await;
    none_failed(stage, &before).await;
    Ok(())
}

#[tokio::test]
async fn away_from_trust_that_others_made() -> Result<()> {
    let [theirs, ours] = [0, 1].map(Ca::replacement);
    let stage = Stage::set().await?;
    stage.by_hand(&theirs).await?;
    stage.connected().await;
    let before = stage.kubelet.stats();

    stage.kubelet.hold(SLOW);
    stage.world.put_ca(&ours).await?;
    let _operator = stage.world.operator(None).await?;
    stage.world.issue().await?;
    stuck(&stage, &theirs, &ours).await;
    stage.handshakes(&before).await;
    stuck(&stage, &theirs, &ours).await;
    stage.kubelet.release(SLOW);
    stage.settled(&ours).await;
    stage.connected().await;
    none_failed(stage, &before).await;
    Ok(())
}

#[tokio::test]
async fn back_to_the_old_ca() -> Result<()> {
    let [old, new] = [0, 1].map(Ca::replacement);
    let stage = Stage::set().await?;
    let _operator = stage.by_operator(&old).await?;
    let before = stage.kubelet.stats();

    stage.kubelet.hold(SLOW);
    stage.world.put_ca(&new).await?;
    stuck(&stage, &old, &new).await;
    stage.handshakes(&before).await;
    stage.world.put_ca(&old).await?;
    stage.kubelet.release(SLOW);
    stage.settled(&old).await;
    stage.connected().await;
    none_failed(stage, &before).await;
    Ok(())
}

/// What the guide leaves to people: everything at once. The other scenarios could see a failure.
#[tokio::test]
async fn replacing_everything_at_once_fails_handshakes() -> Result<()> {
    let [old, new] = [0, 1].map(Ca::replacement);
    let stage = Stage::set().await?;
    stage.by_hand(&old).await?;
    stage.connected().await;
    let before = stage.kubelet.stats();
    stage.by_hand(&new).await?;
    for (namespace, name) in [(CONTROL_PLANE, "cluster-gateway".to_owned())]
        .into_iter()
        .chain(
            stage
                .world
                .plane_types()
                .map(|kind| (kind.namespace(), kind.deployment())),
        )
    {
        let api = stage.world.deployments(namespace);
        api.restart(&name).await?;
        rolled_out(&stage.world.admin, namespace, &name, PATIENCE).await?;
    }
    stage.connected().await;
    for (place, bundle) in stage.bundles().await {
        assert_eq!(pem_blocks(&bundle).len(), 1, "{place}: {bundle}");
    }
    let counted = stage.kubelet.stop().await.since(&before);
    assert!(counted.failed_by_certificate > 0, "{counted:#?}");
    println!(
        "{} handshakes failed by certificate",
        counted.failed_by_certificate
    );
    Ok(())
}
