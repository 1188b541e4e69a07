//! `status`: from the issuance alone where it is named, so that `get` on it is all that is needed; else beside what
//! cert-manager's objects declare.

use std::time::Duration;

use external_ca_api::ExternalCAIssuance;
use external_ca_core::diagnosis::Survey;
use jiff::Timestamp;

use super::exit::{Exit, print};
use crate::cli::{Format, StatusArgs};
use crate::error::Error;
use crate::observe::declared;
use crate::output::{self, status};
use crate::session::Session;

/// How often it is looked at with `--watch`.
const INTERVAL: Duration = Duration::from_secs(1);
/// What cert-manager's objects declare is many reads: so many looks take one of them.
const LOOKS: u32 = 5;

/// What is shown.
#[derive(PartialEq)]
struct Shown {
    issuances: Vec<ExternalCAIssuance>,
    survey: Option<Survey>,
}

/// Shows issuances.
pub async fn run(session: &Session, args: &StatusArgs) -> Result<Exit, Error> {
    let shown = Shown::read(session, args).await?;
    shown.print(session)?;
    if args.watch {
        follow(session, args, shown).await
    } else if shown.is_well() {
        Ok(Exit::Fine)
    } else {
        Ok(Exit::Findings)
    }
}

/// Shows it again whenever it changes, until it is interrupted.
async fn follow(session: &Session, args: &StatusArgs, mut shown: Shown) -> Result<Exit, Error> {
    let mut looks = 0;
    loop {
        tokio::time::sleep(INTERVAL).await;
        looks = (looks + 1) % LOOKS;
        let new = match looks {
            0 => Shown::read(session, args).await?,
            _ => Shown {
                issuances: session.list(args.name.as_deref()).await?,
                survey: shown.survey.clone(),
            },
        };
        if new != shown {
            print("\n")?;
            new.print(session)?;
            shown = new;
        }
    }
}

impl Shown {
    async fn read(session: &Session, args: &StatusArgs) -> Result<Self, Error> {
        let name = args.name.as_deref();
        let issuances = session.list(name).await?;
        let survey = match name {
            Some(_) => None,
            None => survey(session).await,
        };
        match issuances.is_empty() && survey.is_none() {
            true => Err(session.not_found(name)),
            false => Ok(Self { issuances, survey }),
        }
    }

    fn is_well(&self) -> bool {
        let domains = self.survey.as_ref().is_none_or(Survey::is_well);
        domains && self.issuances.iter().all(status::is_ready)
    }

    fn print(&self, session: &Session) -> Result<(), Error> {
        let now = Timestamp::now();
        let text = match session.format {
            Format::Table | Format::Wide => {
                let wide = session.format == Format::Wide;
                let issuances = self.issuances.iter();
                let trees =
                    issuances.map(|issuance| status::tree(issuance, now, wide, session.paint));
                let survey = self.survey.iter();
                let forest = survey.map(|survey| status::forest(survey, now, wide, session.paint));
                trees.chain(forest).collect::<Vec<_>>().join("\n")
            }
            Format::Json => output::json(&self.object())?,
            Format::Yaml => output::yaml(&self.object())?,
        };
        print(&text)
    }

    /// As kubectl prints them, with what cert-manager's objects declare beside them.
    fn object(&self) -> serde_json::Value {
        let mut object = output::list(&self.issuances);
        if let (Some(survey), Some(fields)) = (&self.survey, object.as_object_mut()) {
            fields.insert("certManager".to_owned(), serde_json::json!(survey));
        }
        object
    }
}

/// Nothing where there is nothing to tell.
async fn survey(session: &Session) -> Option<Survey> {
    let seen = declared(&session.client, session.namespace.as_deref()).await?;
    let survey = Survey::new(&seen, &seen.compiled(), Timestamp::now());
    (!survey.is_empty()).then_some(survey)
}
