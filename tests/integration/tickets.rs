//! An authority that may leave requests pending, refuse them, be away, or answer something else: the operator for tests against
//! the test bed's authority, on one control plane.

use std::collections::BTreeSet;
use std::time::Duration;

use external_ca_api::CertificateState;
use external_ca_tests::authority::{Known, Mood};
use external_ca_tests::openssl::{Ca, Purpose, verify};
use external_ca_tests::proxy::{RequestInfo, When};
use external_ca_tests::wait::{PATIENCE, wait_for};
use external_ca_tests::world::{CA_SECRET, ISSUANCE, NAMESPACES, message};
use external_ca_tests::{Operator, Result, TestAuthority, chart};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

use super::kill::{GRACE, PENDING, Stage, killed};

const LEAVES: usize = 4;
const FOR_EVER: Mood = Mood::Pending(u32::MAX, 1);

fn authority(stage: &Stage) -> &TestAuthority {
    stage
        .authority
        .as_ref()
        .expect("the stage has an authority")
}

/// A clean stage, an authority in that mood, an operator, and an issuance of four leaves.
async fn scene(stage: &Stage, mood: Mood) -> Result<Operator> {
    stage.clean().await?;
    // What held the bundles of the scene before would hold up the gateway's certificate, and wait for its own.
    stage.renew_pods().await?;
    authority(stage).be(mood);
    let operator = Operator::start(stage.options.clone()).await?;
    stage.issue().await?;
    Ok(operator)
}

/// Waits until this holds of what the authority knows.
async fn until(stage: &Stage, what: &str, holds: impl Fn(&[Known]) -> bool) {
    wait_for(what, PATIENCE, async || {
        let known = authority(stage).known();
        let told = |one: &Known| (one.common_name.clone(), one.made, one.polled);
        if holds(&known) {
            Ok(())
        } else {
            Err(format!("{:?}", known.iter().map(told).collect::<Vec<_>>()))
        }
    })
    .await
}

/// Waits until every leaf was asked for and is pending, and each request was asked for so often again.
async fn pending(stage: &Stage, polled: u32) {
    until(stage, "four requests that are pending", |known| {
        known.len() == LEAVES && known.iter().all(|one| one.polled >= polled)
    })
    .await
}

async fn leaves(stage: &Stage) -> Result<Vec<Secret>> {
    let all = stage.all::<Secret>().list(&ListParams::default()).await?;
    let is_leaf = |secret: &Secret| {
        let has_key = secret
            .data
            .as_ref()
            .is_some_and(|data| data.contains_key("tls.key"));
        has_key && secret.metadata.name.as_deref() != Some(CA_SECRET)
    };
    Ok(all.into_iter().filter(is_leaf).collect())
}

fn tokens(known: &[Known]) -> BTreeSet<String> {
    known.iter().map(|one| one.token.clone()).collect()
}

/// Ready, each leaf with the certificate of the one request that was made for it.
async fn comes_to_rest(stage: &Stage, operator: &Operator) -> Result<()> {
    stage.ready(operator).await?;
    stage.each_leaf_was_asked_for_once().await?;
    assert_eq!(leaves(stage).await?.len(), LEAVES);
    Ok(())
}

async fn no_leaf_is_stored(stage: &Stage) -> Result<()> {
    let stored = leaves(stage).await?;
    let names: Vec<_> = stored.iter().map(|one| &one.metadata.name).collect();
    assert!(names.is_empty(), "{names:?}");
    Ok(())
}

/// The lines of each private key that waits in the Secret, as PEM and as the API shows them.
async fn pending_keys(stage: &Stage) -> Result<BTreeSet<String>> {
    let secret = stage.world.secrets(chart::NAMESPACE).get(PENDING).await?;
    let mut lines = BTreeSet::new();
    for entry in secret.data.unwrap_or_default().into_values() {
        let entry: serde_json::Value = serde_json::from_slice(&entry.0)?;
        let key = entry["key"].as_str().unwrap_or_default();
        assert!(key.contains("PRIVATE KEY"));
        let body = key.lines().filter(|line| !line.starts_with("-----"));
        lines.extend(body.map(String::from));
        let shown = serde_json::to_string(&ByteString(key.as_bytes().to_vec()))?;
        let shown = shown.trim_matches('"').as_bytes().chunks(48);
        lines.extend(shown.map(|part| String::from_utf8_lossy(part).into_owned()));
    }
    lines.retain(|line| line.len() > 12);
    assert!(lines.len() >= LEAVES, "{}", lines.len());
    Ok(lines)
}

