//! A verb each.

mod adopt;
mod check;
mod plan;
mod status;

use std::process::ExitCode;

use crate::cli::{Cli, Command};
use crate::error::Error;
use crate::session::Session;

/// How a command that worked ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Fine,
    /// Something is not as it should be.
    Findings,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Fine => Self::SUCCESS,
            Exit::Findings => Self::from(3),
        }
    }
}

/// Runs what was asked for.
pub async fn run(cli: Cli) -> Result<Exit, Error> {
    match cli.command {
        Command::Status(args) => status::run(&Session::open(&cli.global).await?, &args).await,
        Command::Check(args) => check::run(&cli.global, &args).await,
        Command::Adopt(args) => adopt::run(&Session::open(&cli.global).await?, &args).await,
        Command::Plan(args) => plan::run(&Session::open(&cli.global).await?, &args).await,
    }
}
