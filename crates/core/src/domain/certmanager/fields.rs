//! Which fields of cert-manager.io/v1 are honoured: docs/cert-manager.md has this table, and a test compares them.

use serde_json::Value;

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conformance {
    /// It means what it means to cert-manager.
    Honoured,
    /// It may be there, and changes nothing.
    Accepted,
    /// Nothing is made from an object that has it.
    Refused,
}

use Conformance::{Accepted, Honoured, Refused};

/// The fields of a Certificate's spec, by their paths.
pub const CERTIFICATE_FIELDS: &[(&str, Conformance)] = &[
    ("additionalOutputFormats", Refused),
    ("commonName", Honoured),
    ("dnsNames", Honoured),
    ("duration", Honoured),
    ("emailAddresses", Honoured),
    ("encodeUsagesInRequest", Accepted),
    ("ipAddresses", Honoured),
    ("isCA", Honoured),
    ("issuerRef.group", Honoured),
    ("issuerRef.kind", Honoured),
    ("issuerRef.name", Honoured),
    ("keystores", Refused),
    ("literalSubject", Refused),
    ("nameConstraints", Refused),
    ("otherNames", Refused),
    ("privateKey.algorithm", Honoured),
    ("privateKey.encoding", Accepted),
    ("privateKey.rotationPolicy", Honoured),
    ("privateKey.size", Honoured),
    ("renewBefore", Honoured),
    ("renewBeforePercentage", Honoured),
    ("revisionHistoryLimit", Accepted),
    ("secretName", Honoured),
    ("secretTemplate.annotations", Honoured),
    ("secretTemplate.labels", Honoured),
    ("signatureAlgorithm", Refused),
    ("subject.countries", Refused),
    ("subject.localities", Refused),
    ("subject.organizationalUnits", Honoured),
    ("subject.organizations", Honoured),
    ("subject.postalCodes", Refused),
    ("subject.provinces", Refused),
    ("subject.serialNumber", Refused),
    ("subject.streetAddresses", Refused),
    ("uris", Honoured),
    ("usages", Honoured),
];

/// The fields of an Issuer's or ClusterIssuer's spec, by their paths.
pub const ISSUER_FIELDS: &[(&str, Conformance)] = &[
    ("acme", Refused),
    ("ca.crlDistributionPoints", Refused),
    ("ca.issuingCertificateURLs", Refused),
    ("ca.ocspServers", Refused),
    ("ca.secretName", Honoured),
    ("selfSigned", Honoured),
    ("selfSigned.crlDistributionPoints", Refused),
    ("vault", Refused),
    ("venafi", Refused),
];

/// The annotations of cert-manager's that are looked at, or written.
pub const ANNOTATIONS: &[(&str, Conformance)] = &[
    ("cert-manager.io/allow-direct-injection", Honoured),
    ("cert-manager.io/alt-names", Honoured),
    ("cert-manager.io/certificate-name", Honoured),
    ("cert-manager.io/common-name", Honoured),
    ("cert-manager.io/inject-apiserver-ca", Refused),
    ("cert-manager.io/inject-ca-from", Honoured),
    ("cert-manager.io/inject-ca-from-secret", Honoured),
    ("cert-manager.io/ip-sans", Honoured),
    ("cert-manager.io/issuer-group", Honoured),
    ("cert-manager.io/issuer-kind", Honoured),
    ("cert-manager.io/issuer-name", Honoured),
    ("cert-manager.io/uri-sans", Honoured),
];

/// The first field of a spec that is refused, or that the table does not know, by its path. What is empty counts as absent.
pub fn refused(spec: &Value, table: &[(&str, Conformance)]) -> Option<String> {
    walk(spec, "", table)
}

fn walk(value: &Value, path: &str, table: &[(&str, Conformance)]) -> Option<String> {
    let fields = value.as_object()?;
    fields.iter().find_map(|(name, value)| {
        let path = match path {
            "" => name.clone(),
            above => format!("{above}.{name}"),
        };
        if is_empty(value) {
            return None;
        }
        let known = table.iter().find(|(known, _)| *known == path);
        let inner = format!("{path}.");
        let has_inner = table.iter().any(|(known, _)| known.starts_with(&inner));
        match known {
            Some((_, Refused)) => Some(path),
            Some((_, Honoured | Accepted)) if !has_inner => None,
            Some(_) => walk(value, &path, table),
            None if has_inner => walk(value, &path, table),
            None => Some(path),
        }
    })
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::String(text) => text.is_empty(),
        Value::Array(all) => all.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_field_outside_the_subset_is_named() {
        let cases = [
            (json!({"secretName": "a", "dnsNames": ["a"]}), None),
            (
                json!({"keystores": {"jks": {"create": true}}}),
                Some("keystores"),
            ),
            (
                json!({"subject": {"countries": ["CH"]}}),
                Some("subject.countries"),
            ),
            (
                json!({"subject": {"organizations": ["A"], "countries": []}}),
                None,
            ),
            (
                json!({"privateKey": {"algorithm": "RSA", "size": 2048}}),
                None,
            ),
            (
                json!({"privateKey": {"hardware": "tpm"}}),
                Some("privateKey.hardware"),
            ),
            (json!({"something": 1}), Some("something")),
            (json!({"secretTemplate": {"labels": {"a": "b"}}}), None),
        ];
        for (spec, expected) in cases {
            let found = refused(&spec, CERTIFICATE_FIELDS);
            assert_eq!(found.as_deref(), expected, "{spec}");
        }
        let cases = [
            (json!({"selfSigned": {}}), None),
            (json!({"ca": {"secretName": "a"}}), None),
            (
                json!({"ca": {"secretName": "a", "ocspServers": ["x"]}}),
                Some("ca.ocspServers"),
            ),
            (
                json!({"selfSigned": {"crlDistributionPoints": ["x"]}}),
                Some("selfSigned.crlDistributionPoints"),
            ),
            (json!({"acme": {"email": "a@b"}}), Some("acme")),
        ];
        for (spec, expected) in cases {
            assert_eq!(refused(&spec, ISSUER_FIELDS).as_deref(), expected, "{spec}");
        }
    }
}
