//! What the doctor reads beyond the operator's snapshot. Of Secrets only public parts and the names of keys are kept.

use std::collections::{BTreeMap, BTreeSet};

use external_ca_api::ExternalCAIssuance;
use external_ca_core::diagnosis::{
    Denied, Extra, OperatorState, WorkloadDetail, cert_manager_certificate, detail,
};
use external_ca_core::domain::{desired, namespace, trust_secret};
use external_ca_core::model::{MaterialKind, MaterialRef, ObjectRef, Plane, Read, WorkloadRef};
use external_ca_core::snapshot::Seen;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use kube::api::{DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

const OPERATOR: &str = "external-ca-operator";
const PRIVATE: &[u8] = b"PRIVATE KEY-----";
const CERT_MANAGER: &str =
    "app.kubernetes.io/name=cert-manager,app.kubernetes.io/component=controller";

/// Reads it.
pub async fn extra(client: &Client, issuance: &ExternalCAIssuance, seen: &Seen) -> Extra {
    let mut reader = Reader {
        client,
        extra: Extra::default(),
    };
    let planes: Vec<_> = seen.planes.values().cloned().collect();
    let wanted = desired(issuance, &planes);
    reader.clocks().await;
    reader.operator().await;
    reader.cert_manager().await;
    reader.services(namespace(issuance)).await;
    for place in &wanted.trust_places {
        let text = reader.text(place, "ca.crt").await;
        if let Read::Found(text) = text {
            reader.extra.bundles.insert(place.clone(), text);
        }
    }
    let trust = trust_secret(issuance).object;
    for plane in &wanted.planes {
        reader.reference(plane, &trust).await;
    }
    let material: BTreeSet<MaterialRef> = seen.material.keys().cloned().collect();
    reader.workloads(seen, &material, namespace(issuance)).await;
    reader.keys().await;
    reader.extra
}

/// The operator, as far as it can be read.
pub async fn operator(client: &Client) -> (Option<OperatorState>, BTreeSet<Denied>) {
    let mut reader = Reader {
        client,
        extra: Extra::default(),
    };
    reader.operator().await;
    (reader.extra.operator, reader.extra.denied)
}

struct Reader<'a> {
    client: &'a Client,
    extra: Extra,
}

