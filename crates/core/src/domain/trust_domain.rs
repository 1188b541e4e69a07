//! What is planned: a trust domain, whatever declared it.

use std::collections::BTreeSet;

use external_ca_api::{Duration, ExternalCAIssuanceStatus};
use jiff::SignedDuration;

use super::leaf::{BundlePlace, Desired, SecretForm};
use super::renewal::Renewal;
use crate::model::{MaterialKind, MaterialRef, ObjectRef};
use crate::reason::Problem;
use crate::x509::{CaProfile, KeyAlgorithm, LeafProfile};

/// One authority, the leaves it signs, the places that trust it, the planes that are wired, and how all of it moves.
pub struct TrustDomain<'a> {
    /// What declared it.
    pub owner: Owner<'a>,
    /// What signs.
    pub authority: Authority,
    /// Leaves, trust places and planes.
    pub wanted: Desired,
    /// The leaf that the gateway presents, where there is a gateway.
    pub gateway: Option<MaterialRef>,
    /// The trust Secret that planes may refer to, where there is one.
    pub trust_secret: Option<MaterialRef>,
    /// The name of the ConfigMap that agents mount.
    pub agent_bundle: Option<&'a str>,
    /// Anchors that are trusted besides the authority's.
    pub additional: Vec<AnchorSource<'a>>,
    /// How planes are wired.
    pub client_ca: ClientCa,
    /// When leaves are issued anew.
    pub renewal: Renewal,
    /// How one authority takes the place of another.
    pub rotation: Rotation,
    /// How workloads are restarted.
    pub rollout: Rollout<'a>,
    /// What people asked for.
    pub requests: Requests,
    /// Why nothing is to be written.
    pub halted: Option<&'static str>,
    /// Why it is not known which planes are meant: then nothing is planned.
    pub defect: Option<Problem>,
}

impl TrustDomain<'_> {
    /// Whether a bundle stands in an object of its own, or beside a certificate and its key.
    pub fn bundle_place(&self, target: &MaterialRef) -> BundlePlace {
        let own = self.authority.generate.iter();
        let own = own.map(|generate| (&self.authority.secret, &generate.form));
        let leaves = self.wanted.presented();
        let mut forms = own.chain(leaves.map(|leaf| (&leaf.target, &leaf.form)));
        let is_secret = target.kind == MaterialKind::Secret;
        let form = forms.find(|(secret, _)| is_secret && **secret == target.object);
        form.map_or(BundlePlace::Elsewhere, |(_, form)| form.bundle)
    }
}

/// What declared a trust domain, and where its report goes.
pub struct Owner<'a> {
    /// Its kind.
    pub kind: &'static str,
    /// `<namespace>/<name>`, as annotations name it.
    pub identity: String,
    /// The generation that was read.
    pub generation: Option<i64>,
    /// The earlier report.
    pub earlier: Option<&'a ExternalCAIssuanceStatus>,
}

impl std::fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.identity)
    }
}

/// What signs.
pub struct Authority {
    /// The CA Secret.
    pub secret: ObjectRef,
    /// What the operator makes where there is none, and when the next one is due; none where others do.
    pub generate: Option<Generate>,
}

/// What signs itself.
#[derive(Clone, Debug, PartialEq)]
pub enum SelfSigned {
    /// A CA.
    Ca(CaProfile),
    /// A leaf that is its own anchor.
    Leaf(LeafProfile),
}

/// An authority that the operator makes.
#[derive(Clone, Debug, PartialEq)]
pub struct Generate {
    /// What its certificate says.
    pub profile: SelfSigned,
    /// The kind of its key.
    pub key: KeyAlgorithm,
    /// Whether the next certificate has the same key.
    pub keeps_key: bool,
    /// How its Secret is written.
    pub form: SecretForm,
    /// How long before its end the next one is made at the latest.
    pub renew_before: Option<SignedDuration>,
}

/// Where further anchors come from.
pub struct AnchorSource<'a> {
    /// Where it is asked for, as messages name it.
    pub origin: String,
    /// The anchors, or a ConfigMap's name and key.
    pub source: Source<'a>,
}

/// Anchors by value or by reference.
pub enum Source<'a> {
    /// PEM.
    Pem(&'a str),
    /// A key of a ConfigMap in the owner's namespace.
    ConfigMap {
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
}

/// How a plane's clientCA is wired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCa {
    /// By others.
    Unmanaged,
    /// The bundle by value.
    Value,
    /// A reference to the trust Secret.
    Reference,
}

/// How one authority takes the place of another.
pub struct Rotation {
    /// Guard 8: the old anchor leaves at once, after it was announced who is cut off.
    pub immediate: bool,
    /// How long a connected peer is given of which no workload is seen.
    pub overlap: SignedDuration,
}

/// How workloads are restarted.
pub struct Rollout<'a> {
    /// Whether the operator restarts them.
    pub restarts: bool,
    /// How many peers at once.
    pub max_concurrent: usize,
    /// When a rollout counts as stuck.
    pub timeout: SignedDuration,
    /// How long kubelets may hand out what was replaced.
    pub kubelet_cache: SignedDuration,
    /// When it may; at any time where there is none.
    pub windows: Vec<Window<'a>>,
}

/// A recurring maintenance window.
#[derive(Clone, Copy)]
pub struct Window<'a> {
    /// Its place in the list.
    pub index: usize,
    /// When it opens: a cron expression of five fields.
    pub schedule: &'a str,
    /// How long it stays open.
    pub duration: Duration,
    /// The schedule's time zone, by its IANA name.
    pub time_zone: &'a str,
}

/// What people asked for, by annotations.
#[derive(Default)]
pub struct Requests {
    /// To issue these anew, and which request that is.
    pub renew: Option<(Names, String)>,
    /// To take these over, whatever they hold.
    pub adopt: Names,
    /// To make the next CA.
    pub rotate: Option<String>,
    /// To go on, for the peers that nothing shows have loaded what is new.
    pub proceed: bool,
}

/// Secrets that a request names: by name, by `<namespace>/<name>`, or all.
#[derive(Default)]
pub struct Names(BTreeSet<String>);

impl Names {
    /// From text, separated by commas.
    pub fn parse(text: &str) -> Self {
        Self(text.split(',').map(|word| word.trim().to_owned()).collect())
    }

    /// Whether it names a Secret.
    pub fn contains(&self, target: &ObjectRef) -> bool {
        let Self(names) = self;
        names.contains("all") || names.contains(&target.name) || names.contains(&target.to_string())
    }
}
