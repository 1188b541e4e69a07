//! What is: objects with the facts that decisions rest on, and the snapshot of one issuance.

mod authority;
pub mod discovery;
pub mod facts;
pub mod lenient;
mod observed;
pub mod snapshot;

pub use authority::{Authority, AuthorityState, GeneratedCa, Signing};
pub use observed::*;
