//! A real control plane: etcd, kube-apiserver and kube-controller-manager on loopback, RBAC on.
//!
//! `TEST_KUBECONFIG` names a cluster to use instead (nothing is started then). `KUBEBUILDER_ASSETS` names a directory
//! with the programs; what it lacks, and everything where it is not set, comes from `tests/controlplane/build.sh`.

use crate::kubeconfig::{Identity, render};
use crate::openssl::{Ca, KeyKind, generate_key};
use crate::process::{Process, Program, tail};
use crate::scratch::Scratch;
use crate::wait::try_wait_for;
use crate::{Result, built, ports};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many control planes run at once in one test process: each takes some 400 MiB and, while starting, a core.
const AT_ONCE: usize = 2;

/// A running control plane; dropping it stops it.
pub struct ControlPlane {
    url: String,
    ca: String,
    admin_kubeconfig: PathBuf,
    kubeconfigs: AtomicU32,
    // In the order in which they end.
    controller_manager: Option<Process>,
    api_server: Option<Process>,
    etcd: Option<Process>,
    dir: Scratch,
    _slots: Option<Arc<OwnedSemaphorePermit>>,
}

impl ControlPlane {
    /// Starts a fresh one, or takes the one of `TEST_KUBECONFIG`.
    ///
    /// It waits until fewer than two run in this process. So a test that needs several must not start them one by one,
    /// or two such tests wait for each other: [`ControlPlane::start_many`].
    pub async fn start() -> Result<Self> {
        if let Some(path) = std::env::var_os("TEST_KUBECONFIG") {
            return Self::existing(Path::new(&path)).await;
        }
        let [one] = Self::start_many().await?;
        Ok(one)
    }

    /// Starts several fresh ones at once, whatever `TEST_KUBECONFIG` says.
    pub async fn start_many<const N: usize>() -> Result<[Self; N]> {
        static SLOTS: LazyLock<Arc<Semaphore>> =
            LazyLock::new(|| Arc::new(Semaphore::new(AT_ONCE)));
        let programs = Programs::find().await?;
        let slots = SLOTS
            .clone()
            .acquire_many_owned(N.min(AT_ONCE) as u32)
            .await?;
        let slots = Arc::new(slots);
        let start = async |_| {
            let cluster = Self::launch_patiently(&programs).await?;
            Ok::<_, crate::Error>(Self {
                _slots: Some(slots.clone()),
                ..cluster
            })
        };
        let clusters = futures::future::try_join_all((0..N).map(start)).await?;
        Ok(clusters.try_into().ok().expect("as many as asked for"))
    }

