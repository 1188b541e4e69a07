//! The operators of a story: one that works, or two of which one has the Lease. Those that end are started again, as a kubelet
//! does it.

use std::time::Duration;

use external_ca_tests::process::{Signal, tail};
use external_ca_tests::wait::try_wait_for;
use external_ca_tests::{Operator, OperatorOptions, Result};

/// The Lease's time, several times over: whoever waits for it may be hit by faults, too.
const TAKEOVER: Duration = Duration::from_secs(90);

pub struct Fleet {
    operators: Vec<Operator>,
    /// Which one is stopped.
    stopped: Option<usize>,
}

impl Fleet {
    pub async fn start(options: OperatorOptions, count: usize) -> Result<Self> {
        let mut operators = Vec::new();
        for _ in 0..count {
            operators.push(Operator::start(options.clone()).await?);
        }
        Ok(Self {
            operators,
            stopped: None,
        })
    }

    pub async fn kill(&mut self, which: usize) -> Result<()> {
        self.operators[which].restart().await
    }

    /// Stops the one that works.
    pub async fn stop(&mut self) -> Result<()> {
        let leader = self.leader(None).await?;
        self.operators[leader].process().signal(Signal::STOP);
        self.stopped = Some(leader);
        Ok(())
    }

    /// Lets it go on when the other one works.
    pub async fn go_on(&mut self) -> Result<()> {
        if let Some(stopped) = self.stopped {
            self.leader(Some(stopped)).await?;
            self.operators[stopped].process().signal(Signal::CONT);
            self.stopped = None;
        }
        Ok(())
    }

    /// Starts those again that have ended: the Lease was lost.
    pub async fn mend(&mut self) -> Result<()> {
        for operator in &mut self.operators {
            if operator.exit_status().is_some() {
                operator.restart().await?;
            }
        }
        Ok(())
    }

    /// Which one has the Lease, apart from one.
    async fn leader(&mut self, except: Option<usize>) -> Result<usize> {
        let outcome = try_wait_for("an operator to lead", TAKEOVER, async || {
            self.mend().await.map_err(|error| error.to_string())?;
            for (index, operator) in self.operators.iter().enumerate() {
                let leads = async {
                    let metrics = operator.metrics().await.unwrap_or_default();
                    metrics.lines().any(|line| line == "external_ca_leader 1")
                };
                if except != Some(index) && leads.await {
                    return Ok(index);
                }
            }
            Err("none does".to_owned())
        });
        Ok(outcome.await?)
    }

    /// The ends of their logs, for people.
    pub fn logs(&self) -> String {
        let logs = self.operators.iter().enumerate();
        let text = |(index, one): (usize, &Operator)| {
            format!("--- operator {index}\n{}\n", tail(&one.log(), 40))
        };
        logs.map(text).collect()
    }
}
