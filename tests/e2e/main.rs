//! The promise, end to end: real agents connect to a real gateway all the time, and what must not fail does not.
//!
//! Each scenario is alone on the machine: ten thousand handshakes want the processor for themselves.

mod internal;
mod rotation;
mod stage;
mod unseen;
