//! Certificates that something mounts, and that nobody asks for any longer.

use super::draft::Draft;
use crate::domain::fitness;
use crate::finding::Area;
use crate::reason::{Problem, Reason};

impl Draft<'_> {
    /// Nobody renews them, and they count.
    pub(super) fn left_behind(&mut self) {
        for leaf in &self.domain.wanted.left_behind {
            let material = leaf.material();
            let stored = self.observed.material.get(&material);
            let end = stored.and_then(|stored| fitness::certificate(stored));
            let end = end.map_or_else(
                || "cannot be read".to_owned(),
                |found| format!("ends at {} and is not renewed", found.not_after()),
            );
            let message = format!(
                "{material} is mounted, and {} no longer asks for it: its certificate {end}, and the CA that signed it stays trusted; \
                 let the workloads that mount it mount what the spec names, or let the spec name it (gateway.secretName, agents, planes.selector)",
                self.owner()
            );
            let problem = Problem::new(Reason::LeftBehind, message);
            self.warn(Area::Certificates, material, problem);
        }
    }
}
