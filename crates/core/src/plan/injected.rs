//! Which `caBundle`s are written.

use super::draft::{Draft, RETRY};
use super::step::{InjectBundle, Step};
use crate::finding::Area;
use crate::model::{InjectRef, Injected, Read};
use crate::reason::{Problem, Reason};
use crate::trust::{Guards, Place};
use crate::x509::Certificate;

impl Draft<'_> {
    pub(super) fn injected(&mut self, guards: &Guards<'_>) {
        let observed = self.observed;
        for target in &self.domain.wanted.injected {
            match observed.injected.get(target).map(AsRef::as_ref) {
                Some(Read::Found(found)) if !found.is_others => self.inject(guards, target, found),
                Some(Read::Unknown(why)) => {
                    let message = format!("{target}: {why}");
                    let problem = Problem::new(Reason::Unreadable, message);
                    self.problem(Area::Trust, target, problem);
                    self.wake_in(RETRY);
                }
                Some(Read::Found(_) | Read::Absent) | None => {}
            }
        }
    }

    fn inject(&mut self, guards: &Guards<'_>, target: &InjectRef, found: &Injected) {
        let place = Place::Injected(target.clone());
        let Some(mut anchors) = guards.wanted(&place) else {
            return;
        };
        // What stands in some elements only, others may rely on.
        let kept = found.others().into_iter();
        let kept = kept.filter(|one| !anchors.contains(one) && !guards.view.retiring.contains(one));
        anchors.extend(kept.collect::<Vec<Certificate>>());
        // A field that the operator owns is a conflict for Helm and server-side apply.
        if found.holds_exactly(&anchors) && !found.is_owned {
            return;
        }
        let progress = Problem::new(Reason::Progressing, format!("writing {target}"));
        self.wait(Area::Trust, target, progress);
        self.steps.push(Step::InjectBundle(InjectBundle {
            target: target.clone(),
            resource_version: found.resource_version.clone(),
            elements: found.elements.iter().map(|one| one.name.clone()).collect(),
            drops: guards.drops(&place, &anchors),
            rests_on: guards.rests_on(&place, &anchors),
            anchors,
        }));
    }
}
