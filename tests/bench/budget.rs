//! Tables, and the budget of the design: what was promised beside what was measured.

use external_ca_tests::{Result, operator};

/// One promise.
pub struct Budget {
    what: String,
    limit: f64,
    measured: f64,
    unit: &'static str,
}

impl Budget {
    /// At most `limit`.
    pub fn new(what: impl Into<String>, measured: f64, limit: f64, unit: &'static str) -> Self {
        Self {
            what: what.into(),
            limit,
            measured,
            unit,
        }
    }

    /// Every promise on a line.
    pub fn print(all: &[Self]) {
        println!("the budget");
        for budget in all {
            let verdict = if budget.measured <= budget.limit {
                "met"
            } else {
                "NOT MET"
            };
            let Self {
                what,
                measured,
                limit,
                unit,
            } = budget;
            println!("  {verdict:7}  {what:62} {measured:8.2} of {limit} {unit}");
        }
    }
}

/// Names and values, aligned.
pub fn table(title: &str, rows: &[(String, String)]) {
    println!("{title}");
    for (name, value) in rows {
        println!("  {name:50} {value:>14}");
    }
    println!();
}

/// A row of a table.
pub fn row(name: impl Into<String>, value: impl std::fmt::Display) -> (String, String) {
    (name.into(), value.to_string())
}

pub fn mebibytes(kibibytes: u64) -> f64 {
    kibibytes as f64 / 1024.0
}

/// The size of the program that is measured.
pub fn binary() -> Result<Budget> {
    let size = std::fs::metadata(operator::binary().map_err(String::clone)?)?.len();
    Ok(Budget::new(
        "size of the binary",
        size as f64 / 1e6,
        15.0,
        "MB",
    ))
}
