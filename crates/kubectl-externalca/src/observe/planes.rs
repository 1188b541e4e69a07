//! The plane resources of every kind that is served.

use std::collections::HashMap;
use std::sync::Arc;

use external_ca_api::PlaneKind;
use external_ca_core::model::discovery::{self, Answers, Ask, ServedKind};
use external_ca_core::model::facts;
use external_ca_core::model::lenient::Lenient;
use external_ca_core::model::{ListRef, PlaneRef};
use external_ca_core::snapshot::Seen;
use kube::api::{DynamicObject, ListParams};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

use crate::error::api_message;

/// Reads every plane, and adds `more` as if they existed.
pub async fn read(
    client: &Client,
    more: &[DynamicObject],
    seen: &mut Seen,
    notes: &mut Vec<String>,
) {
    let (kinds, fields) = match served(client).await {
        Ok(served) => served,
        Err(error) => {
            let why = format!("the plane kinds cannot be read: {}", api_message(&error));
            seen.unreadable.insert(ListRef::PlaneKinds, why);
            return;
        }
    };
    let mut planes: Vec<(PlaneKind, DynamicObject)> = Vec::new();
    for served in &kinds {
        let api: Api<Lenient<DynamicObject>> = Api::all_with(client.clone(), &served.resource);
        match api.list(&ListParams::default()).await {
            Ok(found) => {
                for plane in found {
                    let reference = PlaneRef {
                        kind: served.kind,
                        namespace: plane.namespace(),
                        name: plane.name_any(),
                    };
                    match plane.into_decoded() {
                        Ok(plane) => planes.push((served.kind, plane)),
                        Err(error) => {
                            seen.broken_planes.insert(reference, error.to_string());
                        }
                    }
                }
            }
            Err(error) => {
                let list = ListRef::Planes(served.kind, served.resource.api_version.clone());
                let why = format!("{list} cannot be read: {}", api_message(&error));
                seen.unreadable.insert(list, why);
            }
        }
    }
    for plane in more {
        let kind = plane.types.as_ref().map_or("", |types| types.kind.as_str());
        match kinds
            .iter()
            .find(|served| format!("{:?}", served.kind) == kind)
        {
            Some(served) => planes.push((served.kind, plane.clone())),
            None => notes.push(format!("this cluster serves no {kind}")),
        }
    }
    for (kind, plane) in planes {
        let field = fields.get(&kind).copied();
        match facts::plane(kind, &plane.metadata, &plane.data, field) {
            Ok(Some(plane)) => {
                seen.planes.insert(plane.plane.clone(), Arc::new(plane));
            }
            Ok(None) => {}
            Err(error) => {
                let reference = PlaneRef {
                    kind,
                    namespace: plane.namespace(),
                    name: plane.name_any(),
                };
                seen.broken_planes.insert(reference, error.to_string());
            }
        }
    }
}

type Served = (Vec<ServedKind>, HashMap<PlaneKind, &'static str>);

async fn served(client: &Client) -> Result<Served, kube::Error> {
    let mut answers = Answers::new();
    let kinds = ask(client, &mut answers, discovery::kinds).await?;
    let fields = ask(client, &mut answers, |answers| {
        discovery::reference_fields(answers, &kinds)
    });
    let fields = fields.await?;
    Ok((kinds, fields))
}

/// Asks the API server what it serves.
pub async fn ask<T>(
    client: &Client,
    answers: &mut Answers,
    question: impl Fn(&Answers) -> Result<T, Ask>,
) -> Result<T, kube::Error> {
    discovery::ask(answers, question, |path| get(client, path)).await
}

async fn get(client: &Client, path: String) -> Result<Option<Value>, kube::Error> {
    let request = http::Request::get(path)
        .body(Vec::new())
        .map_err(kube::Error::HttpError)?;
    match client.request::<Value>(request).await {
        Ok(value) => Ok(Some(value)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}
