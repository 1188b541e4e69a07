//! Certificates in, certificates out: parsing, minting and verifying, without IO and without a clock.
//!
//! Trust is judged as OpenChoreo's gateway and agents judge it, by the rules of Go's `crypto/x509`: what Go would
//! not accept is never handed out, and what Go accepts is not thought broken, but for what no TLS peer uses (keys of P-224,
//! DSA, X25519). What OpenSSL asks for beyond that (key identifiers, critical extensions) every minted certificate has.

mod bundle;
mod ca;
mod ca_chain;
mod ca_checks;
mod ca_error;
mod ca_pem;
mod certificate;
mod constraints;
mod der;
mod encode;
mod extensions;
mod facts;
mod fingerprint;
mod hex;
mod issued;
mod key;
mod key_algorithm;
mod mailbox;
mod mint;
mod names;
mod pem;
mod policy;
mod profile;
mod san;
mod shape;
mod signature;
mod stand_in;
mod uri;
mod verify;

pub use bundle::{Bundle, Unreadable, encode_bundle, parse_bundle};
pub use ca::CertificateAuthority;
pub use ca_chain::CaChain;
pub use ca_error::CaError;
pub use ca_pem::CaPem;
pub use certificate::Certificate;
pub use extensions::KeyUsage;
pub use facts::CertificateError;
pub use fingerprint::Fingerprint;
pub use hex::hex;
pub use issued::{IssuedError, check_issued};
pub use key::{KeyError, PrivateKey, generate, key_pair_matches};
pub use key_algorithm::KeyAlgorithm;
pub use mint::{
    BACKDATE, CaProfile, Csr, MintError, request, self_signed_ca, self_signed_leaf,
    sign_intermediate, sign_request,
};
pub use profile::{
    Asked, AskedKeyUsages, LeafProfile, MAX_COMMON_NAME, ProfileError, Style, Usages,
};
pub use san::San;
pub use stand_in::StandIn;
pub use verify::{VerifyError, verify};
