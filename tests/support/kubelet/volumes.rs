//! A pod's volumes as files: what a kubelet mounts, at the moment when it mounts it.

use k8s_openapi::api::core::v1::{ConfigMap, KeyToPath, Pod, Secret, Volume};
use kube::api::Api;
use kube::{Client, ResourceExt};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

type Files = BTreeMap<String, Vec<u8>>;

/// Reads all sources of a pod's volumes, and writes them below `root`, a directory for each volume; no file is ever seen half
/// written. Where something that is
/// not optional is missing, nothing is written, and the error says what, as a kubelet's event does.
pub(super) async fn mount(client: &Client, pod: &Pod, root: &Path) -> Result<(), String> {
    let namespace = pod.namespace().unwrap_or_default();
    let sources = Sources {
        secrets: Api::namespaced(client.clone(), &namespace),
        config_maps: Api::namespaced(client.clone(), &namespace),
    };
    let mut volumes = Vec::new();
    for volume in pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten())
    {
        let files = sources.files(volume).await;
        let files = files.map_err(|problem| {
            format!(
                "MountVolume.SetUp failed for volume {:?}: {problem}",
                volume.name
            )
        })?;
        volumes.push((volume.name.clone(), files));
    }
    for (name, files) in volumes {
        let dir = root.join(name);
        fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
        for (path, content) in files {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().unwrap_or(&dir)).map_err(|error| error.to_string())?;
            let part = path.with_extension("part");
            fs::write(&part, content).map_err(|error| error.to_string())?;
            fs::rename(part, path).map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

/// Where a container's path is below `root`; nothing where no volume is mounted there.
pub(super) fn locate(pod: &Pod, container: &str, path: &str, root: &Path) -> Option<PathBuf> {
    let spec = pod.spec.as_ref()?;
    let container = spec
        .containers
        .iter()
        .find(|candidate| candidate.name == container)?;
    let mounts = container.volume_mounts.iter().flatten();
    // The longest mount path wins.
    let (mount, rest) = mounts
        .filter_map(|mount| {
            let rest = path.strip_prefix(mount.mount_path.trim_end_matches('/'))?;
            (rest.is_empty() || rest.starts_with('/'))
                .then_some((mount, rest.trim_start_matches('/')))
        })
        .min_by_key(|(_, rest)| rest.len())?;
    if mount.sub_path.as_deref().is_some_and(|sub| !sub.is_empty()) {
        return Some(root.join(&mount.name).join(mount.sub_path.as_deref()?));
    }
    Some(root.join(&mount.name).join(rest))
}

struct Sources {
    secrets: Api<Secret>,
    config_maps: Api<ConfigMap>,
}

impl Sources {
    async fn files(&self, volume: &Volume) -> Result<Files, String> {
        if let Some(source) = &volume.secret {
            let name = source.secret_name.as_deref().unwrap_or_default();
            return self
                .secret(name, source.items.as_deref(), source.optional)
                .await;
        }
        if let Some(source) = &volume.config_map {
            return self
                .config_map(&source.name, source.items.as_deref(), source.optional)
                .await;
        }
        let mut files = Files::new();
        for source in volume
            .projected
            .iter()
            .flat_map(|projected| projected.sources.iter().flatten())
        {
            if let Some(source) = &source.secret {
                files.extend(
                    self.secret(&source.name, source.items.as_deref(), source.optional)
                        .await?,
                );
            }
            if let Some(source) = &source.config_map {
                files.extend(
                    self.config_map(&source.name, source.items.as_deref(), source.optional)
                        .await?,
                );
            }
            if let Some(source) = &source.service_account_token {
                // Nobody here uses it: the gateway gets a kubeconfig.
                files.insert(source.path.clone(), Vec::new());
            }
        }
        Ok(files)
    }

    async fn secret(
        &self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
    ) -> Result<Files, String> {
        let found = self
            .secrets
            .get_opt(name)
            .await
            .map_err(|error| error.to_string())?;
        let data = found.map(|secret| {
            secret
                .data
                .unwrap_or_default()
                .into_iter()
                .map(|(k, v)| (k, v.0))
                .collect()
        });
        select(
            &format!("secret {name:?}"),
            data,
            items,
            optional.unwrap_or_default(),
        )
    }

    async fn config_map(
        &self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
    ) -> Result<Files, String> {
        let found = self
            .config_maps
            .get_opt(name)
            .await
            .map_err(|error| error.to_string())?;
        let data = found.map(|map| {
            let text = map
                .data
                .unwrap_or_default()
                .into_iter()
                .map(|(k, v)| (k, v.into_bytes()));
            text.chain(
                map.binary_data
                    .unwrap_or_default()
                    .into_iter()
                    .map(|(k, v)| (k, v.0)),
            )
            .collect()
        });
        select(
            &format!("configmap {name:?}"),
            data,
            items,
            optional.unwrap_or_default(),
        )
    }
}

fn select(
    what: &str,
    data: Option<Files>,
    items: Option<&[KeyToPath]>,
    optional: bool,
) -> Result<Files, String> {
    let data = match data {
        Some(data) => data,
        None if optional => Files::new(),
        None => return Err(format!("{what} not found")),
    };
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        return Ok(data);
    };
    let mut files = Files::new();
    for item in items {
        match data.get(&item.key) {
            Some(content) => drop(files.insert(item.path.clone(), content.clone())),
            None if optional => {}
            None => return Err(format!("{what} references non-existent key {:?}", item.key)),
        }
    }
    Ok(files)
}
