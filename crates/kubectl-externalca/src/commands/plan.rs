//! `plan`: what the operator would do, to the end.

use std::sync::Arc;

use external_ca_api::ExternalCAIssuance;
use external_ca_core::Reason;
use external_ca_core::domain::identity;
use external_ca_core::forecast::forecast;
use external_ca_core::model::{AuthorityState, Material, Observed, Read, Signing};
use external_ca_core::snapshot::public_chain;
use external_ca_core::x509::CaChain;
use jiff::Timestamp;
use kube::ResourceExt;

use super::exit::{Exit, print};
use crate::cli::{Format, PlanArgs};
use crate::error::Error;
use crate::input::{self, Documents};
use crate::observe::Gathered;
use crate::output;
use crate::output::plan::PlanView;
use crate::session::Session;

/// Plans an issuance.
pub async fn run(session: &Session, args: &PlanArgs) -> Result<Exit, Error> {
    let now = Timestamp::now();
    let documents = match &args.filename {
        Some(path) => input::documents(path)?,
        None => Documents::default(),
    };
    let ca = match &args.ca {
        Some(path) => Some(input::ca(path, now)?),
        None => None,
    };
    let mut issuance = match documents.issuance {
        Some(file) => planned(session, file).await?,
        None => session.one(&args.issuance).await?,
    };
    let paused = std::mem::take(&mut issuance.spec.paused);
    let issuance = Arc::new(issuance);
    let gathered = Gathered::read(&session.client, &issuance, &documents.planes).await;
    let mut observed = gathered.observed(&issuance, now);
    let mut notes = gathered.notes;
    match ca {
        Some(chain) => observed.authority.state = without_key(chain),
        None => notes.extend(without_secret(&mut observed, now)),
    }
    let forecast = forecast(&observed, now)?;
    let unknown = |read: &Arc<Read<Material>>| matches!(read.as_ref(), Read::Unknown(_));
    let partial = !observed.unreadable.is_empty() || observed.material.values().any(unknown);
    let view = PlanView::new(identity(&issuance), (paused, partial), &forecast, notes);
    let text = match session.format {
        Format::Table | Format::Wide => view.table(session.paint),
        Format::Json => output::json(&view)?,
        Format::Yaml => output::yaml(&view)?,
    };
    print(&text)?;
    Ok(if view.end.ready {
        Exit::Fine
    } else {
        Exit::Findings
    })
}

/// The issuance of a file, over the live one if there is one.
async fn planned(
    session: &Session,
    mut file: ExternalCAIssuance,
) -> Result<ExternalCAIssuance, Error> {
    let own = session.namespace.clone().unwrap_or_default();
    let namespace = file.namespace().unwrap_or(own);
    file.metadata.namespace = Some(namespace.clone());
    let api: kube::Api<ExternalCAIssuance> =
        kube::Api::namespaced(session.client.clone(), &namespace);
    let live = api.get_opt(&file.name_any()).await;
    let live = live.map_err(|error| Error::api(identity(&file), error))?;
    Ok(input::applied(file, live))
}

/// Where the CA Secret may not be read, the bundles show the CA's certificate.
fn without_secret(observed: &mut Observed, now: Timestamp) -> Option<String> {
    let AuthorityState::Refused(problem) = &observed.authority.state else {
        return None;
    };
    if problem.reason != Reason::CASecretUnreadable {
        return None;
    }
    let chain = public_chain(observed, now)?;
    let note = format!(
        "the CA is taken to be {} still, as the issuance's status and the bundles say",
        chain.certificate().subject()
    );
    observed.authority.state = without_key(chain);
    Some(note)
}

/// A CA of which only the certificates are at hand.
fn without_key(chain: CaChain) -> AuthorityState {
    AuthorityState::Ready {
        chain: Arc::new(chain),
        signing: Signing::Elsewhere,
        identity: "caSecret".to_owned(),
    }
}
