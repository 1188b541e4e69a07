//! Issues a leaf: makes a key, has it signed, checks the answer, and writes both.

use external_ca_core::Problem;
use external_ca_core::x509::request;

use super::issue_later;
use super::leaf::Asking;
use crate::error::Error;
use crate::issuers::{Answers, IssuerError, Shown, Signed};

/// Carries the step out; nothing is told where the authority has left the request pending.
pub async fn carry_out(asking: &Asking<'_>) -> Result<Option<Problem>, Error> {
    match asking.issuer.answers() {
        Answers::AtOnce => at_once(asking).await.map(Some),
        Answers::Later => issue_later::carry_out(asking).await,
    }
}

async fn at_once(asking: &Asking<'_>) -> Result<Problem, Error> {
    let live = asking.look().await?;
    let key = asking.key(live.as_ref()).await?;
    asking.check_preconditions().await?;
    let csr = request(&key, &asking.step.profile)?;
    match asking.sign(&csr, None).await? {
        Signed::Issued(chain) => {
            let live = live.as_ref();
            asking.store(live, &key, &chain, asking.now).await
        }
        Signed::Pending(_) => {
            let why = Shown::new("it has left a request pending, and is said never to");
            Err(IssuerError::Misconfigured(why).into())
        }
    }
}
