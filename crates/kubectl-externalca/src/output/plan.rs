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
    /// Whether something that counts could not be read: there may be more to do.
    pub partial: bool,
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
    /// What waits meanwhile, and what for.
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
    pub fn new(
        issuance: String,
        (paused, partial): (bool, bool),
        forecast: &Forecast,
        notes: Vec<String>,
    ) -> Self {
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
            partial,
            turns: turns.collect(),
            end: EndView {
                ready: forecast.at_rest && problems.is_empty() && !partial,
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
        let (tone, end) = match (self.end.ready, self.partial) {
            (true, _) => (Tone::Good, "It ends Ready."),
            (false, true) => (
                Tone::Bad,
                "Not all could be read (see below): there may be more to do, and the end is not known.",
            ),
            (false, false) => (Tone::Bad, "It does not end Ready:"),
        };
        text.push_str(&paint.tone(tone, end));
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
        Step::GenerateCa(_) => "GenerateCA",
        Step::WriteBundle(_) => "WriteBundle",
        Step::WirePlane(_) => "WirePlane",
        Step::InjectBundle(_) => "InjectBundle",
        Step::IssueLeaf(_) => "IssueCertificate",
        Step::Restart(_) => "Restart",
        Step::DropRequest(_) => "DropRequest",
        Step::Consume(_) => "RemoveAnnotation",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::ffi::OsString;

    use external_ca_api::ExternalCAIssuanceStatus;
    use external_ca_core::domain::{Generate, SecretForm, SelfSigned, generated_ca_profile};
    use external_ca_core::forecast::Turn;
    use external_ca_core::model::{ObjectRef, WorkloadKind, WorkloadRef};
    use external_ca_core::plan::{Consume, GenerateCa, Restart};
    use external_ca_core::x509::KeyAlgorithm;
    use serde_json::json;

    fn forecast() -> Forecast {
        let workload = WorkloadRef {
            kind: WorkloadKind::Deployment,
            object: ObjectRef::new("a", "agent"),
        };
        let generate = Step::GenerateCa(GenerateCa {
            target: ObjectRef::new("a", "ca"),
            resource_version: None,
            marks: BTreeMap::new(),
            bundle: None,
            aside: false,
            ca: Generate {
                profile: SelfSigned::Ca(generated_ca_profile()),
                key: KeyAlgorithm::EcdsaP256,
                keeps_key: false,
                form: SecretForm::default(),
                renew_before: None,
            },
        });
        let restart = Step::Restart(Restart {
            workload: workload.clone(),
            resource_version: "1".into(),
            material_hash: String::new(),
        });
        let step = |step: Step| Move {
            step,
            why: "because".into(),
        };
        let turn = |moves: Vec<Move>, rollouts: Vec<WorkloadRef>| Turn {
            not_before: None,
            moves,
            waiting: Vec::new(),
            rollouts,
        };
        let consume = Step::Consume(Consume {
            annotation: "pki.openchoreo.dev/renew",
        });
        Forecast {
            turns: vec![
                turn(vec![step(generate)], Vec::new()),
                turn(vec![step(restart), step(consume)], vec![workload]),
            ],
            end: ExternalCAIssuanceStatus::default(),
            at_rest: true,
        }
    }

    #[test]
    fn turns_are_read_from_top_to_bottom() {
        let paint = Paint::for_stdout(false, None::<OsString>);
        let view = PlanView::new("a/b".into(), (true, false), &forecast(), vec!["n".into()]);
        let text = "What the operator would do for a/b\n\
                    It is paused: nothing of this happens before it is resumed.\n\
                    \n\
                    Turn 1\n  \
                    make a CA in Secret a/ca  because\n\
                    \n\
                    Turn 2\n  \
                    restart Deployment a/agent                    because\n  \
                    take off the annotation pki.openchoreo.dev/renew  because\n  \
                    then waits until Deployment a/agent has finished its rollout\n\
                    \n\
                    It ends Ready.\n\
                    Note: n\n";
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeezed(&view.table(paint)), squeezed(text));
        assert_eq!(view.table(paint).lines().count(), text.lines().count());
    }

    #[test]
    fn programs_read_rounds_and_what_is_not_known() {
        let view = PlanView::new("a/b".into(), (false, true), &forecast(), Vec::new());
        let view = serde_json::to_value(&view).unwrap();
        assert_eq!(view.pointer("/partial"), Some(&json!(true)));
        assert_eq!(view.pointer("/end/ready"), Some(&json!(false)));
        let step = json!({"action": "Restart", "object": "Deployment a/agent", "why": "because"});
        assert_eq!(view.pointer("/turns/1/rounds/0"), Some(&json!([step])));
        assert!(view.pointer("/turns/1/rounds/1").is_some(), "one by one");
    }
}
