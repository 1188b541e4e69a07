//! `check`: what is wrong, why, and what to do.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;

use external_ca_api::ExternalCAIssuance;
use external_ca_core::diagnosis::{self, Declarations, FileRole, Files, Finding, Severity};
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::exit::{Exit, print};
use crate::cli::{CheckArgs, FilesArgs, Global, Role};
use crate::connect;
use crate::error::Error;
use crate::input::bytes;
use crate::observe::{Gathered, declared, extra, operator};
use crate::output::{Paint, findings};
use crate::session::Session;

/// Checks issuances, or files without any cluster.
pub async fn run(global: &Global, args: &CheckArgs) -> Result<Exit, Error> {
    let found = match (&args.files.ca, &args.files.cert, args.files.role) {
        (Some(ca), Some(cert), Some(role)) => files(&args.files, ca, cert, role)?,
        _ => {
            let session = Session::open(global).await?;
            everything(&session, args).await?
        }
    };
    let paint = Paint::for_stdout(
        std::io::stdout().is_terminal(),
        std::env::var_os("NO_COLOR"),
    );
    print(&findings::render(&found, global.output, paint)?)?;
    let is_note = |finding: &Finding| finding.severity == Severity::Note;
    Ok(if found.iter().all(is_note) {
        Exit::Fine
    } else {
        Exit::Findings
    })
}

/// Issuances, and where none is named what cert-manager's objects declare.
async fn everything(session: &Session, args: &CheckArgs) -> Result<Vec<Finding>, Error> {
    let name = args.name.as_deref();
    let issuances = session.list(name).await?;
    let declared = match name {
        Some(_) => None,
        None => declarations(session).await,
    };
    if issuances.is_empty() && declared.is_none() {
        return Err(session.not_found(name));
    }
    let mut found = Vec::new();
    for issuance in issuances {
        found.extend(cluster(session, Arc::new(issuance), args).await?);
    }
    if let Some(declared) = declared {
        diagnosis::join(&mut found, diagnosis::declared(&declared, Timestamp::now()));
    }
    Ok(found)
}

async fn declarations(session: &Session) -> Option<Declarations> {
    let mut found = declared(&session.client, session.namespace.as_deref()).await?;
    let (operator, denied) = operator(&session.client).await;
    found.operator = operator;
    found.denied.extend(denied);
    Some(found)
}

async fn cluster(
    session: &Session,
    issuance: Arc<ExternalCAIssuance>,
    args: &CheckArgs,
) -> Result<Vec<Finding>, Error> {
    let gathered = Gathered::read(&session.client, &issuance, &[]).await;
    let extra = extra(&session.client, &issuance, &gathered.seen).await;
    let now = Timestamp::now();
    let observed = gathered.observed(&issuance, now);
    let mut found = diagnosis::diagnose(&observed, &extra, now);
    if let Some(address) = &args.connect {
        let address = Some(address.as_str()).filter(|address| !address.is_empty());
        let more = connect::check(&session.client, &observed, address).await?;
        diagnosis::join(&mut found, more);
    }
    Ok(found)
}

fn files(args: &FilesArgs, ca: &Path, cert: &Path, role: Role) -> Result<Vec<Finding>, Error> {
    let key = args
        .key
        .as_deref()
        .map(bytes)
        .transpose()?
        .map(Zeroizing::new);
    let (ca_text, cert_text) = (bytes(ca)?, bytes(cert)?);
    let files = Files {
        ca: (&ca.to_string_lossy(), &ca_text),
        certificate: (&cert.to_string_lossy(), &cert_text),
        key: key.as_ref().map(|key| key.as_slice()),
        role: match role {
            Role::Server => FileRole::Server,
            Role::Client => FileRole::Client,
        },
        plane_id: args.plane_id.as_deref(),
        dns: &args.dns,
    };
    Ok(diagnosis::files(&files, Timestamp::now()))
}
