//! Leaves that the authority has been asked for and has not signed yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use external_ca_api::{CertificateState, CertificateStatus};
use external_ca_core::domain::asked;
use external_ca_core::model::{
    Authority, GeneratedCa, ListRef, MaterialRef, PendingLeaf, Unread, WorkloadKind,
};
use external_ca_core::plan::{DropRequest, IssueLeaf, Step};
use external_ca_core::report::{Decision, decide};
use external_ca_core::x509::LeafProfile;
use external_ca_core::{Problem, Reason};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::pieces::{Issuer, agent, ca, days, gateway};
use super::scene::{Scene, condition};

fn minutes(minutes: i64) -> SignedDuration {
    SignedDuration::from_mins(minutes)
}

/// The leaf was asked for now, and the authority wants to be asked again then.
fn ask(scene: &mut Scene, leaf: &MaterialRef, ask_again: Option<Timestamp>) {
    let profile = scene.profile(leaf);
    ask_for(scene, leaf, &profile, ask_again);
}

fn ask_for(
    scene: &mut Scene,
    leaf: &MaterialRef,
    profile: &LeafProfile,
    ask_again: Option<Timestamp>,
) {
    let pending = PendingLeaf {
        asked: asked(&scene.observed().authority, profile).unwrap(),
        since: scene.now,
        ask_again,
    };
    let target = leaf.object.clone();
    scene.pending.insert(target, Arc::new(pending));
}

fn issues(planned: &Decision, leaf: &MaterialRef) -> Option<Problem> {
    planned.steps.iter().find_map(|step| match step {
        Step::IssueLeaf(IssueLeaf { target, why, .. }) if *target == leaf.object => {
            Some(why.clone())
        }
        _ => None,
    })
}

fn drops(planned: &Decision, leaf: &MaterialRef) -> bool {
    let target = leaf.object.clone();
    let drop = Step::DropRequest(DropRequest { target });
    planned.steps.contains(&drop)
}

fn told<'a>(planned: &'a Decision, leaf: &MaterialRef) -> &'a CertificateStatus {
    let target = leaf.object.to_string();
    let mut all = planned.status.certificates.iter();
    all.find(|entry| entry.target == target).unwrap()
}

/// A scene that is settled but for the gateway's leaf.
fn without_gateway_leaf() -> Scene {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.settle();
    scene.material.remove(&gateway());
    scene
}

#[test]
fn what_was_asked_for_is_waited_for_until_the_authority_wants_to_be_asked_again() {
    let mut scene = without_gateway_leaf();
    let (since, again) = (scene.now, scene.now + minutes(7));
    ask(&mut scene, &gateway(), Some(again));
    scene.now += minutes(2);
    let planned = scene.plan();
    assert_eq!(issues(&planned, &gateway()), None);
    assert!(!drops(&planned, &gateway()));
    let entry = told(&planned, &gateway());
    assert_eq!(entry.state, CertificateState::Pending);
    assert_eq!(entry.reason.as_deref(), Some("IssuerPending"));
    assert_eq!(planned.next_check, again);
    for kind in ["Ready", "CertificatesReady"] {
        let (status, reason, message) = condition(&planned, kind);
        assert_eq!(
            (status.as_str(), reason.as_str()),
            ("False", "IssuerPending")
        );
        assert!(message.contains("cluster-gateway-tls"), "{message}");
        assert!(message.contains(&format!("since {since:.0}")), "{message}");
    }
    for (kind, status) in [
        ("Reconciling", "True"),
        ("Issuing", "True"),
        ("Stalled", "False"),
    ] {
        assert_eq!(condition(&planned, kind).0, status, "{kind}");
    }

    // Asking again changes nothing in what is said: a status is not written for each time.
    scene.now = again;
    let asks = scene.plan();
    let why = issues(&asks, &gateway()).unwrap();
    assert_eq!(why.reason, Reason::SecretMissing);
    let said = |planned: &Decision| {
        let mut status = planned.status.clone();
        for condition in &mut status.conditions {
            condition.last_transition_time.0 = since;
        }
        (status.conditions, status.certificates)
    };
    assert_eq!(said(&asks), said(&planned));
}

#[test]
fn a_request_without_an_answer_is_made_again_at_once() {
    let mut scene = without_gateway_leaf();
    ask(&mut scene, &gateway(), None);
    let planned = scene.plan();
    assert!(issues(&planned, &gateway()).is_some());
    assert_eq!(condition(&planned, "CertificatesReady").1, "IssuerPending");
}

