//! `plan`: what the operator would do.

use std::sync::Arc;

use external_ca_core::plan::plan;
use jiff::Timestamp;

use super::Exit;
use crate::cli::PlanArgs;
use crate::error::Error;
use crate::observe::Gathered;
use crate::session::Session;

/// Plans an issuance.
pub async fn run(session: &Session, args: &PlanArgs) -> Result<Exit, Error> {
    let issuance = Arc::new(session.one(&args.issuance).await?);
    let now = Timestamp::now();
    let gathered = Gathered::read(&session.client, &issuance, &[]).await;
    for note in &gathered.notes {
        eprintln!("note: {note}");
    }
    for step in plan(&gathered.observed(&issuance, now), now).steps {
        println!("{}", step.object());
    }
    Ok(Exit::Fine)
}
