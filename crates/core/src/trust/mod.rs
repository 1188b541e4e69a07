//! Who trusts what, what has been loaded, and what may follow from it.

pub mod evidence;
pub mod overlap;
mod view;

pub use view::*;
