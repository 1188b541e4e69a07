//! What cert-manager's objects declare: how it stands, for `status`, and what is wrong with it, for `check`.

mod around;
mod bundle;
mod certificates;
mod injection;
mod seen;
mod survey;

use jiff::Timestamp;

pub use bundle::BundleState;
pub use seen::{Declarations, Injectable, StoredSecret};
pub use survey::{AuthorityView, CertificateView, DomainView, InjectionView, IssuerView, Survey};

use super::finding::Finding;

/// Everything that is wrong, the worst first. Where all is well, that yields nothing but a note of a cert-manager at work.
pub fn declared(seen: &Declarations, now: Timestamp) -> Vec<Finding> {
    let compiled = seen.compiled();
    let survey = Survey::new(seen, &compiled, now);
    let mut found = around::check(seen, &survey, now);
    match around::not_served(seen, &survey) {
        Some(finding) => found.push(finding),
        None => {
            certificates::check(seen, &compiled, &survey, now, &mut found);
            injection::check(seen, &compiled, &survey, &mut found);
        }
    }
    found.sort_by_key(|finding| finding.severity);
    found
}
