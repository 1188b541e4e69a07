//! What is read of planes that an issuance does not select: as long as that stays, so does the plan.

use std::sync::Arc;

use external_ca_core::model::{Observed, Plane};
use external_ca_core::report::decide;
use external_ca_core::snapshot::{is_moved_by, plans_alike};
use jiff::SignedDuration;
use serde_json::json;

use super::pieces::{DATA, HOME, Issuer, ca, plane, secret_ref};
use super::scene::Scene;

type Change = fn(&mut Plane);

/// What becomes of a plane that nothing selects, and whether the plan may depend on it.
const CHANGES: [(&str, bool, Change); 15] = [
    ("nothing", false, |_| {}),
    ("a label", false, |plane| {
        plane.labels.insert("a".into(), "b".into());
    }),
    ("a planeID that no agent has", false, |plane| {
        plane.plane_id = "other".into();
    }),
    ("a planeID that an agent has", true, |plane| {
        plane.plane_id = "eu-1".into();
    }),
    ("another's CA", false, |plane| trust(plane, 2)),
    ("the CA that signs", false, |plane| trust(plane, 1)),
    ("the CA that is on its way out", true, |plane| {
        trust(plane, 0);
    }),
    ("a text that is no CA", false, |plane| {
        plane.value = Some("text".into());
    }),
    ("a reference to the bundle", true, |plane| {
        plane.reference = Some((
            secret_ref(DATA, "cluster-gateway-ca").object,
            "ca.crt".into(),
        ));
    }),
    ("how it spells a reference", false, |plane| {
        plane.reference_field = Some("secretRef");
    }),
    ("who wrote it", false, |plane| {
        plane.manager = Some("kubectl".into());
        plane.changed = Some(Scene::local().now);
    }),
    ("a heartbeat", false, |plane| {
        plane.agent_heartbeat = Some(Scene::local().now);
    }),
    ("an agent that was never connected", false, |plane| {
        plane.agent_connected = Some(false);
    }),
    ("an agent that is connected", true, |plane| {
        plane.agent_connected = Some(true);
    }),
    ("an agent that was connected", true, |plane| {
        plane.agent_connected = Some(false);
        plane.agent_disconnected = Some(Scene::local().now);
    }),
];

fn trust(plane: &mut Plane, index: usize) {
    let anchor = ca(index).anchor().clone();
    (plane.value, plane.anchors) = (Some(anchor.to_pem()), vec![anchor]);
}

/// A scene in the midst of a rotation that selects one plane of two.
fn scene(spec: serde_json::Value) -> Scene {
    let mut scene = Scene::local_with(spec);
    let selector = json!({"matchLabels": {"mine": "yes"}});
    scene.issuance.spec.planes.selector = Some(serde_json::from_value(selector).unwrap());
    scene.planes[0].labels.insert("mine".into(), "yes".into());
    scene.planes.push(plane("us", "us-1"));
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    scene.turn();
    scene
}

/// The same, of the same issuance, with the other plane changed, or without it.
fn changed(scene: &Scene, seen: &Observed, change: Option<Change>) -> Observed {
    let mut planes = scene.planes.clone();
    match change {
        Some(change) => change(&mut planes[1]),
        None => planes.truncate(1),
    }
    let planes: Vec<_> = planes.into_iter().map(Arc::new).collect();
    let mut changed = seen.clone();
    changed.planes = planes;
    changed
}

#[test]
fn what_is_not_read_of_others_planes_moves_nobody() {
    let scene = scene(json!({}));
    let seen = scene.observed();
    let moves = |before: Option<Change>, after: Option<Change>| {
        let (before, after) = (
            changed(&scene, &seen, before),
            changed(&scene, &seen, after),
        );
        let of = |seen: &Observed| seen.planes.get(1).cloned();
        let (one, other) = (of(&before), of(&after));
        let moved = is_moved_by(&seen, one.as_deref(), other.as_deref());
        assert_eq!(moved, !plans_alike(&before, &after));
        moved
    };
    let nothing: Option<Change> = Some(CHANGES[0].2);
    assert!(!moves(nothing, None), "a plane that says nothing is gone");
    for (what, is_read, change) in CHANGES {
        assert_eq!(moves(nothing, Some(change)), is_read, "{what}");
        assert_eq!(moves(Some(change), nothing), is_read, "not {what}");
        assert_eq!(moves(None, Some(change)), is_read, "a new plane, {what}");
        assert_eq!(moves(Some(change), None), is_read, "gone, {what}");
    }
}

#[test]
fn of_a_plane_that_is_selected_or_was_everything_is_read() {
    for told in [false, true] {
        let mut scene = scene(json!({}));
        if told {
            scene.select_no_plane();
        }
        let seen = scene.observed();
        let (one, mut other) = (scene.planes[0].clone(), scene.planes[0].clone());
        other.agent_heartbeat = Some(scene.now);
        assert!(is_moved_by(&seen, Some(&one), Some(&other)), "{told}");
    }
}

/// Whatever happens to the other plane: snapshots that are taken for alike lead to the same decision, in each strategy and at
/// each step of a rotation.
#[test]
fn what_is_taken_for_alike_is_decided_alike() {
    for client_ca in ["Value", "SecretRef", "Unmanaged"] {
        let mut scene = scene(json!({"planes": {"clientCA": client_ca, "selector": null}}));
        for round in 0..40 {
            let seen = scene.observed();
            let all = CHANGES
                .iter()
                .map(|(what, _, change)| (*what, Some(*change)));
            let all = all.chain([("gone", None)]);
            let all: Vec<_> = all
                .map(|(what, change)| {
                    let seen = changed(&scene, &seen, change);
                    let decided = format!("{:?}", decide(&seen, scene.now));
                    (what, seen, decided)
                })
                .collect();
            for (what, one, decided) in &all {
                for (other_what, other, other_decided) in &all {
                    if plans_alike(one, other) {
                        let what = format!("{client_ca}, {round}: {what}, {other_what}");
                        assert_eq!(decided, other_decided, "{what}");
                    }
                }
            }
            scene.turn();
            scene.finish_rollouts();
            if round == 20 {
                scene.issuer = Issuer::Ready(ca(0));
            }
            scene.now += SignedDuration::from_mins(5);
        }
    }
}

#[test]
fn any_other_change_is_seen() {
    let scene = scene(json!({}));
    let seen = scene.observed();
    let is_seen = |change: fn(&mut Observed)| {
        let mut other = seen.clone();
        change(&mut other);
        !plans_alike(&seen, &other)
    };
    assert!(!is_seen(|_| {}));
    assert!(is_seen(|seen| drop(seen.workloads.pop())));
    assert!(is_seen(|seen| drop(seen.pods.pop())));
    assert!(is_seen(|seen| drop(seen.material.pop_first())));
    assert!(is_seen(
        |seen| seen.clock_ahead = SignedDuration::from_mins(5)
    ));
    assert!(is_seen(|seen| {
        seen.claims
            .planes
            .insert(plane("eu", "eu-1").plane, HOME.into());
    }));
    assert!(is_seen(|seen| {
        seen.issuance = Arc::new(seen.issuance.as_ref().clone());
    }));
}
