//! The end of a story: everything is issued by the CA that stands, loaded by everybody, and trusted beside it is only what is
//! foreign.

use std::time::Duration;

use external_ca_core::x509::{Certificate, Usages, parse_bundle};
use external_ca_tests::Result;
use external_ca_tests::openssl::{Purpose, key_matches, verify};
use external_ca_tests::wait::try_wait_for;
use external_ca_tests::world::{ISSUANCE, describe};
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;

use crate::fleet::Fleet;
use crate::judge::Judge;
use crate::sample::{Conversation, take};
use crate::scene::{FOREIGN, OURS, Scene, is_ready};
use crate::story::{Leaf, PLANES};

/// In how long everything is at rest after a story.
pub const BOUND: Duration = Duration::from_secs(90);
/// The same where the CA Secret and the places of a rotation are told of by no watch: each is read once a minute by itself.
pub const BOUND_IN_THE_DARK: Duration = Duration::from_secs(150);

pub async fn is_reached(
    scene: &Scene,
    judge: &Judge,
    fleet: &mut Fleet,
    ca: usize,
    bound: Duration,
) -> Result<()> {
    let outcome = try_wait_for("everything to come to rest", bound, async || {
        fleet.mend().await.map_err(|error| error.to_string())?;
        rests(scene, judge, ca).await
    });
    Ok(outcome.await?)
}

async fn rests(scene: &Scene, judge: &Judge, last: usize) -> Result<(), String> {
    let issuance = scene
        .issuances()
        .get(ISSUANCE)
        .await
        .map_err(|error| error.to_string())?;
    let status = issuance.status.unwrap_or_default();
    let ready = |one: &_| is_ready(one);
    let is_current = status.observed_generation == issuance.metadata.generation;
    let told = describe(&status);
    if !is_current || !status.conditions.iter().any(ready) {
        return Err(told);
    }
    let sample = take(scene).await.map_err(|error| error.to_string())?;
    let place = |why| format!("{why}; {told}");
    let ca = &OURS[last];
    sample
        .iter()
        .try_for_each(|one| has_moved(one, last, judge))
        .map_err(place)?;
    for leaf in [Leaf::Gateway].into_iter().chain(PLANES.map(Leaf::Agent)) {
        let (namespace, name) = scene.leaf(leaf);
        let (certificate, key) = stored(scene, &namespace, name)
            .await
            .map_err(|error| error.to_string())?;
        let service = format!("cluster-gateway.{}.svc", scene.home());
        let purpose = match leaf {
            Leaf::Gateway => Purpose::Server(&service),
            Leaf::Agent(_) => Purpose::Client,
        };
        verify(&ca.certificate, &certificate, purpose).map_err(place)?;
        if !key_matches(&certificate, &key) {
            return Err(format!("{namespace}/{name}: the key is another's"));
        }
    }
    Ok(())
}

/// Whether all that is stored and loaded is of the last CA, and of it alone.
fn has_moved(one: &Conversation, last: usize, judge: &Judge) -> Result<(), String> {
    let certificates = |text: &str| parse_bundle(text.as_bytes()).certificates;
    let ours: Vec<Certificate> = OURS
        .iter()
        .flat_map(|ca| certificates(&ca.certificate))
        .collect();
    let last = &ours[last];
    let foreign = certificates(&FOREIGN.certificate);
    for (who, text) in &one.presented {
        if !certificates(text)
            .first()
            .is_some_and(|leaf| leaf.signed_by(last))
        {
            return Err(format!("{who} has no certificate of the last CA"));
        }
    }
    if one.usages == Usages::CLIENT && one.trusted.is_empty() {
        return Err("a plane is not there".to_owned());
    }
    for (who, text) in &one.trusted {
        let bundle = certificates(text);
        if !bundle.contains(last) || bundle.iter().any(|one| ours.contains(one) && one != last) {
            return Err(format!("{who} does not trust the last CA alone"));
        }
        if judge.foreign().contains(who) && !foreign.iter().all(|one| bundle.contains(one)) {
            return Err(format!("{who} has lost a foreign anchor"));
        }
    }
    Ok(())
}

async fn stored(scene: &Scene, namespace: &str, name: &str) -> Result<(String, String)> {
    let secrets: Api<Secret> = Api::namespaced(scene.admin.clone(), namespace);
    let mut data = secrets.get(name).await?.data.unwrap_or_default();
    let mut text = |key: &str| String::from_utf8(data.remove(key).unwrap_or_default().0);
    Ok((text("tls.crt")?, text("tls.key")?))
}
