//! What scenes are made of: CAs, references, and objects as they are at first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use external_ca_api::PlaneKind;
use external_ca_core::model::{
    AuthorityState, CertManagerObject, Controller, GeneratedCa, Leaf, Life, Material, MaterialKind,
    MaterialRef, ObjectRef, Plane, PlaneRef, Pod, RolloutState, Signing, Unready, Workload,
    WorkloadKind, WorkloadRef,
};
use external_ca_core::x509::{
    CaChain, CaProfile, CertificateAuthority, KeyAlgorithm, PrivateKey, generate, self_signed_ca,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

pub const HOME: &str = "openchoreo-control-plane";
pub const DATA: &str = "openchoreo-data-plane";

pub fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// One of cert-manager's, as it is before anybody has looked at it.
pub fn cert_manager_object(name: &str, spec: Value) -> CertManagerObject {
    CertManagerObject {
        resource_version: "1".into(),
        uid: name.into(),
        generation: Some(1),
        created: Some(start()),
        spec,
        status: Value::Null,
        written_by_cert_manager: None,
    }
}

pub fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

/// A scene's CA. Its key is the scene's: the snapshot has the public side.
#[derive(Clone)]
pub enum Issuer {
    Ready(Arc<CertificateAuthority>),
    Keyless(Arc<CaChain>),
    Absent,
}

impl Issuer {
    pub fn state(&self) -> AuthorityState {
        let (chain, signing) = match self {
            Self::Ready(authority) => (authority.public_side(), Signing::Now),
            Self::Keyless(chain) => (chain, Signing::Elsewhere),
            Self::Absent => return AuthorityState::Absent,
        };
        let chain = Arc::clone(chain);
        let identity = "caSecret".to_owned();
        AuthorityState::Ready {
            chain,
            signing,
            identity,
        }
    }
}

pub fn ca(index: usize) -> Arc<CertificateAuthority> {
    static ALL: OnceLock<Vec<Arc<CertificateAuthority>>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        (0..3u8)
            .map(|index| {
                let key = generate(KeyAlgorithm::EcdsaP256).unwrap();
                let profile = CaProfile {
                    organizational_units: Vec::new(),
                    common_name: "openchoreo-cluster-gateway-ca".into(),
                    organizations: vec!["OpenChoreo".into()],
                    path_length: None,
                    duration: days(3650),
                };
                let certificate = self_signed_ca(&key, &profile, [index + 1; 16], start()).unwrap();
                let pem = certificate.to_pem();
                Arc::new(
                    CertificateAuthority::from_pem(
                        pem.as_bytes(),
                        key.to_pem().as_bytes(),
                        None,
                        start(),
                    )
                    .unwrap(),
                )
            })
            .collect()
    });
    Arc::clone(&all[index])
}

/// A CA that OpenSSL made, whose name constraints leave out the gateway.
pub fn constrained(now: Timestamp) -> Arc<CertificateAuthority> {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ])
        .args([
            "-keyout",
            &path("key"),
            "-out",
            &path("crt"),
            "-subj",
            "/CN=constrained",
        ])
        .args([
            "-addext",
            "nameConstraints=critical,permitted;DNS:example.com",
        ])
        .args(["-addext", "keyUsage=critical,keyCertSign"])
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let read = |name: &str| std::fs::read(path(name)).unwrap();
    let authority = CertificateAuthority::from_pem(&read("crt"), &read("key"), None, now);
    Arc::new(authority.unwrap())
}

/// A CA that ends then.
pub fn ending(end: Timestamp) -> Arc<CertificateAuthority> {
    let key = generate(KeyAlgorithm::EcdsaP256).unwrap();
    let profile = CaProfile {
        organizational_units: Vec::new(),
        common_name: "ends".into(),
        organizations: Vec::new(),
        path_length: None,
        duration: start().duration_until(end),
    };
    let certificate = self_signed_ca(&key, &profile, [9; 16], start()).unwrap();
    let (pem, key) = (certificate.to_pem(), key.to_pem());
    let authority = CertificateAuthority::from_pem(pem.as_bytes(), key.as_bytes(), None, start());
    Arc::new(authority.unwrap())
}

