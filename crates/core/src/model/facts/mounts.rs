//! Which Secrets and ConfigMaps a pod or its template reads.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, PodTemplateSpec, Volume};

use crate::model::{MaterialKind, MaterialRef, ObjectRef};

/// What is mounted or taken into the environment.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    /// Every object.
    pub all: BTreeSet<MaterialRef>,
    /// Those that a pod can start without.
    pub optional: BTreeSet<MaterialRef>,
}

/// What reads Secrets and ConfigMaps.
pub(super) trait Reader {
    /// Its volumes.
    fn volumes(&self) -> impl Iterator<Item = &Volume>;
    /// The environment of each of its containers.
    fn environments(&self) -> impl Iterator<Item = (&[EnvVar], &[EnvFromSource])>;
}

impl Reader for PodTemplateSpec {
    fn volumes(&self) -> impl Iterator<Item = &Volume> {
        self.spec
            .iter()
            .flat_map(|spec| spec.volumes.iter().flatten())
    }

    fn environments(&self) -> impl Iterator<Item = (&[EnvVar], &[EnvFromSource])> {
        let spec = self.spec.iter();
        let containers = spec.flat_map(|spec| {
            let init_containers = spec.init_containers.iter().flatten();
            spec.containers.iter().chain(init_containers)
        });
        containers.map(|one| {
            let (env, from) = (one.env.as_deref(), one.env_from.as_deref());
            (env.unwrap_or_default(), from.unwrap_or_default())
        })
    }
}

impl Mounts {
    /// What a reader in a namespace reads.
    pub fn of(namespace: &str, reader: &impl Reader) -> Self {
        let volumes = reader.volumes().flat_map(of_volume);
        let environments = reader.environments();
        let sources = volumes.chain(environments.flat_map(|(env, from)| of_environment(env, from)));
        let (mut all, mut needed) = (BTreeSet::new(), BTreeSet::new());
        for Source {
            kind,
            name,
            optional,
        } in sources
        {
            if name.is_empty() {
                continue;
            }
            let object = ObjectRef::new(namespace, name);
            let material = MaterialRef { kind, object };
            if !optional.unwrap_or(false) {
                needed.insert(material.clone());
            }
            all.insert(material);
        }
        let optional = all.difference(&needed).cloned().collect();
        Self { all, optional }
    }
}

struct Source<'a> {
    kind: MaterialKind,
    name: &'a str,
    optional: Option<bool>,
}

fn secret(name: &str, optional: Option<bool>) -> Source<'_> {
    Source {
        kind: MaterialKind::Secret,
        name,
        optional,
    }
}

fn config_map(name: &str, optional: Option<bool>) -> Source<'_> {
    Source {
        kind: MaterialKind::ConfigMap,
        name,
        optional,
    }
}

fn of_volume(volume: &Volume) -> Vec<Source<'_>> {
    let mut sources = Vec::new();
    if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref();
        sources.push(secret(name.unwrap_or_default(), source.optional));
    }
    if let Some(source) = &volume.config_map {
        sources.push(config_map(&source.name, source.optional));
    }
    let projected = volume.projected.iter();
    for source in projected.flat_map(|projected| projected.sources.iter().flatten()) {
        if let Some(source) = &source.secret {
            sources.push(secret(&source.name, source.optional));
        }
        if let Some(source) = &source.config_map {
            sources.push(config_map(&source.name, source.optional));
        }
    }
    sources
}

fn of_environment<'a>(env: &'a [EnvVar], from: &'a [EnvFromSource]) -> Vec<Source<'a>> {
    let mut sources = Vec::new();
    for source in from {
        if let Some(source) = &source.secret_ref {
            sources.push(secret(&source.name, source.optional));
        }
        if let Some(source) = &source.config_map_ref {
            sources.push(config_map(&source.name, source.optional));
        }
    }
    for source in env
        .iter()
        .filter_map(|variable| variable.value_from.as_ref())
    {
        if let Some(source) = &source.secret_key_ref {
            sources.push(secret(&source.name, source.optional));
        }
        if let Some(source) = &source.config_map_key_ref {
            sources.push(config_map(&source.name, source.optional));
        }
    }
    sources
}
