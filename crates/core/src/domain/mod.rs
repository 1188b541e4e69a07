//! What is wanted.

pub mod fitness;
mod issuance;
mod renewal;
mod settle;

pub use issuance::*;
pub use renewal::{renew_before, renewal_time};
