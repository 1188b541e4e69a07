//! The one resource.

use crate::screen::{Screen, seconds};
use crate::stage::Stage;
use external_ca_api::ExternalCAIssuanceStatus;
use external_ca_tests::Result;
use external_ca_tests::apply::apply_yaml;
use external_ca_tests::process::tail;
use external_ca_tests::wait::try_wait_for;
use external_ca_tests::world::{ISSUANCE, describe};
use std::time::{Duration, Instant};

const SMALLEST: &str = "\
apiVersion: pki.openchoreo.dev/v1alpha1
kind: ExternalCAIssuance
metadata: {name: cluster-gateway, namespace: openchoreo-control-plane}
spec:
  issuer:
    caSecret: {name: cluster-gateway-external-ca}
";
const PATIENCE: Duration = Duration::from_secs(180);

/// Applies the smallest issuance and waits until it is Ready.
pub async fn apply(screen: &mut Screen, stage: &Stage) -> Result<()> {
    screen.step("Apply one ExternalCAIssuance and wait until it is Ready");
    SMALLEST.lines().for_each(|line| screen.say(line));
    let start = Instant::now();
    apply_yaml(&stage.world.admin, SMALLEST).await?;
    let mut shown = String::new();
    let ready = try_wait_for("the issuance to be Ready", PATIENCE, async || {
        let status = status(stage).await.map_err(|error| error.to_string())?;
        let line = progress(&status);
        if line != shown {
            screen.note(format!("+{:>6}  {line}", seconds(start.elapsed())));
            shown = line;
        }
        match is_ready(&status) {
            true => Ok(()),
            false => Err(describe(&status)),
        }
    });
    if let Err(problem) = ready.await {
        let log = tail(&stage.operator.log(), 15);
        return Err(format!("{problem}\nThe end of the operator's log:\n{log}").into());
    }
    Ok(())
}

/// The issuance's status now.
pub async fn status(stage: &Stage) -> Result<ExternalCAIssuanceStatus> {
    let issuance = stage.world.issuances().get(ISSUANCE).await?;
    Ok(issuance.status.unwrap_or_default())
}

/// Whether the Ready condition is True.
pub fn is_ready(status: &ExternalCAIssuanceStatus) -> bool {
    status
        .conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn progress(status: &ExternalCAIssuanceStatus) -> String {
    let Some(phase) = status.phase else {
        return "the operator has not looked yet".to_owned();
    };
    let wired = status.planes.iter().filter(|plane| plane.wired).count();
    format!(
        "{phase:?}: certificates {}, planes wired {wired}/{}, workloads to restart {}",
        status.certificates_ready.as_deref().unwrap_or("-"),
        status.planes.len(),
        status.rollouts.len()
    )
}
