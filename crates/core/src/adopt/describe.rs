//! The fields of the issuance that say what an installation has.

use std::collections::BTreeSet;

use external_ca_api::{
    Agent, ClientCa, Duration, ExternalCAIssuanceSpec, KeyAlgorithm as ApiKey, PlaneMatch,
    PrivateKey,
};

use super::installation::Installation;
use crate::domain::{default_namespace, key_algorithm};
use crate::model::{MaterialKind, MaterialRef, ObjectRef};
use crate::x509::{Certificate, KeyAlgorithm, San};

impl Installation {
    pub(super) fn describe_gateway(
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
    pub(super) fn defaults(
        &self,
        spec: &mut ExternalCAIssuanceSpec,
        leaves: &[(ObjectRef, Certificate)],
    ) {
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

    pub(super) fn trust(&self, spec: &mut ExternalCAIssuanceSpec) {
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

    pub(super) fn agents(&self, spec: &mut ExternalCAIssuanceSpec, notes: &mut Vec<String>) {
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
    pub(super) fn client_ca(&self, spec: &mut ExternalCAIssuanceSpec, notes: &mut Vec<String>) {
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
