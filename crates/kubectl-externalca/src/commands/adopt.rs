//! `adopt`: the issuance that takes over what exists, and what would change.

use std::sync::Arc;

use external_ca_api::ExternalCAIssuance;
use external_ca_core::adopt::{Adoption, Installation, adopt, minimal};
use external_ca_core::model::{MaterialRef, ObjectRef};
use external_ca_core::plan::{IssueLeaf, Step, WriteBundle};
use external_ca_core::report::{decide, message};
use external_ca_core::x509::CaChain;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::json;

use super::exit::{Exit, print};
use crate::cli::{AdoptArgs, Format};
use crate::error::Error;
use crate::observe::{Gathered, ca_of, extra};
use crate::output;
use crate::session::Session;

/// Prints the issuance; what would change stands in comments, in other formats on standard error.
pub async fn run(session: &Session, args: &AdoptArgs) -> Result<Exit, Error> {
    let namespace = session.namespace.as_deref().ok_or_else(|| {
        Error::NotFound(
            "adopt wants the control plane's namespace: -n openchoreo-control-plane".into(),
        )
    })?;
    let installation = installation(session, namespace).await?;
    let Adoption { issuance, notes } = adopt(&installation, &args.name);
    let changes = changes(session, &issuance).await;
    let lines: Vec<String> = notes
        .iter()
        .map(|note| format!("note: {note}"))
        .chain(changes)
        .collect();
    let object = minimal(&issuance);
    let text = match session.format {
        Format::Table | Format::Wide | Format::Yaml => {
            let comments = lines.iter().map(|line| format!("# {line}\n"));
            comments.collect::<String>() + &output::yaml(&object)?
        }
        Format::Json => {
            lines.iter().for_each(|line| eprintln!("{line}"));
            output::json(&object)?
        }
    };
    print(&text)?;
    Ok(Exit::Fine)
}

/// What the operator would do with that issuance.
async fn changes(session: &Session, issuance: &ExternalCAIssuance) -> Vec<String> {
    let issuance = Arc::new(issuance.clone());
    let gathered = Gathered::read(&session.client, &issuance, &[]).await;
    let now = Timestamp::now();
    let plan = decide(&gathered.observed(&issuance, now), now);
    let mut lines: Vec<String> = plan.steps.iter().map(describe).collect();
    if lines.is_empty() && plan.problems.is_empty() {
        lines.push("nothing would change: all fits".into());
    }
    let problems = plan.problems.iter();
    lines.extend(problems.map(|noted| format!("{}: {}", noted.problem.reason, message(noted))));
    lines
}

fn describe(step: &Step) -> String {
    let object = step.object();
    match step {
        Step::GenerateCa(_) => format!("would make a CA: {object}"),
        Step::WriteBundle(WriteBundle {
            resource_version: None,
            ..
        }) => format!("would make the bundle {object}"),
        Step::WriteBundle(_) => format!("would add to the bundle {object}"),
        Step::WirePlane(_) => format!("would write the clientCA of {object}"),
        Step::InjectBundle(_) => format!("would write the caBundle of {object}"),
        Step::IssueLeaf(IssueLeaf { why, .. }) => {
            format!("would issue {object} anew: {}", why.message)
        }
        Step::Restart(_) => format!("would restart {object}"),
        Step::DropRequest(_) => format!("would drop the {object}"),
        Step::Consume(_) => format!("would remove the {object}"),
    }
}

async fn installation(session: &Session, namespace: &str) -> Result<Installation, Error> {
    // The guide's names first: who mounts what is found from there.
    let name = "cluster-gateway-external-ca";
    let guide: ExternalCAIssuance = serde_json::from_value(json!({
        "apiVersion": "pki.openchoreo.dev/v1alpha1", "kind": "ExternalCAIssuance",
        "metadata": {"name": "adopt", "namespace": namespace},
        "spec": {"issuer": {"caSecret": {"name": name}}},
    }))
    .map_err(|error| Error::Output(error.to_string()))?;
    let gathered = Gathered::read(&session.client, &guide, &[]).await;
    let extra = extra(&session.client, &guide, &gathered.seen).await;
    let mounted: Vec<MaterialRef> = gathered
        .seen
        .workloads
        .values()
        .filter(|workload| extra.workloads.contains_key(&workload.workload))
        .flat_map(|workload| workload.mounts.iter().cloned())
        .collect();
    let gateways = extra
        .workloads
        .iter()
        .filter(|(_, detail)| detail.is_gateway);
    Ok(Installation {
        namespace: namespace.to_owned(),
        authorities: authorities(session, namespace).await?,
        material: gathered.with_material(&session.client, mounted).await,
        planes: gathered.seen.planes.values().cloned().collect(),
        workloads: gathered.seen.workloads.values().cloned().collect(),
        gateways: gateways.map(|(workload, _)| workload.clone()).collect(),
        certificates: extra.certificates,
    })
}

/// The CAs whose keys stand in Secrets of the namespace.
async fn authorities(
    session: &Session,
    namespace: &str,
) -> Result<Vec<(ObjectRef, Arc<CaChain>)>, Error> {
    let api: Api<Secret> = Api::namespaced(session.client.clone(), namespace);
    let found = api.list(&ListParams::default()).await;
    let found = found.map_err(|error| {
        Error::api(
            format!("the Secrets of {namespace}, to find the CA's"),
            error,
        )
    })?;
    let now = Timestamp::now();
    let authority = |secret: &Secret| {
        let ca = ca_of(secret, now).ok()?;
        Some((ObjectRef::new(namespace, secret.name_any()), ca))
    };
    Ok(found.iter().filter_map(authority).collect())
}