    /// One control plane for all tests of a process that keep to namespaces of their own. It takes no slot, and lives as
    /// long as the process.
    pub async fn shared() -> &'static Self {
        static SHARED: tokio::sync::OnceCell<ControlPlane> = tokio::sync::OnceCell::const_new();
        let start = || async {
            match std::env::var_os("TEST_KUBECONFIG") {
                Some(path) => Self::existing(Path::new(&path)).await,
                None => Self::launch_patiently(&Programs::find().await?).await,
            }
        };
        SHARED
            .get_or_try_init(start)
            .await
            .expect("the control plane starts")
    }

    async fn existing(path: &Path) -> Result<Self> {
        let kubeconfig = Kubeconfig::read_from(path)?;
        let config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let ca = config
            .root_cert
            .iter()
            .flatten()
            .map(|der| pem(der))
            .collect();
        Ok(Self {
            url: config
                .cluster_url
                .to_string()
                .trim_end_matches('/')
                .to_owned(),
            ca,
            admin_kubeconfig: path.to_owned(),
            kubeconfigs: AtomicU32::new(0),
            controller_manager: None,
            api_server: None,
            etcd: None,
            dir: Scratch::new("cluster")?,
            _slots: None,
        })
    }

    async fn launch_patiently(programs: &Programs) -> Result<Self> {
        let mut attempt = 1;
        loop {
            match Self::launch(programs).await {
                // Another process may have taken a port meanwhile.
                Err(error) if attempt < 3 => eprintln!("control plane, attempt {attempt}: {error}"),
                outcome => return outcome,
            }
            attempt += 1;
        }
    }

    async fn launch(programs: &Programs) -> Result<Self> {
        let dir = Scratch::new("cluster")?;
        let pki = Pki::write(&dir)?;
        let (etcd_port, peer_port, port) = (ports::free(), ports::free(), ports::free());
        let url = format!("https://127.0.0.1:{port}");
        let admin_kubeconfig = dir.write(
            "admin.kubeconfig",
            render(&url, &pki.ca, &pki.admin.identity()),
        )?;
        let manager = dir.write(
            "controller-manager.kubeconfig",
            render(&url, &pki.ca, &pki.manager.identity()),
        )?;
        let mut cluster = Self {
            url: url.clone(),
            ca: pki.ca.clone(),
            admin_kubeconfig,
            kubeconfigs: AtomicU32::new(0),
            controller_manager: None,
            api_server: None,
            etcd: None,
            dir,
            _slots: None,
        };
        cluster.etcd = Some(cluster.run(
            &programs.etcd,
            "etcd",
            &etcd_args(cluster.dir.path(), etcd_port, peer_port),
        )?);
        cluster
            .dir
            .write("egress.json", egress_configuration(cluster.dir.path()))?;
        let args = api_server_args(cluster.dir.path(), etcd_port, port);
        cluster.api_server = Some(cluster.run(&programs.api_server, "kube-apiserver", &args)?);
        cluster
            .reaches("kube-apiserver to be ready", async |client| {
                client
                    .request_text(get("/readyz"))
                    .await
                    .map(drop)
                    .map_err(|error| error.to_string())
            })
            .await?;
        let args = controller_manager_args(cluster.dir.path(), &manager);
        cluster.controller_manager = Some(cluster.run(
            &programs.controller_manager,
            "kube-controller-manager",
            &args,
        )?);
        cluster
            .reaches(
                "kube-controller-manager to make a ServiceAccount",
                async |client| {
                    let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
                    accounts
                        .get("default")
                        .await
                        .map(drop)
                        .map_err(|error| error.to_string())
                },
            )
            .await?;
        Ok(cluster)
    }

    fn run(&self, program: &Path, name: &str, args: &[String]) -> Result<Process> {
        Ok(Program::new(program)
            .args(args)
            .start(name, &self.dir.path().join(format!("{name}.log")))?)
    }

    /// Waits for a sign of life, and gives up at once where a process has ended.
    async fn reaches(
        &self,
        what: &str,
        sign: impl AsyncFn(&Client) -> Result<(), String>,
    ) -> Result<()> {
        let client = self.admin().await;
        let outcome = try_wait_for(what, Duration::from_secs(120), async || {
            if let Some(ended) = self
                .processes()
                .find(|process| process.exit_status().is_some())
            {
                return Ok(Err(format!("{} ended", ended.name())));
            }
            sign(&client).await.map(Ok)
        });
        let problem = match outcome.await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(ended)) => ended,
            Err(late) => late,
        };
        let logs: String = self
            .processes()
            .map(|p| format!("\n--- {}\n{}", p.name(), p.log_tail(25)))
            .collect();
        Err(format!("{what}: {problem}{logs}").into())
    }

    fn processes(&self) -> impl Iterator<Item = &Process> {
        [&self.etcd, &self.api_server, &self.controller_manager]
            .into_iter()
            .flatten()
    }

    /// A client with every right. Each call makes one, for a client belongs to the runtime that made it.
    pub async fn admin(&self) -> Client {
        Client::try_from(self.admin_config().await).expect("a client is made")
    }

    /// The configuration behind [`ControlPlane::admin`].
    pub async fn admin_config(&self) -> Config {
        config_of(&self.admin_kubeconfig).await
    }

    /// A kubeconfig file with every right.
    pub fn admin_kubeconfig(&self) -> &Path {
        &self.admin_kubeconfig
    }

    /// Where the API server listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The CA of the API server's certificate (PEM).
    pub fn ca(&self) -> &str {
        &self.ca
    }

    /// A directory for the files of whoever uses this control plane.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where the API server asks for connections to Services: a Unix socket that a [`crate::Kubelet`] listens at.
    pub fn egress_socket(&self) -> PathBuf {
        self.dir.path().join(EGRESS_SOCKET)
    }

    /// The last lines of the API server's log.
    pub fn api_server_log(&self, lines: usize) -> String {
        self.api_server
            .as_ref()
            .map(|process| tail(&process.log(), lines))
            .unwrap_or_default()
    }

    /// Stops the API server's process without ending it: connections stay open and nothing answers.
    pub fn freeze(&self) {
        self.api_server
            .iter()
            .for_each(|process| process.signal(crate::process::Signal::STOP));
    }

    /// Undoes [`ControlPlane::freeze`].
    pub fn thaw(&self) {
        self.api_server
            .iter()
            .for_each(|process| process.signal(crate::process::Signal::CONT));
    }

    /// A token of a ServiceAccount (which must exist), good for a day.
    pub async fn token_for_service_account(&self, namespace: &str, name: &str) -> Result<String> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.admin().await, namespace);
        let spec = TokenRequestSpec {
            expiration_seconds: Some(86_400),
            ..TokenRequestSpec::default()
        };
        let request = TokenRequest {
            spec,
            ..TokenRequest::default()
        };
        let answer = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await?;
        Ok(answer.status.ok_or("the TokenRequest has no status")?.token)
    }

    /// A kubeconfig file that speaks as a ServiceAccount, to the API server or to another URL (a [`crate::Proxy`]).
    pub async fn kubeconfig_for(
        &self,
        namespace: &str,
        name: &str,
        url: Option<&str>,
    ) -> Result<PathBuf> {
        let token = self.token_for_service_account(namespace, name).await?;
        let text = render(url.unwrap_or(&self.url), &self.ca, &Identity::Token(&token));
        let n = self.kubeconfigs.fetch_add(1, Ordering::Relaxed);
        Ok(self
            .dir
            .write(&format!("{namespace}-{name}-{n}.kubeconfig"), text)?)
    }

    /// A client that speaks as a ServiceAccount, by its token.
    pub async fn client_for(
        &self,
        namespace: &str,
        name: &str,
        url: Option<&str>,
    ) -> Result<Client> {
        Ok(Client::try_from(
            config_of(&self.kubeconfig_for(namespace, name, url).await?).await,
        )?)
    }

    /// A client that the API server takes for this user.
    pub async fn impersonated(&self, user: &str, groups: &[&str]) -> Client {
        let mut config = self.admin_config().await;
        config.auth_info.impersonate = Some(user.to_owned());
        config.auth_info.impersonate_groups =
            Some(groups.iter().map(ToString::to_string).collect());
        Client::try_from(config).expect("a client is made")
    }

    /// A client that the API server takes for a ServiceAccount, whether that exists or not.
    pub async fn impersonated_service_account(&self, namespace: &str, name: &str) -> Client {
        let groups = service_account_groups(namespace);
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        self.impersonated(&service_account_user(namespace, name), &groups)
            .await
    }

    /// Whether a ServiceAccount may do this (`kubectl auth can-i`).
    pub async fn allows(
        &self,
        namespace: &str,
        name: &str,
        action: ResourceAttributes,
    ) -> Result<bool> {
        let reviews: Api<SubjectAccessReview> = Api::all(self.admin().await);
        let spec = SubjectAccessReviewSpec {
            user: Some(service_account_user(namespace, name)),
            groups: Some(service_account_groups(namespace)),
            resource_attributes: Some(action),
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview {
            spec,
            ..SubjectAccessReview::default()
        };
        let answer = reviews.create(&PostParams::default(), &review).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }
}

