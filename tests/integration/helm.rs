//! OpenChoreo's control-plane chart owns the ConfigMap of its namespace: the operator is in no install's way, and fills it.

use external_ca_tests::Result;
use external_ca_tests::helm::Helm;
use external_ca_tests::openchoreo::{CONTROL_PLANE, PLACEHOLDER};
use external_ca_tests::openssl::Ca;
use external_ca_tests::wait::{PATIENCE, wait_for};
use external_ca_tests::world::World;
use kube::api::DeleteParams;

const BUNDLE: &str = "cluster-gateway-ca";
const RELEASE: &str = "openchoreo-control-plane";

/// A chart with the ConfigMap as OpenChoreo's renders it.
async fn chart(world: &World) -> Result<Helm> {
    let helm = Helm::new(&world.cluster, CONTROL_PLANE, RELEASE).await?;
    let placeholder = PLACEHOLDER.replace('\n', "\n    ");
    helm.template(&format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {BUNDLE}\n  labels: {{revision: \"{{{{ .Release.Revision }}}}\"}}\ndata:\n  ca.crt: |\n    {placeholder}\n"
    ))?;
    Ok(helm)
}

async fn bundle(world: &World) -> Option<String> {
    let found = world
        .config_maps(CONTROL_PLANE)
        .get_opt(BUNDLE)
        .await
        .unwrap();
    found?.data?.remove("ca.crt")
}

async fn filled(world: &World, ca: &Ca) {
    wait_for(
        "the ConfigMap to hold the CA",
        PATIENCE,
        async || match bundle(world).await {
            Some(text) if text.trim() == ca.certificate.trim() => Ok(()),
            found => Err(format!("{found:?}")),
        },
    )
    .await;
    world.ready().await;
}

#[tokio::test]
async fn openchoreo_installs_before_and_after_the_operator() -> Result<()> {
    let world = World::any().await?;
    let [first, second] = [0, 1].map(Ca::replacement);
    world
        .config_maps(CONTROL_PLANE)
        .delete(BUNDLE, &DeleteParams::default())
        .await?;
    world.put_ca(&first).await?;
    world.put_planes().await?;
    let helm = chart(&world).await?;

    // The operator first: it makes none where nothing waits for it.
    let _operator = world.operator(None).await?;
    world.issue().await?;
    world.ready().await;
    assert_eq!(bundle(&world).await, None);
    helm.install().await?;
    filled(&world, &first).await;

    // Each upgrade puts the comments back; and a rotation in between is not held up by it.
    for round in 0..3 {
        helm.upgrade().await?;
        filled(&world, &first).await;
        let status = world.ready().await;
        assert_eq!(status.contested, [], "upgrade {round}");
    }
    world.put_ca(&second).await?;
    filled(&world, &second).await;

    // What Helm takes away stays away, and comes back filled.
    helm.uninstall().await?;
    assert_eq!(bundle(&world).await, None);
    world.annotate("pki.openchoreo.dev/renew", "all").await?;
    world.ready().await;
    assert_eq!(bundle(&world).await, None);
    helm.install().await?;
    filled(&world, &second).await;
    Ok(())
}
