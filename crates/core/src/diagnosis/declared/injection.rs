//! What asks to be injected into, and what its `caBundle`s hold.

use super::bundle::BundleState;
use super::seen::{Declarations, is_aside, source, verdict};
use super::survey::{InjectionView, Survey};
use crate::diagnosis::finding::{Finding, FindingWord};
use crate::domain::certmanager::{Compiled, Verdict};
use crate::model::{InjectFrom, InjectKind, InjectRef};

pub(super) fn check(
    seen: &Declarations,
    compiled: &Compiled,
    survey: &Survey,
    found: &mut Vec<Finding>,
) {
    let at_work = &survey.at_work;
    let injects = ![&at_work.controller, &at_work.injector]
        .into_iter()
        .any(|half| is_aside(half.as_ref()));
    let views: Vec<&InjectionView> = survey
        .domains
        .iter()
        .flat_map(|one| &one.injected)
        .collect();
    for (object, injectable) in &seen.injected {
        if injectable.wants_api_server && !is_aside(at_work.injector.as_ref()) {
            found.push(api_server(object));
        }
        let facts = &injectable.facts;
        let Some(from) = facts.from.as_ref().filter(|_| !facts.elements.is_empty()) else {
            continue;
        };
        if !seen.is_here(namespace(from)) {
            continue;
        }
        let view = views.iter().find(|view| view.object == object.to_string());
        let bundle = view.map_or(BundleState::Unknown, |view| view.bundle);
        let finding = match injects && seen.knows_values {
            true if !seen.values.injected.contains(object) => {
                Some(not_named(seen, object, from, bundle))
            }
            true if source(compiled, from).is_none() => no_source(compiled, object, from),
            _ => None,
        };
        found.extend(finding.or_else(|| bundle_at_fault(object, from, bundle)));
    }
}

fn namespace(from: &InjectFrom) -> &str {
    let (InjectFrom::Certificate(name) | InjectFrom::Secret(name)) = from;
    name.split_once('/').map_or("", |(namespace, _)| namespace)
}

fn named(from: &InjectFrom) -> String {
    match from {
        InjectFrom::Certificate(name) => format!("the Certificate {name}"),
        InjectFrom::Secret(name) => format!("the Secret {name}"),
    }
}

/// The value of the chart that names objects of this kind.
fn value(kind: InjectKind) -> &'static str {
    match kind {
        InjectKind::ValidatingWebhookConfiguration | InjectKind::MutatingWebhookConfiguration => {
            "certManager.webhookConfigurations"
        }
        InjectKind::CustomResourceDefinition => "certManager.customResourceDefinitions",
        InjectKind::APIService => "certManager.apiServices",
    }
}

fn not_named(
    seen: &Declarations,
    object: &InjectRef,
    from: &InjectFrom,
    bundle: BundleState,
) -> Finding {
    let word = FindingWord::InjectionNotListed;
    let what = format!(
        "it asks to be injected from {}, and the chart's {} does not name it",
        named(from),
        value(object.kind)
    );
    // It works until the certificate is replaced.
    let finding = match bundle {
        BundleState::Holds | BundleState::Verifies => Finding::warning(word, object, what),
        BundleState::Unknown | BundleState::Lacks | BundleState::Empty => {
            Finding::error(word, object, what)
        }
    };
    let namespace = namespace(from);
    let served = match seen.values.front.served.contains(namespace) {
        true => String::new(),
        false => format!(", and {namespace} to namespaces.serve"),
    };
    finding
        .cause("nobody writes its caBundle, and the API server refuses what its server presents: the operator may write such objects by name alone")
        .fix(format!(
            "add {} to {}{served}, keep those that are there, and upgrade the release",
            object.name,
            value(object.kind)
        ))
}

/// What is wrong with what it names; what is wrong with the Certificate itself is told there.
fn no_source(compiled: &Compiled, object: &InjectRef, from: &InjectFrom) -> Option<Finding> {
    let (what, fix) = match from {
        InjectFrom::Certificate(name) => match verdict(compiled, name) {
            None => (
                format!("it asks to be injected from the Certificate {name}, which does not exist, or whose namespace is not served"),
                "create it, correct the annotation, or add its namespace to namespaces.serve".to_owned(),
            ),
            Some(Verdict::Claimed { issuance, .. }) => (
                format!("it asks to be injected from the Certificate {name}, whose Secret the ExternalCAIssuance {issuance} writes: such a bundle is not injected"),
                "name a Certificate that is served here, or write the caBundle yourself".to_owned(),
            ),
            Some(Verdict::Refused(_) | Verdict::Planned(_)) => return None,
        },
        InjectFrom::Secret(name) => (
            format!("it asks to be injected from the Secret {name}, which no Certificate makes that is served here and allows it"),
            "let the Certificate's secretTemplate give it the annotation cert-manager.io/allow-direct-injection: \"true\"".to_owned(),
        ),
    };
    let finding = Finding::error(FindingWord::InjectionSourceMissing, object, what);
    Some(
        finding
            .cause(
                "its caBundle stays as it is, and the API server refuses what its server presents",
            )
            .fix(fix),
    )
}

fn bundle_at_fault(object: &InjectRef, from: &InjectFrom, bundle: BundleState) -> Option<Finding> {
    let cause = "the API server refuses what its server presents: what it looks at is refused, or passes unseen (failurePolicy)";
    let finding = match bundle {
        BundleState::Holds | BundleState::Verifies | BundleState::Unknown => return None,
        BundleState::Empty => Finding::error(
            FindingWord::BundleEmpty,
            object,
            "a caBundle of it holds no certificate: it is empty, or a placeholder of its chart",
        ),
        BundleState::Lacks => Finding::error(
            FindingWord::TrustMismatch,
            object,
            format!(
                "a caBundle of it does not verify the certificate of {}",
                named(from)
            ),
        ),
    };
    Some(finding.cause(cause).fix(format!(
        "whoever injects writes it within seconds: see the other findings, and the conditions of {}; \
         kubectl get -o yaml --show-managed-fields says who wrote it last",
        named(from)
    )))
}

fn api_server(object: &InjectRef) -> Finding {
    Finding::error(
        FindingWord::InjectionRefused,
        object,
        "it has the annotation cert-manager.io/inject-apiserver-ca, which is not honoured here",
    )
    .cause("the API server's own CA is no trust domain of the operator's, and cert-manager's injector is not at work")
    .fix("write its caBundle yourself: kubectl config view --raw has certificate-authority-data; or run cert-manager's injector")
}