/// The configuration that a kubeconfig file stands for.
pub async fn config_of(kubeconfig: &Path) -> Config {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .expect("a usable kubeconfig");
    config.read_timeout = None; // watches are as long as they are
    config
}

fn service_account_user(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

fn service_account_groups(namespace: &str) -> Vec<String> {
    let own = format!("system:serviceaccounts:{namespace}");
    vec![
        "system:serviceaccounts".to_owned(),
        own,
        "system:authenticated".to_owned(),
    ]
}

fn get(path: &str) -> hyper::Request<Vec<u8>> {
    hyper::Request::get(path)
        .body(Vec::new())
        .expect("a request")
}

fn pem(der: &[u8]) -> String {
    let serde_json::Value::String(text) = json!(k8s_openapi::ByteString(der.to_vec())) else {
        unreachable!("bytes become base64 text")
    };
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| str::from_utf8(line).expect("base64"))
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}

/// Where the programs are.
struct Programs {
    etcd: PathBuf,
    api_server: PathBuf,
    controller_manager: PathBuf,
}

impl Programs {
    async fn find() -> Result<Self> {
        let given = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
        let find = async |name: &str| match given
            .as_ref()
            .map(|dir| dir.join(name))
            .filter(|path| path.exists())
        {
            Some(path) => Ok(path),
            None => built::control_plane().await.map(|dir| dir.join(name)),
        };
        Ok(Self {
            etcd: find("etcd").await?,
            api_server: find("kube-apiserver").await?,
            controller_manager: find("kube-controller-manager").await?,
        })
    }
}

/// A client certificate.
struct Client509 {
    certificate: String,
    key: String,
}

impl Client509 {
    fn identity(&self) -> Identity<'_> {
        Identity::Certificate {
            certificate: &self.certificate,
            key: &self.key,
        }
    }
}

