//! What is told of a plan: conditions, status and explanations. It stands above the plan, and nothing below knows it.

pub mod bounded;
pub mod explain;
mod failures;
pub mod status;

pub use failures::with_failures;
