//! What is: objects, and the facts of them that decisions rest on.

mod authority;
mod cert_manager;
pub mod discovery;
pub mod facts;
mod injected;
pub mod lenient;
mod list;
mod observed;
mod pending;
mod pod;
mod refs;
pub mod refusal;

pub use authority::{Authority, AuthorityState, GeneratedCa, Signing};
pub use cert_manager::*;
pub use injected::*;
pub use list::{ListRef, Source, Unread};
pub use observed::*;
pub use pending::PendingLeaf;
pub use pod::{Controller, Life, Pod, Unready};
pub use refs::*;
