//! From a live installation, made by hand or by cert-manager, to the issuance that takes it over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use external_ca_api::{
    Agent, CaSecret, ClientCa, Duration, ExternalCAIssuance, ExternalCAIssuanceSpec, Issuer,
    KeyAlgorithm as ApiKey, PlaneMatch, PrivateKey,
};
use serde_json::{Map, Value};

use crate::diagnosis::CertManagerCertificate;
use crate::domain::{default_namespace, desired, key_algorithm, plane_type};
use crate::model::{
    Leaf, Material, MaterialKind, MaterialRef, ObjectRef, Plane, Read, Workload, WorkloadRef,
};
use crate::x509::{Certificate, CertificateAuthority, KeyAlgorithm, San};

/// The CA Secret of OpenChoreo's guide.
const GUIDE_CA: &str = "cluster-gateway-external-ca";

/// What exists.
#[derive(Clone, Debug, Default)]
pub struct Installation {
    /// The control plane's namespace.
    pub namespace: String,
    /// The CAs with their keys that stand in Secrets of that namespace.
    pub authorities: Vec<(ObjectRef, Arc<CertificateAuthority>)>,
    /// What workloads mount.
    pub material: BTreeMap<MaterialRef, Arc<Read<Material>>>,
    /// Every plane resource.
    pub planes: Vec<Arc<Plane>>,
    /// Workloads of the namespaces that were looked at.
    pub workloads: Vec<Arc<Workload>>,
    /// Those that run a gateway.
    pub gateways: BTreeSet<WorkloadRef>,
    /// cert-manager's `Certificate` objects.
    pub certificates: Vec<CertManagerCertificate>,
}

/// The issuance that takes an installation over.
#[derive(Clone, Debug)]
pub struct Adoption {
    /// With all defaults filled in.
    pub issuance: ExternalCAIssuance,
    /// What a person must know or do first.
    pub notes: Vec<String>,
}

/// Finds the issuance that wants what exists.
pub fn adopt(installation: &Installation, name: &str) -> Adoption {
    let mut notes = Vec::new();
    let gateway = installation.gateway();
    let leaves: Vec<(ObjectRef, Certificate)> = gateway
        .iter()
        .cloned()
        .chain(installation.agent_leaves())
        .collect();
    let ca = installation.authority(&leaves, &mut notes);
    let mut spec = ExternalCAIssuanceSpec {
        issuer: Issuer::CaSecret(CaSecret {
            name: ca,
            generate: false,
        }),
        certificate_defaults: Default::default(),
        gateway: Default::default(),
        agents: Vec::new(),
        planes: Default::default(),
        trust: Default::default(),
        certificates: Vec::new(),
        rollout: Default::default(),
        rotation: Default::default(),
        paused: false,
    };
    match &gateway {
        Some((secret, leaf)) => installation.describe_gateway(&mut spec, secret, leaf),
        None => notes.push(format!(
            "no gateway with a certificate was found in {}: one is issued to the Secret {}",
            installation.namespace, spec.gateway.secret_name
        )),
    }
    installation.defaults(&mut spec, &leaves);
    installation.trust(&mut spec);
    installation.agents(&mut spec, &mut notes);
    installation.client_ca(&mut spec, &mut notes);
    let mut issuance = ExternalCAIssuance::new(name, spec);
    issuance.metadata.namespace = Some(installation.namespace.clone());
    installation.cert_manager(&issuance, &mut notes);
    Adoption { issuance, notes }
}

/// The issuance as people write it: only what differs from the defaults.
pub fn minimal(issuance: &ExternalCAIssuance) -> Value {
    let Issuer::CaSecret(ca) = &issuance.spec.issuer;
    let smallest = serde_json::json!({"issuer": {"caSecret": {"name": ca.name}}});
    let defaults = serde_json::from_value::<ExternalCAIssuanceSpec>(smallest.clone());
    let (spec, defaults) = (
        serde_json::to_value(&issuance.spec).unwrap_or_default(),
        defaults.map_or(Value::Null, |spec| {
            serde_json::to_value(spec).unwrap_or_default()
        }),
    );
    let mut kept = match smallest {
        Value::Object(kept) => kept,
        _ => Map::new(),
    };
    if let Value::Object(differing) = differing(&spec, &defaults) {
        kept.extend(differing);
    }
    serde_json::json!({
        "apiVersion": "pki.openchoreo.dev/v1alpha1",
        "kind": "ExternalCAIssuance",
        "metadata": {"name": issuance.metadata.name, "namespace": issuance.metadata.namespace},
        "spec": kept,
    })
}

