//! The test bed's own tests.

mod control_plane;
mod kubelet;
mod processes;
mod proxy;
