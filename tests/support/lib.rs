//! The test bed: a real control plane, a harness that plays node and kubelet, OpenChoreo's objects, an
//! API proxy that counts and breaks requests, and OpenSSL's view of certificates.
//!
//! Everything that runs in the background (processes, watches, forwarders) belongs to a value, and ends when that
//! value is dropped; what the value cannot end, because the test process was killed, ends with the test process
//! (see [`process`]). Nothing sleeps for luck: [`wait::wait_for`] polls a condition and says what it last saw.
//!
//! ```no_run
//! use external_ca_tests::{apply::*, kubelet::*, openchoreo, ControlPlane};
//! # async fn example() -> external_ca_tests::Result<()> {
//! let cluster = ControlPlane::start().await?;
//! let client = cluster.admin().await;
//! create_namespace(&client, "openchoreo-control-plane").await?;
//! apply_yaml(&client, &openchoreo::control_plane("openchoreo-control-plane")).await?;
//! let kubelet = Kubelet::start(&cluster, KubeletOptions::default()).await?;
//! # Ok(()) }
//! ```

pub mod apply;
pub mod authority;
pub mod background;
pub mod built;
pub mod cert_manager;
pub mod chart;
pub mod control_plane;
pub mod crds;
pub mod helm;
pub mod http;
pub mod kubeconfig;
pub mod kubelet;
pub mod openchoreo;
pub mod openssl;
pub mod operator;
pub mod plugin;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod scratch;
pub mod wait;
pub mod webhooks;
pub mod world;

pub use authority::TestAuthority;
pub use control_plane::ControlPlane;
pub use kubelet::{Kubelet, KubeletOptions};
pub use operator::{Operator, OperatorOptions};
pub use plugin::Plugin;
pub use proxy::Proxy;

/// What the test bed's own failures are: text for a person.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// A result of the test bed.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The repository's root directory.
pub fn repository() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests are one folder below the root")
}
