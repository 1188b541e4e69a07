//! Which planes' clientCA is written, and which agents have no plane.

use std::collections::BTreeSet;

use external_ca_api::PlaneStatus;

use super::bundles::same;
use super::draft::Draft;
use super::step::{Step, WirePlane, Wiring};
use crate::domain::{ClientCa, agent_of, is_agent_of};
use crate::finding::{Area, Finding, Severity};
use crate::model::facts::MAX_PEM;
use crate::model::{MaterialKind, MaterialRef, Plane, PlaneRef, WorkloadRef};
use crate::reason::{Problem, Reason};
use crate::trust::{Guards, Place};
use crate::x509::{Certificate, encode_bundle};

impl Draft<'_> {
    pub(super) fn planes(&mut self, guards: &Guards<'_>) {
        for plane in &self.domain.wanted.planes {
            let result = self.wire(guards, plane);
            let (wired, reason) = match result {
                Ok(None) => {
                    self.fits(&plane.plane, plane.manager.as_deref());
                    (true, None)
                }
                Ok(Some(step)) => (false, Some(self.edit(guards, plane, step))),
                Err(problem) => {
                    let reason = problem.reason;
                    // The trust Secret comes first; that is under way.
                    if reason == Reason::Progressing {
                        self.wait(Area::Planes, &plane.plane, problem);
                    } else {
                        self.problem(Area::Planes, &plane.plane, problem);
                    }
                    (false, Some(reason))
                }
            };
            self.status.planes.push(PlaneStatus {
                kind: plane.plane.kind,
                namespace: plane.plane.namespace.clone(),
                name: plane.plane.name.clone(),
                plane_id: plane.plane_id.clone(),
                wired,
                reason: reason.map(|reason| reason.to_string()),
                agent_connected: guards.view.connection(plane),
            });
        }
    }

    /// Planes that are selected and may not be written. Anybody can make one: that is no problem of this domain's.
    pub(super) fn strangers(&mut self) {
        let strangers = &self.domain.wanted.strangers;
        let Some(first) = strangers.first() else {
            return;
        };
        let others = match strangers.len() - 1 {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        let message = format!(
            "{}{others}: the operator is not told to write planes there, so they are not wired and get no certificate; add the namespace to \
             the chart's namespaces.planes, or exclude them by planes.selector",
            first.plane
        );
        let problem = Problem::new(Reason::NamespaceNotServed, message);
        self.warn(Area::Planes, &first.plane, problem);
    }

    /// Writes a plane's clientCA, unless that would cut its agent off.
    fn edit(&mut self, guards: &Guards<'_>, plane: &Plane, step: WirePlane) -> Reason {
        let name = &plane.plane;
        let first = guards.cut_off_by_edit(plane);
        let (reason, message) = if first.is_empty() {
            self.steps.push(Step::WirePlane(step));
            let message = format!("writing the clientCA of {name}");
            (Reason::Progressing, message)
        } else {
            let message = format!(
                "{name}: its agent's certificate has ended, and an edit of the plane would end its connection; the clientCA is written \
                 once these have loaded the certificate that is stored"
            );
            (Reason::WaitingForPeers, message)
        };
        let problem = Problem::new(reason, message);
        let finding = Finding::new(Area::Planes, Severity::Waiting, name, problem);
        self.findings.push(finding.blocked_by(first));
        reason
    }

    /// How a plane is wired, unless it is.
    fn wire(&mut self, guards: &Guards<'_>, plane: &Plane) -> Result<Option<WirePlane>, Problem> {
        let name = &plane.plane;
        let view = &guards.view;
        let anchor = view.ca.anchor();
        if let Some(bundle) = view.referred(plane) {
            return match view.has(&bundle, anchor) {
                true => Ok(None),
                false => Err(waits_for(name, &bundle)),
            };
        }
        if self.domain.client_ca == ClientCa::Unmanaged {
            if plane.anchors.contains(anchor) {
                return Ok(None);
            }
            return Err(not_trusted(name, anchor));
        }
        self.may_wire(plane)?;
        let foreign = view.foreign(plane).zip(self.trust_secret());
        let foreign = foreign.filter(|_| self.domain.client_ca == ClientCa::Reference);
        let by_value = self.domain.client_ca == ClientCa::Value || foreign.is_some();
        if let Some((anchor, secret)) = foreign {
            // Its agent is served all the same.
            self.warn(Area::Planes, name, stays_by_value(name, anchor, secret));
        }
        let step = if by_value {
            by_value_of(guards, plane)?
        } else {
            self.by_reference(guards, plane)?
        };
        let Some(step) = step else {
            return Ok(None);
        };
        self.may_repair(
            &name.to_string(),
            "spec.clusterAgent.clientCA",
            self.wired_before.contains(name) && !plane.anchors.contains(anchor),
            plane.manager.clone(),
            plane.changed,
        )?;
        Ok(Some(step))
    }

    /// Whether the plane is this domain's to write.
    fn may_wire(&self, plane: &Plane) -> Result<(), Problem> {
        let name = &plane.plane;
        if let Some(owner) = self.observed.claims.planes.get(name) {
            let message = format!(
                "{name}: the older issuance {owner} writes its clientCA; exclude the plane from one of the two by planes.selector"
            );
            return Err(Problem::new(Reason::Conflict, message));
        }
        if let (None, Some((secret, key))) = (&plane.value, &plane.reference) {
            let ours = self.trust_secret().map_or_else(String::new, |ours| {
                format!("let it refer to {ours} (key ca.crt), ")
            });
            let message = format!(
                "{name}: spec.clusterAgent.clientCA refers to the key {key} of the Secret {secret}, which this issuance does not manage; {ours}\
                 remove the reference, or exclude the plane by planes.selector"
            );
            return Err(Problem::new(Reason::ForeignClientCA, message));
        }
        Ok(())
    }

    fn trust_secret(&self) -> Option<&'_ MaterialRef> {
        self.domain.trust_secret.as_ref()
    }

    fn by_reference(
        &self,
        guards: &Guards<'_>,
        plane: &Plane,
    ) -> Result<Option<WirePlane>, Problem> {
        let name = &plane.plane;
        let Some((field, secret)) = plane.reference_field.zip(self.trust_secret()) else {
            let message = format!(
                "{name}: this version of the resource knows no Secret reference; use planes.clientCA: Value"
            );
            return Err(Problem::new(Reason::ClientCAMismatch, message));
        };
        let place = Place::Material(secret.clone());
        let stored = guards.view.stored(&place).unwrap_or_default();
        let anchors = plane.anchors.iter();
        let kept = anchors.filter(|anchor| !guards.leaves_at_once(anchor));
        let holds: Vec<Certificate> = kept.chain([guards.view.ca.anchor()]).cloned().collect();
        if holds.iter().any(|one| !stored.contains(one)) {
            return Err(waits_for(name, &place));
        }
        Ok(Some(WirePlane {
            plane: name.clone(),
            resource_version: plane.resource_version.clone(),
            drops: plane.anchors.iter().any(|anchor| !holds.contains(anchor)),
            rests_on: Vec::new(),
            client_ca: Wiring::Reference {
                field,
                secret: secret.object.clone(),
                holds,
            },
        }))
    }

    /// An agent whose plane ID no plane resource has is refused by the gateway.
    pub(super) fn agents_without_plane(&mut self) {
        let Some(bundle) = self.domain.agent_bundle else {
            return;
        };
        let planes = self.observed.planes.iter().map(AsRef::as_ref);
        let known: BTreeSet<(&str, &str)> = planes.map(agent_of).collect();
        let trusts = |mount: &MaterialRef| {
            mount.kind == MaterialKind::ConfigMap && mount.object.name == *bundle
        };
        for workload in &self.observed.workloads {
            let Some((kind, id)) = &workload.agent else {
                continue;
            };
            if known.contains(&(kind.as_str(), id.as_str())) || !workload.mounts.iter().any(trusts)
            {
                continue;
            }
            let mut strangers = self.observed.strangers.iter();
            if let Some(plane) = strangers.find(|plane| is_agent_of(workload, plane)) {
                let problem = lies_elsewhere(&workload.workload, &plane.plane);
                self.problem(Area::Planes, &workload.workload, problem);
                continue;
            }
            let message = format!(
                "{} runs an agent with --plane-type={kind} --plane-id={id}, but no plane resource has that planeID, so the gateway \
                 would say \"no {kind} CRs found with planeID '{id}'\"; create the plane resource, or let its spec.planeID equal the agent's --plane-id",
                workload.workload
            );
            let problem = Problem::new(Reason::PlaneNotFound, message);
            self.problem(Area::Planes, &workload.workload, problem);
        }
    }
}

