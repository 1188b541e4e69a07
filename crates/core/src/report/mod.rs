//! What is told of a plan: conditions, status, Events and explanations. It stands above the plan, and nothing below knows
//! it.

pub mod bounded;
pub mod certificates;
mod conditions;
mod decision;
pub mod explain;
mod failures;
mod notice;
pub mod status;
mod text;

pub use decision::{Decision, decide, decide_declared, declared_without_memory, without_memory};
pub use failures::with_failures;
pub use notice::Notice;
pub use text::message;
