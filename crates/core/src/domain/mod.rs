//! What is wanted: a trust domain, whatever declared it, and whether a leaf is what it asks for.

pub mod fitness;
mod issuance;
mod leaf;
mod renewal;
mod settle;
mod trust_domain;

pub use issuance::*;
pub use leaf::{Desired, DesiredLeaf, Role};
pub use renewal::{renew_before, renewal_time};
pub use trust_domain::*;
