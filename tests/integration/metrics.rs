//! Series of an issuance on a real API server: there while it and its leaves are, and gone with them.

use external_ca_tests::Result;
use external_ca_tests::openchoreo::CONTROL_PLANE;
use external_ca_tests::openssl::Ca;
use external_ca_tests::wait::{PATIENCE, wait_for};
use external_ca_tests::world::{ISSUANCE, World};
use kube::api::DeleteParams;

#[tokio::test]
async fn series_come_and_go_with_leaves_and_issuances() -> Result<()> {
    let world = World::any().await?;
    world.put_ca(&Ca::guide()).await?;
    world.put_planes().await?;
    let operator = world.operator(None).await?;
    world.issue().await?;
    world.ready().await;
    let holds = async |what: &str, wanted: &[&str], unwanted: &[&str]| {
        wait_for(what, PATIENCE, async || {
            let text = operator
                .metrics()
                .await
                .map_err(|error| error.to_string())?;
            let there = |series: &&&str| text.lines().any(|line| line.starts_with(**series));
            if wanted.iter().all(|series| there(&series)) && !unwanted.iter().any(|one| there(&one))
            {
                Ok(())
            } else {
                Err(text)
            }
        })
        .await;
    };
    let own = format!(r#"namespace="{CONTROL_PLANE}",name="{ISSUANCE}""#);
    let ready = format!("external_ca_issuance_ready{{{own}}} 1");
    let agent = format!(
        r#"external_ca_certificate_renewal_timestamp_seconds{{{own},secret_namespace="openchoreo-data-plane",secret="cluster-agent-tls"}}"#
    );
    let signed =
        r#"external_ca_issuer_sign_duration_seconds_count{issuer="caSecret",result="signed"} 4"#;
    holds(
        "all series",
        &[&ready, &agent, signed, "external_ca_leader 1"],
        &[],
    )
    .await;

    let planes = world.planes("DataPlane").await?;
    planes.delete("dataplane", &DeleteParams::default()).await?;
    holds("the leaf's series gone", &[&ready], &[&agent]).await;

    let gone = DeleteParams::default();
    world.issuances().delete(ISSUANCE, &gone).await?;
    let any = "external_ca_issuance_ready{";
    holds(
        "the issuance's series gone",
        &["external_ca_leader 1"],
        &[any],
    )
    .await;
    Ok(())
}
