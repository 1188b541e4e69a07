//! How the operator asks an authority that may answer later: the order of `apply/issue_later.rs`, one call at a time.

use external_ca_core::domain::asked;
use external_ca_core::model::{ObjectRef, Observed};
use external_ca_core::plan::{DropRequest, IssueLeaf, Step};
use external_ca_core::x509::{Certificate, check_issued};
use jiff::Timestamp;

use crate::authority::{self, Kept, Pending};
use crate::mutants::Mutant;
use crate::operator::{Answer, World};
use crate::pki::key;

/// How far a request has come in this turn.
#[derive(Debug)]
pub enum Phase {
    /// It is kept.
    Kept(Kept),
    /// The authority has left it pending, and is to be asked again then.
    Ticket(Kept, Timestamp),
    /// The authority has signed.
    Signed(Kept, Vec<Certificate>),
}

/// What comes next.
pub enum Next {
    /// This, with the next call.
    Phase(Phase),
    /// The certificate is stored, with the key of this number.
    Store(u64, Vec<Certificate>),
    /// The leaf has to wait for another turn.
    Later,
}

/// What becomes of a place of the Secret.
enum Change {
    None,
    Put(Kept),
    Drop,
}

/// What an operator knows of the Secret.
#[derive(Default)]
pub struct Desk {
    known: Option<Pending>,
}

impl Desk {
    /// The public side of what waits, by what is known.
    pub fn see(&self, observed: &mut Observed) {
        let kept = self.known.iter().flat_map(|known| &known.kept);
        let public = kept.map(|(target, kept)| (target.clone(), kept.public_side().into()));
        observed.pending = public.collect();
    }

    /// It is read where that was not done yet, or a write has shown that it has changed.
    pub fn read(&mut self, world: &World) {
        if let (None, Some(authority)) = (&self.known, &world.authority) {
            self.known = Some(authority.pending.clone());
        }
    }

    fn kept(&self, target: &ObjectRef) -> Option<Kept> {
        self.known.as_ref()?.kept.get(target).cloned()
    }

    /// One write, if any is needed; where another has written meanwhile, it is decided again. False where it did not happen, or
    /// nobody knows.
    fn change(
        &mut self,
        world: &mut World,
        target: &ObjectRef,
        answer: Answer,
        decide: impl Fn(Option<&Kept>) -> Change,
    ) -> Result<bool, String> {
        use Answer::{Broken, Lost, Refused, Withheld};
        loop {
            self.read(world);
            let (Some(known), Some(authority)) = (&self.known, &mut world.authority) else {
                return Ok(false);
            };
            let kept = match decide(known.kept.get(target)) {
                Change::None => return Ok(true),
                Change::Put(kept) => Some(kept),
                Change::Drop => None,
            };
            match answer {
                Refused | Withheld => return Ok(false),
                Broken => {
                    self.known = None;
                    return Ok(false);
                }
                _ => {}
            }
            let done = authority.write(known.version, target, kept)?;
            let stands = authority.pending.clone();
            self.known = (done && answer != Lost).then_some(stands);
            if done {
                return Ok(answer != Lost);
            }
        }
    }

    /// Keeps a request before it is made, in the place of one that asks for something else.
    pub fn keep(
        &mut self,
        world: &mut World,
        observed: &Observed,
        leaf: &IssueLeaf,
        answer: Answer,
        now: Timestamp,
    ) -> Result<Next, String> {
        self.read(world);
        let Some(wanted) = asked(&observed.authority, &leaf.profile) else {
            return Ok(Next::Later);
        };
        let is_blind = world.mutant == Some(Mutant::StoresUnseen);
        let serves = |kept: &Kept| kept.asked == wanted || is_blind;
        let found = self.kept(&leaf.target).filter(serves);
        if let Some(kept) = found.filter(|_| world.mutant != Some(Mutant::AsksAnew)) {
            return Ok(Next::Phase(Phase::Kept(kept)));
        }
        let number = world.cluster.next_serial();
        let new = Kept {
            number,
            asked: wanted,
            since: now,
            ask_again: None,
        };
        let anew = world.mutant == Some(Mutant::AsksAnew);
        let done = self.change(world, &leaf.target, answer, |found| {
            match found.is_some_and(|found| found.asked == new.asked) && !anew {
                true => Change::None,
                false => Change::Put(new.clone()),
            }
        })?;
        let text = || {
            format!(
                "operator: keeps request {number} for {}: {done}",
                leaf.target
            )
        };
        world.cluster.say(text);
        let kept = self.kept(&leaf.target).filter(|_| done);
        Ok(kept.map_or(Next::Later, |kept| Next::Phase(Phase::Kept(kept))))
    }

