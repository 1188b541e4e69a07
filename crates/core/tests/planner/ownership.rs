//! What belongs to others, and what others put back.

use std::collections::BTreeSet;
use std::sync::Arc;

use external_ca_api::{ExternalCAIssuance, Phase};
use external_ca_core::Reason;
use external_ca_core::model::{Leaf, Material, Read};
use external_ca_core::plan::Step;
use external_ca_core::snapshot::{ClaimTable, Needs, Scope, Seen};
use external_ca_core::x509::{LeafProfile, San};
use jiff::SignedDuration;
use serde_json::json;

use super::pieces::{DATA, HOME, Issuer, agent, blank, ca, config_map_ref, days, gateway, start};
use super::scene::{Scene, condition};

#[test]
fn another_identity_is_not_overwritten_unasked() {
    let mut scene = Scene::new(json!({}));
    let other = LeafProfile {
        common_name: "shop".into(),
        sans: vec![San::Dns("shop.example".into())],
        ..scene.profile(&gateway())
    };
    scene.put_leaf(&gateway(), &ca(2), &other, false);
    let before = scene.material[&gateway()].clone();
    let planned = scene.settle();
    assert_eq!(condition(&planned, "CertificatesReady").1, "NotOwned");
    assert_eq!(scene.material[&gateway()], before);
    scene.issuance.metadata.annotations = Some(
        [(
            "pki.openchoreo.dev/adopt".to_owned(),
            format!("{HOME}/cluster-gateway-tls"),
        )]
        .into(),
    );
    assert_eq!(scene.settle().status.phase, Some(Phase::Ready));
    assert_eq!(scene.signer(&gateway()), 0);
}

#[test]
fn the_same_server_name_in_other_letters_is_the_same_identity() {
    let mut scene = Scene::new(json!({}));
    // By hand, without a common name, and too old: it is renewed.
    let by_hand = LeafProfile {
        common_name: "gateway".into(),
        sans: vec![San::Dns(format!("Cluster-Gateway.{HOME}.SVC"))],
        ..scene.profile(&gateway())
    };
    scene.put_leaf(&gateway(), &ca(2), &by_hand, false);
    let planned = scene.settle();
    assert_eq!(condition(&planned, "CertificatesReady").0, "True");
    assert_eq!(scene.signer(&gateway()), 0);
}

#[test]
fn a_field_that_is_put_back_is_repaired_twice_and_then_left_alone() {
    let mut scene = Scene::new(json!({}));
    scene.settle();
    for round in 0..4 {
        scene.planes[0].value = Some(ca(2).anchor().to_pem());
        scene.planes[0].anchors = vec![ca(2).anchor().clone()];
        scene.planes[0].manager = Some("argocd-controller".into());
        scene.planes[0].changed = Some(scene.now);
        if round == 1 {
            // A repair that did not arrive is not a second time.
            scene.issuance.status = Some(scene.plan().status);
            scene.now += SignedDuration::from_secs(1);
        }
        let planned = scene.turn();
        let repaired = planned
            .steps
            .iter()
            .any(|step| matches!(step, Step::WirePlane(_)));
        assert_eq!(
            repaired,
            round < 2,
            "round {round}: {:#?}",
            planned.status.contested
        );
        if repaired {
            scene.turn();
        }
    }
    let (_, reason, message) = condition(&scene.plan(), "PlanesWired");
    assert_eq!(reason, "FieldConflict");
    assert!(
        message.contains("argocd-controller") && message.contains("spec.clusterAgent.clientCA"),
        "{message}"
    );
}

/// Another manager writes a plane's clientCA.
fn put_client_ca(scene: &mut Scene, anchor: usize) {
    let plane = &mut scene.planes[0];
    plane.value = Some(ca(anchor).anchor().to_pem());
    plane.anchors = vec![ca(anchor).anchor().clone()];
    plane.manager = Some("argocd-controller".into());
    plane.changed = Some(scene.now);
}