fn differing(value: &Value, default: &Value) -> Value {
    let (Value::Object(value), Value::Object(default)) = (value, default) else {
        return value.clone();
    };
    let null = Value::Null;
    let fields = value.iter().filter_map(|(key, value)| {
        let default = default.get(key).unwrap_or(&null);
        (value != default).then(|| (key.clone(), differing(value, default)))
    });
    Value::Object(fields.collect())
}

impl Installation {
    fn stored(&self, material: &MaterialRef) -> Option<&Material> {
        self.material.get(material)?.found()
    }

    fn leaf(&self, material: &MaterialRef) -> Option<Certificate> {
        match &self.stored(material)?.leaf {
            Leaf::Present { chain, .. } => chain.first().filter(|leaf| !leaf.is_ca()).cloned(),
            _ => None,
        }
    }

    fn secrets<'a>(&self, workload: &'a Workload) -> impl Iterator<Item = &'a MaterialRef> {
        let mounts = workload.mounts.iter();
        mounts.filter(|mount| mount.kind == MaterialKind::Secret)
    }

    /// The Secret that the gateway presents.
    fn gateway(&self) -> Option<(ObjectRef, Certificate)> {
        let mut gateways = self.workloads.iter().filter(|workload| {
            self.gateways.contains(&workload.workload)
                && workload.workload.object.namespace == self.namespace
        });
        gateways.find_map(|workload| {
            self.secrets(workload)
                .find_map(|secret| Some((secret.object.clone(), self.leaf(secret)?)))
        })
    }

    fn agent_of(&self, plane: &Plane) -> Option<&Arc<Workload>> {
        let mut workloads = self.workloads.iter();
        workloads.find(|workload| {
            workload.agent.as_ref().is_some_and(|(kind, id)| {
                *id == plane.plane_id && kind == plane_type(plane.plane.kind)
            })
        })
    }

    /// The Secret that an agent presents: one with a leaf, or the only one there is.
    fn agent_secret(&self, workload: &Workload) -> Option<ObjectRef> {
        let all: Vec<&MaterialRef> = self.secrets(workload).collect();
        let leaf = all.iter().find(|secret| self.leaf(secret).is_some());
        let only = all.first().filter(|_| all.len() == 1);
        leaf.or(only).map(|secret| secret.object.clone())
    }

    fn agent_leaves(&self) -> Vec<(ObjectRef, Certificate)> {
        let mut found: BTreeMap<ObjectRef, Certificate> = BTreeMap::new();
        for workload in self.planes.iter().filter_map(|plane| self.agent_of(plane)) {
            let Some(object) = self.agent_secret(workload) else {
                continue;
            };
            let material = MaterialRef {
                kind: MaterialKind::Secret,
                object: object.clone(),
            };
            if let Some(leaf) = self.leaf(&material) {
                found.insert(object, leaf);
            }
        }
        found.into_iter().collect()
    }

    /// The CA with the key that signed most of the leaves, the gateway's first.
    fn authority(&self, leaves: &[(ObjectRef, Certificate)], notes: &mut Vec<String>) -> String {
        if leaves.is_empty() {
            let mut secrets = self.authorities.iter();
            if !secrets.any(|(secret, _)| secret.name == GUIDE_CA) {
                notes.push(format!(
                    "bring a CA before you apply this: kubectl -n {} create secret tls {GUIDE_CA} --cert=ca.crt --key=ca.key",
                    self.namespace,
                ));
            }
            return GUIDE_CA.into();
        }
        let signed = |ca: &CertificateAuthority| {
            let mine = leaves
                .iter()
                .filter(|(_, leaf)| leaf.signed_by(ca.certificate()));
            mine.count()
        };
        let mut candidates: Vec<&(ObjectRef, Arc<CertificateAuthority>)> = self
            .authorities
            .iter()
            .filter(|(_, ca)| signed(ca) > 0)
            .collect();
        candidates.sort_by_key(|(secret, ca)| {
            let gateway = leaves
                .first()
                .is_some_and(|(_, leaf)| leaf.signed_by(ca.certificate()));
            // Of copies the one that no workload mounts.
            let mounted = self
                .workloads
                .iter()
                .any(|workload| self.secrets(workload).any(|mount| mount.object == *secret));
            (!gateway, mounted, usize::MAX - signed(ca), secret.clone())
        });
        let Some((secret, ca)) = candidates.first() else {
            let issuers: BTreeSet<&str> = leaves.iter().map(|(_, leaf)| leaf.issuer()).collect();
            let issuers: Vec<&str> = issuers.into_iter().collect();
            notes.push(format!(
                "the key of the CA that signed what exists ({}) is in no Secret of {}. Put it there before you apply this: kubectl -n {} \
                 create secret tls {GUIDE_CA} --cert=ca.crt --key=ca.key. If you no longer have it, put a new CA there: everything is then \
                 issued anew, by the same staged move",
                issuers.join("; "),
                self.namespace,
                self.namespace,
            ));
            return GUIDE_CA.into();
        };
        let mounted = self
            .workloads
            .iter()
            .filter(|workload| self.secrets(workload).any(|mount| mount.object == *secret));
        let mounted: Vec<String> = mounted
            .map(|workload| workload.workload.to_string())
            .collect();
        if !mounted.is_empty() {
            notes.push(format!(
                "the Secret {secret} holds the CA's key, and {} mounts it. Better: copy it to a Secret of another name and name that here; \
                 docs/migrating.md says how",
                mounted.join(", ")
            ));
        }
        for (target, leaf) in leaves
            .iter()
            .filter(|(_, leaf)| !leaf.signed_by(ca.certificate()))
        {
            notes.push(format!(
                "Secret {target} was signed by {}, not by that CA: it is issued anew once that CA is trusted",
                leaf.issuer()
            ));
        }
        secret.name.clone()
    }

    fn describe_gateway(
        &self,
        spec: &mut ExternalCAIssuanceSpec,
        secret: &ObjectRef,
        leaf: &Certificate,
    ) {
        let gateway = &mut spec.gateway;
        gateway.secret_name = secret.name.clone();
        if let Some(name) = leaf.common_names().first().filter(|name| !name.is_empty()) {
            gateway.common_name = name.clone();
        }
        let usual = format!("cluster-gateway.{}.svc", self.namespace);
        let usual = BTreeSet::from([format!("{usual}.cluster.local"), usual]);
        let (mut dns, mut ips) = (Vec::new(), Vec::new());
        for san in leaf.sans() {
            match san {
                San::Dns(name) => dns.push(name.clone()),
                San::Ip(address) => ips.push(address.to_string()),
                San::Uri(_) => {}
            }
        }
        if !dns.is_empty() && dns.iter().cloned().collect::<BTreeSet<_>>() != usual {
            gateway.dns_names = dns;
        }
        gateway.ip_addresses = ips;
    }

    /// Kind of key, lifetime and organization, where the leaves agree on another than the default.
    fn defaults(&self, spec: &mut ExternalCAIssuanceSpec, leaves: &[(ObjectRef, Certificate)]) {
        let defaults = &mut spec.certificate_defaults;
        let agreed = |of: &dyn Fn(&Certificate) -> Option<String>| {
            let all: BTreeSet<Option<String>> = leaves.iter().map(|(_, leaf)| of(leaf)).collect();
            all.len() == 1
        };
        let Some((_, leaf)) = leaves.first() else {
            return;
        };
        if agreed(&|leaf| Some(format!("{:?}", leaf.key_algorithm())))
            && let Some(key) = leaf.key_algorithm().and_then(private_key)
            && key_algorithm(&key) != key_algorithm(&defaults.private_key)
        {
            defaults.private_key = key;
        }
        if agreed(&|leaf| Some(leaf.organizations().join(","))) {
            defaults.subject.organizations = leaf.organizations().to_vec();
        }
        let hours = |leaf: &Certificate| {
            let lifetime = leaf.not_before().duration_until(leaf.not_after());
            (lifetime.as_secs() + 1800) / 3600
        };
        if let (true, Ok(hours)) = (
            agreed(&|leaf| Some(hours(leaf).to_string())),
            u32::try_from(hours(leaf)),
        ) && hours > 0
        {
            defaults.duration = Duration::from_hours(i64::from(hours));
        }
    }

    fn trust(&self, spec: &mut ExternalCAIssuanceSpec) {
        let agents = self.planes.iter().filter_map(|plane| self.agent_of(plane));
        let maps: BTreeSet<&String> = agents
            .flat_map(|workload| &workload.mounts)
            .filter(|mount| mount.kind == MaterialKind::ConfigMap)
            .map(|mount| &mount.object.name)
            .collect();
        if !maps.contains(&spec.trust.config_map_name)
            && let (1, Some(name)) = (maps.len(), maps.first())
        {
            spec.trust.config_map_name = (*name).clone();
        }
    }

    fn agents(&self, spec: &mut ExternalCAIssuanceSpec, notes: &mut Vec<String>) {
        for plane in &self.planes {
            let Some(workload) = self.agent_of(plane) else {
                notes.push(format!(
                    "{}: no agent with --plane-id={} was found; its certificate is issued to {}/cluster-agent-tls",
                    plane.plane,
                    plane.plane_id,
                    default_namespace(plane.plane.kind)
                ));
                continue;
            };
            let Some(secret) = self.agent_secret(workload) else {
                notes.push(format!(
                    "{}: {} mounts no Secret with a certificate",
                    plane.plane, workload.workload
                ));
                continue;
            };
            let material = MaterialRef {
                kind: MaterialKind::Secret,
                object: secret.clone(),
            };
            let (mut dns_names, mut uris) = (Vec::new(), Vec::new());
            for san in self.leaf(&material).iter().flat_map(|leaf| leaf.sans()) {
                match san {
                    San::Dns(name) => dns_names.push(name.clone()),
                    San::Uri(uri) => uris.push(uri.clone()),
                    San::Ip(_) => {}
                }
            }
            let agent = Agent {
                planes: PlaneMatch {
                    kinds: vec![plane.plane.kind],
                    plane_ids: vec![plane.plane_id.clone()],
                    ..PlaneMatch::default()
                },
                namespace: (secret.namespace != default_namespace(plane.plane.kind))
                    .then(|| secret.namespace.clone()),
                secret_name: (secret.name != "cluster-agent-tls").then(|| secret.name.clone()),
                dns_names,
                uris,
            };
            let usual = Agent {
                planes: agent.planes.clone(),
                ..Agent::default()
            };
            if agent != usual && !spec.agents.contains(&agent) {
                spec.agents.push(agent);
            }
        }
    }

    /// Planes that all refer to the trust Secret stay that way.
    fn client_ca(&self, spec: &mut ExternalCAIssuanceSpec, notes: &mut Vec<String>) {
        let trust = ObjectRef::new(&self.namespace, &spec.trust.secret_name);
        let mut references = 0;
        for plane in &self.planes {
            let (None, Some((secret, key))) = (&plane.value, &plane.reference) else {
                continue;
            };
            references += 1;
            if *secret != trust || key != "ca.crt" {
                notes.push(format!(
                    "{}: its clientCA refers to the key {key} of the Secret {secret}, which the issuance would not manage \
                     (ForeignClientCA); let it refer to {trust} (key ca.crt) once that exists",
                    plane.plane
                ));
            }
        }
        if references > 0 && references == self.planes.len() {
            spec.planes.client_ca = ClientCa::SecretRef;
        }
    }

    fn cert_manager(&self, issuance: &ExternalCAIssuance, notes: &mut Vec<String>) {
        let wanted = desired(issuance, &self.planes);
        let Issuer::CaSecret(ca) = &issuance.spec.issuer;
        let ca = ObjectRef::new(&self.namespace, &ca.name);
        for certificate in self
            .certificates
            .iter()
            .filter(|certificate| certificate.has_status)
        {
            let bundle = MaterialRef {
                kind: MaterialKind::Secret,
                object: certificate.secret.clone(),
            };
            if wanted.leaves.contains_key(&certificate.secret)
                || wanted.trust_places.contains(&bundle)
                || certificate.secret == ca
            {
                notes.push(format!(
                    "cert-manager's Certificate {} writes the Secret {}, too: stop its controller, or kubectl -n {} delete certificate {} \
                     (the Secret stays), before you apply this",
                    certificate.object, certificate.secret, certificate.object.namespace, certificate.object.name
                ));
            }
        }
    }
}

fn private_key(algorithm: KeyAlgorithm) -> Option<PrivateKey> {
    let (algorithm, size) = match algorithm {
        KeyAlgorithm::Rsa(size @ (2048 | 3072 | 4096 | 8192)) => (ApiKey::Rsa, Some(size)),
        KeyAlgorithm::Rsa(_) => return None,
        KeyAlgorithm::EcdsaP256 => (ApiKey::Ecdsa, Some(256)),
        KeyAlgorithm::EcdsaP384 => (ApiKey::Ecdsa, Some(384)),
        KeyAlgorithm::EcdsaP521 => (ApiKey::Ecdsa, Some(521)),
        KeyAlgorithm::Ed25519 => (ApiKey::Ed25519, None),
    };
    Some(PrivateKey {
        algorithm,
        size,
        ..PrivateKey::default()
    })
}
