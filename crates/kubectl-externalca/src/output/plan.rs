//! A forecast as text.

use external_ca_core::forecast::{Forecast, Move};
use external_ca_core::plan::{Round, Step};
use jiff::Timestamp;
use serde::Serialize;

use super::{Paint, Tone, aligned};

/// A forecast, as programs read it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanView {
    /// The issuance, as `<namespace>/<name>`.
    pub issuance: String,
    /// Whether it is paused: nothing happens before it is resumed.
    pub paused: bool,
    /// What would be done, in order.
    pub turns: Vec<TurnView>,
    /// How it ends.
    pub end: EndView,
    /// What could not be read, and what was assumed instead.
    pub notes: Vec<String>,
}

/// What would be done at once.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TurnView {
    /// Not before this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// One after the other; the steps of one side by side.
    pub rounds: Vec<Vec<StepView>>,
    /// What waits meanwhile, and for whom.
    pub waiting: Vec<String>,
    /// Workloads that must finish their rollout before the next turn.
    pub rollouts: Vec<String>,
}

/// One thing that would be done.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// What, in one word.
    pub action: &'static str,
    /// To which object.
    pub object: String,
    /// Why.
    pub why: String,
    #[serde(skip)]
    text: String,
}

/// How it ends.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndView {
    /// Whether all would be as wanted.
    pub ready: bool,
    /// Why not.
    pub problems: Vec<String>,
}

impl PlanView {
    /// From a forecast.
    pub fn new(issuance: String, paused: bool, forecast: &Forecast, notes: Vec<String>) -> Self {
        let turns = forecast.turns.iter().map(|turn| TurnView {
            not_before: turn.not_before,
            rounds: rounds(&turn.moves),
            waiting: turn.waiting.clone(),
            rollouts: turn.rollouts.iter().map(ToString::to_string).collect(),
        });
        let conditions = forecast.end.conditions.iter();
        let problems: Vec<String> = conditions
            .filter(|condition| {
                !matches!(
                    condition.type_.as_str(),
                    "Ready" | "Reconciling" | "Stalled" | "Issuing"
                )
            })
            .filter(|condition| condition.status != "True")
            .map(|condition| format!("{}: {}", condition.reason, condition.message))
            .collect();
        Self {
            issuance,
            paused,
            turns: turns.collect(),
            end: EndView {
                ready: forecast.at_rest && problems.is_empty(),
                problems,
            },
            notes,
        }
    }

    /// For people.
    pub fn table(&self, paint: Paint) -> String {
        let title = format!("What the operator would do for {}", self.issuance);
        let mut text = format!("{}\n", paint.tone(Tone::Bold, title));
        if self.paused {
            text.push_str("It is paused: nothing of this happens before it is resumed.\n");
        }
        if self.turns.is_empty() {
            text.push_str("Nothing.\n");
        }
        for (index, turn) in self.turns.iter().enumerate() {
            let when = match turn.not_before {
                Some(time) => format!(" (not before {time})"),
                None => String::new(),
            };
            let number = format!("Turn {}{when}", index + 1);
            text.push_str(&format!("\n{}\n", paint.tone(Tone::Bold, number)));
            let steps = turn.rounds.iter().flatten();
            let rows: Vec<[String; 2]> = steps
                .map(|step| [step.text.clone(), step.why.clone()])
                .collect();
            for line in aligned(&rows) {
                text.push_str(&format!("  {line}\n"));
            }
            let waiting = turn.waiting.iter().map(|what| format!("meanwhile: {what}"));
            let rollouts = turn
                .rollouts
                .iter()
                .map(|workload| format!("then waits until {workload} has finished its rollout"));
            for line in waiting.chain(rollouts) {
                text.push_str(&format!("  {}\n", paint.tone(Tone::Moving, line)));
            }
        }
        text.push('\n');
        match self.end.ready {
            true => text.push_str(&paint.tone(Tone::Good, "It ends Ready.")),
            false => text.push_str(&paint.tone(Tone::Bad, "It does not end Ready:")),
        }
        text.push('\n');
        for problem in &self.end.problems {
            text.push_str(&format!("  {problem}\n"));
        }
        for note in &self.notes {
            text.push_str(&format!("Note: {note}\n"));
        }
        text
    }
}

/// Those of the last round are done one by one.
fn rounds(moves: &[Move]) -> Vec<Vec<StepView>> {
    let mut rounds: Vec<(Round, Vec<StepView>)> = Vec::new();
    for one in moves {
        let view = StepView {
            action: action(&one.step),
            object: one.step.object(),
            why: one.why.clone(),
            text: one.step.to_string(),
        };
        let round = one.step.round();
        match rounds.iter_mut().find(|(other, _)| *other == round) {
            Some((_, steps)) if round != Round::Rest => steps.push(view),
            _ => rounds.push((round, vec![view])),
        }
    }
    rounds.sort_by_key(|(round, _)| *round);
    rounds.into_iter().map(|(_, steps)| steps).collect()
}

fn action(step: &Step) -> &'static str {
    match step {
        Step::GenerateCa { .. } => "GenerateCA",
        Step::WriteBundle { .. } => "WriteBundle",
        Step::WirePlane { .. } => "WirePlane",
        Step::IssueLeaf { .. } => "IssueCertificate",
        Step::Restart { .. } => "Restart",
        Step::Consume(_) => "RemoveAnnotation",
    }
}
