//! The planner's rules as scenes: a snapshot in, steps and conditions out. Time is an argument, certificates are real.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod adopt;
mod bystanders;
mod clock;
mod conditions;
mod conflicts;
mod consumers;
mod contests;
mod declared;
mod diagnosis;
mod doctor_declared;
mod evidence;
mod forecast;
mod forged;
mod immediate;
mod issuer;
mod leaves;
mod left_behind;
mod lost;
mod ownership;
mod peers;
mod pending;
mod pieces;
mod planes;
mod proceed;
mod rollouts;
mod rotation;
mod scene;
mod setup;
mod strangers;
mod trust;
mod unseen;
mod windows;