#[test]
fn a_contest_that_a_person_has_settled_is_forgotten() {
    let mut scene = Scene::new(json!({}));
    scene.settle();
    for _ in 0..3 {
        put_client_ca(&mut scene, 2);
        scene.turn();
        scene.turn();
    }
    assert_eq!(condition(&scene.plan(), "PlanesWired").1, "FieldConflict");
    put_client_ca(&mut scene, 0);
    let settled = scene.turn();
    assert_eq!(settled.status.phase, Some(Phase::Ready));
    assert_eq!(settled.status.contested, []);
    // The next rotation is not held up by what was settled.
    scene.issuer = Issuer::Ready(ca(1));
    assert_eq!(scene.settle().status.phase, Some(Phase::Ready));
    assert_eq!(scene.planes[0].anchors, [ca(1).anchor().clone()]);
}

#[test]
fn replacing_an_object_as_a_whole_is_a_contest_too() {
    for (object, kind) in [
        (config_map_ref(DATA), "TrustDistributed"),
        (agent(), "CertificatesReady"),
    ] {
        let mut scene = Scene::new(json!({}));
        scene.settle();
        let mut repairs = 0;
        for _ in 0..6 {
            scene.now += SignedDuration::from_mins(1);
            if object == agent() {
                let profile = scene.profile(&agent());
                scene.put_leaf(&object, &ca(2), &profile, true);
            } else {
                scene.put_bundle(&object, &[ca(2).anchor().clone()], None);
            }
            // kubectl replace: no annotation is left.
            let replaced = scene.material.get_mut(&object).unwrap();
            replaced.issuance = None;
            replaced.manager = Some("kubectl-replace".into());
            let planned = scene.turn();
            let name = object.to_string();
            repairs += planned
                .steps
                .iter()
                .filter(|step| step.object() == name)
                .count();
            scene.turn();
        }
        assert_eq!(repairs, 2, "{object}");
        assert_eq!(
            condition(&scene.plan(), kind).1,
            "FieldConflict",
            "{object}"
        );
    }
}

#[test]
fn a_leaf_that_somebody_else_keeps_replacing_is_left_alone() {
    let mut scene = Scene::new(json!({}));
    scene.settle();
    for round in 0..3 {
        scene.now += SignedDuration::from_mins(1);
        let profile = scene.profile(&agent());
        scene.put_leaf(&agent(), &ca(2), &profile, true);
        scene.material.get_mut(&agent()).unwrap().manager = Some("cert-manager".into());
        let planned = scene.turn();
        assert_eq!(
            planned.steps.is_empty(),
            round == 2,
            "{round}: {:#?}",
            planned.steps
        );
        if round == 2 {
            let (_, reason, message) = condition(&planned, "CertificatesReady");
            assert_eq!(reason, "FieldConflict");
            assert!(
                message.contains("cert-manager") && message.contains("cluster-agent-tls"),
                "{message}"
            );
        }
    }
}

#[test]
fn what_an_older_issuance_owns_is_not_touched() {
    let mut scene = Scene::new(json!({}));
    let owner = || "other/older".to_owned();
    let wanted = scene.observed();
    scene.claims.material = wanted
        .material
        .keys()
        .map(|key| (key.clone(), owner()))
        .collect();
    scene.claims.planes = scene
        .planes
        .iter()
        .map(|plane| (plane.plane.clone(), owner()))
        .collect();
    let planned = scene.plan();
    assert_eq!(planned.steps, []);
    for kind in ["TrustDistributed", "CertificatesReady", "PlanesWired"] {
        let (_, reason, message) = condition(&planned, kind);
        assert_eq!(reason, "Conflict", "{kind}");
        assert!(message.contains("other/older"), "{message}");
    }
}

