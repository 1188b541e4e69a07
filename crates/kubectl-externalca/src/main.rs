//! `kubectl externalca`: what an issuance is doing, what it would do, and what to ask of it.

#![forbid(unsafe_code)]

mod cli;
mod commands;
mod connect;
#[cfg(test)]
mod documented;
mod error;
mod input;
mod observe;
mod output;
mod session;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    match runtime.block_on(commands::run(cli)) {
        Ok(exit) => exit.into(),
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}
