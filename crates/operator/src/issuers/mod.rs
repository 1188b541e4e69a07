//! The issuer seam: a certificate request in; a certificate chain, a ticket or a refusal out. Keys and clients live in here. A
//! new issuer is one file and one variant.

mod ca_secret;
mod request;
mod self_signed;
#[cfg(feature = "test-authority")]
mod test_authority;

use std::sync::Arc;

use external_ca_core::model::{AuthorityState, ObjectRef, Read};
use external_ca_core::x509::{CaPem, CertificateAuthority};
use jiff::Timestamp;

use crate::cli::RunArgs;

pub use self_signed::{
    SELF_SIGNED, certificate as self_signed_certificate, ticket as self_signed_ticket,
};

pub use request::{Answers, IssuerError, Shown, Signed, SigningRequest, Ticket};

/// What is at hand to sign with, besides the keys of CA Secrets.
#[derive(Clone, Default)]
pub struct Issuers {
    #[cfg(feature = "test-authority")]
    test: Option<Arc<test_authority::TestAuthority>>,
}

/// What signs.
#[derive(Clone)]
pub enum Issuer {
    /// A CA with its key in a Secret.
    CaSecret(Arc<CertificateAuthority>),
    /// A leaf that is its own anchor.
    SelfSigned,
    /// A server of the test bed.
    #[cfg(feature = "test-authority")]
    Test(Arc<test_authority::TestAuthority>),
}

impl Issuers {
    /// As the operator is told at its start.
    pub fn new(_args: &RunArgs) -> Self {
        Self {
            #[cfg(feature = "test-authority")]
            test: _args.test_authority.map(test_authority::TestAuthority::at),
        }
    }

    /// Whether any of them may leave a request pending.
    pub fn answers(&self) -> Answers {
        #[cfg(feature = "test-authority")]
        if self.test.is_some() {
            return Answers::Later;
        }
        Answers::AtOnce
    }

    /// The authority of a CA Secret: its public side, and what signs, where it can be used.
    pub fn of_secret(
        &self,
        secret: &ObjectRef,
        pem: &Read<Arc<CaPem>>,
        now: Timestamp,
    ) -> (AuthorityState, Option<Issuer>) {
        let (state, ca) = ca_secret::open(secret, pem, now);
        #[cfg(feature = "test-authority")]
        if let Some(test) = &self.test {
            let state = with_identity(state, test.identity());
            return (state, ca.map(|_| Issuer::Test(Arc::clone(test))));
        }
        (state, ca.map(Issuer::CaSecret))
    }
}

/// The CA Secret tells the public side, and its key is not used.
#[cfg(feature = "test-authority")]
fn with_identity(mut state: AuthorityState, name: String) -> AuthorityState {
    if let AuthorityState::Ready { identity, .. } = &mut state {
        *identity = name;
    }
    state
}

impl Issuer {
    /// Its kind, as the field of `spec.issuer` spells it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::CaSecret(_) => "caSecret",
            Self::SelfSigned => SELF_SIGNED,
            #[cfg(feature = "test-authority")]
            Self::Test(_) => "test",
        }
    }

    /// Whether it may leave a request pending.
    pub fn answers(&self) -> Answers {
        match self {
            Self::CaSecret(_) => Answers::AtOnce,
            Self::SelfSigned => Answers::Later,
            #[cfg(feature = "test-authority")]
            Self::Test(_) => Answers::Later,
        }
    }

    /// Signs, or leaves the request pending. One that was made before is the same request, by its token.
    pub async fn sign(&self, request: &SigningRequest<'_>) -> Result<Signed, IssuerError> {
        match self {
            Self::CaSecret(ca) => ca_secret::sign(ca, request),
            Self::SelfSigned => self_signed::sign(),
            #[cfg(feature = "test-authority")]
            Self::Test(authority) => authority.sign(request).await,
        }
    }

    /// Asks for what a ticket stands for. Where the issuer knows the ticket no longer, the request is made again.
    pub async fn ask_again(
        &self,
        ticket: &Ticket,
        request: &SigningRequest<'_>,
    ) -> Result<Signed, IssuerError> {
        match self {
            Self::CaSecret(ca) => ca_secret::sign(ca, request),
            Self::SelfSigned => self_signed::ask_again(ticket),
            #[cfg(feature = "test-authority")]
            Self::Test(authority) => authority.ask_again(ticket, request).await,
        }
    }
}