impl Reader<'_> {
    /// The API server's time: by the middle of the question and the answer it is ours, too.
    async fn clocks(&mut self) {
        let Ok(request) = http::Request::get("/version").body(kube::client::Body::empty()) else {
            return;
        };
        let before = Timestamp::now();
        let Ok(response) = self.client.send(request).await else {
            return;
        };
        let ours = before
            .saturating_add(before.duration_until(Timestamp::now()) / 2)
            .unwrap_or(before);
        let date = response
            .headers()
            .get("date")
            .and_then(|date| date.to_str().ok());
        let theirs = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
        self.extra.clocks = theirs.map(|theirs| (theirs.timestamp(), ours));
    }

    async fn operator(&mut self) {
        let label = format!("app.kubernetes.io/name={OPERATOR}");
        let params = ListParams::default().labels(&label);
        let deployments = self.all::<Deployment>("deployments.apps", &params).await;
        let params = ListParams::default();
        let leases = self
            .all::<Lease>("leases.coordination.k8s.io", &params)
            .await;
        let (Some(deployments), Some(leases)) = (deployments, leases) else {
            return;
        };
        let leases = leases.iter().filter(|lease| lease.name_any() == OPERATOR);
        self.extra.operator = Some(OperatorState {
            deployments: deployments.iter().map(available).collect(),
            leases: leases.map(holder).collect(),
        });
    }

    async fn cert_manager(&mut self) {
        let gvk = GroupVersionKind::gvk("cert-manager.io", "v1", "Certificate");
        let resource = ApiResource::from_gvk(&gvk);
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        match api.list(&ListParams::default()).await {
            Ok(found) => {
                let certificates = found
                    .iter()
                    .filter_map(|found| cert_manager_certificate(&found.metadata, &found.data));
                self.extra.certificates.extend(certificates);
            }
            // The kind is not served.
            Err(kube::Error::Api(status)) if status.code == 404 => return,
            Err(_) => {
                self.denied("list", "certificates.cert-manager.io", None, None);
                return;
            }
        }
        if !self.extra.certificates.is_empty() {
            let params = ListParams::default().labels(CERT_MANAGER);
            let controllers = self.all::<Deployment>("deployments.apps", &params).await;
            let runs = |found: &Deployment| available(found).2 > 0;
            // Another distribution of it has other labels: then its objects' status tells.
            let none = controllers.as_ref().is_none_or(Vec::is_empty);
            self.extra.cert_manager_runs = controllers
                .filter(|_| !none)
                .map(|found| found.iter().any(runs));
        }
    }

    async fn services(&mut self, namespace: &str) {
        let api: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        match api.list(&ListParams::default()).await {
            Ok(found) => {
                let services = found.into_iter().map(|service| {
                    let reference = ObjectRef::new(namespace, service.name_any());
                    let selector = service.spec.and_then(|spec| spec.selector);
                    (reference, selector.unwrap_or_default())
                });
                self.extra.services.extend(services);
            }
            Err(_) => self.denied("list", "services", Some(namespace), None),
        }
    }

    /// What a plane's clientCA refers to, where it is not the trust Secret.
    async fn reference(&mut self, plane: &Plane, trust: &ObjectRef) {
        let (None, Some((secret, key))) = (&plane.value, &plane.reference) else {
            return;
        };
        let known = (secret.clone(), key.clone());
        if secret == trust && key == "ca.crt" || self.extra.references.contains_key(&known) {
            return;
        }
        let material = MaterialRef {
            kind: MaterialKind::Secret,
            object: secret.clone(),
        };
        let text = self.text(&material, key).await;
        self.extra.references.insert(known, text);
    }

    /// What stands under a key; empty where that is missing.
    async fn text(&mut self, material: &MaterialRef, key: &str) -> Read<String> {
        match self.data(material).await {
            Read::Found(mut data) => {
                let bytes = data.remove(key).unwrap_or_default();
                Read::Found(String::from_utf8_lossy(&bytes).into_owned())
            }
            Read::Absent => Read::Absent,
            Read::Unknown(why) => Read::Unknown(why),
        }
    }

    /// What an object holds, private keys left out.
    async fn data(&mut self, material: &MaterialRef) -> Read<BTreeMap<String, Vec<u8>>> {
        let ObjectRef {
            namespace, name, ..
        } = &material.object;
        let found = match material.kind {
            MaterialKind::Secret => {
                let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
                api.get_opt(name).await.map(|found| found.map(public))
            }
            MaterialKind::ConfigMap => {
                let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
                api.get_opt(name).await.map(|found| found.map(text))
            }
        };
        match found {
            Ok(Some(found)) => Read::Found(found),
            Ok(None) => Read::Absent,
            Err(error) => {
                self.extra.denied.insert(Denied::material(material));
                Read::Unknown(crate::error::api_message(&error))
            }
        }
    }

    async fn workloads(&mut self, seen: &Seen, material: &BTreeSet<MaterialRef>, home: &str) {
        for workload in seen.workloads.values() {
            let reads = workload.mounts.iter().any(|mount| material.contains(mount));
            let is_peer = reads || workload.agent.is_some();
            // The gateway is found by what it runs.
            if !is_peer && workload.workload.object.namespace != home {
                continue;
            }
            let detail = self.detail(&workload.workload).await;
            if let Some(detail) = detail.filter(|detail| is_peer || detail.is_gateway) {
                self.extra
                    .workloads
                    .insert(workload.workload.clone(), detail);
            }
        }
    }

    async fn detail(&mut self, workload: &WorkloadRef) -> Option<WorkloadDetail> {
        use external_ca_core::model::WorkloadKind;
        let object = &workload.object;
        let (template, paused) = match workload.kind {
            WorkloadKind::Deployment => {
                let spec = self.one::<Deployment>(object).await?.spec?;
                (spec.template, spec.paused == Some(true))
            }
            WorkloadKind::StatefulSet => {
                let spec = self.one::<StatefulSet>(object).await?.spec?;
                (spec.template, false)
            }
            WorkloadKind::DaemonSet => {
                let spec = self.one::<DaemonSet>(object).await?.spec?;
                (spec.template, false)
            }
        };
        Some(detail(&object.namespace, &template, paused))
    }

    /// The keys of all that these workloads mount.
    async fn keys(&mut self) {
        let details = self.extra.workloads.values();
        let mounts =
            details.flat_map(|detail| detail.mounts.iter().map(|mount| mount.material.clone()));
        for material in mounts.collect::<BTreeSet<_>>() {
            let keys = match self.data(&material).await {
                Read::Found(data) => Read::Found(data.into_keys().collect()),
                Read::Absent => Read::Absent,
                Read::Unknown(why) => Read::Unknown(why),
            };
            self.extra.keys.insert(material, keys);
        }
    }

    async fn one<K>(&self, object: &ObjectRef) -> Option<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + std::fmt::Debug + DeserializeOwned,
    {
        // Its list was read a moment ago: what is gone since is no news, and what may not be read is noted.
        let api: Api<K> = Api::namespaced(self.client.clone(), &object.namespace);
        api.get_opt(&object.name).await.ok().flatten()
    }

    async fn all<K>(&mut self, resource: &str, params: &ListParams) -> Option<Vec<K>>
    where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::all(self.client.clone());
        match api.list(params).await {
            Ok(found) => Some(found.items),
            Err(_) => {
                self.denied("list", resource, None, None);
                None
            }
        }
    }

    fn denied(
        &mut self,
        verb: &'static str,
        resource: &str,
        namespace: Option<&str>,
        name: Option<&str>,
    ) {
        self.extra.denied.insert(Denied {
            verb,
            resource: resource.into(),
            namespace: namespace.map(String::from),
            name: name.map(String::from),
        });
    }
}

