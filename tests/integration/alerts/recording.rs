//! Scrapes as a test file of promtool.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use external_ca_tests::scratch::Scratch;
use external_ca_tests::{Result, http, repository};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// Each series, and its value as promtool writes it.
type Scrape = BTreeMap<String, String>;

/// How many minutes a rollout runs: as long as it may without being stuck.
const ROLLOUT: usize = 9;

/// Reads /metrics of some pods until it is told to stop.
pub struct Recorder {
    source: Arc<Source>,
    seen: Arc<Mutex<Vec<Scrape>>>,
    task: JoinHandle<()>,
}

struct Source {
    /// Name and port.
    pods: Vec<(&'static str, u16)>,
    alerts: String,
    /// Time 0 of promtool.
    begin: i64,
}

impl Recorder {
    pub async fn start(pods: &[(&'static str, u16)]) -> Result<Self> {
        let alerts = repository().join("charts/external-ca-operator/files/alerts.yaml");
        let source = Arc::new(Source {
            pods: pods.to_vec(),
            alerts: std::fs::read_to_string(alerts)?,
            begin: Timestamp::now().as_second(),
        });
        let seen = Arc::new(Mutex::new(vec![source.scrape().await]));
        let task = {
            let (source, seen) = (Arc::clone(&source), Arc::clone(&seen));
            tokio::spawn(async move {
                loop {
                    let scrape = source.scrape().await;
                    note(&mut seen.lock().unwrap(), scrape);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
        };
        Ok(Self { source, seen, task })
    }

    /// What was seen, state by state; the last one as it is now.
    pub async fn stop(self) -> Vec<Scrape> {
        self.task.abort();
        let _ = self.task.await;
        let last = self.source.scrape().await;
        let mut seen = std::mem::take(&mut *self.seen.lock().unwrap());
        note(&mut seen, last);
        seen
    }
}

fn note(seen: &mut Vec<Scrape>, scrape: Scrape) {
    if seen.last() != Some(&scrape) {
        seen.push(scrape);
    }
}

impl Source {
    async fn scrape(&self) -> Scrape {
        let mut all = Scrape::new();
        for (pod, port) in &self.pods {
            // Where nobody answers, Prometheus has nothing either.
            let Ok((200, text)) = http::get(*port, "/metrics").await else {
                continue;
            };
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            all.extend(lines.filter_map(|line| self.sample(pod, line)));
        }
        all
    }

    /// A sample of a series that an alert reads.
    fn sample(&self, pod: &str, line: &str) -> Option<(String, String)> {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        if !self.alerts.contains(name) {
            return None;
        }
        let value = match name.ends_with("_timestamp_seconds") {
            true => (value.parse::<i64>().ok()? - self.begin).to_string(),
            false => value.to_owned(),
        };
        Some((format!("{name}{{pod=\"{pod}\",{labels}"), value))
    }
}

/// Runs the alerts of `rules.yaml` in that directory over these states, the last of which lasts `rest` minutes more. An
/// error says where other alerts than `fire` did.
pub fn judge(states: &[Scrape], rest: usize, fire: &[&str], dir: &Scratch) -> Result<()> {
    let mut minutes: Vec<usize> = states.iter().map(lasts).collect();
    *minutes.last_mut().expect("a state") += rest;
    let total: usize = minutes.iter().sum();
    let mut names: Vec<&String> = states.iter().flat_map(BTreeMap::keys).collect();
    names.sort();
    names.dedup();
    let series: Vec<Value> = names
        .into_iter()
        .map(|name| json!({"series": name, "values": values(states, &minutes, name)}))
        .collect();
    let expected: Vec<Value> = fire
        .iter()
        .map(|alert| json!({"labels": format!("{{alertname=\"{alert}\"}}"), "value": 1}))
        .collect();
    let test = json!({
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [{
            "interval": "1m",
            "input_series": series,
            "promql_expr_test": [{
                "expr": format!("group by (alertname) (count_over_time(ALERTS{{alertstate=\"firing\"}}[{total}m]))"),
                "eval_time": format!("{total}m"),
                "exp_samples": expected,
            }],
        }],
    });
    let file = dir.write("recorded.yaml", serde_json::to_string_pretty(&test)?)?;
    let output = Command::new("promtool")
        .args(["test", "rules"])
        .arg(file)
        .output()?;
    println!("{} states, {total} minutes: {fire:?}", states.len());
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{}{}\n{states:#?}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
        .into()),
    }
}

fn lasts(state: &Scrape) -> usize {
    let runs = |(series, value): (&String, &String)| {
        series.starts_with("external_ca_rollouts{")
            && series.contains("state=\"running\"")
            && value != "0"
    };
    match state.iter().any(runs) {
        true => ROLLOUT,
        false => 1,
    }
}

/// A sample a minute, as promtool writes them; a series that ends is marked stale, as Prometheus does.
fn values(states: &[Scrape], minutes: &[usize], series: &str) -> String {
    let mut text = Vec::new();
    let mut before = None;
    for (state, minutes) in states.iter().zip(minutes) {
        let value = state.get(series);
        text.push(match (value, before) {
            (Some(value), _) => format!("{value}x{}", minutes - 1),
            (None, Some(_)) if *minutes > 1 => format!("stale _x{}", minutes - 1),
            (None, Some(_)) => "stale".into(),
            (None, None) => format!("_x{minutes}"),
        });
        before = value;
    }
    text.join(" ")
}
