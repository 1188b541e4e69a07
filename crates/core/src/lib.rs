//! The decisions of the operator: pure functions over one snapshot.
//!
//! No client, no async runtime, no clock, and no randomness but what a caller hands in. The shell observes
//! ([`model`]), asks [`report::decide`] what to do, and does it.

#![forbid(unsafe_code)]

pub mod adopt;
pub mod diagnosis;
pub mod domain;
pub mod finding;
pub mod forecast;
pub mod model;
pub mod plan;
pub mod reason;
pub mod report;
pub mod snapshot;
pub mod trust;
pub mod x509;

pub use reason::{Problem, Reason};
