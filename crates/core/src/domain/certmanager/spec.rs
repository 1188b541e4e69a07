//! A Certificate's spec, with cert-manager's defaults: what is to be made of it, or which field is outside the subset.

use std::collections::BTreeMap;
use std::net::IpAddr;

use external_ca_api::Duration;
use jiff::SignedDuration;
use serde::Deserialize;

use super::fields::{CERTIFICATE_FIELDS, refused};
use super::words::{CertificateProblem, CertificateWord};
use crate::domain::renewal::Renewal;
use crate::model::{CERT_MANAGER_GROUP, CertManagerObject, ObjectRef};
use crate::x509::{Asked, AskedKeyUsages, KeyAlgorithm, San, Usages};

/// cert-manager's: 90 days.
const DURATION: SignedDuration = SignedDuration::from_hours(2160);
/// cert-manager takes no shorter one.
const LEAST_DURATION: SignedDuration = SignedDuration::from_hours(1);

/// What a Certificate asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spec {
    pub(super) secret_name: String,
    pub(super) issuer: IssuerRef,
    pub(super) common_name: String,
    pub(super) organizations: Vec<String>,
    pub(super) sans: Vec<San>,
    pub(super) usages: Usages,
    pub(super) asked: Asked,
    pub(super) is_ca: bool,
    pub(super) duration: SignedDuration,
    pub(super) renewal: Renewal,
    pub(super) key: KeyAlgorithm,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
}