#[test]
fn while_a_renewal_is_pending_the_certificate_that_is_stored_is_as_wanted() {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.settle();
    let request = ("pki.openchoreo.dev/renew".to_owned(), "all".to_owned());
    scene.issuance.metadata.annotations = Some(BTreeMap::from([request]));
    let again = scene.now + minutes(5);
    for leaf in [gateway(), agent()] {
        ask(&mut scene, &leaf, Some(again));
    }
    let planned = scene.plan();
    assert_eq!(
        planned.steps,
        [],
        "the request for a renewal is not granted yet"
    );
    for leaf in [gateway(), agent()] {
        let entry = told(&planned, &leaf);
        assert_eq!(entry.state, CertificateState::Ready);
        assert_eq!(entry.reason.as_deref(), Some("IssuerPending"));
    }
    assert_eq!(condition(&planned, "Ready").0, "True");
    let (status, reason, _) = condition(&planned, "CertificatesReady");
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("True", "IssuerPending")
    );
    assert_eq!(planned.next_check, again);
}

#[test]
fn what_is_wanted_otherwise_by_now_is_asked_for_anew() {
    let mut scene = without_gateway_leaf();
    let other = LeafProfile {
        duration: days(7),
        ..scene.profile(&gateway())
    };
    let again = scene.now + minutes(5);
    ask_for(&mut scene, &gateway(), &other, Some(again));
    let planned = scene.plan();
    assert!(issues(&planned, &gateway()).is_some());
    assert!(!drops(&planned, &gateway()), "the new request replaces it");
    assert_eq!(condition(&planned, "CertificatesReady").1, "SecretMissing");
}

#[test]
fn a_request_at_a_ca_that_was_replaced_is_dropped_while_the_next_one_is_not_trusted() {
    let mut scene = without_gateway_leaf();
    let again = scene.now + minutes(5);
    ask(&mut scene, &gateway(), Some(again));
    scene.issuer = Issuer::Ready(ca(1));
    let planned = scene.plan();
    assert_eq!(
        issues(&planned, &gateway()),
        None,
        "the new CA is not trusted yet"
    );
    assert!(drops(&planned, &gateway()));
}

#[test]
fn a_request_serves_no_longer_once_its_leaf_is_stored_or_not_wanted() {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.settle();
    ask(&mut scene, &gateway(), None);
    assert_eq!(
        scene.plan().steps,
        [Step::DropRequest(DropRequest {
            target: gateway().object
        })]
    );
    scene.settle();
    assert!(scene.pending.is_empty());

    ask(&mut scene, &agent(), None);
    scene.planes.clear();
    assert!(drops(&scene.plan(), &agent()));
    let mut observed = scene.observed();
    let unread = |list| vec![Unread::list(list, "it cannot be read")];
    observed.unreadable = unread(ListRef::PlaneKinds);
    assert!(
        !drops(&decide(&observed, scene.now), &agent()),
        "a plane may want it"
    );
    observed.unreadable = unread(ListRef::workloads(WorkloadKind::Deployment, "elsewhere"));
    assert!(drops(&decide(&observed, scene.now), &agent()));
}

#[test]
fn a_leaf_of_which_nothing_is_known_keeps_its_request() {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.settle();
    ask(&mut scene, &gateway(), None);
    scene.unknown.insert(gateway());
    let planned = scene.plan();
    assert!(!drops(&planned, &gateway()));
    assert_eq!(issues(&planned, &gateway()), None);
}

#[test]
fn what_is_asked_of_whom_is_told_apart() {
    let scene = Scene::new(json!({}));
    let profile = scene.profile(&gateway());
    let of = |issuer: &Issuer, generated: Option<GeneratedCa>| Authority {
        state: issuer.state(),
        generated,
    };
    let first = of(&Issuer::Ready(ca(0)), None);
    let generated = GeneratedCa {
        resource_version: "2".into(),
        request: None,
    };
    let same = of(&Issuer::Ready(ca(0)), Some(generated));
    assert_eq!(asked(&first, &profile), asked(&same, &profile));
    let other_ca = of(&Issuer::Ready(ca(1)), None);
    let other_profile = |change: fn(&mut LeafProfile)| {
        let mut profile = profile.clone();
        change(&mut profile);
        asked(&first, &profile).unwrap()
    };
    let all = [
        asked(&first, &profile).unwrap(),
        asked(&other_ca, &profile).unwrap(),
        other_profile(|profile| profile.common_name.push('x')),
        other_profile(|profile| profile.organizations.clear()),
        other_profile(|profile| drop(profile.sans.pop())),
        other_profile(|profile| profile.usages.client_auth = !profile.usages.client_auth),
        other_profile(|profile| profile.duration += days(1)),
    ];
    let distinct: std::collections::BTreeSet<&String> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
    assert_eq!(asked(&of(&Issuer::Absent, None), &profile), None);
}
