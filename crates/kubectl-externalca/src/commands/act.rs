//! `renew`, `rotate`, `pause` and `resume`: what a person asks of an issuance.

use external_ca_api::{ExternalCAIssuance, Issuer, Phase, RENEW_ANNOTATION, ROTATE_ANNOTATION};
use external_ca_core::domain::{ca_secret, identity};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::exit::{Exit, print};
use super::follow::follow;
use crate::cli::{ActionArgs, Name, RenewArgs, Wait};
use crate::error::Error;
use crate::output::status::is_ready;
use crate::session::Session;

/// The field manager of what is asked for.
const MANAGER: &str = "kubectl-externalca";

/// Renews one certificate or all.
pub async fn renew(session: &Session, args: &RenewArgs) -> Result<Exit, Error> {
    let name = Name {
        name: args.issuance.clone(),
    };
    let issuance = session.one(&name).await?;
    let wanted = args.certificate.as_str();
    let before = serials(&issuance, wanted);
    if before.is_empty() && wanted != "all" {
        let all: Vec<String> = serials(&issuance, "all")
            .into_iter()
            .map(|(target, _)| target)
            .collect();
        return Err(Error::NotFound(format!(
            "{} has no certificate {wanted}; it has: {}",
            identity(&issuance),
            all.join(", ")
        )));
    }
    let patch = json!({"metadata": {"annotations": {RENEW_ANNOTATION: wanted}}});
    let what = format!("{}: renewing {wanted}", identity(&issuance));
    let asked = ask(session, &issuance, patch, &what).await?;
    let done = |now: &ExternalCAIssuance| {
        let after = serials(now, "all");
        let renewed = |(target, serial): &(String, Option<String>)| {
            let mut after = after.iter();
            after.any(|(other, now)| other == target && now != serial)
        };
        is_ready(now) && before.iter().all(renewed)
    };
    wait(session, &args.wait, asked, done).await
}

/// The certificates of that name, and their serial numbers.
fn serials(issuance: &ExternalCAIssuance, wanted: &str) -> Vec<(String, Option<String>)> {
    let status = issuance.status.as_ref();
    let certificates = status.map_or(&[][..], |status| &status.certificates);
    let named = certificates.iter().filter(|certificate| {
        let name = certificate.target.split_once('/').map(|(_, name)| name);
        wanted == "all" || certificate.target == wanted || name == Some(wanted)
    });
    named
        .map(|certificate| (certificate.target.clone(), certificate.serial.clone()))
        .collect()
}

/// Replaces the CA that the operator made.
pub async fn rotate(session: &Session, args: &ActionArgs) -> Result<Exit, Error> {
    let issuance = session.one(&args.issuance).await?;
    let Issuer::CaSecret(secret) = &issuance.spec.issuer;
    if !secret.generate {
        return Err(Error::NotFound(format!(
            "the operator did not make the CA of {}; to replace it, replace the content of Secret {}",
            identity(&issuance),
            ca_secret(&issuance)
        )));
    }
    let patch = json!({"metadata": {"annotations": {ROTATE_ANNOTATION: "now"}}});
    let what = format!("{}: replacing its CA", identity(&issuance));
    let asked = ask(session, &issuance, patch, &what).await?;
    let ca = |issuance: &ExternalCAIssuance| {
        let issuer = issuance.status.as_ref()?.issuer.as_ref()?;
        Some(issuer.fingerprint.clone())
    };
    let before = ca(&issuance);
    let done = |now: &ExternalCAIssuance| is_ready(now) && ca(now) != before;
    wait(session, &args.wait, asked, done).await
}

/// Stops an issuance.
pub async fn pause(session: &Session, args: &ActionArgs) -> Result<Exit, Error> {
    let done = |now: &ExternalCAIssuance| {
        let status = now.status.as_ref();
        status.is_some_and(|status| {
            status.phase == Some(Phase::Paused)
                && status.observed_generation == now.metadata.generation
        })
    };
    set_paused(session, args, true, done).await
}

/// Lets an issuance go on.
pub async fn resume(session: &Session, args: &ActionArgs) -> Result<Exit, Error> {
    set_paused(session, args, false, is_ready).await
}

async fn set_paused(
    session: &Session,
    args: &ActionArgs,
    paused: bool,
    done: impl Fn(&ExternalCAIssuance) -> bool,
) -> Result<Exit, Error> {
    let issuance = session.one(&args.issuance).await?;
    let word = if paused { "pausing" } else { "resuming" };
    let what = format!("{}: {word}", identity(&issuance));
    let patch = json!({"spec": {"paused": paused}});
    let asked = ask(session, &issuance, patch, &what).await?;
    wait(session, &args.wait, asked, done).await
}

async fn ask(
    session: &Session,
    issuance: &ExternalCAIssuance,
    patch: Value,
    what: &str,
) -> Result<ExternalCAIssuance, Error> {
    let params = PatchParams {
        field_manager: Some(MANAGER.into()),
        ..PatchParams::default()
    };
    let namespace = issuance.namespace().unwrap_or_default();
    let api: Api<ExternalCAIssuance> = Api::namespaced(session.client.clone(), &namespace);
    let asked = api
        .patch(&issuance.name_any(), &params, &Patch::Merge(patch))
        .await;
    let asked = asked.map_err(|error| Error::api(identity(issuance), error))?;
    print(&format!("{what}\n"))?;
    Ok(asked)
}

async fn wait(
    session: &Session,
    args: &Wait,
    asked: ExternalCAIssuance,
    done: impl Fn(&ExternalCAIssuance) -> bool,
) -> Result<Exit, Error> {
    match args.wait {
        Some(timeout) => follow(session, asked, timeout, done).await,
        None => Ok(Exit::Fine),
    }
}
