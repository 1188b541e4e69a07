//! A verb each.

mod act;
mod adopt;
mod check;
mod exit;
mod follow;
mod plan;
mod status;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::{Cli, Command};
use crate::error::Error;
use crate::session::Session;
use exit::{Exit, print};

/// Runs what was asked for.
pub async fn run(cli: Cli) -> Result<Exit, Error> {
    let session = async || Session::open(&cli.global).await;
    match cli.command {
        Command::Check(args) => check::run(&cli.global, &args).await,
        Command::Adopt(args) => adopt::run(&session().await?, &args).await,
        Command::Status(args) => status::run(&session().await?, &args).await,
        Command::Plan(args) => plan::run(&session().await?, &args).await,
        Command::Renew(args) => act::renew(&session().await?, &args).await,
        Command::Rotate(args) => act::rotate(&session().await?, &args).await,
        Command::Pause(args) => act::pause(&session().await?, &args).await,
        Command::Resume(args) => act::resume(&session().await?, &args).await,
        Command::Completion { shell } => completion(shell),
    }
}

fn completion(shell: Shell) -> Result<Exit, Error> {
    let mut script = Vec::new();
    clap_complete::generate(
        shell,
        &mut Cli::command(),
        "kubectl-externalca",
        &mut script,
    );
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Fine)
}