/// Which Issuer a Certificate names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IssuerRef {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) group: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Raw {
    secret_name: String,
    issuer_ref: RawIssuer,
    common_name: Option<String>,
    dns_names: Vec<String>,
    ip_addresses: Vec<String>,
    uris: Vec<String>,
    email_addresses: Vec<String>,
    subject: RawSubject,
    #[serde(rename = "isCA")]
    is_ca: bool,
    duration: Option<Duration>,
    renew_before: Option<Duration>,
    renew_before_percentage: Option<i32>,
    private_key: RawKey,
    usages: Vec<String>,
    secret_template: RawTemplate,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawIssuer {
    name: String,
    kind: Option<String>,
    group: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawSubject {
    organizations: Vec<String>,
    organizational_units: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawKey {
    algorithm: Option<String>,
    size: Option<u32>,
    rotation_policy: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawTemplate {
    annotations: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
}

fn unsupported(field: &str, why: impl std::fmt::Display) -> CertificateProblem {
    CertificateProblem::new(
        CertificateWord::FieldNotSupported,
        format!(
            "spec.{field} {why}; nothing is written for it: docs/cert-manager.md lists what is honoured"
        ),
    )
}

/// What a Certificate asks for.
pub(super) fn spec_of(
    certificate: &ObjectRef,
    object: &CertManagerObject,
) -> Result<Spec, CertificateProblem> {
    if let Some(field) = refused(&object.spec, CERTIFICATE_FIELDS) {
        return Err(unsupported(&field, "is not honoured here"));
    }
    let raw: Raw = serde_json::from_value(object.spec.clone()).map_err(|error| {
        CertificateProblem::new(CertificateWord::FieldNotSupported, format!("spec: {error}"))
    })?;
    let issuer = issuer_of(&raw.issuer_ref)?;
    let (usages, key_usages) = usages_of(&raw.usages)?;
    let duration = duration_of(&raw)?;
    let renewal = Renewal {
        before: renew_before(&raw, duration)?,
        keeps_key: keeps_key(&raw.private_key)?,
    };
    let key = key_of(&raw.private_key)?;
    let sans = sans_of(&raw)?;
    if raw.secret_name.is_empty() {
        return Err(unsupported(
            "secretName",
            format_args!("of {certificate} is empty"),
        ));
    }
    Ok(Spec {
        secret_name: raw.secret_name,
        issuer,
        common_name: raw.common_name.unwrap_or_default(),
        organizations: raw.subject.organizations,
        sans,
        usages,
        asked: Asked {
            organizational_units: raw.subject.organizational_units,
            emails: raw.email_addresses,
            key_usages,
        },
        is_ca: raw.is_ca,
        duration,
        renewal,
        key,
        labels: raw.secret_template.labels,
        annotations: raw.secret_template.annotations,
    })
}

fn issuer_of(raw: &RawIssuer) -> Result<IssuerRef, CertificateProblem> {
    let named = |value: &Option<String>, default: &str| match value.as_deref() {
        None | Some("") => default.to_owned(),
        Some(value) => value.to_owned(),
    };
    let group = named(&raw.group, CERT_MANAGER_GROUP);
    if group != CERT_MANAGER_GROUP {
        return Err(unsupported(
            "issuerRef.group",
            format_args!("is {group}: issuers of other groups are others' to serve"),
        ));
    }
    let kind = named(&raw.kind, "Issuer");
    if kind != "Issuer" && kind != "ClusterIssuer" {
        return Err(unsupported(
            "issuerRef.kind",
            format_args!("is {kind}, and not Issuer or ClusterIssuer"),
        ));
    }
    Ok(IssuerRef {
        name: raw.name.clone(),
        kind,
        group,
    })
}

/// Without a list: digital signature and key encipherment, and no extended key usage.
fn usages_of(names: &[String]) -> Result<(Usages, AskedKeyUsages), CertificateProblem> {
    let (mut usages, mut key) = (Usages::default(), AskedKeyUsages::default());
    if names.is_empty() {
        key.digital_signature = true;
        key.key_encipherment = true;
    }
    for name in names {
        match name.as_str() {
            "signing" | "digital signature" => key.digital_signature = true,
            "content commitment" => key.content_commitment = true,
            "key encipherment" => key.key_encipherment = true,
            "data encipherment" => key.data_encipherment = true,
            "key agreement" => key.key_agreement = true,
            "server auth" => usages.server_auth = true,
            "client auth" => usages.client_auth = true,
            // A CA's have these anyway.
            "cert sign" | "crl sign" => {}
            other => {
                return Err(unsupported(
                    "usages",
                    format_args!("has {other:?}, which is not made here"),
                ));
            }
        }
    }
    Ok((usages, key))
}

fn duration_of(raw: &Raw) -> Result<SignedDuration, CertificateProblem> {
    let duration = raw.duration.map_or(DURATION, |duration| duration.0);
    if duration < LEAST_DURATION {
        return Err(unsupported("duration", "is less than an hour"));
    }
    Ok(duration)
}

/// A third of the duration, unless asked otherwise.
fn renew_before(raw: &Raw, duration: SignedDuration) -> Result<SignedDuration, CertificateProblem> {
    let before = match (raw.renew_before, raw.renew_before_percentage) {
        (Some(_), Some(_)) => {
            return Err(unsupported(
                "renewBeforePercentage",
                "stands beside renewBefore: give one of them",
            ));
        }
        (Some(before), None) => before.0,
        (None, Some(percent)) => duration / 100 * percent,
        (None, None) => duration / 3,
    };
    if before <= SignedDuration::ZERO || before >= duration {
        return Err(unsupported(
            "renewBefore",
            "is not between nothing and the duration",
        ));
    }
    Ok(before)
}

fn keeps_key(raw: &RawKey) -> Result<bool, CertificateProblem> {
    match raw.rotation_policy.as_deref() {
        None | Some("" | "Always") => Ok(false),
        Some("Never") => Ok(true),
        Some(other) => Err(unsupported(
            "privateKey.rotationPolicy",
            format_args!("is {other:?}, and not Always or Never"),
        )),
    }
}

fn key_of(raw: &RawKey) -> Result<KeyAlgorithm, CertificateProblem> {
    let size = raw.size.filter(|size| *size != 0);
    let key = match (raw.algorithm.as_deref(), size) {
        (None | Some("" | "RSA"), size) => KeyAlgorithm::Rsa(size.unwrap_or(2048)),
        (Some("ECDSA"), None | Some(256)) => KeyAlgorithm::EcdsaP256,
        (Some("ECDSA"), Some(384)) => KeyAlgorithm::EcdsaP384,
        (Some("ECDSA"), Some(521)) => KeyAlgorithm::EcdsaP521,
        (Some("Ed25519"), _) => KeyAlgorithm::Ed25519,
        (Some("ECDSA"), Some(size)) => {
            return Err(unsupported(
                "privateKey.size",
                format_args!("is {size}, which no curve has"),
            ));
        }
        (Some(other), _) => {
            return Err(unsupported(
                "privateKey.algorithm",
                format_args!("is {other:?}"),
            ));
        }
    };
    match key {
        KeyAlgorithm::Rsa(2048 | 3072 | 4096 | 8192) => Ok(key),
        KeyAlgorithm::Rsa(size) => Err(unsupported(
            "privateKey.size",
            format_args!("is {size}: RSA keys have 2048, 3072, 4096 or 8192 bits"),
        )),
        _ => Ok(key),
    }
}

/// Each name once, as certificates say them.
fn sans_of(raw: &Raw) -> Result<Vec<San>, CertificateProblem> {
    let dns = raw.dns_names.iter();
    let mut names: Vec<San> = dns
        .map(|name| San::Dns(name.to_ascii_lowercase()))
        .collect();
    for text in &raw.ip_addresses {
        let address: IpAddr = text.parse().map_err(|_| {
            unsupported(
                "ipAddresses",
                format_args!("has {text:?}, which is no IP address"),
            )
        })?;
        names.push(San::Ip(address));
    }
    names.extend(raw.uris.iter().cloned().map(San::Uri));
    let mut once: Vec<San> = Vec::new();
    for name in names {
        if !once.contains(&name) {
            once.push(name);
        }
    }
    Ok(once)
}