pub fn leaf_key() -> &'static PrivateKey {
    static KEY: OnceLock<PrivateKey> = OnceLock::new();
    KEY.get_or_init(|| generate(KeyAlgorithm::EcdsaP256).unwrap())
}

pub fn secret_ref(namespace: &str, name: &str) -> MaterialRef {
    MaterialRef {
        kind: MaterialKind::Secret,
        object: ObjectRef::new(namespace, name),
    }
}

pub fn config_map_ref(namespace: &str) -> MaterialRef {
    MaterialRef {
        kind: MaterialKind::ConfigMap,
        object: ObjectRef::new(namespace, "cluster-gateway-ca"),
    }
}

pub fn gateway() -> MaterialRef {
    secret_ref(HOME, "cluster-gateway-tls")
}

pub fn agent() -> MaterialRef {
    secret_ref(DATA, "cluster-agent-tls")
}

pub fn blank(secret_type: &str) -> Material {
    Material {
        resource_version: "1".into(),
        secret_type: secret_type.into(),
        issuance: None,
        replaces: false,
        renewal: None,
        held_until: None,
        controller: None,
        manager: None,
        created: None,
        changed: None,
        leaf: Leaf::Empty,
        anchors: Vec::new(),
        handed_out: Default::default(),
        signed_since: None,
        has_key: false,
        hash: String::new(),
    }
}

pub fn plane(name: &str, plane_id: &str) -> Plane {
    Plane {
        plane: PlaneRef {
            kind: PlaneKind::DataPlane,
            namespace: Some("default".into()),
            name: name.into(),
        },
        resource_version: "1".into(),
        plane_id: plane_id.into(),
        labels: BTreeMap::new(),
        created: None,
        value: None,
        anchors: Vec::new(),
        reference: None,
        reference_field: Some("secretRef"),
        manager: None,
        changed: None,
        agent_connected: None,
        agent_disconnected: None,
        agent_heartbeat: None,
    }
}

/// A workload that was there before its material: its pods wait for their mounts.
pub fn workload(namespace: &str, name: &str, mounts: &[MaterialRef]) -> Workload {
    Workload {
        workload: WorkloadRef {
            kind: WorkloadKind::Deployment,
            object: ObjectRef::new(namespace, name),
        },
        resource_version: "1".into(),
        mounts: mounts.iter().cloned().collect(),
        optional: BTreeSet::new(),
        loaded: BTreeMap::new(),
        rollout: RolloutState::Running("0 pods available, 1 wanted".into()),
        rollout_since: None,
        agent: None,
    }
}

/// A workload's pod that is as old as all else, and waits for what it mounts.
pub fn pod_of(workload: &Workload) -> Pod {
    let ObjectRef {
        namespace, name, ..
    } = &workload.workload.object;
    Pod {
        pod: ObjectRef::new(namespace, format!("{name}-1")),
        uid: format!("{namespace}/{name}-1"),
        resource_version: "1".into(),
        created: Some(start()),
        controller: Controller::Workload(workload.workload.clone()),
        revision: None,
        node: Some("node-1".into()),
        agent: workload.agent.clone(),
        mounts: workload.mounts.clone(),
        optional: workload.optional.clone(),
        loaded: workload.loaded.clone(),
        life: Life::Waiting(None),
        unready: Unready::default(),
        is_terminating: false,
    }
}

/// The same pod, as it runs.
pub fn running(pod: Pod) -> Pod {
    Pod {
        life: Life::Running { ready: true },
        ..pod
    }
}

pub fn generated(request: Option<String>) -> Option<GeneratedCa> {
    Some(GeneratedCa {
        resource_version: "7".into(),
        request,
    })
}
