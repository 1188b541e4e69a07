//! The decisions of the operator: pure functions over one snapshot.
//!
//! No client, no async runtime, no clock, and no randomness but what a caller hands in. The shell observes
//! ([`observed`]), asks [`plan::plan`] what to do, and does it.

pub mod adopt;
pub mod bounded;
pub mod checks;
pub mod desired;
pub mod diagnosis;
pub mod discovery;
pub mod explain;
pub mod facts;
pub mod forecast;
pub mod lenient;
pub mod observed;
pub mod overlap;
pub mod plan;
pub mod reason;
pub mod rollout;
mod settle;
pub mod snapshot;
pub mod status;
pub mod trust;
pub mod windows;
pub mod x509;

pub use reason::{Problem, Reason};