    /// Drops a request, where it still stands there.
    fn drop_number(
        &mut self,
        world: &mut World,
        target: &ObjectRef,
        number: u64,
        answer: Answer,
    ) -> Result<bool, String> {
        self.change(world, target, answer, |found| {
            match found.is_some_and(|found| found.number == number) {
                true => Change::Drop,
                false => Change::None,
            }
        })
    }

    /// Asks the authority.
    pub fn ask(
        &mut self,
        world: &mut World,
        leaf: &IssueLeaf,
        kept: Kept,
        answer: Answer,
    ) -> Result<Next, String> {
        let (cluster, number) = (&mut world.cluster, kept.number);
        let (present, now) = (cluster.authority, cluster.now);
        let Some(authority) = &mut world.authority else {
            return Ok(Next::Later);
        };
        if matches!(answer, Answer::Refused | Answer::Withheld) {
            return Ok(Next::Later);
        }
        let said = authority.ask(number, &leaf.profile, present, now);
        if matches!(answer, Answer::Rejected | Answer::Broken | Answer::Lost) {
            // It was asked, and its answer is lost.
            return Ok(Next::Later);
        }
        let (next, text) = match said {
            authority::Answer::Pending(at) => (Phase::Ticket(kept, at), "pending"),
            authority::Answer::Issued(chain) => (Phase::Signed(kept, chain), "signed"),
            authority::Answer::Refused => {
                authority.told(number);
                self.drop_number(world, &leaf.target, number, answer)?;
                world.cluster.say(|| format!("authority: refuses {number}"));
                return Ok(Next::Later);
            }
        };
        cluster.say(|| format!("authority: {number} for {}: {text}", leaf.target));
        Ok(Next::Phase(next))
    }

    /// Keeps a ticket before it is asked for again.
    pub fn keep_ticket(
        &mut self,
        world: &mut World,
        leaf: &IssueLeaf,
        kept: Kept,
        at: Timestamp,
        answer: Answer,
    ) -> Result<Next, String> {
        let new = Kept {
            ask_again: Some(at),
            ..kept
        };
        self.change(world, &leaf.target, answer, |found| {
            match found.is_some_and(|found| found.number == new.number) {
                true => Change::Put(new.clone()),
                false => Change::None,
            }
        })?;
        Ok(Next::Later)
    }

    /// Looks at what was signed, once all that held when it was asked for holds still.
    pub fn check(
        &mut self,
        world: &mut World,
        observed: &Observed,
        leaf: &IssueLeaf,
        kept: Kept,
        chain: Vec<Certificate>,
        now: Timestamp,
    ) -> Result<Next, String> {
        let number = kept.number;
        let Some(authority) = observed.authority.chain() else {
            return Ok(Next::Later);
        };
        let trusting = world.mutant == Some(Mutant::StoresUnseen);
        match check_issued(&chain, &key(number), &leaf.profile, authority, now) {
            Err(error) if !trusting && !error.passes() => {
                if let Some(authority) = &mut world.authority {
                    authority.told(number);
                }
                self.drop_number(world, &leaf.target, number, Answer::Done)?;
                world.cluster.say(|| format!("operator: {number}: {error}"));
                Ok(Next::Later)
            }
            Err(_) if !trusting => Ok(Next::Later),
            _ => Ok(Next::Store(number, chain)),
        }
    }

    /// Carries out what is to be dropped.
    pub fn drop_request(
        &mut self,
        world: &mut World,
        step: &DropRequest,
        answer: Answer,
    ) -> Result<(), String> {
        let done = self.change(world, &step.target, answer, |found| match found {
            Some(_) => Change::Drop,
            None => Change::None,
        })?;
        let text = || format!("operator: drops the request for {}: {done}", step.target);
        world.cluster.say(text);
        Ok(())
    }
}

/// The request goes once its leaf is stored.
pub fn afterwards(step: &Step) -> Option<Step> {
    let Step::IssueLeaf(IssueLeaf { target, .. }) = step else {
        return None;
    };
    let target = target.clone();
    Some(Step::DropRequest(DropRequest { target }))
}
