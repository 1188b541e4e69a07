//! What every turn shares, and what is remembered of an issuance between two turns. It imports no turn.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use external_ca_api::{ExternalCAIssuance, ExternalCAIssuanceStatus};
use external_ca_core::domain::identity;
use external_ca_core::model::PlaneRef;
use external_ca_core::snapshot::Scope;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, Recorder};
use kube::runtime::reflector;
use kube::{Client, ResourceExt};
use tokio::sync::Semaphore;

use crate::broken::Broken;
use crate::claims::AllClaims;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::error::bounded;
use crate::front_end_state::FrontEndState;
use crate::issuers::Issuers;
use crate::pace::Pace;
use crate::pending::{Owner, Pending};
use crate::rest::Rest;
use crate::telemetry::Metrics;
use crate::versions::is_older;

/// What every turn shares.
pub struct Context {
    /// The API server that holds the issuances.
    pub client: Client,
    /// How far the operator's clock is from the API server's.
    pub clock: Clock,
    /// The cluster that holds the material, planes and workloads.
    pub cluster: Arc<Cluster>,
    /// Every issuance.
    pub issuances: reflector::Store<ExternalCAIssuance>,
    /// Where the operator may work.
    pub scope: Scope,
    /// What is known of cert-manager's objects.
    pub front_end: FrontEndState,
    /// The series.
    pub metrics: Arc<Metrics>,
    /// The Events.
    pub recorder: Recorder,
    /// How many keys are made at once.
    pub keygen: Semaphore,
    /// The number of cores.
    pub parallel: usize,
    /// Issuances that do not parse.
    pub broken: Broken,
    /// Who claims what.
    pub claims: AllClaims,
    /// What is at hand to sign with.
    pub issuers: Issuers,
    /// Requests that wait for their certificates.
    pub pending: Pending,
    /// What is remembered of each issuance.
    pub memories: Memories,
}

/// What is remembered of each issuance, by UID.
#[derive(Default)]
pub struct Memories(Mutex<HashMap<String, Memory>>);

/// What is remembered of an issuance between two turns: for speed and manners only, never for decisions about trust.
#[derive(Default)]
pub struct Memory {
    /// Which objects must wait.
    pub pace: Pace,
    /// Planes whose last write may have happened, or not.
    pub in_doubt: BTreeSet<PlaneRef>,
    /// Its status.
    pub status: StatusMemory,
    /// What the last turn rested on, where it left nothing to do.
    pub rest: Option<Arc<Rest>>,
}

/// What is remembered of a status.
#[derive(Default, Clone)]
pub struct StatusMemory {
    /// What the last turn concluded, whether it is stored yet or not.
    pub concluded: Option<Arc<ExternalCAIssuanceStatus>>,
    /// An issuance as it was last read, and the same with that status.
    joined: Option<(Arc<ExternalCAIssuance>, Arc<ExternalCAIssuance>)>,
    /// What was last to be told, and the part of it that is stored.
    pub told: Option<(Arc<ExternalCAIssuanceStatus>, Arc<ExternalCAIssuanceStatus>)>,
    /// What was last written or read back; the cache may not have seen it yet.
    pub stored: Option<Arc<ExternalCAIssuanceStatus>>,
    /// The issuance's version then.
    pub version: Option<String>,
    /// When it was last written.
    pub written: Option<Instant>,
    /// Since when it waits for turns that follow one another at once.
    waits_since: Option<Instant>,
    /// How many writes in a row have failed.
    pub failures: u32,
    /// When it may be written again after a failure.
    pub retry: Option<Instant>,
    /// It cannot be stored, or has not been several times in a row: nothing that takes trust away is done.
    pub unstorable: bool,
}

impl Context {
    /// What is remembered of a trust domain, by the UID of what declared it. It is its turn's until that remembers it again:
    /// meanwhile it does not rest, and whatever changes may concern it.
    pub fn recall(&self, uid: &str) -> Memory {
        self.memories.all().remove(uid).unwrap_or_default()
    }

    /// The issuances that what has changed may concern.
    pub fn concerned(&self) -> Vec<reflector::ObjectRef<ExternalCAIssuance>> {
        // First the news, then who rests: what comes later is asked for later.
        let (news, memories) = (self.cluster.news(), self.memories.all());
        let is_moved = |issuance: &Arc<ExternalCAIssuance>| {
            let memory = memories.get(issuance.metadata.uid.as_deref().unwrap_or_default());
            let rest = memory.and_then(|memory| memory.rest.as_ref());
            rest.is_none_or(|rest| rest.is_moved_by(&news))
        };
        let moved = self.issuances.state().into_iter().filter(is_moved);
        moved
            .map(|issuance| reflector::ObjectRef::from_obj(issuance.as_ref()))
            .collect()
    }