async fn pending_for_several_turns_and_over_a_restart(stage: &Stage) -> Result<()> {
    let mut operator = scene(stage, FOR_EVER).await?;
    pending(stage, 1).await;
    let world = &stage.world;
    let status = world
        .condition("CertificatesReady", "False", "IssuerPending")
        .await;
    let told = message(&status, "CertificatesReady");
    assert!(
        told.contains("it waits for the issuer's answer, since 20"),
        "{told}"
    );
    assert!(
        status
            .conditions
            .iter()
            .any(|one| one.type_ == "Stalled" && one.status == "False")
    );
    for entry in &status.certificates {
        assert_eq!(entry.state, CertificateState::Pending, "{entry:?}");
        assert_eq!(entry.reason.as_deref(), Some("IssuerPending"), "{entry:?}");
    }
    no_leaf_is_stored(stage).await?;
    assert_eq!(stage.kept_requests().await, LEAVES);
    let first = tokens(&authority(stage).known());

    // Asking again writes nothing, and makes no second request.
    stage.proxy.quiet(GRACE).await?;
    stage.proxy.reset();
    let polled = authority(stage).known().iter().map(|one| one.polled).max();
    pending(stage, polled.unwrap_or_default() + 3).await;
    let writes = stage.proxy.requests(RequestInfo::is_write);
    assert!(writes.is_empty(), "{writes:?}");
    assert!(authority(stage).known().iter().all(|one| one.made == 1));

    operator.kill();
    let polled = authority(stage).known().iter().map(|one| one.polled).max();
    operator.restart().await?;
    pending(stage, polled.unwrap_or_default() + 2).await;
    assert!(authority(stage).known().iter().all(|one| one.made == 1));
    world
        .condition("CertificatesReady", "False", "IssuerPending")
        .await;

    let keys = pending_keys(stage).await?;
    authority(stage).be(Mood::Signs);
    comes_to_rest(stage, &operator).await?;
    assert_eq!(tokens(&authority(stage).known()), first);

    let issuance = world.issuances().get(ISSUANCE).await?;
    let events = stage.all::<Event>().list(&ListParams::default()).await?;
    let metrics = operator.metrics().await?;
    assert!(
        metrics.contains("issuer=\"test\",result=\"pending\""),
        "{metrics}"
    );
    let texts = [
        operator.log(),
        metrics,
        serde_json::to_string(&issuance)?,
        serde_json::to_string(&events.items)?,
    ];
    for told in [&texts[0], &texts[3]] {
        assert!(told.contains("IssuerPending"), "log and Event: {told}");
    }
    for (text, line) in texts
        .iter()
        .flat_map(|text| keys.iter().map(move |line| (text, line)))
    {
        assert!(!text.contains(line), "a key is told");
    }
    Ok(())
}

/// A certificate that is there is renewed on request, in silence until the new one comes.
async fn a_renewal_that_is_pending_leaves_all_ready(stage: &Stage) -> Result<()> {
    let operator = scene(stage, Mood::Signs).await?;
    comes_to_rest(stage, &operator).await?;
    let before: Vec<_> = leaves(stage)
        .await?
        .into_iter()
        .map(|one| one.data)
        .collect();
    authority(stage).forget();
    authority(stage).be(FOR_EVER);
    stage
        .world
        .annotate("pki.openchoreo.dev/renew", "all")
        .await?;
    pending(stage, 2).await;
    let status = stage
        .world
        .condition("CertificatesReady", "True", "IssuerPending")
        .await;
    assert!(
        status
            .conditions
            .iter()
            .any(|one| one.type_ == "Ready" && one.status == "True")
    );
    let still: Vec<_> = leaves(stage)
        .await?
        .into_iter()
        .map(|one| one.data)
        .collect();
    assert_eq!(still, before);
    authority(stage).be(Mood::Signs);
    wait_for(
        "new certificates, and the request granted",
        PATIENCE,
        async || {
            let issuance = stage.world.issuances().get(ISSUANCE).await.unwrap();
            let asked = issuance.metadata.annotations.unwrap_or_default();
            let now: Vec<_> = leaves(stage)
                .await
                .unwrap()
                .into_iter()
                .map(|one| one.data)
                .collect();
            let all_new = now.iter().zip(&before).all(|(new, old)| new != old);
            if all_new && !asked.contains_key("pki.openchoreo.dev/renew") {
                Ok(())
            } else {
                Err(format!("{asked:?}, all new: {all_new}"))
            }
        },
    )
    .await;
    comes_to_rest(stage, &operator).await
}

