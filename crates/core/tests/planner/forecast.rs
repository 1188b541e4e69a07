//! A forecast says what then happens: each scene is forecast, then played, and the two are compared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use external_ca_api::{Phase, RENEW_ANNOTATION};
use external_ca_core::forecast::{Forecast, forecast};
use external_ca_core::model::Leaf;
use external_ca_core::plan::{Round, Step};
use external_ca_core::x509::{CaChain, Certificate, CertificateAuthority, StandIn, Usages, verify};
use jiff::Timestamp;
use serde_json::json;

use super::issuer::with_generated_ca;
use super::pieces::{
    DATA, Issuer, agent, ca, config_map_ref, days, gateway, plane, secret_ref, start, workload,
};
use super::scene::Scene;

/// What is done in a turn: rounds in order, and what each holds in any order.
type Rounds = Vec<BTreeSet<String>>;

fn rounds<'a>(steps: impl Iterator<Item = &'a Step>) -> Rounds {
    let mut rounds: BTreeMap<Round, BTreeSet<String>> = BTreeMap::new();
    for step in steps {
        let round = rounds.entry(step.round()).or_default();
        round.insert(step.to_string());
    }
    rounds.into_values().collect()
}

fn told(forecast: &Forecast) -> Vec<Rounds> {
    let turns = forecast.turns.iter();
    turns
        .map(|turn| rounds(turn.moves.iter().map(|one| &one.step)))
        .collect()
}

/// Plays a scene to its end. Pods are slower than the operator: rollouts finish when it has nothing else to do.
fn played(scene: &mut Scene) -> Vec<Rounds> {
    let mut turns = Vec::new();
    let mut quiet = 0;
    while quiet < 4 {
        let planned = scene.turn();
        if planned.steps.is_empty() {
            scene.finish_rollouts();
            quiet += 1;
        } else {
            turns.push(rounds(planned.steps.iter()));
            // A restart waits for kubelets.
            scene.now += scene.kubelet_cache();
            quiet = 0;
        }
    }
    turns
}

fn keyless(authority: &CertificateAuthority) -> Issuer {
    let chain = CaChain::from_pem(authority.certificate().to_pem().as_bytes(), start());
    Issuer::Keyless(Arc::new(chain.unwrap()))
}

fn settled(spec: serde_json::Value) -> Scene {
    let mut scene = Scene::new(spec).with_workloads();
    scene.settle();
    scene
}

fn more_agents(mut scene: Scene) -> Scene {
    for (name, id) in [("us", "us-1"), ("asia", "asia-1")] {
        scene.planes.push(plane(name, id));
        let secret = secret_ref(DATA, &format!("agent-{id}"));
        let mounts = [secret, config_map_ref(DATA)];
        scene.workloads.push(workload(DATA, name, &mounts));
    }
    scene
}

/// Each with the status that it ends with, as far as this is the scene's point.
fn scenes() -> Vec<(&'static str, Scene, Phase)> {
    let mut first = Scene::new(json!({})).with_workloads();
    first.issuance.status = None;

    let mut renewal = settled(json!({}));
    renewal.issuance.metadata.annotations =
        Some([(RENEW_ANNOTATION.to_owned(), "all".to_owned())].into());

    let mut due = settled(json!({}));
    due.now += days(300);

    let mut rotation = settled(json!({}));
    rotation.issuer = keyless(&ca(1));

    let agents = json!({"agents": [
        {"planes": {"planeIDs": ["us-1", "asia-1"]}, "secretName": "agent-{planeID}"},
    ], "rollout": {"maxConcurrent": 2}});
    let mut many = more_agents(Scene::new(agents).with_workloads());
    many.settle();
    let mut many_rotate = many;
    many_rotate.issuer = keyless(&ca(1));

    let mut immediate = settled(json!({"rotation": {"strategy": "Immediate"}}));
    immediate.issuer = keyless(&ca(1));

    let mut new_plane = settled(json!({"agents": [
        {"planes": {"planeIDs": ["us-1", "asia-1"]}, "secretName": "agent-{planeID}"},
    ]}));
    new_plane = more_agents(new_plane);

    let mut by_hand = Scene::new(json!({})).with_workloads();
    by_hand.hand_made(&ca(0));
    by_hand.issuer = keyless(&ca(1));

    let mut beforehand = settled(json!({"trust": {"additionalAnchors": [
        {"pem": ca(1).anchor().to_pem()},
    ]}}));
    beforehand.issuer = keyless(&ca(1));

    let mut reference = settled(json!({"planes": {"clientCA": "SecretRef"}}));
    reference.issuer = keyless(&ca(1));

    let mut lost = settled(json!({}));
    lost.material.remove(&agent());
    lost.issuer = keyless(&ca(0));

    let mut generated = with_generated_ca();
    generated.settle();
    let request = [(
        external_ca_api::ROTATE_ANNOTATION.to_owned(),
        "now".to_owned(),
    )];
    generated.issuance.metadata.annotations = Some(request.into());

    vec![
        ("a first issuance", first, Phase::Ready),
        ("a renewal on request", renewal, Phase::Ready),
        ("a renewal that is due", due, Phase::Ready),
        ("a CA replacement", rotation, Phase::Ready),
        (
            "a CA replacement with three agents, two at once",
            many_rotate,
            Phase::Ready,
        ),
        ("a compromised CA", immediate, Phase::Ready),
        ("new planes", new_plane, Phase::Ready),
        ("from a hand-made CA", by_hand, Phase::Ready),
        (
            "to a CA that was trusted beforehand",
            beforehand,
            Phase::Ready,
        ),
        (
            "a CA replacement where planes refer to the Secret",
            reference,
            Phase::Ready,
        ),
        (
            "a leaf that is gone, and a CA whose key is not at hand",
            lost,
            Phase::Ready,
        ),
        ("a generated CA's successor", generated, Phase::Ready),
    ]
}

