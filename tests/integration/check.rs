//! The doctor on a real API server: breakages made on purpose, each named by its word and its object and nothing else,
//! and installations that are well.

use std::collections::BTreeSet;
use std::path::Path;

use external_ca_tests::apply::apply_yaml;
use external_ca_tests::crds::{CrdSource, Release};
use external_ca_tests::openchoreo::{
    self, CONTROL_PLANE, ClientCa, PlaneType, ca_secret, plane, tls_secret, trust,
};
use external_ca_tests::openssl::{Ca, KeyKind, Leaf, generate_key, openssl, pem_blocks};
use external_ca_tests::scratch::Scratch;
use external_ca_tests::wait::{PATIENCE, wait_for};
use external_ca_tests::world::{CA_SECRET, ISSUANCE, World, issuance};
use external_ca_tests::{Kubelet, KubeletOptions, Plugin, Result};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

const DATA: &str = "openchoreo-data-plane";
const SERVER: &str = "Secret openchoreo-control-plane/cluster-gateway-tls";
const CLIENT: &str = "Secret openchoreo-data-plane/cluster-agent-tls";
const BUNDLE: &str = "ConfigMap openchoreo-data-plane/cluster-gateway-ca";
const PLANE: &str = "DataPlane default/eu";
const AGENT: &str = "Deployment openchoreo-data-plane/cluster-agent-dataplane";
const AUTHORITY: &str = "Secret openchoreo-control-plane/cluster-gateway-external-ca";
const SERVER_NAMES: &str = "subjectAltName=DNS:cluster-gateway.openchoreo-control-plane.svc,\
    DNS:cluster-gateway.openchoreo-control-plane.svc.cluster.local\n";

/// What the guide makes by hand, an issuance, and somebody who holds the operator's Lease and does nothing: what is
/// broken stays broken.
struct Ward {
    world: World,
    ca: Ca,
    server: String,
    client: String,
}

impl Ward {
    async fn open() -> Result<Self> {
        let world = World::any().await?;
        let ca = Ca::guide();
        apply_yaml(&world.admin, &openchoreo::control_plane(CONTROL_PLANE)).await?;
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "external-ca-operator", "namespace": "external-ca-system"},
            "spec": {"holderIdentity": "nobody", "leaseDurationSeconds": 3600, "renewTime": micro_now()},
        });
        apply_yaml(&world.admin, &lease.to_string()).await?;
        let ward = Self {
            server: tls_secret(
                CONTROL_PLANE,
                "cluster-gateway-tls",
                &ca.server_leaf(CONTROL_PLANE),
            ),
            client: tls_secret(DATA, "cluster-agent-tls", &ca.agent_leaf("default")),
            world,
            ca,
        };
        ward.heal().await?;
        Ok(ward)
    }

    fn agent() -> String {
        openchoreo::agent(PlaneType::Data, DATA, "default", 1)
    }

    fn plane(client_ca: &ClientCa<'_>) -> String {
        plane(
            "DataPlane",
            Some("default"),
            "eu",
            Some("default"),
            client_ca,
        )
    }

    async fn apply(&self, text: &str) -> Result<()> {
        apply_yaml(&self.world.admin, text).await?;
        Ok(())
    }

    async fn heal(&self) -> Result<()> {
        self.world.put_ca(&self.ca).await?;
        for text in [
            self.server.clone(),
            self.client.clone(),
            trust(CONTROL_PLANE, &self.ca.certificate, true),
            trust(DATA, &self.ca.certificate, false),
            Self::plane(&ClientCa::Value(&self.ca.certificate)),
            Self::agent(),
            issuance(ISSUANCE).to_string(),
        ] {
            self.apply(&text).await?;
        }
        Ok(())
    }

    async fn findings(&self, args: &[&str]) -> Result<Vec<Value>> {
        check(self.world.cluster.admin_kubeconfig(), args).await
    }

    /// These findings, and no others: words, objects, and words of the fix.
    async fn finds(&self, expected: &[(&str, &str, &str)]) -> Result<Vec<Value>> {
        let found = self.findings(&[]).await?;
        let named: BTreeSet<(&str, &str)> = found
            .iter()
            .map(|finding| (text(finding, "word"), text(finding, "object")))
            .collect();
        let wanted = expected
            .iter()
            .map(|(word, object, _)| (*word, *object))
            .collect();
        assert_eq!(named, wanted, "{found:#?}");
        for (word, object, fix) in expected {
            let finding = found
                .iter()
                .find(|finding| {
                    text(finding, "word") == *word && text(finding, "object") == *object
                })
                .unwrap();
            assert!(text(finding, "fix").contains(fix), "{fix}: {finding:#}");
            assert!(text(finding, "cause").len() > 10, "{finding:#}");
        }
        Ok(found)
    }

    /// One breakage, one finding; healed afterwards.
    async fn breaks(&self, broken: &str, word: &str, object: &str, fix: &str) -> Result<Value> {
        self.apply(broken).await?;
        let mut found = self.finds(&[(word, object, fix)]).await?;
        self.heal().await?;
        Ok(found.remove(0))
    }
}