/// What the operator says of an authority that fails, and that all is well once it does not.
async fn fails(stage: &Stage, mood: Mood, said: &str) -> Result<()> {
    let operator = scene(stage, mood.clone()).await?;
    let status = stage
        .world
        .condition("CertificatesReady", "False", "IssuerFailed")
        .await;
    let told = message(&status, "CertificatesReady");
    assert!(told.contains(said), "{mood:?}: {told}");
    no_leaf_is_stored(stage).await?;
    until(stage, "a second try", |known| {
        known.iter().map(|one| one.made + one.polled).sum::<u32>() > LEAVES as u32
    })
    .await;
    no_leaf_is_stored(stage).await?;
    authority(stage).be(Mood::Signs);
    stage.ready(&operator).await?;
    assert_eq!(leaves(stage).await?.len(), LEAVES);
    Ok(())
}

/// What may be otherwise later is asked for by the same request; what is refused, or is not what was asked for, by a new one.
async fn failures(stage: &Stage) -> Result<()> {
    fails(stage, Mood::Down(1), "cannot sign now: come again").await?;
    stage.each_leaf_was_asked_for_once().await?;
    fails(
        stage,
        Mood::Unauthorized("no such role"),
        "as it is configured: no such role",
    )
    .await?;
    stage.each_leaf_was_asked_for_once().await?;
    fails(
        stage,
        Mood::Rejects("not by policy"),
        "refuses to sign: not by policy",
    )
    .await?;
    assert_eq!(stage.kept_requests().await, 0);
    fails(stage, Mood::WrongChain, "does not verify").await?;
    fails(stage, Mood::WrongKey, "it has another key").await?;
    fails(stage, Mood::WrongName, "its common name differs").await
}

async fn slow(stage: &Stage) -> Result<()> {
    let operator = scene(stage, Mood::Slow(Duration::from_secs(2))).await?;
    comes_to_rest(stage, &operator).await
}

/// Shorter than asked for: the renewal is earlier, and there is no more than one certificate.
async fn a_shorter_life(stage: &Stage) -> Result<()> {
    let operator = scene(stage, Mood::Short(3600)).await?;
    comes_to_rest(stage, &operator).await?;
    let status = stage.world.ready().await;
    for entry in &status.certificates {
        let (renewal, end) = (entry.renewal_time.as_ref(), entry.not_after.as_ref());
        let left = renewal.unwrap().0.duration_until(end.unwrap().0);
        assert!((600..3000).contains(&left.as_secs()), "{entry:?}");
    }
    stage.proxy.quiet(Duration::from_secs(3)).await?;
    stage.each_leaf_was_asked_for_once().await?;
    Ok(())
}

/// Requests at a CA that is replaced lead to no certificate; the next CA is asked, once it is trusted.
async fn a_ca_that_is_replaced_meanwhile(stage: &Stage) -> Result<()> {
    let operator = scene(stage, FOR_EVER).await?;
    pending(stage, 1).await;
    let first = tokens(&authority(stage).known());
    let next = Ca::replacement(1);
    authority(stage).sign_with(&next)?;
    stage.world.put_ca(&next).await?;
    // The gateway's leaf waits until the agents have loaded the next CA, and they for theirs.
    until(stage, "requests at the next CA", |known| {
        known.len() >= 2 * LEAVES - 1
    })
    .await;
    authority(stage).be(Mood::Signs);
    stage.ready(&operator).await?;
    for known in authority(stage).known() {
        let is_old = first.contains(&known.token);
        assert_eq!(known.issued.is_none(), is_old, "{}", known.common_name);
    }
    for leaf in leaves(stage).await? {
        let pem = String::from_utf8(leaf.data.unwrap_or_default()["tls.crt"].0.clone())?;
        let purpose = match leaf.metadata.name.as_deref() {
            Some("cluster-gateway-tls") => {
                Purpose::Server("cluster-gateway.openchoreo-control-plane.svc")
            }
            _ => Purpose::Client,
        };
        verify(&next.certificate, &pem, purpose)?;
    }
    drop(operator);
    authority(stage).sign_with(&Ca::guide())?;
    stage.world.put_ca(&Ca::guide()).await
}

