//! What a real handshake with the gateway says.

use jiff::Timestamp;

use super::certificates::name_missing;
use super::chains::{refused_chain, verdict};
use super::finding::{Finding, FindingWord, Symptom};
use crate::reason::Reason;
use crate::x509::{Certificate, Usages, VerifyError, verify};

/// How far the handshake came.
#[derive(Clone, Debug, PartialEq)]
pub struct Handshake {
    /// Where it was tried.
    pub address: String,
    /// The name that the server was asked for.
    pub host: String,
    /// What the server presented, leaf first; nothing where it did not come to that.
    pub presented: Vec<Certificate>,
    /// What the gateway's Secret holds.
    pub stored: Vec<Certificate>,
    /// What the agent would verify the server against.
    pub anchors: Vec<Certificate>,
    /// The bundle's object.
    pub bundle: String,
    /// The gateway's Secret.
    pub server: String,
    /// The agent's Secret.
    pub client: String,
    /// The plane that was claimed.
    pub plane: String,
    /// The end of it.
    pub answer: Answer,
}

/// The end of a handshake.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The API server does not let this user reach the gateway.
    Denied(String),
    /// No connection: the port is closed, or it timed out.
    Unreachable(String),
    /// TLS failed.
    Tls(String),
    /// The upgrade was answered with this HTTP status, and perhaps a reason.
    Http(u16, String),
}

/// What is wrong with it; nothing where the upgrade was granted.
pub fn connection(handshake: &Handshake, now: Timestamp) -> Vec<Finding> {
    if let Answer::Denied(why) = &handshake.answer {
        return vec![
            Finding::warning(
                FindingWord::AccessDenied,
                &handshake.address,
                format!("no port-forward: {why}"),
            )
            .cause("nothing is concluded about the handshake, so problems there do not show")
            .fix("grant the verb list on pods, and get and create on pods/portforward, in the gateway's namespace; or dial the gateway yourself with --connect=ADDRESS"),
        ];
    }
    if let Answer::Unreachable(why) = &handshake.answer {
        return vec![
            Finding::error(
                FindingWord::GatewayUnreachable,
                &handshake.address,
                format!("no connection: {why}"),
            )
            .cause("the gateway does not run, its Service has no endpoint, or a network policy is in between")
            .fix("look at the gateway's pods and Service; with --connect=ADDRESS try another way to it"),
        ];
    }
    let mut found = Vec::new();
    if let (Some(shown), Some(stored)) = (handshake.presented.first(), handshake.stored.first())
        && shown != stored
    {
        found.push(
            Finding::warning(
                Reason::RestartNeeded,
                &handshake.server,
                format!(
                    "the gateway presents the certificate {} of serial {}, the Secret holds {}",
                    shown.subject(),
                    shown.serial_hex(),
                    stored.serial_hex()
                ),
            )
            .cause("it read its files at start, before the Secret changed")
            .fix("restart the gateway: kubectl rollout restart deployment/cluster-gateway"),
        );
    }
    found.extend(server(handshake, now));
    if found
        .iter()
        .any(|finding| finding.word != Reason::RestartNeeded.into())
    {
        return found;
    }
    found.extend(client(handshake));
    found
}

/// What an agent says of the server.
fn server(handshake: &Handshake, now: Timestamp) -> Option<Finding> {
    let first = handshake.presented.first()?;
    match verify(
        &handshake.presented,
        &handshake.anchors,
        Usages::SERVER,
        now,
    ) {
        Ok(()) if first.is_valid_for(&handshake.host) => None,
        Ok(()) => Some(name_missing(
            &handshake.server,
            first,
            &handshake.host,
            "what was asked for",
        )),
        Err(error @ VerifyError::UnknownAuthority { .. }) => Some(
            Finding::error(
                FindingWord::TrustMismatch,
                &handshake.bundle,
                format!("it does not verify what the gateway presents: {error}"),
            )
            .cause("an agent that starts now refuses the gateway")
            .fix("restart the gateway if its Secret has changed, or add the CA to the bundle")
            .symptom(Symptom::UnknownAuthority),
        ),
        Err(error) => Some(refused_chain(&handshake.server, verdict(&error).0, &error)),
    }
}

/// What the gateway says of the client.
fn client(handshake: &Handshake) -> Option<Finding> {
    match &handshake.answer {
        Answer::Denied(_) | Answer::Unreachable(_) | Answer::Http(101, _) => None,
        Answer::Http(401, body) => Some(
            Finding::error(
                Reason::ClientCAMismatch,
                &handshake.plane,
                format!("the gateway answers 401 to the certificate of {}{}", handshake.client, quoted(body)),
            )
            .cause("the certificate verifies against no clientCA of that planeID, or no plane has it")
            .fix("compare the plane's spec.clusterAgent.clientCA with the CA that signed the certificate; the gateway's log says which of the two")
            .symptom(Symptom::NotValidForAnyPlane),
        ),
        Answer::Http(status, body) => Some(
            Finding::error(
                FindingWord::HandshakeFailed,
                &handshake.address,
                format!("the upgrade to a WebSocket is answered with {status}{}", quoted(body)),
            )
            .cause("the address is not the gateway's, or a proxy is in between")
            .fix("try the gateway's Service itself, without a proxy that ends TLS"),
        ),
        Answer::Tls(why) => Some(
            Finding::error(
                FindingWord::HandshakeFailed,
                &handshake.address,
                format!("TLS fails: {why}"),
            )
            .cause("one side refuses the other before it says why, or something else than the gateway answers")
            .fix("look at the gateway's log at this moment")
            .symptom(Symptom::BadCertificate),
        ),
    }
}

fn quoted(body: &str) -> String {
    match body.trim() {
        "" => String::new(),
        body => format!(" ({body})"),
    }
}