fn micro_now() -> String {
    format!("{:.6}", jiff::Timestamp::now())
}

fn text<'a>(finding: &'a Value, field: &str) -> &'a str {
    finding[field].as_str().unwrap_or_default()
}

async fn check(kubeconfig: &Path, args: &[&str]) -> Result<Vec<Value>> {
    let mut all = vec!["check", "-n", CONTROL_PLANE, "-o", "json"];
    all.extend(args);
    let run = Plugin::new(kubeconfig).run(&all).await?;
    assert!(!run.text.contains("PRIVATE KEY"));
    let found: Vec<Value> = serde_json::from_str(&run.text)
        .map_err(|error| format!("{error}: {} {}", run.text, run.error))?;
    assert_eq!(
        run.code,
        if found.is_empty() { 0 } else { 3 },
        "{}",
        run.error
    );
    Ok(found)
}

#[tokio::test]
async fn each_breakage_is_named_and_nothing_else() -> Result<()> {
    let ward = Ward::open().await?;
    ward.finds(&[]).await?;
    the_guides_table(&ward).await?;
    certificates(&ward).await?;
    trust_places(&ward).await?;
    the_ca(&ward).await?;
    workloads(&ward).await?;
    around(&ward).await?;
    ward.finds(&[]).await?;
    Ok(())
}

async fn the_guides_table(ward: &Ward) -> Result<()> {
    let stranger = Ca::new("/CN=stranger", KeyKind::P256);
    let found = ward
        .breaks(
            &trust(DATA, &stranger.certificate, false),
            "TrustMismatch",
            BUNDLE,
            "add that CA",
        )
        .await?;
    assert_eq!(
        found["symptom"],
        "x509: certificate signed by unknown authority"
    );

    let extensions =
        format!("basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n{SERVER_NAMES}");
    let wrong = ward
        .ca
        .leaf("/CN=cluster-gateway/O=OpenChoreo", &extensions, 365);
    let wrong = tls_secret(CONTROL_PLANE, "cluster-gateway-tls", &wrong);
    let found = ward
        .breaks(&wrong, "UsageWrong", SERVER, "serverAuth")
        .await?;
    assert_eq!(found["symptom"], "tls: bad certificate");

    let typo = ClientCa::Value(&ward.ca.certificate);
    let typo = plane("DataPlane", Some("default"), "eu", Some("typo"), &typo);
    let found = ward
        .breaks(&typo, "PlaneNotFound", AGENT, "spec.planeID equal")
        .await?;
    assert_eq!(found["symptom"], "no CRs found with planeID");

    let wrong = Ward::plane(&ClientCa::Value(&stranger.certificate));
    let found = ward
        .breaks(&wrong, "ClientCAMismatch", PLANE, "clientCA")
        .await?;
    assert_eq!(found["symptom"], "certificate not valid for any CR");
    Ok(())
}

