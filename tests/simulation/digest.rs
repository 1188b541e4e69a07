//! What was planned in a story, in one number: two versions of the planner that decide alike give the same (`make digest`).

use std::fmt::Write;
use std::hash::{DefaultHasher, Hasher};

use external_ca_core::finding::Severity;
use external_ca_core::plan::{
    Consume, GenerateCa, IssueLeaf, Restart, Step, WirePlane, Wiring, WriteBundle,
};
use external_ca_core::report::{Decision, message};
use external_ca_core::x509::Certificate;

/// The plans of a story, in their order.
#[derive(Default)]
pub struct Digest(DefaultHasher);

impl Digest {
    /// Adds a plan.
    pub fn add(&mut self, plan: &Decision) {
        self.0.write(text(plan).as_bytes());
    }

    /// Of all plans.
    pub fn number(&self) -> u64 {
        self.0.finish()
    }
}

/// A plan in words that outlive its types.
fn text(plan: &Decision) -> String {
    let mut text = String::new();
    for step in &plan.steps {
        let _ = writeln!(text, "{} {}", step.object(), words(step));
    }
    let status = serde_json::to_string(&plan.status).unwrap();
    let _ = writeln!(
        text,
        "{status} {} {}",
        plan.next_check, plan.persist_status_first
    );
    for notice in &plan.events {
        let (is_warning, problem) = (notice.is_warning, &notice.problem);
        let _ = writeln!(text, "{is_warning} {} {}", problem.reason, problem.message);
    }
    for noted in &plan.problems {
        let (object, problem) = (&noted.object, &noted.problem);
        let blocks = noted.severity == Severity::Problem;
        let _ = writeln!(
            text,
            "{object} {blocks} {} {}",
            problem.reason,
            message(noted)
        );
    }
    text
}

fn words(step: &Step) -> String {
    let list = |anchors: &[Certificate]| {
        let all = anchors
            .iter()
            .map(|anchor| anchor.fingerprint().to_string());
        all.collect::<Vec<_>>().join(" ")
    };
    let joined = |all: Vec<String>| all.join(" ");
    match step {
        Step::GenerateCa(GenerateCa {
            resource_version,
            marks,
            ..
        }) => format!("generate {resource_version:?} {marks:?}"),
        Step::WriteBundle(WriteBundle {
            resource_version,
            anchors,
            marks,
            drops,
            rests_on,
            ..
        }) => format!(
            "bundle {resource_version:?} {} {marks:?} {drops} {}",
            list(anchors),
            joined(rests_on.iter().map(ToString::to_string).collect())
        ),
        Step::WirePlane(WirePlane {
            resource_version,
            client_ca,
            drops,
            rests_on,
            ..
        }) => {
            let wiring = match client_ca {
                Wiring::Value(bundle) => bundle.clone(),
                Wiring::Reference {
                    field,
                    secret,
                    holds,
                } => format!("{field} {secret} {}", list(holds)),
            };
            let rests_on = joined(rests_on.iter().map(ToString::to_string).collect());
            format!("wire {resource_version} {wiring} {drops} {rests_on}")
        }
        Step::IssueLeaf(IssueLeaf {
            profile,
            reuse_key,
            why,
            marks,
            trusted_by,
            ..
        }) => format!(
            "issue {profile:?} {reuse_key} {} {} {marks:?} {}",
            why.reason,
            why.message,
            joined(trusted_by.iter().map(ToString::to_string).collect())
        ),
        Step::Restart(Restart {
            resource_version,
            material_hash,
            ..
        }) => format!("restart {resource_version} {material_hash}"),
        Step::InjectBundle(step) => format!("inject {}", list(&step.anchors)),
        Step::DropRequest(_) => "drop the request".into(),
        Step::Consume(Consume { annotation }) => format!("consume {annotation}"),
    }
}
