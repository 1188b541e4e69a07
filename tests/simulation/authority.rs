//! An authority that leaves requests pending, refuses them, or answers something else, and the Secret in which the operator
//! keeps them meanwhile. Its moods come from a stream of their own.

use std::collections::BTreeMap;

use external_ca_core::model::{ObjectRef, PendingLeaf};
use external_ca_core::x509::{Certificate, LeafProfile, request, sign_request};
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};

use crate::pki::{CAS, ca, key};

/// One request that the operator keeps: its key, by number, its request, and its ticket.
#[derive(Clone, Debug)]
pub struct Kept {
    pub number: u64,
    pub asked: String,
    pub since: Timestamp,
    pub ask_again: Option<Timestamp>,
}

impl Kept {
    pub fn public_side(&self) -> PendingLeaf {
        PendingLeaf {
            asked: self.asked.clone(),
            since: self.since,
            ask_again: self.ask_again,
        }
    }
}

/// The Secret: what it holds, and its version.
#[derive(Clone, Debug, Default)]
pub struct Pending {
    pub version: u64,
    pub kept: BTreeMap<ObjectRef, Kept>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Signed,
    /// Signed, and for a tenth of the time only.
    Short,
    Refused,
    /// Signed by a CA that nobody knows.
    Stranger,
    /// Another key is certified.
    OtherKey,
}

/// A request that the authority has.
#[derive(Clone, Debug)]
struct Known {
    profile: LeafProfile,
    fate: Fate,
    /// It is signed from then on.
    ready: Timestamp,
    /// By the CA that there was when it was asked for, or by the one that there is.
    by_first: Option<usize>,
    pause: SignedDuration,
    issued: Option<Vec<Certificate>>,
    waited: bool,
    /// The operator was told that there is no certificate for it.
    told: bool,
}

pub enum Answer {
    Issued(Vec<Certificate>),
    Pending(Timestamp),
    Refused,
}

pub struct Authority {
    pub pending: Pending,
    rng: Rng,
    known: BTreeMap<u64, Known>,
    /// It signs all that it is asked for, at once.
    pub kind: bool,
    /// How many certificates came later than they were asked for, and how often it was asked in vain.
    pub late: usize,
    pub in_vain: usize,
}

impl Authority {
    pub fn new(seed: u64) -> Self {
        Self {
            pending: Pending::default(),
            // A stream of its own: what is drawn for stories stays as it is.
            rng: Rng::with_seed(seed ^ 0x7ec4_e700),
            known: BTreeMap::new(),
            kind: false,
            late: 0,
            in_vain: 0,
        }
    }

    /// Its moods end: what waits is signed.
    pub fn be_kind(&mut self) {
        self.kind = true;
        for known in self.known.values_mut() {
            *known = Known {
                fate: Fate::Signed,
                ready: Timestamp::MIN,
                by_first: None,
                issued: None,
                ..known.clone()
            };
        }
    }

    /// Asks, or asks again: the number stands for the CSR.
    pub fn ask(
        &mut self,
        number: u64,
        profile: &LeafProfile,
        present: usize,
        now: Timestamp,
    ) -> Answer {
        if !self.known.contains_key(&number) {
            let known = self.draw(profile, present, now);
            self.known.insert(number, known);
        }
        let Some(known) = self.known.get_mut(&number) else {
            return Answer::Refused;
        };
        if now < known.ready {
            self.in_vain += 1;
            known.waited = true;
            return Answer::Pending(now + known.pause);
        }
        if known.fate == Fate::Refused {
            return Answer::Refused;
        }
        if known.issued.is_none() {
            known.issued = Some(sign(known, number, present, now));
            self.late += usize::from(known.waited && !self.kind);
        }
        Answer::Issued(known.issued.clone().unwrap_or_default())
    }

    fn draw(&mut self, profile: &LeafProfile, present: usize, now: Timestamp) -> Known {
        let rng = &mut self.rng;
        let fate = match rng.u8(..16) {
            _ if self.kind => Fate::Signed,
            0 => Fate::Refused,
            1 => Fate::Stranger,
            2 => Fate::OtherKey,
            3 | 4 => Fate::Short,
            _ => Fate::Signed,
        };
        let later = match rng.u8(..4) {
            _ if self.kind => 0,
            0 => 0,
            1 | 2 => rng.i64(1..300),
            _ => rng.i64(300..3600),
        };
        let by_first = rng.bool().then_some(present);
        Known {
            profile: profile.clone(),
            fate,
            ready: now + SignedDuration::from_secs(later),
            by_first: by_first.filter(|_| !self.kind),
            pause: SignedDuration::from_secs(rng.i64(1..120)),
            issued: None,
            waited: false,
            told: false,
        }
    }

    /// The operator has heard that a request leads to nothing.
    pub fn told(&mut self, number: u64) {
        if let Some(known) = self.known.get_mut(&number) {
            known.told = true;
        }
    }

    /// Puts a request into the Secret, or takes one out of it; false is a conflict. The judge: a request is given up for
    /// another only where it asks for something else, or has led to nothing.
    pub fn write(
        &mut self,
        seen: u64,
        target: &ObjectRef,
        kept: Option<Kept>,
    ) -> Result<bool, String> {
        if seen != self.pending.version {
            return Ok(false);
        }
        if let (Some(old), Some(new)) = (self.pending.kept.get(target), &kept) {
            let known = self.known.get(&old.number);
            let told = known.is_some_and(|known| known.told);
            if old.number != new.number && old.asked == new.asked && !told {
                return Err(format!(
                    "Secret {target} is asked for anew, and nothing has changed"
                ));
            }
        }
        self.pending.version += 1;
        match kept {
            Some(kept) => drop(self.pending.kept.insert(target.clone(), kept)),
            None => drop(self.pending.kept.remove(target)),
        }
        Ok(true)
    }
}

fn sign(known: &Known, number: u64, present: usize, now: Timestamp) -> Vec<Certificate> {
    let mut profile = known.profile.clone();
    if known.fate == Fate::Short {
        profile.duration /= 10;
    }
    let signer = match known.fate {
        Fate::Stranger => CAS,
        _ => known.by_first.unwrap_or(present),
    };
    let number_of_key = match known.fate {
        Fate::OtherKey => number + 1_000_000,
        _ => number,
    };
    let csr = request(&key(number_of_key), &profile).unwrap();
    let serial = u128::from(number).to_be_bytes();
    // A CA that is not valid yet signs nothing.
    sign_request(&ca(signer), csr.der(), &profile, serial, now).unwrap_or_default()
}
