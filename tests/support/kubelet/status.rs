//! A pod's status, as a kubelet writes it.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

/// What the containers of a pod do; all of them do the same.
#[derive(Clone, Debug)]
pub(super) enum Container {
    /// They have not started, or not again.
    Waiting {
        reason: &'static str,
        message: String,
    },
    /// They run since then.
    Running { since: Timestamp },
    /// They have ended.
    Ended(Ended),
}

/// How containers ended.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    since: Option<Timestamp>,
    until: Timestamp,
    code: i32,
}

/// What they do, and how they ended the last time.
#[derive(Clone, Debug)]
pub(super) struct Containers {
    now: Container,
    last: Option<Ended>,
}

impl Default for Containers {
    fn default() -> Self {
        let now = Container::Waiting {
            reason: "ContainerCreating",
            message: String::new(),
        };
        Self { now, last: None }
    }
}

impl Containers {
    /// They cannot start yet.
    pub fn wait_for(&mut self, message: &str) {
        self.now = Container::Waiting {
            reason: "ContainerCreating",
            message: message.to_owned(),
        };
    }

    pub fn start(&mut self) {
        self.now = Container::Running {
            since: Timestamp::now(),
        };
    }

    /// They have ended, and are to start again.
    pub fn fall(&mut self, code: i32) {
        self.end(code);
        if let Container::Ended(ended) = &self.now {
            self.last = Some(ended.clone());
        }
        self.now = Container::Waiting {
            reason: "CrashLoopBackOff",
            message: "the process ended".to_owned(),
        };
    }

    /// They have ended for good.
    pub fn end(&mut self, code: i32) {
        let since = match &self.now {
            Container::Running { since } => Some(*since),
            Container::Waiting { .. } => None,
            Container::Ended(_) => return,
        };
        let until = Timestamp::now();
        self.now = Container::Ended(Ended { since, until, code });
    }

    fn phase(&self, starts: u32) -> &'static str {
        match &self.now {
            Container::Ended(Ended { code: 0, .. }) => "Succeeded",
            Container::Ended(_) => "Failed",
            Container::Waiting { .. } if starts == 0 => "Pending",
            Container::Waiting { .. } | Container::Running { .. } => "Running",
        }
    }
}

impl Ended {
    fn state(&self) -> Value {
        let reason = if self.code == 0 { "Completed" } else { "Error" };
        json!({"terminated": {
            "exitCode": self.code, "reason": reason,
            "startedAt": self.since.map(|since| since.to_string()), "finishedAt": self.until.to_string(),
        }})
    }
}

/// The status of a pod whose containers were started so many times.
pub(super) fn status(pod: &Pod, containers: &Containers, ready: bool, starts: u32) -> Value {
    let now = Timestamp::now().to_string();
    let condition = |kind: &str, holds: bool| {
        let status = if holds { "True" } else { "False" };
        json!({"type": kind, "status": status, "lastTransitionTime": now})
    };
    let state = match &containers.now {
        Container::Waiting { reason, message } => {
            json!({"waiting": {"reason": reason, "message": message}})
        }
        Container::Running { since } => json!({"running": {"startedAt": since.to_string()}}),
        Container::Ended(ended) => ended.state(),
    };
    let last = containers.last.as_ref().map_or(json!({}), Ended::state);
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let statuses = pod.spec.iter().flat_map(|spec| &spec.containers);
    let statuses: Vec<Value> = statuses
        .map(|container| {
            json!({
                "name": container.name,
                "image": container.image.clone().unwrap_or_default(),
                "imageID": container.image.clone().unwrap_or_default(),
                "containerID": format!("test://{uid}/{starts}"),
                "ready": ready,
                "started": matches!(containers.now, Container::Running { .. }),
                "restartCount": starts.saturating_sub(1),
                "state": state,
                "lastState": last,
            })
        })
        .collect();
    let started = pod
        .status
        .as_ref()
        .and_then(|status| status.start_time.clone());
    json!({
        "phase": containers.phase(starts),
        "podIP": "127.0.0.1",
        "podIPs": [{"ip": "127.0.0.1"}],
        "hostIP": "127.0.0.1",
        "startTime": started.map_or(json!(now), |time| json!(time)),
        "conditions": [
            condition("PodScheduled", true),
            condition("PodReadyToStartContainers", starts > 0),
            condition("Initialized", true),
            condition("ContainersReady", ready),
            condition("Ready", ready),
        ],
        "containerStatuses": statuses,
    })
}
