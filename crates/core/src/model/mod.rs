//! What is: objects with the facts that decisions rest on, and the snapshot of one issuance.

mod authority;
pub mod discovery;
pub mod facts;
pub mod lenient;
mod list;
mod observed;
mod pending;
mod refs;
pub mod snapshot;

pub use authority::{Authority, AuthorityState, GeneratedCa, Signing};
pub use list::{ListRef, Source, Unread};
pub use observed::*;
pub use pending::PendingLeaf;
pub use refs::*;
