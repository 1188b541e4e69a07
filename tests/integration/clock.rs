//! A clock that is not the API server's: nothing is dated by it.

use external_ca_tests::openchoreo::CONTROL_PLANE;
use external_ca_tests::openssl::Ca;
use external_ca_tests::world::{World, message};
use external_ca_tests::{Proxy, Result};
use jiff::SignedDuration;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;

#[tokio::test]
async fn nothing_is_issued_until_the_clock_is_the_api_servers() -> Result<()> {
    let world = World::any().await?;
    world.put_ca(&Ca::guide()).await?;
    world.put_planes().await?;
    let proxy = Proxy::start(&world.cluster).await?;
    // By the answers, the operator's clock is 400 days late.
    proxy.shift_dates(SignedDuration::from_hours(400 * 24));
    let operator = world.operator(Some(&proxy)).await?;
    world.issue().await?;
    let status = world.condition("IssuerReady", "False", "ClockOff").await;
    let told = message(&status, "IssuerReady");
    assert!(told.contains("400 days behind the API server's"), "{told}");
    assert!(message(&status, "Ready").contains(&told), "{status:?}");
    world.condition("TrustDistributed", "True", "Ready").await;
    let leaf = || world.secret_text(CONTROL_PLANE, "cluster-gateway-tls", "tls.crt");
    assert_eq!(leaf().await, "", "nothing is signed");
    assert!(operator.log().contains("\"reason\":\"ClockOff\""));
    let events: Api<Event> = Api::namespaced(world.admin.clone(), CONTROL_PLANE);
    let events = events.list(&ListParams::default()).await?;
    let mut reasons = events.iter().filter_map(|event| event.reason.as_deref());
    assert!(reasons.any(|reason| reason == "ClockOff"));

    proxy.shift_dates(SignedDuration::ZERO);
    proxy.cut();
    world.ready().await;
    assert!(leaf().await.contains("BEGIN CERTIFICATE"));
    Ok(())
}
