//! What holds for whatever comes in: each function takes any bytes, and panics where it does not hold.

use external_ca_api::{Duration, PlaneKind};
use external_ca_core::model::facts::{self, MAX_PEM, SlimPod};
use external_ca_core::model::lenient::Lenient;
use external_ca_core::x509::{
    CaChain, Certificate, PrivateKey, Usages, encode_bundle, parse_bundle, verify,
};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use kube::Resource;
use kube::core::{DynamicObject, ObjectList};
use serde::de::DeserializeOwned;
use serde_json::json;
use serde_json::value::RawValue;

/// A certificate that is known to be sound.
const KNOWN: &str = include_str!("corpus/pem/one");

const NOW: Timestamp = Timestamp::constant(1_796_000_000, 0);

/// A PEM bundle: what is read and written again reads the same, and neighbours are found.
pub fn pem(data: &[u8]) {
    let bundle = parse_bundle(data);
    let written = encode_bundle(&bundle.certificates);
    let again = parse_bundle(written.as_bytes());
    assert_eq!(again.certificates, bundle.certificates);
    assert_eq!(again.unreadable, []);
    let lines = 1 + data.iter().filter(|byte| **byte == b'\n').count();
    for unreadable in &bundle.unreadable {
        assert!((1..=lines).contains(&unreadable.line), "{unreadable}");
    }

    let [known] = &parse_bundle(KNOWN.as_bytes()).certificates[..] else {
        unreachable!("the corpus holds one certificate there")
    };
    // A line with a colon may be taken for a header, and Go then gives up whatever follows.
    if !data.contains(&b':') {
        let before = [data, b"\n", KNOWN.as_bytes()].concat();
        assert!(parse_bundle(&before).certificates.contains(known));
    }
    let behind = [KNOWN.as_bytes(), data].concat();
    assert_eq!(parse_bundle(&behind).certificates.first(), Some(known));

    if let Ok(chain) = CaChain::from_pem(data, NOW) {
        assert!(bundle.certificates.contains(chain.certificate()));
        assert!(
            chain
                .chain()
                .all(|one| one.is_ca() && one.defect().is_none())
        );
    }
    if let Err(error) = PrivateKey::from_pem(data) {
        assert!(error.to_string().len() < 256);
    }
}

/// A certificate: what is read is kept byte for byte, nothing of it breaks a line, and a defect is never overlooked.
pub fn certificate(data: &[u8]) {
    let Ok(read) = Certificate::from_der(data.to_vec()) else {
        return;
    };
    assert_eq!(read.der(), data);
    let again = parse_bundle(read.to_pem().as_bytes());
    assert_eq!(again.certificates, std::slice::from_ref(&read));
    for name in [read.subject(), read.issuer()] {
        assert!(!name.chars().any(char::is_control), "{name:?}");
    }
    for part in [read.subject_der(), read.issuer_der(), read.spki_der()] {
        assert!(!part.is_empty() && data.windows(part.len()).any(|window| window == part));
    }
    assert_eq!(read.signed_by(&read), read.is_self_signed());
    for usages in [Usages::SERVER, Usages::CLIENT] {
        let pinned = std::slice::from_ref(&read);
        let verdict = verify(pinned, pinned, usages, NOW);
        let valid = read.not_before() <= NOW && NOW <= read.not_after();
        assert!(verdict.is_err() || (read.defect().is_none() && valid));
        assert!(!verdict.is_err_and(|error| error.to_string().contains('\n')));
    }
}

/// A plane: it hides no neighbour, and its facts are those of its text.
pub fn plane(data: &[u8]) {
    let Some(found) = among_neighbours::<DynamicObject>(data) else {
        return;
    };
    let read = facts::plane(PlaneKind::DataPlane, &found.metadata, &found.data, None);
    match read {
        Ok(Some(plane)) => {
            assert!(!plane.plane_id.is_empty() || plane.plane.name.is_empty());
            let text = plane.value.unwrap_or_default();
            assert!(text.len() <= MAX_PEM);
            let anchors = parse_bundle(text.as_bytes()).certificates;
            assert!(plane.anchors.iter().all(|anchor| anchors.contains(anchor)));
        }
        Ok(None) => assert_eq!(found.metadata.name, None),
        Err(error) => assert!(error.size > MAX_PEM),
    }
}

/// A workload of each kind.
pub fn deployment(data: &[u8]) {
    if let Some(found) = among_neighbours::<Deployment>(data) {
        let named = facts::deployment(&found)
            .is_none_or(|one| Some(one.workload.object.name) == found.metadata.name);
        assert!(named);
    }
    if let Some(found) = among_neighbours::<StatefulSet>(data) {
        let _ = facts::stateful_set(&found);
    }
    if let Some(found) = among_neighbours::<DaemonSet>(data) {
        let _ = facts::daemon_set(&found);
    }
}

/// A pod, of which little is read.
pub fn pod(data: &[u8]) {
    if let Some(found) = among_neighbours::<SlimPod>(data) {
        let name = found.metadata.name.clone();
        assert!(facts::pod(&found).is_none_or(|one| Some(one.pod.name) == name));
    }
}

/// A duration: written and read again it is the same, but for parts of a second, which are not written.
pub fn duration(data: &[u8]) {
    let Ok(Ok(read)) = std::str::from_utf8(data).map(str::parse::<Duration>) else {
        return;
    };
    let again: Duration = read.to_string().parse().expect("what is written is read");
    assert_eq!(again.0.as_secs(), read.0.as_secs(), "{read}");
    let json = serde_json::to_value(read).expect("it is text");
    let from_json: Duration = serde_json::from_value(json).expect("what is written is read");
    assert_eq!(from_json, again);
}

/// The object that the text is, where it parses, taken from a list between two others, which are found whatever it is.
fn among_neighbours<K: DeserializeOwned + Clone + Resource>(data: &[u8]) -> Option<K> {
    let text = std::str::from_utf8(data).ok()?;
    serde_json::from_str::<&RawValue>(text).ok()?;
    let neighbour = |name: &str| json!({"metadata": {"name": name}}).to_string();
    let list = format!(
        r#"{{"metadata":{{}},"items":[{},{text},{}]}}"#,
        neighbour("before"),
        neighbour("behind")
    );
    let list: ObjectList<Lenient<K>> = serde_json::from_str(&list).expect("no object ends a list");
    let [before, found, behind] = <[Lenient<K>; 3]>::try_from(list.items)
        .unwrap_or_else(|items| panic!("{} objects of three", items.len()));
    for (neighbour, name) in [(before, "before"), (behind, "behind")] {
        assert_eq!(neighbour.meta().name.as_deref(), Some(name));
    }
    match found.into_decoded() {
        Ok(found) => Some(found),
        Err(error) => {
            let told = error.to_string();
            assert!(
                told.len() < 2048 && !error.field.contains(char::is_control),
                "{told}"
            );
            None
        }
    }
}
