//! An issuance as a tree, from its status alone.

mod conditions;
mod declared;
#[cfg(test)]
mod tests;
mod view;

use external_ca_api::ExternalCAIssuance;
use external_ca_core::domain::identity;
use jiff::Timestamp;

use crate::output::paint::{Paint, Tone};
use crate::output::tree::Node;

pub use conditions::{condition, is_ready};
pub use declared::forest;
use view::View;

/// The tree.
pub fn tree(issuance: &ExternalCAIssuance, now: Timestamp, wide: bool, paint: Paint) -> String {
    let name = paint.tone(
        Tone::Bold,
        format!("ExternalCAIssuance {}", identity(issuance)),
    );
    let Some(status) = &issuance.status else {
        let why =
            "the operator has not looked at it yet: does it run, and does it serve this namespace?";
        return Node::new(name).with([Node::new(why)]).render();
    };
    let view = View { now, wide, paint };
    let mut children = vec![view.ca(status)];
    children.push(view.anchors(status));
    children.push(view.places(issuance, status));
    children.push(view.certificates(status));
    children.push(view.planes(status));
    children.push(view.rollouts(status));
    children.extend(view.waiting(issuance, status));
    Node::new(format!("{name}  {}", view.phase(issuance, status)))
        .with(children)
        .render()
}
