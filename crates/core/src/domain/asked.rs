//! What is asked of whom, in one line: a request that waits is gone on with only while that is still the same.

use crate::model::{Authority, AuthorityState};
use crate::x509::{Fingerprint, LeafProfile};

/// What a request for this leaf asks of this authority; none where the authority cannot be used.
pub fn asked(authority: &Authority, profile: &LeafProfile) -> Option<String> {
    let AuthorityState::Ready {
        chain, identity, ..
    } = &authority.state
    else {
        return None;
    };
    let mut text = Vec::new();
    let mut add = |part: &dyn std::fmt::Display| {
        let part = part.to_string();
        text.extend(part.len().to_be_bytes());
        text.extend(part.as_bytes());
    };
    add(identity);
    add(&chain.certificate().fingerprint());
    add(&chain.anchor().fingerprint());
    add(&profile.common_name);
    add(&profile.organizations.len());
    for organization in &profile.organizations {
        add(organization);
    }
    for san in &profile.sans {
        add(san);
    }
    let usages = profile.usages;
    add(&usages.server_auth);
    add(&usages.client_auth);
    add(&profile.key);
    add(&profile.duration.as_secs());
    Some(Fingerprint::of(&text).to_string())
}