async fn certificates(ward: &Ward) -> Result<()> {
    let server = |leaf: &Leaf| tls_secret(CONTROL_PLANE, "cluster-gateway-tls", leaf);
    let client = |leaf: &Leaf| tls_secret(DATA, "cluster-agent-tls", leaf);
    let good = ward.ca.agent_leaf("default");
    let other = ward.ca.agent_leaf("default");

    let mut broken = good.clone();
    broken.key = other.key;
    ward.breaks(&client(&broken), "KeyMismatch", CLIENT, "belong together")
        .await?;

    broken.certificate = "no certificate".into();
    ward.breaks(&client(&broken), "CertificateInvalid", CLIENT, "PEM")
        .await?;

    let mut broken = good.clone();
    broken.certificate = format!("{}{}", ward.ca.certificate, good.certificate);
    ward.breaks(&client(&broken), "ChainOrder", CLIENT, "leaf first")
        .await?;

    let wrong = ward.ca.leaf(
        "/CN=default",
        "basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n",
        9,
    );
    ward.breaks(&client(&wrong), "UsageWrong", CLIENT, "clientAuth")
        .await?;

    let wrong = ward.ca.leaf(
        "/CN=default",
        "basicConstraints=CA:TRUE\nextendedKeyUsage=clientAuth\n",
        9,
    );
    ward.breaks(&client(&wrong), "UsageWrong", CLIENT, "CA:FALSE")
        .await?;

    ward.breaks(
        &client(&ward.ca.agent_leaf("us")),
        "NamesChanged",
        CLIENT,
        "CN=default",
    )
    .await?;

    let wrong = ward.ca.server_leaf_for(&["gateway.example.org"]);
    ward.breaks(&server(&wrong), "ServerNameMissing", SERVER, "dnsNames")
        .await?;

    let extensions =
        format!("basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n{SERVER_NAMES}");
    let days = |days| {
        let key = generate_key(KeyKind::P256);
        let subject = "/CN=cluster-gateway/O=OpenChoreo";
        let certificate = ward.ca.sign_for(&key, subject, &extensions, days);
        Leaf { certificate, key }
    };
    ward.breaks(&server(&days(-1)), "Expired", SERVER, "renew it")
        .await?;

    let soon = format!("basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n{SERVER_NAMES}");
    let stranger = Ca::new(
        "/CN=openchoreo-cluster-gateway-ca/O=OpenChoreo",
        KeyKind::P256,
    );
    let wrong = stranger.leaf("/CN=cluster-gateway/O=OpenChoreo", &soon, 365);
    ward.breaks(
        &server(&wrong),
        "SignerChanged",
        SERVER,
        "signed by the CA that peers trust",
    )
    .await?;

    // A CA that is no root: the root alone is trusted.
    let below = ward.ca.intermediate("/CN=below", KeyKind::P256);
    let mut bare = below.server_leaf(CONTROL_PLANE);
    bare.certificate = pem_blocks(&bare.certificate).remove(0);
    let texts = [ca_secret(CONTROL_PLANE, CA_SECRET, &below), server(&bare)];
    ward.breaks(
        &texts.join("\n"),
        "ChainIncomplete",
        SERVER,
        "append the intermediates",
    )
    .await?;

    let deleted = ward.world.secrets(DATA);
    deleted
        .delete("cluster-agent-tls", &DeleteParams::default())
        .await?;
    ward.finds(&[("SecretMissing", CLIENT, "plan")]).await?;
    ward.heal().await
}

