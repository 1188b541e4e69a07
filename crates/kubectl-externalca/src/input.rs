//! Files that a person names.

use std::io::Read as _;
use std::path::Path;

use external_ca_api::{ExternalCAIssuance, GROUP};
use external_ca_core::model::discovery::plane_kind;
use external_ca_core::x509::CaChain;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;

use crate::error::Error;

/// What `-f` names.
#[derive(Debug, Default)]
pub struct Documents {
    /// The issuance, if there is one.
    pub issuance: Option<ExternalCAIssuance>,
    /// Plane resources.
    pub planes: Vec<DynamicObject>,
}

/// Reads a file of YAML or JSON documents; `-` is standard input.
pub fn documents(path: &Path) -> Result<Documents, Error> {
    let text = String::from_utf8(bytes(path)?).map_err(|_| document(path, "it is not UTF-8"))?;
    parse(&text).map_err(|problem| document(path, problem))
}

/// Reads a CA's certificate with its chain.
pub fn ca(path: &Path, now: Timestamp) -> Result<CaChain, Error> {
    CaChain::from_pem(&bytes(path)?, now).map_err(|error| document(path, error))
}

fn document(path: &Path, problem: impl ToString) -> Error {
    Error::Document {
        path: path.to_owned(),
        problem: problem.to_string(),
    }
}

/// What stands in a file; `-` is standard input.
pub fn bytes(path: &Path) -> Result<Vec<u8>, Error> {
    let read = if path == Path::new("-") {
        let mut bytes = Vec::new();
        let read = std::io::stdin().read_to_end(&mut bytes);
        read.map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    read.map_err(|source| Error::File {
        path: path.to_owned(),
        source,
    })
}

fn parse(text: &str) -> Result<Documents, String> {
    let found: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| error.to_string())?;
    let mut documents = Documents::default();
    for value in found.into_iter().filter(|value| !value.is_null()) {
        let field = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
        let (kind, api_version) = (field("kind").to_owned(), field("apiVersion").to_owned());
        if kind == "ExternalCAIssuance" && api_version.starts_with(GROUP) {
            let issuance = serde_json::from_value(value);
            let issuance = issuance.map_err(|error| format!("the {kind}: {error}"))?;
            if documents.issuance.replace(issuance).is_some() {
                return Err("it holds several ExternalCAIssuances; plan one at a time".into());
            }
        } else if plane_kind(&kind).is_some() {
            let plane = serde_json::from_value(value);
            let plane = plane.map_err(|error| format!("the {kind}: {error}"))?;
            documents.planes.push(plane);
        } else {
            return Err(format!(
                "\"{api_version} {kind}\" is neither an ExternalCAIssuance nor a plane resource"
            ));
        }
    }
    if documents.issuance.is_none() && documents.planes.is_empty() {
        return Err("it holds nothing to plan with".into());
    }
    Ok(documents)
}

/// The issuance that there would be once the one of the file was applied over the live one.
pub fn applied(
    mut file: ExternalCAIssuance,
    live: Option<ExternalCAIssuance>,
) -> ExternalCAIssuance {
    let Some(mut live) = live else {
        // Newer than every other.
        file.metadata.uid = Some("planned".into());
        file.metadata.creation_timestamp = Some(
            k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::MAX),
        );
        return file;
    };
    if live.spec != file.spec {
        live.metadata.generation = live.metadata.generation.map(|generation| generation + 1);
    }
    live.spec = file.spec;
    let annotations = file.metadata.annotations.take().unwrap_or_default();
    live.annotations_mut().extend(annotations);
    live
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ISSUANCE: &str = "apiVersion: pki.openchoreo.dev/v1alpha1\nkind: ExternalCAIssuance\nmetadata: {name: a}\n\
                            spec: {issuer: {caSecret: {name: ca}}}\n";
    const PLANE: &str = "apiVersion: openchoreo.dev/v1alpha1\nkind: DataPlane\nmetadata: {name: eu}\nspec: {planeID: eu-1}\n";

    #[test]
    fn an_issuance_and_planes_are_told_apart() {
        let found = parse(&format!("{ISSUANCE}---\n{PLANE}---\n")).unwrap();
        assert_eq!(found.issuance.unwrap().name_any(), "a");
        assert_eq!(found.planes.len(), 1);
        for (text, problem) in [
            ("", "nothing to plan with"),
            ("kind: Pod\napiVersion: v1\n", "neither"),
            (&format!("{ISSUANCE}---\n{ISSUANCE}"), "several"),
            (&ISSUANCE.replace("caSecret", "vault"), "ExternalCAIssuance"),
        ] {
            assert!(parse(text).unwrap_err().contains(problem), "{text}");
        }
    }

    #[test]
    fn a_file_goes_over_the_live_issuance_and_keeps_its_identity_and_status() {
        let file = parse(ISSUANCE).unwrap().issuance.unwrap();
        let mut live = file.clone();
        live.metadata.uid = Some("u".into());
        live.metadata.generation = Some(3);
        live.status = Some(external_ca_api::ExternalCAIssuanceStatus::default());
        let mut paused = file.clone();
        paused.spec.paused = true;
        let planned = applied(paused, Some(live.clone()));
        assert_eq!(planned.metadata.uid.as_deref(), Some("u"));
        assert_eq!(planned.metadata.generation, Some(4));
        assert!(planned.spec.paused && planned.status.is_some());
        assert_eq!(
            applied(file.clone(), Some(live)).metadata.generation,
            Some(3)
        );
        assert!(applied(file, None).status.is_none());
    }
}
