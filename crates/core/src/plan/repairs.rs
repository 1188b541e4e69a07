//! How often a field that others put back is repaired.

use external_ca_api::{Contested, MANAGER};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::draft::Draft;
use crate::model::Material;
use crate::reason::{Problem, Reason};

/// How long a repair counts when another manager puts a field back.
const CONTEST_WINDOW: SignedDuration = SignedDuration::from_hours(1);
/// How often a field is repaired before it is left alone.
const CONTEST_LIMIT: u32 = 2;

impl Draft<'_> {
    /// A field that fits again for an hour is no longer contested; nor is one that was left alone, and that another manager
    /// has put right.
    pub(super) fn remember_contests(&mut self) {
        for entry in self.contested() {
            let mut new = self.status.contested.iter();
            if new.any(|new| new.object == entry.object) {
                continue;
            }
            let is_recent = entry.last_time.0.duration_until(self.now) < CONTEST_WINDOW;
            let is_put_right =
                entry.count >= CONTEST_LIMIT && self.put_right.contains(&entry.object);
            if is_recent && !is_put_right {
                self.status.contested.push(entry);
            }
        }
        self.status
            .contested
            .sort_by(|a, b| a.object.cmp(&b.object));
    }

    /// An object was judged, and fits; `manager` was the last to write the field.
    pub(super) fn fits(&mut self, object: impl ToString, manager: Option<&str>) {
        if manager.is_some_and(|manager| manager != MANAGER) {
            self.put_right.insert(object.to_string());
        }
    }

    /// Repairs that still count: those of the last hour, and fields that are left alone until the spec changes.
    fn contested(&self) -> Vec<Contested> {
        self.previous()
            .filter(|status| status.observed_generation == self.domain.owner.generation)
            .map_or(&[][..], |status| &status.contested)
            .iter()
            .filter(|entry| {
                entry.count >= CONTEST_LIMIT
                    || entry.last_time.0.duration_until(self.now) < CONTEST_WINDOW
            })
            .cloned()
            .collect()
    }

    /// What a new CA brings along puts nothing back, however often its repair is tried.
    pub(super) fn begin_anew(&mut self, object: &str, found: &Material) {
        self.status.contested.push(Contested {
            object: object.to_owned(),
            manager: found.manager.clone().unwrap_or_default(),
            written: found.changed.map(Time),
            count: 0,
            last_time: Time(self.now),
        });
    }

    /// Never fight: a field that another manager puts back is repaired twice within the hour, then left alone.
    pub(super) fn may_repair(
        &mut self,
        object: &str,
        field: &str,
        ours: bool,
        manager: Option<String>,
        written: Option<Timestamp>,
    ) -> Result<(), Problem> {
        let ours = ours || self.contested().iter().any(|entry| entry.object == object);
        let Some(manager) = manager.filter(|manager| ours && manager != MANAGER) else {
            return Ok(());
        };
        let previous = self
            .contested()
            .iter()
            .find(|entry| entry.object == object)
            .cloned();
        let written = written.map(Time);
        if let Some(entry) = previous
            .as_ref()
            .filter(|entry| entry.written.is_some() && entry.written == written)
        {
            // The repair has not arrived yet.
            self.status.contested.push(entry.clone());
            return Ok(());
        }
        let count = previous.as_ref().map_or(0, |entry| entry.count);
        if count >= CONTEST_LIMIT {
            let message = format!(
                "{object}: the field manager \"{manager}\" keeps putting back {field}; let it leave the field to {MANAGER} (planes may \
                 refer to the trust Secret instead: planes.clientCA: SecretRef)"
            );
            self.status.contested.extend(previous);
            return Err(Problem::new(Reason::FieldConflict, message));
        }
        self.status.contested.push(Contested {
            object: object.to_owned(),
            manager,
            written,
            count: count + 1,
            last_time: Time(self.now),
        });
        Ok(())
    }
}
