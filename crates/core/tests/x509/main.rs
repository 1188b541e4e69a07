//! Certificates, cross-checked with OpenSSL and with Go's `crypto/x509`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod agreement;
mod awkward;
mod awkward_names;
mod bundles;
mod der;
mod differential;
mod go_refuses;
mod keys;
mod minting;
mod mutate;
mod odd_cas;
mod profiles;
mod refused;
mod support;
