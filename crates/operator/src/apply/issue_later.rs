//! Issues a leaf from an authority that may leave the request pending: key and request are kept before it is asked, its ticket
//! before it is asked again, and the leaf's own Secret is made with the certificate only. Whatever dies in between, the same
//! request is gone on with.

use std::sync::Arc;

use external_ca_core::Problem;
use external_ca_core::domain::asked;
use external_ca_core::x509::request;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;

use super::leaf::Asking;
use crate::error::Error;
use crate::issuers::{IssuerError, Signed, Ticket};
use crate::pending::{Entry, Request};

/// However eager an authority is, it is left alone so long; and however slow, it is asked again by then.
const SHORTEST: SignedDuration = SignedDuration::from_secs(1);
const LONGEST: SignedDuration = SignedDuration::from_hours(24);

/// Asks, or asks again; nothing is told where the request is left pending.
pub async fn carry_out(asking: &Asking<'_>) -> Result<Option<Problem>, Error> {
    let pending = &asking.context.pending;
    let live = asking.look().await?;
    asking.check_preconditions().await?;
    let entry = kept(asking, live.as_ref()).await?;
    if entry.ticket.is_none() {
        // Another operator that leads may have stored the leaf while the request was kept, and is not to be outdone.
        asking.look().await?;
    }
    let Request { key, csr } = entry.request()?;
    let chain = match asking.sign(&csr, entry.ticket.as_ref()).await {
        Ok(Signed::Issued(chain)) => chain,
        Ok(Signed::Pending(ticket)) => {
            pending.keep_ticket(&entry, &bounded(ticket)).await?;
            return Ok(None);
        }
        Err(error @ IssuerError::Rejected(_)) => {
            pending.drop_request(&entry).await?;
            return Err(error.into());
        }
        Err(error) => return Err(error.into()),
    };
    // What held when it was asked, perhaps days ago, must hold now.
    let live = asking.look().await?;
    asking.check_preconditions().await?;
    let stored = asking.store(live.as_ref(), &key, &chain, Timestamp::now());
    let told = match stored.await {
        Err(Error::Issued(error)) if !error.passes() => {
            // The same request would get the same answer.
            pending.drop_request(&entry).await?;
            return Err(error.into());
        }
        stored => stored?,
    };
    if let Err(error) = pending.drop_request(&entry).await {
        // The next turn finds it beside the stored leaf.
        tracing::debug!(%error, target = %entry.target, "a request that is answered");
    }
    Ok(Some(told))
}

/// The request that waits for the leaf, or a new one.
async fn kept(asking: &Asking<'_>, live: Option<&Secret>) -> Result<Arc<Entry>, Error> {
    let Asking {
        context,
        declaration,
        observed,
        step,
        now,
        ..
    } = *asking;
    let owner = declaration.owner();
    let wanted = asked(&observed.authority, &step.profile).ok_or(Error::Changed)?;
    if let Some(entry) = context.pending.find(&step.target, &owner, &wanted).await? {
        return Ok(entry);
    }
    let key = asking.key(live).await?;
    let csr = request(&key, &step.profile)?;
    let new = Entry::new(&step.target, owner, wanted, &key, &csr, now);
    context.pending.keep(new).await
}

fn bounded(ticket: Ticket) -> Ticket {
    let now = Timestamp::now();
    let at = |pause| now.saturating_add(pause).unwrap_or(now);
    Ticket {
        ask_again: ticket.ask_again.min(at(LONGEST)).max(at(SHORTEST)),
        ..ticket
    }
}