/// The cluster's own certificates, on disk in its directory: `ca.crt`, `serving.crt`, `serving.key`, `accounts.key`.
struct Pki {
    ca: String,
    admin: Client509,
    manager: Client509,
}

impl Pki {
    fn write(dir: &Scratch) -> Result<Self> {
        let ca = Ca::new("/CN=test-control-plane", KeyKind::P256);
        let serving = "basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n\
            subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:kubernetes.default.svc\n";
        let serving = ca.leaf_with_key(
            generate_key(KeyKind::P256),
            "/CN=kube-apiserver",
            serving,
            30,
        );
        dir.write("ca.crt", &ca.certificate)?;
        dir.write("serving.crt", &serving.certificate)?;
        dir.write("serving.key", &serving.key)?;
        dir.write("accounts.key", generate_key(KeyKind::Rsa(2048)))?;
        let client = |subject: &str| {
            let extensions = "basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n";
            let leaf = ca.leaf_with_key(generate_key(KeyKind::P256), subject, extensions, 30);
            Client509 {
                certificate: leaf.certificate,
                key: leaf.key,
            }
        };
        let (admin, manager) = (
            client("/O=system:masters/CN=admin"),
            client("/CN=system:kube-controller-manager"),
        );
        Ok(Self {
            ca: ca.certificate,
            admin,
            manager,
        })
    }
}

const EGRESS_SOCKET: &str = "services.sock";

/// Services have addresses that lead nowhere on this machine, so the API server is told whom to ask for them.
fn egress_configuration(dir: &Path) -> String {
    let socket = json!({"udsName": dir.join(EGRESS_SOCKET)});
    json!({
        "apiVersion": "apiserver.k8s.io/v1beta1", "kind": "EgressSelectorConfiguration",
        "egressSelections": [{"name": "cluster", "connection": {
            "proxyProtocol": "HTTPConnect", "transport": {"uds": socket},
        }}],
    })
    .to_string()
}

fn etcd_args(dir: &Path, port: u16, peer_port: u16) -> Vec<String> {
    vec![
        format!("--data-dir={}", dir.join("etcd").display()),
        format!("--listen-client-urls=http://127.0.0.1:{port}"),
        format!("--advertise-client-urls=http://127.0.0.1:{port}"),
        format!("--listen-peer-urls=http://127.0.0.1:{peer_port}"),
        format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer_port}"),
        format!("--initial-cluster=default=http://127.0.0.1:{peer_port}"),
        // Nothing here has to survive.
        "--unsafe-no-fsync".to_owned(),
    ]
}

fn api_server_args(dir: &Path, etcd_port: u16, port: u16) -> Vec<String> {
    let file = |name: &str| dir.join(name).display().to_string();
    vec![
        format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        format!("--cert-dir={}", dir.display()),
        format!("--tls-cert-file={}", file("serving.crt")),
        format!("--tls-private-key-file={}", file("serving.key")),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--service-account-key-file={}", file("accounts.key")),
        format!(
            "--service-account-signing-key-file={}",
            file("accounts.key")
        ),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        "--authorization-mode=RBAC".to_owned(),
        format!("--egress-selector-config-file={}", file("egress.json")),
        "--endpoint-reconciler-type=none".to_owned(),
        "--service-cluster-ip-range=10.0.0.0/16".to_owned(),
        "--allow-privileged=true".to_owned(),
        "--shutdown-delay-duration=0s".to_owned(),
    ]
}

/// The controllers that tests need: workloads, ServiceAccounts, namespaces' ends. Those that watch nodes are left out, for
/// nobody sends the node's heartbeats.
const CONTROLLERS: &[&str] = &[
    "clusterrole-aggregation-controller",
    "cronjob-controller",
    "daemonset-controller",
    "deployment-controller",
    "disruption-controller",
    "endpointslice-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "replicaset-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "statefulset-controller",
];

fn controller_manager_args(dir: &Path, kubeconfig: &Path) -> Vec<String> {
    let file = |name: &str| dir.join(name).display().to_string();
    vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--root-ca-file={}", file("ca.crt")),
        format!(
            "--service-account-private-key-file={}",
            file("accounts.key")
        ),
        format!("--controllers={}", CONTROLLERS.join(",")),
        "--use-service-account-credentials=true".to_owned(),
        "--leader-elect=false".to_owned(),
        "--secure-port=0".to_owned(),
        "--kube-api-qps=1000".to_owned(),
        "--kube-api-burst=2000".to_owned(),
    ]
}