fn available(deployment: &Deployment) -> (ObjectRef, i32, i32) {
    let spec = deployment.spec.as_ref();
    let status = deployment.status.as_ref();
    (
        ObjectRef::new(
            deployment.namespace().unwrap_or_default(),
            deployment.name_any(),
        ),
        spec.and_then(|spec| spec.replicas).unwrap_or(1),
        status
            .and_then(|status| status.available_replicas)
            .unwrap_or(0),
    )
}

fn holder(lease: &Lease) -> (ObjectRef, Option<String>, Option<Timestamp>) {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = i64::from(spec.lease_duration_seconds.unwrap_or(0));
    let until = spec.renew_time.and_then(|renewed| {
        let until = renewed.0.checked_add(SignedDuration::from_secs(seconds));
        until.ok()
    });
    (
        ObjectRef::new(lease.namespace().unwrap_or_default(), lease.name_any()),
        spec.holder_identity.filter(|holder| !holder.is_empty()),
        until,
    )
}

/// Keys stay as names alone.
fn public(secret: Secret) -> BTreeMap<String, Vec<u8>> {
    let data = secret.data.unwrap_or_default().into_iter();
    data.map(|(key, bytes)| {
        let is_private = bytes.0.windows(PRIVATE.len()).any(|part| part == PRIVATE);
        let kept = if is_private { Vec::new() } else { bytes.0 };
        (key, kept)
    })
    .collect()
}

fn text(config_map: ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let binary = config_map.binary_data.unwrap_or_default().into_iter();
    let text = config_map.data.unwrap_or_default().into_iter();
    text.map(|(key, text)| (key, text.into_bytes()))
        .chain(binary.map(|(key, bytes)| (key, bytes.0)))
        .collect()
}
