//! Certificates made by hand, with the commands of OpenChoreo's guide, and read and verified by OpenSSL: an opinion that
//! does not come from the libraries under test.

use crate::scratch::Scratch;
use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex, OnceLock};

/// The subject that the guide gives its CA.
pub const GUIDE_SUBJECT: &str = "/CN=openchoreo-cluster-gateway-ca/O=OpenChoreo";

/// A kind of private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// `openssl genrsa` with this many bits.
    Rsa(u32),
    /// The curve P-256: made at once.
    P256,
    /// The curve P-384.
    P384,
    /// Ed25519.
    Ed25519,
}

/// Makes a private key (PEM).
pub fn generate_key(kind: KeyKind) -> String {
    let bits;
    let args: Vec<&str> = match kind {
        KeyKind::Rsa(n) => {
            bits = n.to_string();
            vec!["genrsa", &bits]
        }
        KeyKind::P256 => vec![
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ],
        KeyKind::P384 => vec![
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-384",
        ],
        KeyKind::Ed25519 => vec!["genpkey", "-algorithm", "ed25519"],
    };
    openssl(&args).expect("openssl makes a key")
}

/// The n-th key of its kind in this process: made once, for RSA-4096 takes seconds.
fn pooled_key(kind: KeyKind, n: usize) -> String {
    type Pool = Mutex<HashMap<(KeyKind, usize), Arc<OnceLock<String>>>>;
    static POOL: LazyLock<Pool> = LazyLock::new(Mutex::default);
    let cell = POOL.lock().unwrap().entry((kind, n)).or_default().clone();
    cell.get_or_init(|| generate_key(kind)).clone()
}

/// A CA: certificate, key, and what stands above it.
#[derive(Clone)]
pub struct Ca {
    /// Its certificate (PEM).
    pub certificate: String,
    /// Its private key (PEM).
    pub key: String,
    /// The certificates between it and its root, and the root, nearest first (PEM); empty for a root.
    pub parents: String,
}

/// A leaf certificate and its key.
#[derive(Clone)]
pub struct Leaf {
    /// The certificate, followed by the intermediates that a peer presents with it (PEM).
    pub certificate: String,
    /// Its private key (PEM).
    pub key: String,
}

impl Ca {
    /// The guide's CA: RSA 4096, ten years. The same one each time within a process.
    pub fn guide() -> Self {
        Self::replacement(0)
    }

    /// The n-th CA with the guide's subject, each with a key of its own: what somebody gets who follows the guide once
    /// more. `replacement(0)` is [`Ca::guide`].
    pub fn replacement(n: usize) -> Self {
        static MADE: LazyLock<Mutex<HashMap<usize, Arc<OnceLock<Ca>>>>> =
            LazyLock::new(Mutex::default);
        let cell = MADE.lock().unwrap().entry(n).or_default().clone();
        cell.get_or_init(|| Self::from_key(pooled_key(KeyKind::Rsa(4096), n), GUIDE_SUBJECT))
            .clone()
    }

    /// A CA with a subject (in OpenSSL's form, `/CN=…/O=…`) and a fresh key.
    pub fn new(subject: &str, kind: KeyKind) -> Self {
        Self::from_key(generate_key(kind), subject)
    }

    /// A CA from a key at hand.
    pub fn from_key(key: String, subject: &str) -> Self {
        let dir = Scratch::new("openssl").expect("a directory");
        let ca_key = file(&dir, "ca.key", &key);
        let mut args = vec!["req", "-x509", "-new", "-nodes", "-key", &ca_key];
        // Ed25519 has no digest to choose.
        if !matches!(public_key_kind(&key), Some(KeyKind::Ed25519)) {
            args.push("-sha256");
        }
        args.extend(["-days", "3650", "-subj", subject]);
        let certificate = openssl(&args).expect("openssl makes a CA");
        Self {
            certificate,
            key,
            parents: String::new(),
        }
    }

    /// A CA below this one.
    pub fn intermediate(&self, subject: &str, kind: KeyKind) -> Self {
        let extensions = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n\
             subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid:always\n";
        let key = generate_key(kind);
        let certificate = self.sign(&key, subject, extensions, 1825);
        Self {
            certificate,
            key,
            parents: format!("{}{}", self.certificate, self.parents),
        }
    }

    /// The gateway's leaf, as the guide makes it, for a gateway in this namespace.
    pub fn server_leaf(&self, namespace: &str) -> Leaf {
        let service = format!("cluster-gateway.{namespace}.svc");
        self.server_leaf_for(&[&service, &format!("{service}.cluster.local")])
    }

    /// The gateway's leaf for these DNS names.
    pub fn server_leaf_for(&self, dns: &[&str]) -> Leaf {
        let names: Vec<String> = dns.iter().map(|name| format!("DNS:{name}")).collect();
        let extensions = format!(
            "authorityKeyIdentifier=keyid,issuer\nbasicConstraints=CA:FALSE\n\
             keyUsage=critical,digitalSignature,keyEncipherment\nextendedKeyUsage=serverAuth\nsubjectAltName={}\n",
            names.join(",")
        );
        self.leaf("/CN=cluster-gateway/O=OpenChoreo", &extensions, 365)
    }