async fn trust_places(ward: &Ward) -> Result<()> {
    let comments = trust(DATA, "# Placeholder\n# filled in later\n", false);
    let found = ward
        .breaks(&comments, "BundleEmpty", BUNDLE, "PEM certificate")
        .await?;
    assert!(text(&found, "what").contains("only comments"), "{found:#}");

    let damaged = format!("{}-----BEGIN CERTIFICATE-----\nMIIB\n", ward.ca.certificate);
    ward.breaks(
        &trust(DATA, &damaged, false),
        "BundleDamaged",
        BUNDLE,
        "PEM block",
    )
    .await?;

    let found = ward
        .breaks(
            &Ward::plane(&ClientCa::Value("trust me")),
            "ClientCANotPEM",
            PLANE,
            "PEM",
        )
        .await?;
    assert!(
        text(&found, "what").contains("no PEM certificate"),
        "{found:#}"
    );
    ward.breaks(
        &Ward::plane(&ClientCa::Value("")),
        "ClientCAEmpty",
        PLANE,
        "PEM",
    )
    .await?;

    let reference = |name, key, namespace| ClientCa::Secret {
        release: ward.world.release,
        name,
        key,
        namespace,
    };
    let lost = Ward::plane(&reference("lost", "ca.crt", None));
    let found = ward
        .breaks(
            &lost,
            "ClientCASecretMissing",
            PLANE,
            "name, key and namespace",
        )
        .await?;
    assert!(text(&found, "what").contains("default/lost"), "{found:#}");
    let keyless = reference("cluster-gateway-ca", "ca.pem", Some(CONTROL_PLANE));
    let found = ward
        .breaks(
            &Ward::plane(&keyless),
            "ClientCASecretMissing",
            PLANE,
            "name, key and namespace",
        )
        .await?;
    assert!(text(&found, "what").contains("key ca.pem"), "{found:#}");
    // What is wired by reference to the trust Secret is well.
    ward.apply(&Ward::plane(&reference(
        "cluster-gateway-ca",
        "ca.crt",
        Some(CONTROL_PLANE),
    )))
    .await?;
    ward.finds(&[]).await?;
    ward.heal().await?;

    let place = "Secret openchoreo-control-plane/cluster-gateway-ca";
    let exposed = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cluster-gateway-ca", "namespace": CONTROL_PLANE},
        "stringData": {"ca.crt": ward.ca.certificate, "tls.crt": ward.ca.certificate, "tls.key": ward.ca.key},
    });
    ward.breaks(&exposed.to_string(), "CAKeyExposed", place, "another name")
        .await?;
    // An apply adds to what a Secret holds, and takes nothing away.
    let secrets = ward.world.secrets(CONTROL_PLANE);
    secrets
        .delete("cluster-gateway-ca", &DeleteParams::default())
        .await?;
    ward.heal().await
}

async fn the_ca(ward: &Ward) -> Result<()> {
    let secret = |ca: &Ca| ca_secret(CONTROL_PLANE, CA_SECRET, ca);
    let mut broken = ward.ca.clone();
    broken.key = Ca::replacement(1).key;
    ward.breaks(&secret(&broken), "CAKeyMismatch", AUTHORITY, "CA Secret")
        .await?;

    let dir = Scratch::new("encrypted")?;
    let path = dir.write("ca.key", &ward.ca.key)?;
    let args = [
        "pkey",
        "-aes256",
        "-passout",
        "pass:secret",
        "-in",
        path.to_str().unwrap(),
    ];
    broken.key = openssl(&args)?;
    ward.breaks(&secret(&broken), "CAKeyEncrypted", AUTHORITY, "CA Secret")
        .await?;

    let leaf = ward.ca.agent_leaf("default");
    (broken.certificate, broken.key) = (leaf.certificate, leaf.key);
    ward.breaks(&secret(&broken), "NotACA", AUTHORITY, "CA Secret")
        .await?;

    ward.world
        .secrets(CONTROL_PLANE)
        .delete(CA_SECRET, &DeleteParams::default())
        .await?;
    ward.finds(&[("CASecretNotFound", AUTHORITY, "create it")])
        .await?;
    ward.heal().await
}

