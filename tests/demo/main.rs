//! `make demo`: OpenChoreo's external CA guide, from nothing to its end state, done by one resource and checked.
//!
//! Read [`demo`] first: it is the table of contents. Everything runs on loopback, in temporary directories, and ends
//! with this process.

mod certificates;
mod checks;
mod issuance;
mod keep;
mod renewal;
mod screen;
mod stage;
mod table;
mod wiring;

use external_ca_tests::Result;
use external_ca_tests::crds::Release;
use screen::Screen;
use stage::Stage;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (mut keep, mut release) = (false, Release::V0_17);
    for argument in &arguments {
        match argument.as_str() {
            "--keep" => keep = true,
            "--release=v0.17" => release = Release::V0_17,
            "--release=v1.2" => release = Release::V1_2,
            _ => {
                eprintln!("usage: demo [--keep] [--release=v0.17|v1.2]");
                return ExitCode::from(2);
            }
        }
    }
    let mut screen = Screen::new(match release {
        Release::V0_17 => 9,
        Release::V1_2 => 11,
    });
    let outcome = tokio::select! {
        outcome = demo(&mut screen, release) => outcome,
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
async fn demo(screen: &mut Screen, release: Release) -> Result<(Stage, usize)> {
    screen.title("external-ca-operator: OpenChoreo's external CA guide, done by one resource");
    let stage = Stage::build(screen, release).await?;
    issuance::apply(screen, &stage).await?;
    let mut failed = table::check(screen, &stage).await? + wiring::check(screen, &stage).await?;
    if release == Release::V1_2 {
        failed += certificates::check(screen, &stage).await?;
    }
    failed += renewal::check(screen, &stage).await?;
    if release == Release::V1_2 {
        failed += certificates::replace(screen, &stage).await?;
    }
    screen.end();
    Ok((stage, failed))
}
