//! What has happened between two looks at an issuance, a line each.

use external_ca_api::{AnchorStatus, ExternalCAIssuanceStatus};

use super::status::condition;

/// The news of `new` over `old`.
pub fn news(old: &ExternalCAIssuanceStatus, new: &ExternalCAIssuanceStatus) -> Vec<String> {
    let mut lines = anchors(old, new);
    lines.extend(certificates(old, new));
    lines.extend(rollouts(old, new));
    lines.extend(stalled(old, new));
    lines
}

fn anchors(old: &ExternalCAIssuanceStatus, new: &ExternalCAIssuanceStatus) -> Vec<String> {
    let (before, after) = (old.anchors(), new.anchors());
    let name = |anchor: &AnchorStatus| {
        let short: String = anchor.fingerprint.chars().take(16).collect();
        format!("{} ({short})", anchor.subject)
    };
    let find = |anchors: &[AnchorStatus], wanted: &AnchorStatus| {
        let mut anchors = anchors.iter();
        anchors
            .find(|anchor| anchor.fingerprint == wanted.fingerprint)
            .cloned()
    };
    let changed = after.iter().filter_map(|anchor| {
        let state = match find(before, anchor) {
            Some(known) if known.state == anchor.state => return None,
            _ => anchor.state,
        };
        Some(format!("{} is {state:?}", name(anchor)))
    });
    let gone = before
        .iter()
        .filter(|anchor| find(after, anchor).is_none())
        .map(|anchor| format!("{} is no longer trusted", name(anchor)));
    changed.chain(gone).collect()
}

fn certificates(old: &ExternalCAIssuanceStatus, new: &ExternalCAIssuanceStatus) -> Vec<String> {
    let news = new.certificates.iter().filter_map(|certificate| {
        let mut known = old.certificates.iter();
        let known = known.find(|known| known.target == certificate.target);
        let target = &certificate.target;
        if certificate.serial.is_some()
            && known.is_none_or(|known| known.serial != certificate.serial)
        {
            return Some(format!("Secret {target} is issued"));
        }
        let reason = certificate.reason.as_ref()?;
        let same = known.is_some_and(|known| {
            known.state == certificate.state && known.reason == certificate.reason
        });
        (!same).then(|| format!("Secret {target} is {:?} ({reason})", certificate.state))
    });
    news.collect()
}

fn rollouts(old: &ExternalCAIssuanceStatus, new: &ExternalCAIssuanceStatus) -> Vec<String> {
    let changed = new.rollouts.iter().filter(|rollout| {
        let mut known = old.rollouts.iter();
        !known.any(|known| known.workload == rollout.workload && known.state == rollout.state)
    });
    let changed = changed.map(|rollout| format!("{} {}", rollout.workload, rollout.state));
    let done = old.rollouts.iter().filter(|rollout| {
        let mut now = new.rollouts.iter();
        !now.any(|now| now.workload == rollout.workload)
    });
    let done = done.map(|rollout| format!("{} has loaded what is stored", rollout.workload));
    changed.chain(done).collect()
}

fn stalled(old: &ExternalCAIssuanceStatus, new: &ExternalCAIssuanceStatus) -> Option<String> {
    let message = |status: &ExternalCAIssuanceStatus| {
        let stalled = condition(status, "Stalled").filter(|stalled| stalled.status == "True");
        stalled.map(|stalled| format!("{}: {}", stalled.reason, stalled.message))
    };
    message(new).filter(|now| message(old).as_ref() != Some(now))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn status(value: Value) -> ExternalCAIssuanceStatus {
        serde_json::from_value(value).unwrap()
    }

    fn anchor(fingerprint: &str, state: &str) -> Value {
        json!({"subject": "CN=ca", "fingerprint": fingerprint, "state": state, "notAfter": "2036-01-01T00:00:00Z"})
    }

    fn certificate(serial: Option<&str>, state: &str, reason: Option<&str>) -> Value {
        json!({"target": "a/tls", "commonName": "x", "serial": serial, "state": state, "reason": reason})
    }

    #[test]
    fn each_change_is_told_once_in_the_order_of_a_rotation() {
        let steps = [
            json!({"certificates": [certificate(Some("01"), "Ready", None)], "trust": {"anchors": [anchor("aa", "Active")]}}),
            json!({"certificates": [certificate(Some("01"), "Waiting", Some("SignerChanged"))],
                "trust": {"anchors": [anchor("bb", "Active"), anchor("aa", "Retiring")]}}),
            json!({"certificates": [certificate(Some("02"), "Ready", None)],
                "rollouts": [{"workload": "Deployment a/b", "state": "waits for its restart", "since": "2026-01-01T00:00:00Z"}],
                "trust": {"anchors": [anchor("bb", "Active"), anchor("aa", "Retiring")]}}),
            json!({"certificates": [certificate(Some("02"), "Ready", None)], "trust": {"anchors": [anchor("bb", "Active")]},
                "conditions": [{"type": "Stalled", "status": "True", "reason": "RolloutStuck", "message": "m",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"}]}),
        ]
        .map(status);
        let told: Vec<Vec<String>> = steps
            .windows(2)
            .map(|pair| match pair {
                [old, new] => news(old, new),
                _ => Vec::new(),
            })
            .collect();
        assert_eq!(
            told,
            [
                vec![
                    "CN=ca (bb) is Active",
                    "CN=ca (aa) is Retiring",
                    "Secret a/tls is Waiting (SignerChanged)"
                ],
                vec![
                    "Secret a/tls is issued",
                    "Deployment a/b waits for its restart"
                ],
                vec![
                    "CN=ca (aa) is no longer trusted",
                    "Deployment a/b has loaded what is stored",
                    "RolloutStuck: m"
                ],
            ]
        );
        assert!(steps.iter().all(|same| news(same, same).is_empty()));
    }
}
