//! One request that waits for its certificate, and its form in the Secret.

use external_ca_core::model::{ObjectRef, PendingLeaf};
use external_ca_core::x509::{Csr, Fingerprint, PrivateKey};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::issuers::Ticket;

/// A leaf that was asked for and may not be stored yet.
#[derive(Clone)]
pub struct Entry {
    /// The leaf's Secret.
    pub target: ObjectRef,
    /// The issuance that wants it.
    pub owner: Owner,
    /// What was asked of whom.
    pub asked: String,
    /// When key and request were kept, ahead of asking.
    pub since: Timestamp,
    /// What the issuer wants to be asked again by, once it has answered.
    pub ticket: Option<Ticket>,
    key: Zeroizing<String>,
    csr: Vec<u8>,
}

/// An issuance.
#[derive(Clone, Debug, PartialEq)]
pub struct Owner {
    /// `<namespace>/<name>`.
    pub identity: String,
    /// One that is made anew under the same name is another.
    pub uid: String,
}

/// What is asked again, and by which key.
pub struct Request {
    /// The leaf's key.
    pub key: PrivateKey,
    /// The request.
    pub csr: Csr,
}

impl Entry {
    /// A request that is about to be made.
    pub fn new(
        target: &ObjectRef,
        owner: Owner,
        asked: String,
        key: &PrivateKey,
        csr: &Csr,
        now: Timestamp,
    ) -> Self {
        Self {
            target: target.clone(),
            owner,
            asked,
            since: Timestamp::from_second(now.as_second()).unwrap_or(now),
            ticket: None,
            key: key.to_pem().clone(),
            csr: csr.der().to_vec(),
        }
    }

    /// Whether it asks for this, for that issuance, and can be gone on with.
    pub fn serves(&self, owner: &Owner, asked: &str) -> bool {
        self.owner.uid == owner.uid && self.asked == asked && self.request().is_ok()
    }

    /// Whether it is asked for by this ticket.
    pub fn has_ticket(&self, id: &str) -> bool {
        self.ticket.as_ref().is_some_and(|ticket| ticket.id == id)
    }

    /// The same, once the issuer has answered with a ticket.
    pub fn with_ticket(&self, ticket: &Ticket) -> Self {
        Self {
            ticket: Some(ticket.clone()),
            ..self.clone()
        }
    }

    /// The same for the same request.
    pub fn token(&self) -> String {
        Fingerprint::of(&self.csr).to_string()
    }

    /// Key and request, as they were when it was first asked.
    pub fn request(&self) -> Result<Request, Error> {
        Ok(Request {
            key: PrivateKey::from_pem(self.key.as_bytes())?,
            csr: Csr::from_der(self.csr.clone())?,
        })
    }

    /// What everyone may know of it.
    pub fn public_side(&self) -> PendingLeaf {
        PendingLeaf {
            asked: self.asked.clone(),
            since: self.since,
            ask_again: self.ticket.as_ref().map(|ticket| ticket.ask_again),
        }
    }

    /// As it stands in the Secret.
    pub fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let form = Form {
            cluster: self.target.cluster.to_string(),
            namespace: self.target.namespace.clone(),
            name: self.target.name.clone(),
            issuance: self.owner.identity.clone(),
            uid: self.owner.uid.clone(),
            asked: self.asked.clone(),
            since: self.since,
            key: self.key.clone(),
            csr: ByteString(self.csr.clone()),
            ticket: self.ticket.as_ref().map(|ticket| TicketForm {
                id: ticket.id.clone(),
                ask_again: ticket.ask_again,
            }),
        };
        let bytes = serde_json::to_vec(&form);
        let bytes = bytes.map_err(|_| Error::Internal("a request cannot be put into words"))?;
        Ok(Zeroizing::new(bytes))
    }

    /// From the Secret; none where it is not one of ours, or one of a later version.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let form: Form = serde_json::from_slice(bytes).ok()?;
        let target = ObjectRef::new(form.namespace, form.name);
        (target.cluster.to_string() == form.cluster).then_some(Self {
            target,
            owner: Owner {
                identity: form.issuance,
                uid: form.uid,
            },
            asked: form.asked,
            since: form.since,
            ticket: form.ticket.map(|ticket| Ticket {
                id: ticket.id,
                ask_again: ticket.ask_again,
            }),
            key: form.key,
            csr: form.csr.0,
        })
    }
}

/// The key of a leaf's request in the Secret.
pub fn slot(target: &ObjectRef) -> String {
    let name = format!("{}\n{}\n{}", target.cluster, target.namespace, target.name);
    let digits = Fingerprint::of(name.as_bytes()).to_string();
    digits.chars().take(32).collect()
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Form {
    #[serde(default)]
    cluster: String,
    namespace: String,
    name: String,
    issuance: String,
    uid: String,
    asked: String,
    since: Timestamp,
    key: Zeroizing<String>,
    csr: ByteString,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ticket: Option<TicketForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TicketForm {
    id: String,
    ask_again: Timestamp,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub mod tests {
    use external_ca_core::x509::{KeyAlgorithm, LeafProfile, Style, Usages, generate, request};
    use jiff::SignedDuration;

    use super::*;

    pub fn entry(name: &str, uid: &str) -> Entry {
        let profile = LeafProfile {
            common_name: name.to_owned(),
            organizations: vec!["OpenChoreo".to_owned()],
            sans: Vec::new(),
            usages: Usages::CLIENT,
            key: KeyAlgorithm::EcdsaP256,
            duration: SignedDuration::from_hours(24),
            style: Style::Guide,
        };
        let key = generate(profile.key).unwrap();
        let csr = request(&key, &profile).unwrap();
        let owner = Owner {
            identity: "ns/one".to_owned(),
            uid: uid.to_owned(),
        };
        let target = ObjectRef::new("ns", name);
        let now = Timestamp::from_second(1_750_000_000).unwrap();
        Entry::new(&target, owner, "asked".to_owned(), &key, &csr, now)
    }

    #[test]
    fn an_entry_comes_back_from_the_secret_as_it_was() {
        let mut entry = entry("leaf", "uid");
        let ticket = Ticket {
            id: "42".to_owned(),
            ask_again: Timestamp::from_second(1_750_000_060).unwrap(),
        };
        for ticket in [None, Some(ticket)] {
            entry.ticket = ticket;
            let bytes = entry.to_bytes().unwrap();
            let back = Entry::from_bytes(&bytes).unwrap();
            assert_eq!(*bytes, *back.to_bytes().unwrap());
            assert_eq!(back.public_side(), entry.public_side());
            assert_eq!(back.token(), entry.token());
            let (old, new) = (entry.request().unwrap(), back.request().unwrap());
            assert_eq!(old.key.to_pem(), new.key.to_pem());
            assert_eq!(old.csr, new.csr);
        }
        assert!(Entry::from_bytes(b"{}").is_none());
        let elsewhere = String::from_utf8(entry.to_bytes().unwrap().to_vec()).unwrap();
        let elsewhere = elsewhere.replace("\"cluster\":\"\"", "\"cluster\":\"eu:\"");
        assert!(Entry::from_bytes(elsewhere.as_bytes()).is_none());
    }

    #[test]
    fn each_leaf_has_a_place_of_its_own() {
        let all =
            [("a", "b-c"), ("a-b", "c"), ("a", "b.c")].map(|(a, b)| slot(&ObjectRef::new(a, b)));
        let distinct: std::collections::BTreeSet<&String> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert!(all.iter().all(|slot| slot.len() == 32));
    }
}