fn lies_elsewhere(workload: &WorkloadRef, plane: &PlaneRef) -> Problem {
    let message = format!(
        "{workload} runs the agent of {plane}, and the operator is not told to write planes there, so the agent gets no certificate; \
         add the namespace to the chart's namespaces.planes"
    );
    Problem::new(Reason::NamespaceNotServed, message)
}

fn by_value_of(guards: &Guards<'_>, plane: &Plane) -> Result<Option<WirePlane>, Problem> {
    let place = Place::ClientCa(plane.plane.clone());
    let Some(wanted) = guards.wanted(&place) else {
        let message = format!(
            "{} waits until its agent's certificate and every bundle can be read",
            plane.plane
        );
        return Err(Problem::new(Reason::Progressing, message));
    };
    if same(&plane.anchors, &wanted) {
        return Ok(None);
    }
    let bundle = encode_bundle(&wanted);
    if bundle.len() > MAX_PEM {
        return Err(too_large(&plane.plane, bundle.len()));
    }
    Ok(Some(WirePlane {
        plane: plane.plane.clone(),
        resource_version: plane.resource_version.clone(),
        client_ca: Wiring::Value(bundle),
        drops: guards.drops(&place, &wanted),
        rests_on: guards.rests_on(&place, &wanted),
    }))
}

fn too_large(plane: &PlaneRef, size: usize) -> Problem {
    let message = format!(
        "{plane}: its clientCA would have {size} bytes, and no more than {MAX_PEM} bytes are read of one; take CAs out of \
         trust.additionalAnchors or out of the plane, or let planes.clientCA be SecretRef"
    );
    Problem::new(Reason::ClientCAMismatch, message)
}

fn waits_for(plane: &PlaneRef, place: &Place) -> Problem {
    Problem::new(Reason::Progressing, format!("{plane} waits for {place}"))
}

fn not_trusted(plane: &PlaneRef, anchor: &Certificate) -> Problem {
    let message = format!(
        "{plane}: spec.clusterAgent.clientCA does not contain the CA that signs its agent's certificate ({}), so the \
         gateway would say \"certificate not valid for any CR\" and agents see \"x509: certificate signed by unknown authority\"; \
         add that CA to the clientCA, or let planes.clientCA be Value or SecretRef",
        anchor.subject()
    );
    Problem::new(Reason::ClientCAMismatch, message)
}

fn stays_by_value(plane: &PlaneRef, foreign: &Certificate, secret: &MaterialRef) -> Problem {
    let message = format!(
        "{plane}: spec.clusterAgent.clientCA trusts {}, which has nothing to do with this issuance, so it stays by value and is not \
         made to refer to {secret}; add that CA to trust.additionalAnchors, or take it out of the plane",
        foreign.subject()
    );
    Problem::new(Reason::ForeignClientCA, message)
}
