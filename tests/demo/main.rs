//! `make demo`: OpenChoreo's external CA guide, from nothing to its end state, done by one resource and checked.
//!
//! Read [`demo`] first: it is the table of contents. Everything runs on loopback, in temporary directories, and ends
//! with this process.

mod checks;
mod issuance;
mod keep;
mod renewal;
mod screen;
mod stage;
mod table;
mod wiring;

use external_ca_tests::Result;
use screen::Screen;
use stage::Stage;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let keep = match arguments.as_slice() {
        [] => false,
        [flag] if flag == "--keep" => true,
        _ => {
            eprintln!("usage: demo [--keep]");
            return ExitCode::from(2);
        }
    };
    let mut screen = Screen::new();
    let outcome = tokio::select! {
        outcome = demo(&mut screen) => outcome,
        _ = tokio::signal::ctrl_c() => {
            eprintln!("\nInterrupted; everything is stopped.");
            return ExitCode::from(130);
        }
    };
    let (stage, failed) = match outcome {
        Ok(end) => end,
        Err(error) => {
            screen.failure(&error.to_string());
            return ExitCode::FAILURE;
        }
    };
    screen.summary(failed);
    if keep {
        keep::until_interrupted(&screen, &stage).await;
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The whole demo. Returns what runs, and how many checks failed.
async fn demo(screen: &mut Screen) -> Result<(Stage, usize)> {
    screen.title("external-ca-operator: OpenChoreo's external CA guide, done by one resource");
    let stage = Stage::build(screen).await?;
    issuance::apply(screen, &stage).await?;
    let failed = table::check(screen, &stage).await?
        + wiring::check(screen, &stage).await?
        + renewal::check(screen, &stage).await?;
    screen.end();
    Ok((stage, failed))
}