async fn workloads(ward: &Ward) -> Result<()> {
    let agent = Ward::agent();
    let typo = agent.replace(
        "\"secretName\":\"cluster-agent-tls\"",
        "\"secretName\":\"cluster-agent\"",
    );
    assert_ne!(typo, agent);
    let found = ward
        .breaks(&typo, "MountMissing", AGENT, "correct the name")
        .await?;
    assert!(
        text(&found, "what").contains("openchoreo-data-plane/cluster-agent"),
        "{found:#}"
    );

    let other = tls_secret(DATA, "cluster-agent", &ward.ca.agent_leaf("default"));
    ward.apply(&other).await?;
    ward.breaks(&typo, "MountMismatch", AGENT, "agents[].secretName")
        .await?;

    let items = "\"configMap\":{\"name\":\"cluster-gateway-ca\",\"items\":[{\"key\":\"root.crt\",\"path\":\"ca.crt\"}]}";
    let keyless = agent.replace("\"configMap\":{\"name\":\"cluster-gateway-ca\"}", items);
    assert_ne!(keyless, agent);
    ward.breaks(&keyless, "MountKeyMissing", AGENT, "ca.crt")
        .await?;

    let paused = agent.replace("\"replicas\":1", "\"paused\":true,\"replicas\":1");
    assert_ne!(paused, agent);
    ward.breaks(&paused, "RolloutStuck", AGENT, "resume")
        .await?;

    let deployments = ward.world.deployments(DATA);
    deployments
        .delete("cluster-agent-dataplane", &DeleteParams::default())
        .await?;
    ward.finds(&[("AgentNotFound", PLANE, "clusterAgent.planeID=default")])
        .await?;
    ward.heal().await
}

async fn around(ward: &Ward) -> Result<()> {
    let mut paused = issuance(ISSUANCE);
    paused["spec"]["paused"] = json!(true);
    let name = format!("ExternalCAIssuance {CONTROL_PLANE}/{ISSUANCE}");
    ward.breaks(&paused.to_string(), "Paused", &name, "resume")
        .await?;

    let mut invalid = issuance(ISSUANCE);
    invalid["spec"]["trust"] = json!({"additionalAnchors": [{"pem": "none"}]});
    ward.breaks(
        &invalid.to_string(),
        "AnchorUnreadable",
        &name,
        "remove the entry",
    )
    .await?;

    // The operator's Deployment, which serves one namespace only.
    let operator = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "external-ca-operator", "namespace": "external-ca-system",
            "labels": {"app.kubernetes.io/name": "external-ca-operator"}},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "operator", "image": "none",
                "args": ["run", "--namespaces=openchoreo-control-plane", "--plane-namespaces=default"]}]},
        }},
    });
    ward.apply(&operator.to_string()).await?;
    let served = (
        "NamespaceNotServed",
        "Namespace openchoreo-data-plane",
        "namespaces.serve",
    );
    ward.finds(&[served]).await?;

    // Nobody holds the Lease any more.
    let leases = kube::Api::<k8s_openapi::api::coordination::v1::Lease>::namespaced(
        ward.world.admin.clone(),
        "external-ca-system",
    );
    let old = json!({"spec": {"renewTime": "2020-01-01T00:00:00.000000Z"}});
    let params = PatchParams::default();
    leases
        .patch("external-ca-operator", &params, &Patch::Merge(old))
        .await?;
    let deployment = "Deployment external-ca-system/external-ca-operator";
    ward.finds(&[served, ("OperatorNotReady", deployment, "describe")])
        .await?;
    let deployments = ward.world.deployments("external-ca-system");
    deployments
        .delete("external-ca-operator", &DeleteParams::default())
        .await?;
    let lost = "Deployment external-ca-operator";
    ward.finds(&[("OperatorNotFound", lost, "install the chart")])
        .await?;
    let new = json!({"spec": {"renewTime": micro_now()}});
    leases
        .patch("external-ca-operator", &params, &Patch::Merge(new))
        .await?;

    // cert-manager has looked at a Certificate for the same Secret; of one that it never saw nothing is to be feared.
    ward.apply(CERTIFICATES).await?;
    let certificate = |status: &str| {
        format!(
            "{{apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {{name: cluster-gateway-tls, namespace: {CONTROL_PLANE}}}, \
             spec: {{secretName: cluster-gateway-tls}}{status}}}"
        )
    };
    wait_for("the kind Certificate to be served", PATIENCE, async || {
        ward.apply(&certificate(""))
            .await
            .map_err(|error| error.to_string())
    })
    .await;
    ward.finds(&[]).await?;
    ward.apply(&certificate(", status: {revision: 1}")).await?;
    let object = format!("Certificate {CONTROL_PLANE}/cluster-gateway-tls");
    ward.finds(&[(
        "CertManagerConflict",
        &object,
        "delete certificate cluster-gateway-tls",
    )])
    .await?;
    ward.apply(&certificate("")).await?;

    // A younger issuance wants the same.
    ward.apply(&issuance("second").to_string()).await?;
    let found = ward.findings(&["second"]).await?;
    assert!(
        !found.is_empty() && found.iter().all(|finding| finding["word"] == "Conflict"),
        "{found:#?}"
    );
    assert!(
        found.iter().any(|finding| finding["object"] == SERVER),
        "{found:#?}"
    );
    ward.world
        .issuances()
        .delete("second", &DeleteParams::default())
        .await?;

    // The operator's own account may list pods, of which no gateway runs here, and no Services.
    let limited = ward
        .world
        .cluster
        .kubeconfig_for("external-ca-system", "external-ca-operator", None)
        .await?;
    let found = check(&limited, &["--connect"]).await?;
    let expected = ["AccessDenied", "GatewayUnreachable"];
    assert!(
        found
            .iter()
            .all(|finding| expected.contains(&text(finding, "word"))),
        "{found:#?}"
    );
    let services = found
        .iter()
        .find(|finding| finding["object"] == format!("services in {CONTROL_PLANE}"));
    assert!(
        text(services.unwrap(), "fix").contains("grant the verb list on services"),
        "{found:#?}"
    );
    Ok(())
}

