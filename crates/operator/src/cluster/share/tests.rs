//! However much is wanted, CA Secrets are watched.

use std::collections::BTreeSet;
use std::sync::Arc;

use external_ca_core::model::{MaterialKind, MaterialRef, ObjectRef};
use external_ca_core::snapshot::{Needs, Scope};
use serde_json::{Value, json};

use super::{Wanted, is_contested, share};

fn wanted(name: &str, certificates: usize) -> Wanted {
    let certificates: Vec<Value> = (0..certificates)
        .map(|index| {
            json!({"name": index.to_string(), "usages": ["ClientAuth"],
                "target": {"secretName": format!("{name}-{index}")}})
        })
        .collect();
    let issuance = json!({
        "metadata": {"name": name, "namespace": "ns"},
        "spec": {"issuer": {"caSecret": {"name": format!("ca-of-{name}")}}, "certificates": certificates},
    });
    let served = Arc::new(["ns".to_owned()].into());
    let scope = Scope {
        served,
        ..Scope::default()
    };
    let issuance = serde_json::from_value(issuance).unwrap();
    Wanted::of(&Needs::of(&issuance, Vec::new(), &BTreeSet::new(), &scope))
}

#[test]
fn ca_secrets_are_watched_whatever_else_is_wanted() {
    let mut all: Vec<Wanted> = (0..200)
        .map(|index| wanted(&format!("a{index}"), 1))
        .collect();
    all.push(wanted("z", 1_024));
    let shared = share(all.iter());
    let authority = |name: String| MaterialRef {
        kind: MaterialKind::Secret,
        object: ObjectRef::new("ns", format!("ca-of-{name}")),
    };
    let names = (0..200).map(|index| format!("a{index}"));
    for name in names.chain(["z".to_owned()]) {
        assert!(shared.watched.contains(&authority(name.clone())), "{name}");
    }
    assert_eq!(
        shared.watched.len(),
        201,
        "nothing but CAs is left to be watched"
    );
    assert_eq!(shared.watched.intersection(&shared.reread).count(), 0);
}

#[test]
fn one_issuance_with_many_certificates_takes_no_watch_from_another() {
    let all = [wanted("a", 1_024), wanted("b", 2)];
    let shared = share(all.iter());
    assert_eq!(shared.watched.len(), 64);
    let mut of_b = all[1].objects.iter();
    assert!(of_b.all(|one| shared.watched.contains(one)));
}

#[test]
fn what_two_want_is_contested_when_either_begins_or_ceases_to_want_it() {
    let (few, more) = (wanted("a", 1), wanted("a", 2));
    let others = [wanted("b", 3), wanted("c", 0)];
    // The gateway's leaf, the bundles: all of one namespace want them.
    assert!(is_contested(None, &few, others.iter()));
    assert!(!is_contested(None, &few, [].into_iter()));
    assert!(!is_contested(Some(&few), &more, others.iter()), "its own");
    assert!(is_contested(Some(&few), &more, [wanted("a", 2)].iter()));
    assert!(is_contested(Some(&more), &few, [wanted("a", 2)].iter()));
    assert!(!is_contested(Some(&more), &more, [wanted("a", 2)].iter()));
}