    /// Remembers a domain of cert-manager's objects until its next turn.
    pub fn remember_declared(&self, uid: String, memory: Memory) {
        self.memories.all().insert(uid, memory);
    }

    /// A domain of cert-manager's objects is gone. Its material stays.
    pub fn forget_declared(&self, uid: &str) {
        self.cluster.forget(uid);
        self.memories.all().remove(uid);
    }

    /// Remembers an issuance until its next turn.
    pub fn remember(&self, issuance: &ExternalCAIssuance, memory: Memory) {
        let uid = issuance.uid().unwrap_or_default();
        self.memories.all().insert(uid, memory);
        let reference = reflector::ObjectRef::from_obj(issuance);
        if self.issuances.get(&reference).is_none() {
            // It was deleted meanwhile.
            self.forget(issuance);
        }
    }

    /// An issuance is gone: what it needed is no longer watched. Its material stays.
    pub fn forget(&self, issuance: &ExternalCAIssuance) {
        self.cluster.forget(&identity(issuance));
        let uid = issuance.uid().unwrap_or_default();
        self.memories.all().remove(&uid);
        self.metrics.issuances.forget(issuance);
        self.pending.orphaned.notify_one();
    }

    /// Whether an issuance exists. Of one that does not parse only the name is known.
    pub fn exists(&self, owner: &Owner) -> bool {
        let all = self.issuances.state();
        let mut known = all.iter().filter_map(|issuance| issuance.uid());
        known.any(|uid| uid == owner.uid)
            || self.front_end.has(&owner.uid)
            || self.broken.contains_named(&owner.identity)
    }

    /// Publishes an Event. Work goes on where that fails.
    pub async fn publish(&self, event: &Event, about: &ObjectReference) {
        if let Err(error) = bounded(self.recorder.publish(event, about)).await {
            tracing::debug!(%error, "event");
        }
    }
}

impl Memories {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Memory>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StatusMemory {
    /// Lets go of what was concluded, where another has written the issuance since: the cache is ahead of it.
    pub fn catch_up(&mut self, cached: &ExternalCAIssuance) {
        if let (Some(own), Some(cached)) = (&self.version, cached.resource_version())
            && is_older(own, &cached)
        {
            (self.concluded, self.stored, self.version) = (None, None, None);
            self.joined = None;
        }
    }

    /// An issuance with the status that was last concluded: decisions rest on that, and neither on the cache nor on a
    /// status that waits for its second.
    pub fn latest(&mut self, issuance: &Arc<ExternalCAIssuance>) -> Arc<ExternalCAIssuance> {
        let Some(status) = &self.concluded else {
            return Arc::clone(issuance);
        };
        if let Some((read, joined)) = &self.joined
            && Arc::ptr_eq(read, issuance)
            && joined.status.as_ref() == Some(status)
        {
            return Arc::clone(joined);
        }
        let latest = Arc::new(ExternalCAIssuance {
            status: Some(status.as_ref().clone()),
            ..issuance.as_ref().clone()
        });
        self.joined = Some((Arc::clone(issuance), Arc::clone(&latest)));
        latest
    }

    /// For how long it may wait to be written: where a turn has done something, the next one follows at once and says more.
    pub fn may_wait(&mut self, goes_on: bool, longest: Duration, now: Instant) -> Option<Duration> {
        let since = *self.waits_since.get_or_insert(now);
        let rest = (since + longest).checked_duration_since(now);
        let rest = rest.filter(|rest| goes_on && !rest.is_zero());
        if rest.is_none() {
            self.waits_since = None;
        }
        rest
    }

    /// The status stands at the API server: what had to wait for that waits no longer.
    pub fn note_stored(&mut self) {
        (self.failures, self.unstorable) = (0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_waits_for_turns_that_follow_at_once_and_not_for_ever() {
        let mut memory = StatusMemory::default();
        let (begun, second) = (Instant::now(), Duration::from_secs(1));
        let mut waits = |goes_on, after: u64| {
            let now = begun + Duration::from_millis(after);
            memory.may_wait(goes_on, second, now)
        };
        assert_eq!(waits(false, 0), None, "nothing follows");
        assert_eq!(waits(true, 100), Some(second));
        assert_eq!(waits(true, 400), Some(second - Duration::from_millis(300)));
        assert_eq!(waits(false, 500), None, "the last one");
        assert_eq!(waits(true, 600), Some(second));
        assert_eq!(waits(true, 1_600), None, "they follow on and on");
        assert_eq!(waits(true, 1_700), Some(second));
    }
}
