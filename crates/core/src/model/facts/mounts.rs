//! Which Secrets and ConfigMaps a pod template reads.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, PodTemplateSpec, Volume};

use crate::model::{MaterialKind, MaterialRef, ObjectRef};

/// What it mounts or takes into its environment.
pub(super) fn mounts(namespace: &str, template: &PodTemplateSpec) -> BTreeSet<MaterialRef> {
    let Some(spec) = &template.spec else {
        return BTreeSet::new();
    };
    let init_containers = spec.init_containers.iter().flatten();
    let containers = spec.containers.iter().chain(init_containers);
    let volumes = spec.volumes.iter().flatten().flat_map(of_volume);
    let sources = volumes.chain(containers.flat_map(of_environment));
    sources
        .filter_map(|(kind, name)| Some((kind, name.filter(|name| !name.is_empty())?)))
        .map(|(kind, name)| MaterialRef {
            kind,
            object: ObjectRef::new(namespace, name),
        })
        .collect()
}

/// A kind, and the name of the object where this source has that kind.
type Source<'a> = (MaterialKind, Option<&'a String>);

fn of_volume(volume: &Volume) -> Vec<Source<'_>> {
    let secret = volume.secret.as_ref();
    let config_map = volume.config_map.as_ref();
    let mut sources = vec![
        (
            MaterialKind::Secret,
            secret.and_then(|source| source.secret_name.as_ref()),
        ),
        (
            MaterialKind::ConfigMap,
            config_map.map(|source| &source.name),
        ),
    ];
    let projected = volume.projected.iter();
    for source in projected.flat_map(|projected| projected.sources.iter().flatten()) {
        let (secret, config_map) = (source.secret.as_ref(), source.config_map.as_ref());
        sources.extend([
            (MaterialKind::Secret, secret.map(|source| &source.name)),
            (
                MaterialKind::ConfigMap,
                config_map.map(|source| &source.name),
            ),
        ]);
    }
    sources
}

fn of_environment(container: &Container) -> Vec<Source<'_>> {
    let mut sources = Vec::new();
    for source in container.env_from.iter().flatten() {
        let (secret, config_map) = (source.secret_ref.as_ref(), source.config_map_ref.as_ref());
        sources.extend([
            (MaterialKind::Secret, secret.map(|source| &source.name)),
            (
                MaterialKind::ConfigMap,
                config_map.map(|source| &source.name),
            ),
        ]);
    }
    let variables = container.env.iter().flatten();
    for source in variables.filter_map(|variable| variable.value_from.as_ref()) {
        let secret = source.secret_key_ref.as_ref();
        let config_map = source.config_map_key_ref.as_ref();
        sources.extend([
            (MaterialKind::Secret, secret.map(|source| &source.name)),
            (
                MaterialKind::ConfigMap,
                config_map.map(|source| &source.name),
            ),
        ]);
    }
    sources
}
