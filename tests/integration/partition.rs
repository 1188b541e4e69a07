//! A namespace out of reach stops a rotation there, visibly, as a cluster would; nobody who may still need the old CA
//! loses it, and what comes back is taken along without a hand.

use external_ca_tests::openchoreo::CONTROL_PLANE;
use external_ca_tests::openssl::Ca;
use external_ca_tests::proxy::Fault;
use external_ca_tests::wait::{PATIENCE, wait_for};
use external_ca_tests::world::{ISSUANCE, World, describe};
use external_ca_tests::{Proxy, Result};

const LOST: &str = "openchoreo-observability-plane";
const BUNDLE: &str = "cluster-gateway-ca";

async fn bundle(world: &World, namespace: &str) -> String {
    let map = world.config_maps(namespace).get(BUNDLE).await.unwrap();
    map.data
        .unwrap_or_default()
        .remove("ca.crt")
        .unwrap_or_default()
}

#[tokio::test]
async fn a_namespace_out_of_reach_holds_the_rotation_until_it_is_back() -> Result<()> {
    let [old, new] = [0, 1].map(Ca::replacement);
    let world = World::any().await?;
    world.put_ca(&old).await?;
    world.put_planes().await?;
    let proxy = Proxy::start(&world.cluster).await?;
    let _operator = world.operator(Some(&proxy)).await?;
    world.issue().await?;
    world.ready().await;
    let server = world
        .secret_text(CONTROL_PLANE, "cluster-gateway-tls", "tls.crt")
        .await;

    proxy.set_fault(|request, _| match request.namespace == LOST {
        true => Fault::DropBefore,
        false => Fault::Pass,
    });
    proxy.cut();
    world.put_ca(&new).await?;
    wait_for(
        "the rotation to wait for the namespace",
        PATIENCE,
        async || {
            let found = world.issuances().get(ISSUANCE).await;
            let status = found
                .map_err(|error| error.to_string())?
                .status
                .unwrap_or_default();
            let named = status.conditions.iter().any(|condition| {
                condition.type_ == "Ready"
                    && condition.status == "False"
                    && condition.message.contains(LOST)
            });
            let spread = bundle(&world, CONTROL_PLANE)
                .await
                .contains(new.certificate.trim());
            match named && spread {
                true => Ok(()),
                false => Err(describe(&status)),
            }
        },
    )
    .await;
    assert_eq!(bundle(&world, LOST).await.trim(), old.certificate.trim());
    let still = world
        .secret_text(CONTROL_PLANE, "cluster-gateway-tls", "tls.crt")
        .await;
    assert_eq!(
        server, still,
        "the lost namespace does not trust the new CA yet"
    );
    let home = bundle(&world, CONTROL_PLANE).await;
    assert!(home.contains(old.certificate.trim()), "{home}");

    proxy.clear_fault();
    wait_for(
        "everybody to trust the new CA alone",
        PATIENCE,
        async || {
            for namespace in [CONTROL_PLANE, LOST] {
                let bundle = bundle(&world, namespace).await;
                if bundle.trim() != new.certificate.trim() {
                    let found = world
                        .issuances()
                        .get(ISSUANCE)
                        .await
                        .map_err(|error| error.to_string())?;
                    return Err(format!(
                        "{namespace} trusts others, too; {}",
                        describe(&found.status.unwrap_or_default())
                    ));
                }
            }
            Ok(())
        },
    )
    .await;
    world.ready().await;
    Ok(())
}
