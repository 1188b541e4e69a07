//! What is wanted: a trust domain, whatever declared it, and whether a leaf is what it asks for.

mod asked;
pub mod certmanager;
pub mod fitness;
mod issuance;
mod leaf;
mod left_behind;
mod names;
mod presets;
mod renewal;
mod settle;
mod trust_domain;

pub use asked::asked;
pub use issuance::{compile, desired, selected, selector_defect, selects};
pub use leaf::{BundlePlace, Desired, DesiredLeaf, Role, SecretForm};
pub use names::{ca_secret, home_bundle, identity, namespace, trust_secret};
pub use presets::{
    agent_of, default_namespace, generated_ca_profile, is_agent_of, key_algorithm, plane_type,
};
pub use renewal::{Renewal, renew_before, renewal_time};
pub use trust_domain::*;