#[test]
fn a_stored_ca_is_overwritten_by_no_leaf() {
    for target in [gateway(), agent()] {
        let mut scene = Scene::new(json!({}));
        let certificate = ca(2).certificate().clone();
        let stored = Material {
            issuance: Some(format!("{HOME}/cluster-gateway")),
            leaf: Leaf::Present {
                chain: vec![certificate],
                key_matches: true,
            },
            has_key: true,
            ..blank("kubernetes.io/tls")
        };
        scene.material.insert(target.clone(), stored.clone());
        let name = target.object.to_string();
        // Whatever is asked for: the same common name, leave to adopt, a renewal.
        scene.issuance.spec.gateway.common_name = "openchoreo-cluster-gateway-ca".into();
        scene.issuance.metadata.annotations = Some(
            ["adopt", "renew"]
                .map(|what| (format!("pki.openchoreo.dev/{what}"), name.clone()))
                .into(),
        );
        for _ in 0..5 {
            scene.turn();
        }
        assert_eq!(scene.material[&target], stored, "{target}");
        let (_, reason, message) = condition(&scene.plan(), "CertificatesReady");
        assert_eq!(reason, "NotOwned");
        assert!(
            message.contains("CA:TRUE") && message.contains(&name),
            "{message}"
        );
    }
}

/// An issuance in some namespace, made that long after the others.
fn issuance(
    namespace: &str,
    name: &str,
    age: i64,
    spec: serde_json::Value,
) -> Arc<ExternalCAIssuance> {
    let created = start() + SignedDuration::from_secs(age);
    let object = json!({
        "metadata": {"name": name, "namespace": namespace, "uid": name, "creationTimestamp": created},
        "spec": spec,
    });
    Arc::new(serde_json::from_value(object).unwrap())
}

#[test]
fn a_ca_secret_is_claimed_by_its_issuance_whatever_their_ages() {
    let scope = Scope {
        served: Arc::new([HOME, DATA].map(String::from).into()),
        ..Scope::default()
    };
    let platform = |age| {
        let spec = json!({"issuer": {"caSecret": {"name": "ca", "generate": true}}});
        issuance(HOME, "platform", age, spec)
    };
    let target = json!({"namespace": HOME, "secretName": "ca"});
    let wants = json!([{"name": "mine", "usages": ["ClientAuth"], "target": target}]);
    let spec = |name: &str| json!({"issuer": {"caSecret": {"name": name}}, "certificates": wants});
    let refused = |issuance: &Arc<ExternalCAIssuance>, other: Arc<ExternalCAIssuance>| {
        let needs = Needs::of(issuance, Vec::new(), &BTreeSet::new(), &scope);
        let mut seen = Seen::default();
        for need in needs.objects() {
            seen.material.insert(need, Arc::new(Read::Absent));
        }
        let now = start() + days(1);
        let authority = Issuer::Ready(ca(0)).state();
        let claims = ClaimTable::new(&[other, Arc::clone(issuance)], &[], &scope);
        let claims = claims.of(issuance, &needs);
        let observed = seen.observed(issuance, claims, &needs, &scope, authority);
        let planned = external_ca_core::report::decide(&observed, now);
        let written = planned
            .steps
            .iter()
            .any(|step| step.object() == format!("Secret {HOME}/ca"));
        let conflict = planned.problems.iter().any(|noted| {
            noted.problem.reason == Reason::Conflict
                && noted.problem.message.contains(&format!("{HOME}/platform"))
        });
        (written, conflict)
    };
    for age in [0, 20] {
        let stranger = issuance(DATA, "stranger", 10, spec("other-ca"));
        assert_eq!(refused(&stranger, platform(age)), (false, true), "{age}");
    }
    // In one namespace the older one decides: naming a Secret as one's CA takes it away from no standing leaf.
    let neighbour = issuance(HOME, "neighbour", 10, spec("other-ca"));
    assert_eq!(refused(&neighbour, platform(0)), (false, true));
    assert!(!refused(&neighbour, platform(20)).1);
}
