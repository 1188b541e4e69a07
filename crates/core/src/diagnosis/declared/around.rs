//! Around the domains: what may be read, whether the operator or cert-manager is at work.

use jiff::Timestamp;

use super::seen::{Declarations, is_aside};
use super::survey::Survey;
use crate::diagnosis::around::{access_denied, operator_state};
use crate::diagnosis::finding::{Finding, FindingWord};
use crate::domain::certmanager::{Aside, CONTROLLER_LEASE, INJECTOR_LEASE};
use crate::reason::Reason;

pub(super) fn check(seen: &Declarations, survey: &Survey, now: Timestamp) -> Vec<Finding> {
    let mut found: Vec<Finding> = seen.denied.iter().map(access_denied).collect();
    let at_work = &survey.at_work;
    if !is_aside(at_work.controller.as_ref()) {
        let operator = seen.operator.as_ref();
        found.extend(operator.and_then(|operator| operator_state(operator, now)));
    }
    let halves = [
        (
            &at_work.controller,
            CONTROLLER_LEASE,
            "the operator issues nothing for cert-manager's objects, so that no two write one Secret",
        ),
        (
            &at_work.injector,
            INJECTOR_LEASE,
            "the operator writes no caBundle, so that no two write one",
        ),
    ];
    for (half, lease, cause) in halves {
        found.extend(half.as_ref().and_then(|why| note(seen, why, lease, cause)));
    }
    found
}

fn note(seen: &Declarations, why: &Aside, lease: &str, cause: &str) -> Option<Finding> {
    let (object, what) = match why {
        Aside::LeaseHeld { holder, renewed } => (
            format!("Lease {}/{lease}", seen.values.lease_namespace),
            format!(
                "cert-manager is at work: {holder} holds the Lease, and renewed it at {renewed:.0}"
            ),
        ),
        Aside::StatusWritten { object, until } => (
            object.clone(),
            format!(
                "cert-manager has written its status of late; the operator begins at {until:.0}, if nothing more comes"
            ),
        ),
        // The user may not read the Lease: `Denied` has a finding of its own.
        Aside::LeaseUnreadable { .. } => return None,
    };
    let finding = Finding::note(FindingWord::CertManagerAtWork, object, what)
        .cause(cause)
        .fix("nothing, where cert-manager is to do it; else scale its Deployments to 0: the operator goes on once the Lease was not renewed for a minute, and no status was written for an hour");
    Some(finding)
}

/// Objects of a namespace in which the operator does not work: then nothing else is told of them.
pub(super) fn not_served(seen: &Declarations, survey: &Survey) -> Option<Finding> {
    if is_aside(survey.at_work.controller.as_ref()) {
        return None;
    }
    let namespace = seen.namespace.as_ref().filter(|_| seen.knows_values)?;
    let mut objects = seen.objects.0.keys();
    let is_there = objects.any(|name| name.object.namespace == *namespace);
    if !is_there || seen.values.front.served.contains(namespace) {
        return None;
    }
    let finding = Finding::error(
        Reason::NamespaceNotServed,
        format!("Namespace {namespace}"),
        "it has objects of cert-manager's, and the operator does not serve it",
    );
    Some(
        finding
            .cause("the operator works in the namespaces that the chart's values list, and cert-manager is not at work")
            .fix(format!(
                "add {namespace} to the chart's namespaces.serve, and its Secrets to certManager.secrets"
            )),
    )
}
