//! What the operator would do from a snapshot on, turn by turn, to its end: each plan's steps have the effect that they
//! are meant to have, workloads load what is stored, and it is planned again. Nothing is done, and no real key signs.

mod counterparts;
mod world;

use std::sync::Arc;

use external_ca_api::ExternalCAIssuanceStatus;
use jiff::Timestamp;

use crate::model::{Observed, WorkloadRef};
use crate::plan::Step;
use crate::report::decide;
use crate::report::explain::explain;
use crate::x509::{Certificate, MintError, StandIn};

use counterparts::{replace, restore, restore_status};
use world::World;

/// A rotation of a thousand planes, one by one, has fewer.
const MAX_TURNS: usize = 10_000;
/// How often time alone must have passed in vain before the end is reached.
const PATIENCE: usize = 10;

/// One thing that would be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    /// What.
    pub step: Step,
    /// Why.
    pub why: String,
}

/// What would be done at once: one plan.
#[derive(Clone, Debug)]
pub struct Turn {
    /// Not before this; none where it follows at once, or once the workloads restarted before have come back.
    pub not_before: Option<Timestamp>,
    /// In order; those of one round side by side.
    pub moves: Vec<Move>,
    /// What waits meanwhile, and what for.
    pub waiting: Vec<String>,
    /// The workloads that must finish their rollout before the next turn.
    pub rollouts: Vec<WorkloadRef>,
}

/// The turns to the end, and the status then.
#[derive(Clone, Debug)]
pub struct Forecast {
    /// In order.
    pub turns: Vec<Turn>,
    /// The status at the end.
    pub end: ExternalCAIssuanceStatus,
    /// Whether it comes to rest.
    pub at_rest: bool,
}

/// Forecasts. Fails where a CA's certificate cannot be stood in for.
pub fn forecast(observed: &Observed, now: Timestamp) -> Result<Forecast, MintError> {
    let authority = observed.authority.chain();
    let stand_in = authority.map(|real| StandIn::of(real)).transpose()?;
    let signer = stand_in.as_ref().map(|one| Arc::clone(one.authority()));
    let mut world = World::new(observed.clone(), signer, now);
    if let Some(stand_in) = &stand_in {
        replace(&mut world.observed, stand_in)?;
    }
    let real = |certificate: &Certificate| match &stand_in {
        Some(stand_in) => stand_in.restore(certificate),
        None => certificate.clone(),
    };
    let mut turns: Vec<Turn> = Vec::new();
    let (mut vain, mut not_before) = (0, None);
    loop {
        let planned = decide(&world.observed, world.now);
        let news = world.observed.issuance.status.as_ref() != Some(&planned.status);
        let moves: Vec<Move> = planned
            .steps
            .iter()
            .map(|step| Move {
                why: explain(&world.observed, step, real),
                step: restore(step, real),
            })
            .collect();
        let at_rest = moves.is_empty();
        world.store_status(&planned.status);
        if !at_rest {
            turns.push(Turn {
                not_before: not_before.take(),
                moves,
                waiting: waiting(&planned.status),
                rollouts: Vec::new(),
            });
            vain = 0;
            world.apply(&planned)?;
        } else if let Some(rollouts) = world.finish_rollouts() {
            if let Some(turn) = turns.last_mut() {
                turn.rollouts.extend(rollouts);
            }
            vain = 0;
        } else if vain < PATIENCE && (news || waits_for_time(&planned.status)) {
            // The status comes first and the step next; or a window opens, or an overlap passes.
            if !news {
                world.now = planned.next_check.max(world.now);
                not_before = Some(world.now);
            }
            vain += 1;
        } else {
            let end = match &stand_in {
                Some(stand_in) => restore_status(planned.status, stand_in),
                None => planned.status,
            };
            return Ok(Forecast {
                turns,
                end,
                at_rest,
            });
        }
        if turns.len() >= MAX_TURNS {
            return Ok(Forecast {
                turns,
                end: planned.status,
                at_rest: false,
            });
        }
    }
}

fn waits_for_time(status: &ExternalCAIssuanceStatus) -> bool {
    status.next_window.is_some() || status.rotation.is_some()
}

/// What the conditions say of waiting for others.
fn waiting(status: &ExternalCAIssuanceStatus) -> Vec<String> {
    let words = ["WaitingForPeers", "WaitingForWindow", "CuttingOff"];
    let conditions = status.conditions.iter();
    conditions
        .filter(|condition| condition.type_ != "Ready" && condition.type_ != "Reconciling")
        .filter(|condition| words.contains(&condition.reason.as_str()))
        .map(|condition| condition.message.clone())
        .collect()
}
