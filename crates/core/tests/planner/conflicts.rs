//! Who has a Secret that several want, and what still counts of leaves that cannot be planned.

use external_ca_api::Phase;
use external_ca_core::model::Leaf;
use external_ca_core::plan::Step;
use jiff::SignedDuration;
use serde_json::json;

use super::pieces::{DATA, Issuer, agent, ca, config_map_ref, days, gateway, plane};
use super::scene::{Scene, condition};

fn issues(planned: &external_ca_core::report::Decision) -> Vec<String> {
    let steps = planned.steps.iter();
    steps
        .filter(|step| matches!(step, Step::IssueLeaf(_)))
        .map(Step::object)
        .collect()
}

/// A second plane, in some namespace, whose agent's certificate is to stand in the same Secret.
fn rival(scene: &mut Scene, namespace: &str) {
    let mut rival = plane("rival", "rival-1");
    rival.plane.namespace = Some(namespace.into());
    scene.planes.push(rival);
}

#[test]
fn the_standing_owner_keeps_its_secret_and_the_newcomer_is_told() {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.settle();
    rival(&mut scene, "default");
    let (_, reason, message) = condition(&scene.turn(), "CertificatesReady");
    assert_eq!(reason, "Conflict");
    let told = "planeID \"rival-1\"";
    assert!(
        message.starts_with(told) && message.contains("planeID \"eu-1\""),
        "{message}"
    );
    // Renewal goes on.
    scene.now += days(300);
    assert_eq!(issues(&scene.turn()).len(), 2);
    // So does repair.
    scene.material.remove(&agent());
    let repaired = format!("Secret {}", agent().object);
    assert_eq!(issues(&scene.turn()), [repaired]);
    let Leaf::Present { chain, .. } = &scene.material[&agent()].leaf else {
        panic!("no leaf")
    };
    assert_eq!(chain[0].common_names(), ["eu-1"]);
}

#[test]
fn where_none_stands_only_a_stranger_s_claim_does_not_count() {
    let mut scene = Scene::new(json!({}));
    rival(&mut scene, "tenant");
    scene.settle();
    assert_eq!(scene.profile_in(&agent()), Some(vec!["eu-1".to_owned()]));
    let mut scene = Scene::new(json!({}));
    rival(&mut scene, "default");
    for _ in 0..5 {
        scene.turn();
    }
    assert_eq!(scene.profile_in(&agent()), None, "neither stands");
}

/// What cannot be planned, for whatever reason, is presented all the same.
#[test]
fn an_old_ca_stays_while_a_leaf_that_cannot_be_planned_needs_it() {
    type Spoil = fn(&mut Scene);
    let spoil: [(&str, Spoil); 4] = [
        ("two that have no certificate", |scene| {
            rival(scene, "default");
            // What stands there is neither's: its planeID was another.
            scene.planes[0].plane_id = "eu-2".into();
        }),
        ("a name that is none", |scene| {
            let agents = json!([{"dnsNames": ["a..b"]}]);
            scene.issuance.spec.agents = serde_json::from_value(agents).unwrap();
        }),
        ("the gateway's name that is none", |scene| {
            scene.issuance.spec.gateway.dns_names = vec!["a..b".into()];
        }),
        ("a selector that is none", |scene| {
            let selector =
                json!({"matchExpressions": [{"key": "a", "operator": "notin", "values": ["b"]}]});
            scene.issuance.spec.planes.selector = serde_json::from_value(selector).unwrap();
        }),
    ];
    for (what, spoil) in spoil {
        let mut scene = Scene::new(json!({})).with_workloads();
        scene.settle();
        let spec = scene.issuance.spec.clone();
        let planes = scene.planes.clone();
        spoil(&mut scene);
        scene.turn();
        scene.issuer = Issuer::Ready(ca(1));
        for _ in 0..20 {
            scene.turn();
            scene.finish_rollouts();
            scene.now += SignedDuration::from_mins(10);
        }
        let old = ca(0);
        let trusts = |scene: &Scene| {
            (
                scene.planes[0].anchors.contains(old.anchor()),
                scene.anchors(&config_map_ref(DATA)).contains(&0),
            )
        };
        match what {
            "the gateway's name that is none" => assert!(trusts(&scene).1, "{what}"),
            _ => assert!(trusts(&scene).0, "{what}"),
        }
        assert_ne!(scene.plan().status.phase, Some(Phase::Ready), "{what}");
        // Put right, the rotation ends.
        scene.issuance.spec = spec;
        scene.planes = planes
            .into_iter()
            .map(|plane| {
                let now = scene
                    .planes
                    .iter()
                    .find(|now| now.plane == plane.plane)
                    .unwrap();
                let plane_id = plane.plane_id;
                external_ca_core::model::Plane {
                    plane_id,
                    ..now.clone()
                }
            })
            .collect();
        assert_eq!(scene.settle().status.phase, Some(Phase::Ready), "{what}");
        assert_eq!(trusts(&scene), (false, false), "{what}");
        assert_eq!((scene.signer(&gateway()), scene.signer(&agent())), (1, 1));
    }
}
