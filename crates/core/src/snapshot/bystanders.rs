//! Whether what was seen leads to the same plan as before. Of a plane that an issuance does not select little is read, and
//! others' planes change all the time.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use external_ca_api::{AnchorState, ExternalCAIssuanceStatus};
use jiff::Timestamp;

use crate::domain::{agent_of, ca_secret, namespace, selects};
use crate::model::{MaterialKind, MaterialRef, Observed, Plane, PlaneRef, Snapshot};
use crate::x509::Certificate;

/// Whether two snapshots of an issuance, which has not changed, lead to the same plan at the same time.
pub fn plans_alike(one: &Observed, other: &Observed) -> bool {
    if !Arc::ptr_eq(&one.issuance, &other.issuance) || !alike_but_for_planes(one, other) {
        return false;
    }
    let reader = Reader::of(one);
    reader.finds_alike(&one.planes, &other.planes)
        && reader.finds_alike(&one.strangers, &other.strangers)
}

/// Whether a plane that was the first and is the second now can change what is planned; none where it did not exist, or does
/// no longer.
pub fn is_moved_by(observed: &Observed, before: Option<&Plane>, after: Option<&Plane>) -> bool {
    let reader = Reader::of(observed);
    reader.part_of(before) != reader.part_of(after)
}

/// Whether a Secret or ConfigMap is among what was read for an issuance.
pub fn reads(observed: &Observed, object: &MaterialRef) -> bool {
    let issuance = &observed.issuance;
    let is_authority = || object.object == ca_secret(issuance);
    let holds_anchors = || {
        let mut names = observed.anchor_config_maps.keys();
        let is_home = object.object.namespace == namespace(issuance);
        is_home && names.any(|(name, _)| *name == object.object.name)
    };
    observed.material.contains_key(object)
        || match object.kind {
            MaterialKind::Secret => is_authority(),
            MaterialKind::ConfigMap => holds_anchors(),
        }
}

/// Every other field: a new one must be thought of here.
fn alike_but_for_planes(one: &Snapshot, other: &Snapshot) -> bool {
    let Snapshot {
        served,
        plane_namespaces,
        authority,
        pending,
        anchor_config_maps,
        material,
        injected,
        planes: _,
        strangers: _,
        workloads,
        pods,
        awaited,
        unreadable,
        claims,
        refused,
        clock_ahead,
    } = one;
    *served == other.served
        && *plane_namespaces == other.plane_namespaces
        && *authority == other.authority
        && *pending == other.pending
        && *anchor_config_maps == other.anchor_config_maps
        && *material == other.material
        && *injected == other.injected
        && *workloads == other.workloads
        && *pods == other.pods
        && *awaited == other.awaited
        && *unreadable == other.unreadable
        && *claims == other.claims
        && *refused == other.refused
        && *clock_ahead == other.clock_ahead
}

/// What is read of a plane.
#[derive(PartialEq)]
enum Part<'a> {
    Nothing,
    Everything(&'a Plane),
    /// Of one that is not selected.
    Some {
        /// The agent, where one of that plane type and planeID runs here.
        agent: Option<(&'a str, &'a str)>,
        /// What it refers to: the gateway reads it.
        bundle: Option<MaterialRef>,
        /// Whether its agent is connected: it is waited for.
        is_connected: bool,
        /// Since when it is no longer.
        disconnected: Option<Timestamp>,
        /// Anchors of this issuance that it trusts.
        anchors: Vec<&'a Certificate>,
    },
}

/// What an issuance reads of planes.
struct Reader<'a, S> {
    selects: S,
    observed: &'a Observed,
    earlier: Option<&'a ExternalCAIssuanceStatus>,
    /// Agents that run here, by plane type and planeID.
    agents: BTreeSet<(&'a str, &'a str)>,
}

impl<'a> Reader<'a, ()> {
    fn of(observed: &'a Observed) -> Reader<'a, impl Fn(&Plane) -> bool> {
        let of_templates = observed.workloads.iter().map(|one| &one.agent);
        let of_pods = observed.pods.iter().map(|one| &one.agent);
        let agents = of_templates.chain(of_pods).flatten();
        Reader {
            selects: selects(&observed.issuance),
            observed,
            earlier: observed.issuance.status.as_ref(),
            agents: agents
                .map(|(kind, id)| (kind.as_str(), id.as_str()))
                .collect(),
        }
    }
}

impl<S: Fn(&Plane) -> bool> Reader<'_, S> {
    /// Whether the same is read of these and of those, both sorted.
    fn finds_alike(&self, these: &[Arc<Plane>], those: &[Arc<Plane>]) -> bool {
        let (mut these, mut those) = (these.iter().peekable(), those.iter().peekable());
        loop {
            let order = match (these.peek(), those.peek()) {
                (None, None) => return true,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(this), Some(that)) if Arc::ptr_eq(this, that) => Ordering::Equal,
                (Some(this), Some(that)) => this.plane.cmp(&that.plane),
            };
            let this = these.next_if(|_| order.is_le());
            let that = those.next_if(|_| order.is_ge());
            let is_same = match (this, that) {
                (Some(this), Some(that)) if Arc::ptr_eq(this, that) => true,
                (this, that) => {
                    let [this, that] = [this, that].map(|one| one.map(AsRef::as_ref));
                    self.part_of(this) == self.part_of(that)
                }
            };
            if !is_same {
                return false;
            }
        }
    }

    fn part_of<'p>(&self, plane: Option<&'p Plane>) -> Part<'p> {
        plane.map_or(Part::Nothing, |plane| self.part(plane))
    }

    fn part<'p>(&self, plane: &'p Plane) -> Part<'p> {
        if (self.selects)(plane) || self.is_told(&plane.plane) {
            return Part::Everything(plane);
        }
        let agent = Some(agent_of(plane)).filter(|agent| self.agents.contains(agent));
        let is_connected = plane.agent_connected == Some(true);
        let disconnected = plane
            .agent_disconnected
            .filter(|_| plane.agent_connected == Some(false));
        let bundle = plane.bundle();
        let anchors = plane.anchors.iter();
        let anchors: Vec<_> = anchors.filter(|one| self.looks_for(one)).collect();
        let is_nothing =
            agent.is_none() && bundle.is_none() && !is_connected && disconnected.is_none();
        if is_nothing && anchors.is_empty() {
            return Part::Nothing;
        }
        Part::Some {
            agent,
            bundle,
            is_connected,
            disconnected,
            anchors,
        }
    }

    /// Whether the status names it: it was selected before.
    fn is_told(&self, plane: &PlaneRef) -> bool {
        let mut told = self.earlier.into_iter().flat_map(|status| &status.planes);
        told.any(|told| {
            told.name == plane.name && told.kind == plane.kind && told.namespace == plane.namespace
        })
    }

    /// Whether it matters that an anchor stands in some plane: one that was handed out before, or is on its way out.
    fn looks_for(&self, anchor: &Certificate) -> bool {
        let name = anchor.fingerprint().to_string();
        let mut told = self.earlier.into_iter().flat_map(|status| status.anchors());
        let Some(told) = told.find(|told| told.fingerprint == name) else {
            return false;
        };
        let chain = self.observed.authority.chain();
        let is_authority =
            chain.is_some_and(|chain| [chain.certificate(), chain.anchor()].contains(&anchor));
        !is_authority || told.state == AnchorState::Retiring
    }
}
