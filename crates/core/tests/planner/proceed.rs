//! Whom nothing shows: how long they are waited for, and for what a person's word (`proceed`) speaks.

use std::collections::{BTreeMap, BTreeSet};

use external_ca_api::PROCEED_ANNOTATION;
use jiff::SignedDuration;
use serde_json::json;

use super::pieces::{DATA, Issuer, agent, ca, config_map_ref, days, gateway, plane, secret_ref};
use super::scene::{Scene, condition};

/// The CA is replaced, and the overlap passes: a person is asked.
fn replace_ca_and_ask(scene: &mut Scene) {
    scene.issuer = Issuer::Ready(ca(1));
    scene.settle();
    scene.now += days(1);
    scene.settle();
}

fn proceed(scene: &mut Scene) {
    let word = (PROCEED_ANNOTATION.to_owned(), "now".to_owned());
    scene.issuance.metadata.annotations = Some(BTreeMap::from([word]));
}

/// The word for B is none for C.
#[test]
fn a_word_speaks_for_the_ca_that_it_was_given_for() {
    let mut scene = Scene::remote(json!({}));
    scene.settle();
    replace_ca_and_ask(&mut scene);
    proceed(&mut scene);
    scene.turn();
    scene.issuer = Issuer::Ready(ca(2));
    for _ in 0..10 {
        scene.turn();
        scene.finish_rollouts();
        assert_ne!(
            scene.signer(&gateway()),
            2,
            "the agent has never heard of C"
        );
    }
}

/// A certificate that cannot be made is no move: nobody is asked, and a word that is given all the same says nothing.
#[test]
fn a_word_that_was_asked_for_without_a_move_speaks_for_no_later_move() {
    let mut scene = Scene::remote(json!({"agents": [{"secretName": "agent-{planeID}"}]}));
    scene.settle();
    scene.planes.push(plane("us", "us-1"));
    let theirs = secret_ref(DATA, "agent-us-1");
    let profile = external_ca_core::x509::LeafProfile {
        common_name: "of-somebody".into(),
        ..scene.profile(&theirs)
    };
    scene.put_leaf(&theirs, &ca(2), &profile, false);
    scene.settle();
    scene.now += days(2);
    let told = scene.settle();
    assert_eq!(condition(&told, "CertificatesReady").1, "NotOwned");
    let asked = condition(&told, "RolloutsComplete");
    proceed(&mut scene);
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    scene.settle();
    let moved = scene.signer(&gateway());
    assert_eq!((asked.1.as_str(), moved), ("Ready", 0), "{}", asked.2);
}

/// In a namespace of others, and paused while the CA was replaced: the bundle can be had once it is written.
#[test]
fn the_overlap_begins_when_the_new_ca_can_be_had() {
    let mut scene = Scene::remote(json!({}));
    scene.planes[0].plane.namespace = Some("of-somebody-else".into());
    scene.select_no_plane();
    scene.settle();
    scene.issuance.spec.paused = true;
    scene.issuer = Issuer::Ready(ca(1));
    scene.turn();
    scene.now += days(2);
    scene.turn();
    scene.issuance.spec.paused = false;
    scene.settle();
    assert_eq!(
        scene.signer(&gateway()),
        0,
        "the bundle was written just now"
    );
}

/// Certificates that live no longer than the overlap: it begins with the first one of the new CA.
#[test]
fn renewals_do_not_begin_the_overlap_anew() {
    let spec =
        json!({"certificateDefaults": {"privateKey": {"algorithm": "ECDSA"}, "duration": "24h"}});
    let mut scene = Scene::remote(spec);
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    for _ in 0..60 {
        scene.settle();
        scene.now += SignedDuration::from_hours(4);
    }
    let told = scene.settle();
    let (_, reason, _) = condition(&told, "RolloutsComplete");
    let conditions: Vec<_> = told
        .status
        .conditions
        .iter()
        .map(|one| (&one.type_, &one.message))
        .collect();
    assert_eq!(reason, "AgentsUnproven", "after ten days: {conditions:#?}");
}

/// Where others wire planes, the old CA may stay in their clientCA: a word ends all the same.
#[test]
fn a_word_ends_with_the_move_where_others_wire_planes() {
    let mut scene = Scene::remote(json!({"planes": {"clientCA": "Unmanaged"}}));
    let wire =
        |scene: &mut Scene, index: usize| scene.planes[0].anchors.push(ca(index).anchor().clone());
    wire(&mut scene, 0);
    scene.planes[0].value = Some("by others".into());
    scene.settle();
    wire(&mut scene, 1);
    replace_ca_and_ask(&mut scene);
    proceed(&mut scene);
    scene.settle();
    assert_eq!(scene.signer(&gateway()), 1);
    scene.now += days(30);
    scene.settle();
    wire(&mut scene, 2);
    scene.issuer = Issuer::Ready(ca(2));
    scene.settle();
    assert_eq!(
        scene.signer(&gateway()),
        1,
        "the agent has never heard of C"
    );
}

/// Who connects after a word was given has not been asked for.
#[test]
fn a_word_does_not_speak_for_an_agent_that_connects_later() {
    let mut scene = Scene::remote(json!({"agents": [{"secretName": "agent-{planeID}"}]}));
    scene.planes.push(plane("us", "us-1"));
    scene.settle();
    replace_ca_and_ask(&mut scene);
    proceed(&mut scene);
    scene.planes[1].agent_connected = Some(true);
    scene.turn();
    assert_eq!(
        scene.signer(&gateway()),
        0,
        "nobody has said anything of us-1"
    );
}

/// Set ahead, together with the new CA: nothing new can have been loaded anywhere.
#[test]
fn a_word_that_is_older_than_what_is_to_be_loaded_says_nothing() {
    let mut scene = Scene::remote(json!({}));
    scene.settle();
    proceed(&mut scene);
    scene.issuer = Issuer::Ready(ca(1));
    scene.settle();
    assert_eq!(
        scene.signer(&gateway()),
        0,
        "the bundle was written seconds ago"
    );
}

/// A bundle that cannot be read for a moment: nobody knows when the overlap began.
#[test]
fn the_overlap_is_not_over_because_a_bundle_cannot_be_read() {
    let mut scene = Scene::remote(json!({}));
    scene.settle();
    scene.unknown = BTreeSet::from([
        config_map_ref(DATA),
        secret_ref(DATA, "cluster-gateway-ca"),
        agent(),
    ]);
    scene.issuer = Issuer::Ready(ca(1));
    let planned = scene.turn();
    let (_, reason, message) = condition(&planned, "RolloutsComplete");
    assert_ne!(
        reason, "AgentsUnproven",
        "seconds after the CA was replaced: {message}"
    );
}