const CERTIFICATES: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: certificates.cert-manager.io}
spec:
  group: cert-manager.io
  names: {kind: Certificate, plural: certificates, singular: certificate}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

#[tokio::test]
async fn a_healthy_installation_has_no_finding_and_what_pods_hold_counts() -> Result<()> {
    // The newer release here, the older in the ward.
    let release = Release::V1_2;
    let world = World::start(CrdSource::available(release)[0], release).await?;
    let ca = Ca::guide();
    world.put_ca(&ca).await?;
    apply_yaml(
        &world.admin,
        &openchoreo::control_plane_of(release, CONTROL_PLANE),
    )
    .await?;
    apply_yaml(&world.admin, &Ward::agent()).await?;
    apply_yaml(&world.admin, &Ward::plane(&ClientCa::Nothing)).await?;
    let kubelet = Kubelet::start(&world.cluster, KubeletOptions::default()).await?;
    let _operator = world.operator(None).await?;
    world.issue().await?;
    world.ready().await;
    kubelet.connected(1).await;
    let kubeconfig = world.cluster.admin_kubeconfig();
    let address = || {
        let pods = kubelet.pods(CONTROL_PLANE);
        let port = pods
            .iter()
            .find_map(|pod| pod.port)
            .expect("the gateway listens");
        format!("127.0.0.1:{port}")
    };
    wait_for("no finding, also by a handshake", PATIENCE, async || {
        let found = check(kubeconfig, &[&format!("--connect={}", address())]).await;
        match found.map_err(|error| error.to_string())? {
            found if found.is_empty() => Ok(()),
            found => Err(format!("{found:#?}")),
        }
    })
    .await;

    // Nobody answers there.
    let found = check(kubeconfig, &["--connect=127.0.0.1:1"]).await?;
    assert_eq!(found[0]["word"], "GatewayUnreachable", "{found:#?}");

    // Paused, another CA makes the gateway's certificate, and the plane trusts another CA: the handshake says so, too.
    world.issue_with(json!({"paused": true})).await?;
    world.condition("Ready", "False", "Paused").await;
    let stranger = Ca::new("/CN=stranger", KeyKind::P256);
    apply_yaml(
        &world.admin,
        &Ward::plane(&ClientCa::Value(&stranger.certificate)),
    )
    .await?;
    // The kubelet's clock and the API server's tell whole seconds.
    let second = jiff::Timestamp::now().as_second();
    wait_for("the next second", PATIENCE, async || {
        let now = jiff::Timestamp::now().as_second();
        (now > second).then_some(()).ok_or_else(|| now.to_string())
    })
    .await;
    let server = ca.server_leaf(CONTROL_PLANE);
    let data = json!({"stringData": {"tls.crt": server.certificate, "tls.key": server.key}});
    let secrets = world.secrets(CONTROL_PLANE);
    secrets
        .patch(
            "cluster-gateway-tls",
            &PatchParams::default(),
            &Patch::Merge(data),
        )
        .await?;
    let found = check(kubeconfig, &[&format!("--connect={}", address())]).await?;
    let has = |word: &str, object: &str, what: &str| {
        found.iter().any(|finding| {
            finding["word"] == word
                && finding["object"] == object
                && text(finding, "what").contains(what)
        })
    };
    assert!(
        has(
            "RestartNeeded",
            "Deployment openchoreo-control-plane/cluster-gateway",
            "started before"
        ),
        "{found:#?}"
    );
    assert!(has("RestartNeeded", SERVER, "presents"), "{found:#?}");
    assert!(
        has("ClientCAMismatch", PLANE, "spec.clusterAgent.clientCA"),
        "{found:#?}"
    );
    assert!(has("ClientCAMismatch", PLANE, "answers 401"), "{found:#?}");
    Ok(())
}