/// What is wanted otherwise is asked for anew; what belongs to an issuance that is gone is dropped, by a running operator and
/// by one that starts.
async fn requests_that_serve_no_longer(stage: &Stage) -> Result<()> {
    let mut operator = scene(stage, FOR_EVER).await?;
    pending(stage, 1).await;
    let patch = json!({"spec": {"certificateDefaults": {"duration": "240h"}}});
    let issuances = stage.world.issuances();
    let params = PatchParams::default();
    issuances
        .patch(ISSUANCE, &params, &Patch::Merge(patch))
        .await?;
    until(stage, "new requests", |known| known.len() == 2 * LEAVES).await;
    assert_eq!(stage.kept_requests().await, LEAVES);

    let gone = async |what: &str| {
        wait_for(what, PATIENCE, async || match stage.kept_requests().await {
            0 => Ok(()),
            kept => Err(format!("{kept} requests are kept")),
        })
        .await
    };
    issuances.delete(ISSUANCE, &DeleteParams::default()).await?;
    gone("requests of an issuance that is deleted to be dropped").await;

    authority(stage).forget();
    stage.issue().await?;
    pending(stage, 1).await;
    operator.kill();
    issuances.delete(ISSUANCE, &DeleteParams::default()).await?;
    operator.restart().await?;
    gone("requests of an issuance that is gone to be dropped").await;
    Ok(())
}

/// What others have put into the Secret stays there, and where there is no room for more it is said.
async fn a_full_secret(stage: &Stage) -> Result<()> {
    stage.clean().await?;
    let own = stage.world.secrets(chart::NAMESPACE);
    let theirs = ByteString(vec![b'x'; 900 * 1024]);
    let secret = json!({"metadata": {"name": PENDING}, "data": {"theirs": theirs}});
    own.create(&Default::default(), &serde_json::from_value(secret)?)
        .await?;
    authority(stage).be(Mood::Pending(1, 1));
    let operator = Operator::start(stage.options.clone()).await?;
    stage.issue().await?;
    let status = stage
        .world
        .condition("CertificatesReady", "False", "WriteFailed")
        .await;
    let told = message(&status, "CertificatesReady");
    let full = format!("the Secret {}/{PENDING} is full", chart::NAMESPACE);
    assert!(told.contains(&full), "{told}");
    assert_eq!(authority(stage).known().len(), 0);
    let less = json!({"data": {"theirs": ByteString(b"x".to_vec())}});
    own.patch(PENDING, &PatchParams::default(), &Patch::Merge(less))
        .await?;
    stage.ready(&operator).await?;
    wait_for("only theirs to be kept", PATIENCE, async || {
        let data = own.get(PENDING).await.unwrap().data.unwrap_or_default();
        match data
            .keys()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .as_slice()
        {
            ["theirs"] => Ok(()),
            keys => Err(format!("{keys:?}")),
        }
    })
    .await;
    Ok(())
}

/// Two that both believe they lead go on with each other's requests.
async fn two_leaders(stage: &Stage) -> Result<()> {
    stage.clean().await?;
    authority(stage).be(Mood::Pending(3, 1));
    let first = Operator::start(stage.options.clone()).await?;
    let second = Operator::start(stage.options.clone()).await?;
    stage.issue().await?;
    comes_to_rest(stage, &first).await?;
    comes_to_rest(stage, &second).await
}

#[tokio::test]
async fn every_mood() -> Result<()> {
    let stage = &Stage::with_authority().await?;
    pending_for_several_turns_and_over_a_restart(stage).await?;
    a_renewal_that_is_pending_leaves_all_ready(stage).await?;
    slow(stage).await?;
    a_shorter_life(stage).await?;
    failures(stage).await?;
    a_ca_that_is_replaced_meanwhile(stage).await?;
    requests_that_serve_no_longer(stage).await?;
    a_full_secret(stage).await?;
    two_leaders(stage).await?;
    assert_eq!(
        NAMESPACES.len(),
        LEAVES + 1,
        "one of them has no plane in this release"
    );
    Ok(())
}

/// Killed at each write: the same request, the same key, the same end.
async fn killed_at_each_write(when: When) -> Result<()> {
    let stage = Stage::with_authority().await?;
    authority(&stage).be(Mood::Pending(1, 1));
    killed(&stage, when).await
}

#[tokio::test]
async fn killed_before_each_write() -> Result<()> {
    killed_at_each_write(When::Before).await
}

#[tokio::test]
async fn killed_after_each_write() -> Result<()> {
    killed_at_each_write(When::After).await
}
