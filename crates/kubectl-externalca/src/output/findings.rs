//! Findings of the doctor.

use external_ca_core::diagnosis::{Finding, Severity};
use serde_json::{Value, json};

use super::{Paint, Tone, json as as_json, yaml};
use crate::cli::Format;
use crate::error::Error;

/// Findings in the form that was asked for.
pub fn render(findings: &[Finding], format: Format, paint: Paint) -> Result<String, Error> {
    match format {
        Format::Table | Format::Wide => Ok(text(findings, paint)),
        Format::Json => as_json(&findings.iter().map(object).collect::<Vec<_>>()),
        Format::Yaml => yaml(&findings.iter().map(object).collect::<Vec<_>>()),
    }
}

fn object(finding: &Finding) -> Value {
    json!({
        "word": finding.word.to_string(),
        "severity": finding.severity.as_str(),
        "object": finding.object,
        "what": finding.what,
        "cause": finding.cause,
        "fix": finding.fix,
        "symptom": finding.symptom.map(|symptom| symptom.as_str()),
    })
}

fn text(findings: &[Finding], paint: Paint) -> String {
    if findings.is_empty() {
        return "nothing found: all is well\n".into();
    }
    let mut text = String::new();
    for finding in findings {
        let tone = match finding.severity {
            Severity::Error => Tone::Bad,
            Severity::Warning => Tone::Moving,
            Severity::Note => Tone::Good,
        };
        let severity = paint.tone(tone, finding.severity.as_str());
        let word = paint.tone(Tone::Bold, finding.word);
        text += &format!("{severity} {word}: {}\n", finding.object);
        text += &format!("  what:  {}\n  cause: {}\n", finding.what, finding.cause);
        if let Some(symptom) = finding.symptom {
            text += &format!("  shows: \"{}\" in the pods' logs\n", symptom.as_str());
        }
        text += &format!("  fix:   {}\n\n", finding.fix);
    }
    let count = |severity| {
        let of = findings
            .iter()
            .filter(|finding| finding.severity == severity);
        of.count()
    };
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let notes = match count(Severity::Note) {
        0 => String::new(),
        notes => format!(", {notes} notes"),
    };
    text + &format!(
        "{errors} errors, {warnings} warnings{notes}; each word has its section in docs/troubleshooting.md\n"
    )
}