    /// An agent's leaf, as the guide makes it.
    pub fn agent_leaf(&self, plane_id: &str) -> Leaf {
        let extensions = "authorityKeyIdentifier=keyid,issuer\nbasicConstraints=CA:FALSE\n\
             keyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n";
        self.leaf(&format!("/CN={plane_id}/O=OpenChoreo"), extensions, 365)
    }

    /// A leaf with an RSA-2048 key and these extensions (the lines of an extension file).
    pub fn leaf(&self, subject: &str, extensions: &str, days: u32) -> Leaf {
        self.leaf_with_key(generate_key(KeyKind::Rsa(2048)), subject, extensions, days)
    }

    /// A leaf for a key at hand.
    pub fn leaf_with_key(&self, key: String, subject: &str, extensions: &str, days: u32) -> Leaf {
        let mut certificate = self.sign(&key, subject, extensions, days);
        if !self.parents.is_empty() {
            // Intermediates are presented along, the root is not.
            certificate += &self.certificate;
            let parents = pem_blocks(&self.parents);
            certificate.extend(parents.iter().take(parents.len() - 1).map(String::as_str));
        }
        Leaf { certificate, key }
    }

    /// Signs a certificate for a key: CSR, extension file, `openssl x509 -req`.
    pub fn sign(&self, key: &str, subject: &str, extensions: &str, days: u32) -> String {
        self.sign_for(key, subject, extensions, i64::from(days))
    }

    /// The same; where the days are less than nothing, it has expired.
    pub fn sign_for(&self, key: &str, subject: &str, extensions: &str, days: i64) -> String {
        let dir = Scratch::new("openssl").expect("a directory");
        let (leaf_key, extensions) = (
            file(&dir, "leaf.key", key),
            file(&dir, "ext.cnf", extensions),
        );
        let csr = openssl(&["req", "-new", "-key", &leaf_key, "-subj", subject])
            .expect("openssl makes a CSR");
        let csr = file(&dir, "leaf.csr", csr);
        let (ca, ca_key) = (
            file(&dir, "ca.crt", &self.certificate),
            file(&dir, "ca.key", &self.key),
        );
        let (serial, days) = (format!("0x{}", random_hex()), days.to_string());
        let mut args = vec![
            "x509",
            "-req",
            "-in",
            &csr,
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-set_serial",
            &serial,
        ];
        args.extend(["-days", &days, "-sha256", "-extfile", &extensions]);
        openssl(&args).expect("openssl signs")
    }
}

/// What a verifier is asked to check beyond the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose<'a> {
    /// A server of this name.
    Server(&'a str),
    /// A client.
    Client,
    /// The chain only.
    Any,
}

/// `openssl verify`: does the chain (leaf first) lead to one of these roots? The error is OpenSSL's text. As for Go and
/// webpki, an intermediate among the roots is enough.
pub fn verify(roots: &str, chain: &str, purpose: Purpose<'_>) -> Result<(), String> {
    verify_with(&[], roots, chain, purpose)
}

/// [`verify`] with `-x509_strict`. The guide's own CA does not pass it: its certificate has no key usage.
pub fn verify_strictly(roots: &str, chain: &str, purpose: Purpose<'_>) -> Result<(), String> {
    verify_with(&["-x509_strict"], roots, chain, purpose)
}

fn verify_with(
    flags: &[&str],
    roots: &str,
    chain: &str,
    purpose: Purpose<'_>,
) -> Result<(), String> {
    let dir = Scratch::new("openssl").expect("a directory");
    let (roots, chain) = (
        file(&dir, "roots.pem", roots),
        file(&dir, "chain.pem", chain),
    );
    let mut args = vec!["verify", "-partial_chain", "-no-CApath", "-no-CAstore"];
    args.extend(flags);
    args.extend(["-CAfile", &roots, "-untrusted", &chain]);
    match purpose {
        Purpose::Server(name) => args.extend(["-purpose", "sslserver", "-verify_hostname", name]),
        Purpose::Client => args.extend(["-purpose", "sslclient"]),
        Purpose::Any => {}
    }
    args.push(&chain);
    openssl(&args).map(drop)
}

/// What OpenSSL reads in a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// RFC 2253, so the last RDN comes first: `O=OpenChoreo,CN=cluster-gateway`.
    pub subject: String,
    /// The issuer's name, in the same form.
    pub issuer: String,
    /// Hexadecimal.
    pub serial: String,
    /// RFC 3339.
    pub not_before: String,
    /// RFC 3339.
    pub not_after: String,
    /// SHA-256 of the certificate, lower-case hexadecimal without colons.
    pub fingerprint: String,
    /// Subject alternative names: `DNS:a`, `IP Address:1.2.3.4`, `URI:spiffe://…`.
    pub names: Vec<String>,
    /// `Digital Signature`, `Key Encipherment`, …
    pub key_usage: Vec<String>,
    /// `TLS Web Server Authentication`, `TLS Web Client Authentication`, …
    pub extended_key_usage: Vec<String>,
    /// basicConstraints: `CA:TRUE`, `CA:FALSE`, or nothing.
    pub basic_constraints: String,
    /// Hexadecimal with colons.
    pub subject_key_id: String,
    /// Hexadecimal with colons.
    pub authority_key_id: String,
    /// `rsaEncryption 2048`, `id-ecPublicKey 256`, `ED25519`.
    pub public_key: String,
}