#[tokio::test]
async fn files_are_checked_without_a_cluster() -> Result<()> {
    let dir = Scratch::new("files")?;
    let ca = Ca::new("/CN=ca", KeyKind::P256);
    let put = |name: &str, text: &str| -> Result<String> {
        Ok(dir.write(name, text)?.to_str().unwrap().to_owned())
    };
    let authority = put("ca.crt", &ca.certificate)?;
    let (client, server) = (ca.agent_leaf("eu-1"), ca.server_leaf(CONTROL_PLANE));
    let (crt, key) = (
        put("tls.crt", &client.certificate)?,
        put("tls.key", &client.key)?,
    );
    let (gateway, other) = (
        put("gateway.crt", &server.certificate)?,
        put("gateway.key", &server.key)?,
    );
    let stranger = put(
        "stranger.crt",
        &Ca::new("/CN=stranger", KeyKind::P256).certificate,
    )?;
    let dns = format!("cluster-gateway.{CONTROL_PLANE}.svc");
    let cases: [(&[&str], &[&str]); 8] = [
        (
            &[
                "--ca",
                &authority,
                "--cert",
                &crt,
                "--key",
                &key,
                "--role",
                "client",
                "--plane-id",
                "eu-1",
            ],
            &[],
        ),
        (
            &[
                "--ca", &authority, "--cert", &gateway, "--key", &other, "--role", "server",
                "--dns", &dns,
            ],
            &[],
        ),
        (
            &[
                "--ca", &authority, "--cert", &crt, "--key", &other, "--role", "client",
            ],
            &["KeyMismatch"],
        ),
        (
            &["--ca", &authority, "--cert", &crt, "--role", "server"],
            &["UsageWrong"],
        ),
        (
            &[
                "--ca",
                &authority,
                "--cert",
                &crt,
                "--role",
                "client",
                "--plane-id",
                "us",
            ],
            &["NamesChanged"],
        ),
        (
            &[
                "--ca",
                &authority,
                "--cert",
                &gateway,
                "--role",
                "server",
                "--dns",
                "example.org",
            ],
            &["ServerNameMissing"],
        ),
        (
            &["--ca", &stranger, "--cert", &crt, "--role", "client"],
            &["TrustMismatch"],
        ),
        (
            &["--ca", &key, "--cert", &crt, "--role", "client"],
            &["BundleEmpty"],
        ),
    ];
    for (args, words) in cases {
        let mut all = vec!["check", "-o", "json"];
        all.extend(args);
        let run = Plugin::new("/nonexistent").run(&all).await?;
        let found: Vec<Value> = serde_json::from_str(&run.text).map_err(|_| run.error.clone())?;
        let named: Vec<&str> = found.iter().map(|finding| text(finding, "word")).collect();
        assert_eq!(named, words, "{args:?}: {found:#?}");
        assert_eq!(run.code, if words.is_empty() { 0 } else { 3 });
    }
    Ok(())
}
