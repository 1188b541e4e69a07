//! What a condition does not have room for: how a fault comes about, and what to do where the message does not say it.

use crate::reason::Reason;

/// How a fault comes about, and what to do. None where the word tells of no fault, or of one that the doctor judges by
/// more than the operator looks at.
pub(super) fn advice(reason: Reason) -> Option<(&'static str, &'static str)> {
    if REFUSED_CA.contains(&reason) {
        return Some((
            "nothing is signed until the CA is right; what is in use stays in use",
            "replace the content of the CA Secret: docs/troubleshooting.md says how to make each kind right",
        ));
    }
    let mut all = ADVICE.iter();
    let (_, cause, fix) = all.find(|(word, ..)| *word == reason)?;
    Some((cause, fix))
}

const REFUSED_CA: &[Reason] = &[
    Reason::CASecretNotFound,
    Reason::CASecretUnreadable,
    Reason::CAKeyEncrypted,
    Reason::CAKeyMismatch,
    Reason::CAKeyInvalid,
    Reason::CACertificateInvalid,
    Reason::NotACA,
    Reason::CAKeyUsageMissing,
    Reason::CAExpired,
    Reason::CANotYetValid,
    Reason::CAWeakKey,
    Reason::CAWeakSignature,
    Reason::CAPathLengthExceeded,
    Reason::CANameConstraints,
    Reason::CAUsageNotAllowed,
    Reason::CAPolicyConstraints,
    Reason::CATooLarge,
    Reason::CAUnsupportedKey,
];

/// The word, how it comes about, what to do.
const ADVICE: &[(Reason, &str, &str)] = &[
    (
        Reason::CAExpiring,
        "no certificate outlives its CA, and none is renewed beyond it",
        "replace the content of the CA Secret by a new CA, in time: the move is staged",
    ),
    (
        Reason::CANotGenerated,
        "only a CA that the operator made is replaced by request",
        "replace the Secret's content yourself, and remove the annotation",
    ),
    (
        Reason::CAKeyExposed,
        "who gets into one of those pods can sign certificates for every plane",
        "move the CA to a Secret of another name and leave only ca.crt there",
    ),
    (
        Reason::InvalidSpec,
        "no certificate or object can be made from it; all others go on",
        "correct the issuance's spec",
    ),
    (
        Reason::NamespaceNotServed,
        "the operator writes to the namespaces on its list and nowhere else",
        "add the namespace to the chart's namespaces.serve and run helm upgrade",
    ),
    (
        Reason::Conflict,
        "one Secret has one owner and one planeID, or two would issue against each other",
        "give each a Secret or namespace of its own",
    ),
    (
        Reason::NotOwned,
        "what has another owner is overwritten only where the issuance says so",
        "delete it, name another, or allow it by the annotation pki.openchoreo.dev/adopt",
    ),
    (
        Reason::LeftBehind,
        "the pods that mount it still present its certificate; the issuance no longer asks for it, and does not renew it",
        "let the workload mount what the spec names, or let the spec name what it mounts",
    ),
    (
        Reason::FieldConflict,
        "two managers put one field back and forth; the operator has left it alone",
        "let the other manager leave the field to external-ca-operator",
    ),
    (
        Reason::Unreadable,
        "nothing is concluded about what cannot be read, and nothing written to it",
        "do what the message says; where no Role permits it, name the object in the chart's values (secrets.leaves, trust.names, namespaces.serve)",
    ),
    (
        Reason::AnchorUnreadable,
        "that CA is not trusted beforehand, and no old one leaves a bundle meanwhile",
        "correct the entry or remove it",
    ),
    (
        Reason::PlaneNotFound,
        "the gateway looks for a plane resource with the agent's planeID and finds none",
        "create the plane resource, or let its spec.planeID equal the agent's --plane-id",
    ),
    (
        Reason::ClientCAMismatch,
        "the gateway verifies the agent's certificate against this plane's clientCA and answers 401",
        "add the CA to the clientCA, or let the operator write it",
    ),
    (
        Reason::ForeignClientCA,
        "what that Secret will hold tomorrow is not known here, so the plane is not wired",
        "let it refer to the trust Secret, or remove the reference",
    ),
    (
        Reason::AgentsUnproven,
        "the agent runs where no pod of it is seen; who cannot be seen is not cut off without a person's word",
        "restart the agent with what is stored now, then annotate the issuance with pki.openchoreo.dev/proceed=now",
    ),
    (
        Reason::AgentsLost,
        "a restart may have cut it off, and the next one may cut off more; other restarts wait for it, at most for rollout.timeout",
        "read the logs of the agent and of the gateway: they say why the handshake fails; then restart what holds old material",
    ),
    (
        Reason::RolloutStuck,
        "pods of the new template do not become available; others wait for it",
        "look at its pods (kubectl describe)",
    ),
    (
        Reason::RestartNeeded,
        "pods read their files at start and never again",
        "kubectl rollout restart it, or set rollout.strategy: Restart",
    ),
    (
        Reason::NotRunning,
        "a pod starts when all that it mounts exists and its images are there; what this issuance makes is",
        "kubectl describe the pod, and make what it waits for",
    ),
    (
        Reason::WriteFailed,
        "the operator tried and was refused; it goes on trying",
        "do what the message says; most often the chart's values must name the object",
    ),
    (
        Reason::IssuerPending,
        "the issuer has the request and has not signed it yet; the operator keeps the key and asks again by itself",
        "let whoever approves requests at the issuer look at it",
    ),
    (
        Reason::IssuedTooOften,
        "something changes what is wanted, or what is stored, each time it is issued; the pauses grow meanwhile, up to five minutes",
        "find what changes the issuance's names or keys, asks for renewals, or changes the Secret: kubectl get -o yaml --show-managed-fields",
    ),
    (
        Reason::ClockOff,
        "a certificate that is dated by a wrong clock is not valid yet, or ends too soon, for everybody else",
        "set the clocks of the operator's node and of the API server's by NTP; the operator goes on by itself then",
    ),
    (
        Reason::IssuerFailed,
        "the operator tried and was refused; it goes on trying",
        "do what the message says; most often the chart's values must name the object",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    const WITHOUT: &[Reason] = &[
        Reason::Ready,
        Reason::Progressing,
        Reason::Idle,
        Reason::Paused,
        Reason::WaitingForPeers,
        Reason::RollingOut,
        Reason::WaitingForWindow,
        Reason::OutsideWindow,
        Reason::Issued,
        Reason::TrustUpdated,
        Reason::PlaneWired,
        Reason::Restarted,
        Reason::AnchorDropped,
        Reason::CuttingOff,
        Reason::SecretMissing,
        Reason::CertificateInvalid,
        Reason::KeyMismatch,
        Reason::KeyPolicyChanged,
        Reason::NamesChanged,
        Reason::UsageWrong,
        Reason::SignerChanged,
        Reason::ChainIncomplete,
        Reason::Expired,
        Reason::Renewing,
        Reason::RenewRequested,
    ];

    #[test]
    fn every_word_has_its_advice_or_needs_none() {
        for reason in Reason::ALL {
            let known = advice(*reason).is_some();
            assert_ne!(known, WITHOUT.contains(reason), "{reason}");
        }
    }
}
