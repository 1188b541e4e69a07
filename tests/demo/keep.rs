//! `KEEP=1`: everything goes on running, to look around.

use crate::screen::Screen;
use crate::stage::Stage;
use external_ca_tests::openchoreo::CONTROL_PLANE;
use external_ca_tests::world::{CA_SECRET, ISSUANCE};

/// Says what there is to see, and waits for Ctrl+C.
pub async fn until_interrupted(screen: &Screen, stage: &Stage) {
    let kubeconfig = stage.world.cluster.admin_kubeconfig().display();
    let (log, ca) = (stage.operator.log_file().display(), stage.ca_dir.display());
    println!(
        "\n{}",
        screen.bold("Everything goes on running. Look around:")
    );
    screen.command(format!("export KUBECONFIG={kubeconfig}"));
    for (command, why) in [
        ("kubectl get xca -A".to_owned(), ""),
        (
            format!("kubectl -n {CONTROL_PLANE} describe xca {ISSUANCE}"),
            "",
        ),
        ("kubectl get events -A".to_owned(), ""),
        (format!("tail -f {log}"), "the operator's log"),
        (
            format!(
                "kubectl -n {CONTROL_PLANE} annotate xca {ISSUANCE} pki.openchoreo.dev/renew=all"
            ),
            "renew now",
        ),
        (
            "kubectl -n openchoreo-data-plane delete configmap cluster-gateway-ca".to_owned(),
            "it comes back",
        ),
        (
            format!("kubectl -n {CONTROL_PLANE} delete secret {CA_SECRET}"),
            "Ready turns False and says why; bring it back with:",
        ),
        (
            format!(
                "kubectl -n {CONTROL_PLANE} create secret tls {CA_SECRET} --cert={ca}/ca.crt --key={ca}/ca.key"
            ),
            "",
        ),
    ] {
        match why {
            "" => screen.command(command),
            why => screen.command(format!("{command}   # {why}")),
        }
    }
    println!(
        "\n{}",
        screen.bold("Ctrl+C ends it, and nothing stays behind.")
    );
    let _ = tokio::signal::ctrl_c().await;
    println!();
}
