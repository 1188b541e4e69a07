//! Two API servers, which read what they verify webhooks by through informers of their own lag: by the design it is half a
//! minute at most.

use external_ca_core::model::{InjectFrom, Injected, InjectedElement};
use external_ca_core::x509::Certificate;
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};

/// How far an informer may be behind.
const BEHIND: SignedDuration = SignedDuration::from_secs(30);
const SERVERS: usize = 2;
/// Where a bundle is read.
const PLACES: [&str; SERVERS] = ["API server 0", "API server 1"];

/// A webhook configuration, as it was and is.
pub struct Configuration {
    versions: Vec<Version>,
    /// What each API server has read.
    read: [usize; SERVERS],
}

struct Version {
    written: Timestamp,
    from: Option<InjectFrom>,
    elements: Vec<Element>,
}

#[derive(Clone)]
struct Element {
    name: String,
    anchors: Vec<Certificate>,
    /// Whether the operator wrote its bundle, and when somebody did.
    bundle: Option<(bool, Timestamp)>,
    /// Nobody has kept it up since it did not ask to be.
    is_left: bool,
}

impl Configuration {
    pub fn new(from: InjectFrom, elements: usize, now: Timestamp) -> Self {
        let elements = (0..elements).map(|index| Element::new(format!("w{index}")));
        let first = Version {
            written: now,
            from: Some(from),
            elements: elements.collect(),
        };
        Self {
            versions: vec![first],
            read: [0; SERVERS],
        }
    }

    /// As the operator reads it.
    pub fn facts(&self) -> Injected {
        let newest = self.newest();
        let bundles = newest.elements.iter().filter_map(|one| one.bundle);
        let ours = bundles.clone().filter(|(ours, _)| *ours);
        let changed = ours.map(|(_, at)| at).max();
        Injected {
            resource_version: self.versions.len().to_string(),
            from: newest.from.clone(),
            elements: newest.elements.iter().map(Element::facts).collect(),
            changed: changed.or_else(|| bundles.map(|(_, at)| at).max()),
            is_owned: false,
            is_others: false,
        }
    }

    /// What verifies a call: where, by the name of the webhook, and what it trusts; only of what names its source still.
    pub fn bundles(
        &self,
        now: Timestamp,
    ) -> impl Iterator<Item = (&'static str, &str, &[Certificate])> {
        let stored = ("stored", self.newest());
        let servers = PLACES.iter().zip(self.read);
        let servers =
            servers.map(move |(place, read)| (*place, &self.versions[self.at_least(read, now)]));
        let all = std::iter::once(stored).chain(servers);
        let all = all.filter(|(_, version)| version.from.is_some());
        all.flat_map(|(place, version)| {
            let elements = version.elements.iter().filter(|one| !one.is_left);
            elements.map(move |one| (place, one.name.as_str(), one.anchors.as_slice()))
        })
    }

    /// Whether the first API server has read what is stored.
    pub fn is_read_by_the_first(&self, now: Timestamp) -> bool {
        self.at_least(self.read[0], now) + 1 == self.versions.len()
    }

    fn at_least(&self, read: usize, now: Timestamp) -> usize {
        let must = self
            .versions
            .iter()
            .rposition(|version| version.written + BEHIND <= now);
        must.map_or(read, |must| must.max(read))
    }

    pub fn catch_up(&mut self, now: Timestamp, rng: &mut Rng) {
        for index in 0..SERVERS {
            let newest = self.versions.len() - 1;
            let read = self.at_least(self.read[index], now);
            self.read[index] = if rng.u8(..6) == 0 { newest } else { read };
        }
    }

    /// Writes the bundle of some elements; false where it has changed since.
    pub fn inject(
        &mut self,
        seen: &str,
        names: &[String],
        anchors: &[Certificate],
        now: Timestamp,
    ) -> bool {
        if seen != self.versions.len().to_string() {
            return false;
        }
        self.change(now, |version| {
            let elements = version.elements.iter_mut();
            for one in elements.filter(|one| names.contains(&one.name)) {
                one.anchors = anchors.to_vec();
                one.bundle = Some((true, now));
                one.is_left = false;
            }
        });
        true
    }

    /// cert-manager's own injector copies what stands beside the certificate.
    pub fn copy(&mut self, anchors: &[Certificate], now: Timestamp) {
        let holds = |one: &Element| one.anchors == anchors;
        if anchors.is_empty() || !self.asks() || self.newest().elements.iter().all(holds) {
            return;
        }
        self.change(now, |version| {
            for one in &mut version.elements {
                one.anchors = anchors.to_vec();
                one.bundle = Some((false, now));
            }
        });
    }

    /// Helm puts back what the chart has: text without a certificate, or nothing.
    pub fn put_placeholder(&mut self, index: usize, now: Timestamp) {
        self.change(now, |version| {
            let count = version.elements.len().max(1);
            if let Some(one) = version.elements.get_mut(index % count) {
                one.anchors.clear();
                one.bundle = Some((false, now));
            }
        });
    }

    /// A chart of another version has a webhook more, or less.
    pub fn grow_or_shrink(&mut self, now: Timestamp) {
        self.change(now, |version| match version.elements.len() {
            3.. => drop(version.elements.remove(0)),
            count => {
                let name = format!("w{}", now.as_second());
                version.elements.insert(count / 2, Element::new(name));
            }
        });
    }

    /// Its annotation goes, or comes back.
    pub fn toggle(&mut self, from: InjectFrom, now: Timestamp) {
        self.change(now, |version| {
            for one in &mut version.elements {
                one.is_left = true;
            }
            version.from = match version.from {
                Some(_) => None,
                None => Some(from),
            };
        });
    }

    pub fn asks(&self) -> bool {
        self.newest().from.is_some()
    }

    /// Somebody trusts a CA of his own besides.
    pub fn add(&mut self, anchor: &Certificate, now: Timestamp) {
        self.change(now, |version| {
            for one in version
                .elements
                .iter_mut()
                .filter(|one| !one.anchors.is_empty())
            {
                one.anchors.retain(|known| known != anchor);
                one.anchors.push(anchor.clone());
                one.bundle = Some((false, now));
            }
        });
    }

    fn newest(&self) -> &Version {
        self.versions.last().unwrap()
    }

    fn change(&mut self, now: Timestamp, change: impl FnOnce(&mut Version)) {
        let newest = self.newest();
        let mut version = Version {
            written: now,
            from: newest.from.clone(),
            elements: newest.elements.clone(),
        };
        change(&mut version);
        self.versions.push(version);
    }
}

impl Element {
    fn new(name: String) -> Self {
        Self {
            name,
            anchors: Vec::new(),
            bundle: None,
            is_left: false,
        }
    }

    fn facts(&self) -> InjectedElement {
        InjectedElement {
            name: self.name.clone(),
            anchors: self.anchors.clone(),
        }
    }
}
