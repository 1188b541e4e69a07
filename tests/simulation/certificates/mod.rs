//! cert-manager's objects beside the issuance: a CA with its server and clients, a webhook's certificate with the bundles that
//! API servers verify it by, and all that becomes of them.

pub mod api_servers;
pub mod judge;
pub mod mutants;
pub mod operator;
pub mod people;
mod pods;
pub mod rest;
mod signers;
pub mod story;
pub mod world;
mod writes;
