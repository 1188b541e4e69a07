//! Kubernetes objects in, facts out: what the planner needs of an object, and no private key.

mod arguments;
mod cert_manager;
mod loaded;
mod managed;
mod material;
mod mounts;
mod plane;
mod pod;
mod workload;

pub use arguments::flag;
pub use cert_manager::{
    INJECT_FROM_CERTIFICATE, INJECT_FROM_SECRET, cert_manager, injected, let_go_of,
};
pub use loaded::{decode_loaded, encode_loaded};
pub use managed::request;
pub use material::{MAX_PEM, config_map, config_map_certificates, handed_out, hash, secret};
pub use plane::{ClientCaTooLarge, plane};
pub use pod::{SlimPod, pod};
pub use workload::{daemon_set, deployment, stateful_set};
