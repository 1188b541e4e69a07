//! Reads one Secret or ConfigMap now, and notes the answer.

use std::fmt::Debug;
use std::sync::Arc;

use external_ca_core::model::lenient::Lenient;
use external_ca_core::model::{MaterialKind, MaterialRef, ObjectRef, Read};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use super::store::Store;
use crate::error::{Error, bounded};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

/// Secrets and ConfigMaps.
pub trait MaterialObject:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Which of the two.
    const KIND: MaterialKind;

    /// Notes what was read of one.
    fn note(store: &Store, target: &ObjectRef, read: Read<&Self>);
}

impl MaterialObject for Secret {
    const KIND: MaterialKind = MaterialKind::Secret;

    fn note(store: &Store, target: &ObjectRef, read: Read<&Self>) {
        store.secret(target, read);
    }
}

impl MaterialObject for ConfigMap {
    const KIND: MaterialKind = MaterialKind::ConfigMap;

    fn note(store: &Store, target: &ObjectRef, read: Read<&Self>) {
        store.config_map(target, read);
    }
}

/// The way to the API server, and where its answers are noted.
#[derive(Clone)]
pub struct Reader {
    /// The way.
    pub client: Client,
    /// The answers.
    pub store: Arc<Store>,
}

impl Reader {
    /// Asks for an object, and notes the answer.
    pub async fn get<K: MaterialObject>(&self, target: &ObjectRef) -> Result<Option<K>, Error> {
        let key = MaterialRef {
            kind: K::KIND,
            object: target.clone(),
        };
        let before = self.store.known_version(&key);
        let newest = self.store.facts().newest(&key);
        let api: Api<Lenient<K>> = Api::namespaced(self.client.clone(), &target.namespace);
        let Some(found) = bounded(api.get_opt(&target.name)).await? else {
            self.store
                .update_material(&key, |facts| facts.material_absent(&key, before.as_deref()));
            return Ok(None);
        };
        let found = found.into_decoded()?;
        let version = found.meta().resource_version.as_deref();
        let version = version.and_then(|version| version.parse().ok());
        self.store.facts().found_after(&key, newest, version);
        K::note(&self.store, target, Read::Found(&found));
        Ok(Some(found))
    }

    /// Reads an object; where that fails, what was known of it stands.
    pub async fn try_read(&self, material: &MaterialRef) -> Result<(), Error> {
        match material.kind {
            MaterialKind::Secret => self.get::<Secret>(&material.object).await.map(drop),
            MaterialKind::ConfigMap => self.get::<ConfigMap>(&material.object).await.map(drop),
        }
    }

    /// Reads an object; where that fails, it is not known.
    pub async fn read(&self, material: &MaterialRef) {
        let Err(error) = self.try_read(material).await else {
            return;
        };
        let (target, why) = (&material.object, error.to_string());
        match material.kind {
            MaterialKind::Secret => self.store.secret(target, Read::Unknown(why)),
            MaterialKind::ConfigMap => self.store.config_map(target, Read::Unknown(why)),
        }
    }
}
