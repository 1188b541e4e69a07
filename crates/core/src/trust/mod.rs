//! Who trusts what, what has been loaded, and what may follow from it.

mod blocker;
mod edits;
pub mod evidence;
mod guards;
mod lost;
mod memory;
mod overlap;
mod place;
mod remembered;
pub mod restarts;
mod view;
mod waiting;

pub use blocker::{Blocker, Peer};
pub use guards::Guards;
pub use lost::{Lost, lost};
pub use memory::Memory;
pub(crate) use memory::since;
pub use overlap::Unproven;
pub use place::Place;
pub use view::View;
pub(crate) use view::{holds, shorts};