#[test]
fn a_forecast_is_what_then_happens_turn_by_turn() {
    for (name, mut scene, end) in scenes() {
        let forecast = forecast(&scene.observed(), scene.now).unwrap();
        // Who plans has no key; who plays needs it.
        if let Issuer::Keyless(chain) = &scene.issuer {
            let found = (0..3).map(ca).find(|ca| ca.anchor() == chain.anchor());
            scene.issuer = Issuer::Ready(found.unwrap());
        }
        let first = scene.plan().steps;
        let told_first: Vec<Step> = forecast.turns.first().map_or_else(Vec::new, |turn| {
            turn.moves.iter().map(|one| one.step.clone()).collect()
        });
        if !first.is_empty() {
            assert_eq!(told_first, first, "{name}");
        }
        assert_eq!(told(&forecast), played(&mut scene), "{name}");
        assert!(!told(&forecast).is_empty(), "{name}");
        assert!(forecast.at_rest, "{name}");
        assert_eq!(forecast.end.phase, Some(end), "{name}");
        assert_eq!(scene.plan().status.phase, Some(end), "{name}");
    }
}

#[test]
fn a_settled_scene_has_nothing_ahead() {
    let mut scene = settled(json!({}));
    for issuer in [scene.issuer.clone(), keyless(&ca(0))] {
        scene.issuer = issuer;
        let forecast = forecast(&scene.observed(), scene.now).unwrap();
        assert!(forecast.turns.is_empty(), "{:#?}", forecast.turns);
        assert_eq!(forecast.end.phase, Some(Phase::Ready));
        let issuer = forecast.end.issuer.unwrap();
        assert_eq!(issuer.fingerprint, ca(0).anchor().fingerprint().to_string());
    }
}

#[test]
fn what_needs_a_person_ends_the_forecast_and_is_said() {
    let mut scene = settled(json!({}));
    scene.issuer = keyless(&ca(1));
    scene.unknown.insert(config_map_ref(DATA));
    let forecast = forecast(&scene.observed(), scene.now).unwrap();
    assert!(forecast.at_rest);
    assert_eq!(forecast.end.phase, Some(Phase::Stalled));
    let target = agent().object.to_string();
    let leaf = forecast
        .end
        .certificates
        .iter()
        .find(|leaf| leaf.target == target);
    assert!(
        leaf.unwrap().signer.is_some(),
        "the agent's does not depend on it"
    );
    let anchors = forecast.end.trust.unwrap().anchors;
    let old = anchors.iter().find(|anchor| !anchor.waiting_for.is_empty());
    assert!(
        old.unwrap()
            .waiting_for
            .contains(&format!("Secret {}", gateway().object))
    );
}

#[test]
fn a_ca_that_comes_back_is_no_longer_a_former_one() {
    let mut scene = settled(json!({}));
    scene.issuer = Issuer::Ready(ca(1));
    scene.settle();
    scene.issuer = keyless(&ca(0));
    let forecast = forecast(&scene.observed(), scene.now).unwrap();
    let former = forecast.end.trust.unwrap().former;
    assert_eq!(former, [ca(1).anchor().fingerprint().to_string()]);
}

#[test]
fn a_window_is_waited_for() {
    let mut scene = settled(json!({"rollout": {"windows": [
        {"schedule": "0 2 * * SAT", "duration": "2h", "timeZone": "UTC"},
    ]}}));
    scene.issuer = keyless(&ca(1));
    let forecast = forecast(&scene.observed(), scene.now).unwrap();
    assert_eq!(forecast.end.phase, Some(Phase::Ready));
    let opens = forecast.turns.iter().filter_map(|turn| turn.not_before);
    let opens: Vec<Timestamp> = opens.collect();
    assert_eq!(
        opens,
        ["2026-01-03T02:00:00Z".parse::<Timestamp>().unwrap()]
    );
}

#[test]
fn a_stand_in_says_what_the_ca_says_and_signs_for_itself_alone() {
    let real = ca(0);
    let scene = settled(json!({}));
    let Leaf::Present { chain, .. } = &scene.material[&gateway()].leaf else {
        panic!("no leaf")
    };
    let stand_in = StandIn::of(&real).unwrap();
    let counterpart = stand_in.authority().certificate();
    assert_eq!(counterpart.subject(), real.certificate().subject());
    assert_eq!(counterpart.not_after(), real.not_after());
    assert_eq!(
        counterpart.subject_key_id(),
        real.certificate().subject_key_id()
    );
    assert_ne!(counterpart.spki_der(), real.certificate().spki_der());
    assert_eq!(&stand_in.restore(counterpart), real.certificate());

    let leaf = stand_in.replace(&chain[0]).unwrap();
    assert_eq!(leaf.sans(), chain[0].sans());
    assert_eq!(leaf.spki_der(), chain[0].spki_der());
    let usages = Usages {
        server_auth: true,
        client_auth: false,
    };
    let holds = |anchor: &Certificate| {
        verify(
            std::slice::from_ref(&leaf),
            std::slice::from_ref(anchor),
            usages,
            scene.now,
        )
        .is_ok()
    };
    assert!(holds(stand_in.authority().anchor()));
    assert!(!holds(real.anchor()));
    assert_eq!(stand_in.replace(ca(1).anchor()).unwrap(), *ca(1).anchor());
}