/// Reads the first certificate of a PEM text.
pub fn fields(pem: &str) -> Fields {
    let dir = Scratch::new("openssl").expect("a directory");
    let path = file(&dir, "certificate.pem", pem);
    let mut args = vec![
        "x509", "-in", &path, "-noout", "-subject", "-issuer", "-nameopt", "RFC2253", "-serial",
        "-dates",
    ];
    args.extend(["-dateopt", "iso_8601", "-fingerprint", "-sha256"]);
    let head = openssl(&args).expect("openssl reads the certificate");
    let value = |key: &str| {
        let line = head
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().trim().to_owned()
    };
    let text =
        openssl(&["x509", "-in", &path, "-noout", "-text"]).expect("openssl reads the certificate");
    let extension = |title: &str| {
        let lines: Vec<&str> = text.lines().collect();
        let at = lines
            .iter()
            .position(|line| line.trim_start().starts_with(title));
        at.and_then(|at| lines.get(at + 1))
            .map(|line| line.trim().to_owned())
            .unwrap_or_default()
    };
    let list = |title: &str| {
        let value = extension(title);
        value
            .split(", ")
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let after = |title: &str| {
        let line = text
            .lines()
            .find_map(|line| line.trim_start().strip_prefix(title));
        line.unwrap_or_default().trim().to_owned()
    };
    let bits: String = after("Public-Key: (")
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    Fields {
        subject: value("subject"),
        issuer: value("issuer"),
        serial: value("serial"),
        not_before: value("notBefore").replace(' ', "T"),
        not_after: value("notAfter").replace(' ', "T"),
        fingerprint: value("sha256 Fingerprint").replace(':', "").to_lowercase(),
        names: list("X509v3 Subject Alternative Name"),
        key_usage: list("X509v3 Key Usage"),
        extended_key_usage: list("X509v3 Extended Key Usage"),
        basic_constraints: extension("X509v3 Basic Constraints")
            .split(", ")
            .next()
            .unwrap_or_default()
            .to_owned(),
        subject_key_id: extension("X509v3 Subject Key Identifier"),
        authority_key_id: extension("X509v3 Authority Key Identifier")
            .trim_start_matches("keyid:")
            .to_owned(),
        public_key: format!("{} {bits}", after("Public Key Algorithm:"))
            .trim()
            .to_owned(),
    }
}

/// Whether a key belongs to the first certificate of a PEM text.
pub fn key_matches(certificate: &str, key: &str) -> bool {
    let dir = Scratch::new("openssl").expect("a directory");
    let (certificate, key) = (
        file(&dir, "certificate.pem", certificate),
        file(&dir, "key.pem", key),
    );
    let ours = openssl(&["x509", "-in", &certificate, "-noout", "-pubkey"])
        .expect("openssl reads the certificate");
    openssl(&["pkey", "-in", &key, "-pubout"]).is_ok_and(|theirs| theirs == ours)
}

/// The blocks of a PEM text, each with its line ends, whatever stands between them.
pub fn pem_blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut block: Option<String> = None;
    for line in text.lines().map(str::trim_end) {
        if line.starts_with("-----BEGIN ") {
            block = Some(String::new());
        }
        if let Some(open) = &mut block {
            open.push_str(line);
            open.push('\n');
            if line.starts_with("-----END ") {
                blocks.extend(block.take());
            }
        }
    }
    blocks
}

/// Runs OpenSSL and returns its standard output; the error is its standard error.
pub fn openssl(args: &[&str]) -> Result<String, String> {
    let output = Command::new("openssl")
        .args(args)
        .output()
        .expect("openssl is on the PATH");
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        Err(format!("openssl {}: {out}{err}", args.join(" ")))
    }
}

fn file(dir: &Scratch, name: &str, content: impl AsRef<[u8]>) -> String {
    path_text(&dir.write(name, content).expect("a file is written"))
}

fn path_text(path: &Path) -> String {
    path.to_str()
        .expect("paths of temporary files are text")
        .to_owned()
}

fn public_key_kind(key: &str) -> Option<KeyKind> {
    let dir = Scratch::new("openssl").expect("a directory");
    let text = openssl(&[
        "pkey",
        "-in",
        &file(&dir, "key.pem", key),
        "-noout",
        "-text",
    ])
    .ok()?;
    text.starts_with("ED25519").then_some(KeyKind::Ed25519)
}

/// 127 random bits, as a serial number.
fn random_hex() -> String {
    let text = openssl(&["rand", "-hex", "16"]).expect("openssl has random bytes");
    format!("1{}", &text.trim()[1..])
}
