//! `status`: from the issuance alone, so that `get` on it is all that is needed.

use std::time::Duration;

use external_ca_api::ExternalCAIssuance;
use jiff::Timestamp;

use super::exit::{Exit, print};
use crate::cli::{Format, StatusArgs};
use crate::error::Error;
use crate::output::{self, status};
use crate::session::Session;

/// How often it is looked at with `--watch`.
const INTERVAL: Duration = Duration::from_secs(1);

/// Shows issuances.
pub async fn run(session: &Session, args: &StatusArgs) -> Result<Exit, Error> {
    let name = args.name.as_deref();
    let mut shown = session.find(name).await?;
    show(session, &shown)?;
    if args.watch {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let new = session.find(name).await?;
            if new != shown {
                print("\n")?;
                show(session, &new)?;
                shown = new;
            }
        }
    }
    let ready = shown.iter().all(status::is_ready);
    Ok(if ready { Exit::Fine } else { Exit::Findings })
}

fn show(session: &Session, issuances: &[ExternalCAIssuance]) -> Result<(), Error> {
    let now = Timestamp::now();
    let text = match session.format {
        Format::Table | Format::Wide => {
            let wide = session.format == Format::Wide;
            let trees = issuances
                .iter()
                .map(|issuance| status::tree(issuance, now, wide, session.paint));
            trees.collect::<Vec<_>>().join("\n")
        }
        Format::Json => output::json(&output::list(issuances))?,
        Format::Yaml => output::yaml(&output::list(issuances))?,
    };
    print(&text)
}
