//! Which planes' clientCA is written, and which agents have no plane.

use std::collections::BTreeSet;

use external_ca_api::{ClientCa, PlaneStatus};

use super::bundles::same;
use super::draft::{Area, Draft};
use super::step::{Step, WirePlane, Wiring};
use crate::domain::plane_type;
use crate::model::{MaterialKind, MaterialRef, Plane, WorkloadRef};
use crate::reason::{Problem, Reason};
use crate::trust::{Place, Trust};
use crate::x509::{Certificate, encode_bundle};

impl Draft<'_> {
    pub(super) fn planes(&mut self, trust: &Trust<'_>, retiring: &[Certificate]) {
        let mode = self.observed.issuance.spec.planes.client_ca;
        for plane in &trust.desired.planes {
            let result = self.wire(trust, plane, mode, retiring);
            let (wired, reason) = match result {
                Ok(None) => (true, None),
                Ok(Some((client_ca, drops, rests_on))) => {
                    let message = format!("writing the clientCA of {}", plane.plane);
                    self.waiting
                        .push((Area::Planes, Problem::new(Reason::Progressing, message)));
                    self.steps.push(Step::WirePlane(WirePlane {
                        plane: plane.plane.clone(),
                        resource_version: plane.resource_version.clone(),
                        client_ca,
                        drops,
                        rests_on,
                    }));
                    (false, Some(Reason::Progressing))
                }
                Err(problem) => {
                    let reason = problem.reason;
                    // The trust Secret comes first; that is under way.
                    if reason == Reason::Progressing {
                        self.waiting.push((Area::Planes, problem));
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
                agent_connected: plane.agent_connected,
            });
        }
    }

    fn wire(
        &mut self,
        trust: &Trust<'_>,
        plane: &Plane,
        mode: ClientCa,
        retiring: &[Certificate],
    ) -> Result<Option<(Wiring, bool, Vec<MaterialRef>)>, Problem> {
        let name = &plane.plane;
        let anchor = trust.ca.anchor();
        if trust.refers_to_trust_secret(plane) {
            let place = Place::Material(trust.trust_secret.clone());
            return match trust
                .stored(&place)
                .is_some_and(|stored| stored.contains(anchor))
            {
                true => Ok(None),
                false => Err(Problem::new(
                    Reason::Progressing,
                    format!("{name} waits for {}", trust.trust_secret),
                )),
            };
        }
        if mode == ClientCa::Unmanaged {
            return if plane.anchors.contains(anchor) {
                Ok(None)
            } else {
                Err(Problem::new(
                    Reason::ClientCAMismatch,
                    format!(
                        "{name}: spec.clusterAgent.clientCA does not contain the CA that signs its agent's certificate ({}), so the \
                         gateway would say \"certificate not valid for any CR\" and agents see \"x509: certificate signed by unknown authority\"; \
                         add that CA to the clientCA, or let planes.clientCA be Value or SecretRef",
                        anchor.subject()
                    ),
                ))
            };
        }
        if let Some(owner) = self.observed.claims.planes.get(name) {
            return Err(Problem::new(
                Reason::Conflict,
                format!(
                    "{name}: the older issuance {owner} writes its clientCA; exclude the plane from one of the two by planes.selector"
                ),
            ));
        }
        if !self.observed.may_write(name) {
            return Err(Problem::new(
                Reason::NamespaceNotServed,
                format!(
                    "{name}: the operator is not told to write planes in its namespace; add it to the chart's namespaces.planes, or exclude the plane by planes.selector"
                ),
            ));
        }
        if let (None, Some((secret, key))) = (&plane.value, &plane.reference) {
            return Err(Problem::new(
                Reason::ForeignClientCA,
                format!(
                    "{name}: spec.clusterAgent.clientCA refers to the key {key} of the Secret {secret}, which this issuance does not manage; let it \
                     refer to {} (key ca.crt), remove the reference, or exclude the plane by planes.selector",
                    trust.trust_secret
                ),
            ));
        }
        let foreign = trust.foreign(plane, retiring);
        let foreign = foreign.filter(|_| mode == ClientCa::SecretRef).map(|foreign| {
            Problem::new(
                Reason::ForeignClientCA,
                format!(
                    "{name}: spec.clusterAgent.clientCA trusts {}, which has nothing to do with this issuance, so it stays by value and is not \
                     made to refer to {}; add that CA to trust.additionalAnchors, or take it out of the plane",
                    foreign.subject(),
                    trust.trust_secret
                ),
            )
        });
        let by_value = mode == ClientCa::Value || foreign.is_some();
        if let Some(problem) = foreign {
            // Its agent is served all the same.
            self.warn(Area::Planes, name, problem);
        }
        let wiring = if by_value {
            let place = Place::ClientCa(name.clone());
            let Some(wanted) = trust.wanted(&place, retiring) else {
                return Err(Problem::new(
                    Reason::Progressing,
                    format!("{name} waits until its agent's certificate can be read"),
                ));
            };
            if same(&plane.anchors, &wanted) {
                return Ok(None);
            }
            let (drops, rests_on) = (
                trust.drops(&place, &wanted),
                trust.rests_on(&place, &wanted),
            );
            (Wiring::Value(encode_bundle(&wanted)), drops, rests_on)
        } else {
            let Some(field) = plane.reference_field else {
                return Err(Problem::new(
                    Reason::ClientCAMismatch,
                    format!(
                        "{name}: this version of the resource knows no Secret reference; use planes.clientCA: Value"
                    ),
                ));
            };
            let stored = trust
                .stored(&Place::Material(trust.trust_secret.clone()))
                .unwrap_or_default();
            let may_leave = |old: &&Certificate| trust.immediate && retiring.contains(old);
            let kept = plane.anchors.iter().filter(|old| !may_leave(old));
            let holds: Vec<Certificate> = kept.chain([anchor]).cloned().collect();
            if holds.iter().any(|one| !stored.contains(one)) {
                return Err(Problem::new(
                    Reason::Progressing,
                    format!("{name} waits for {}", trust.trust_secret),
                ));
            }
            let drops = plane.anchors.iter().any(|old| !holds.contains(old));
            let wiring = Wiring::Reference {
                field,
                secret: trust.trust_secret.object.clone(),
                holds,
            };
            (wiring, drops, Vec::new())
        };
        let was_wired = self.previous().is_some_and(|status| {
            status.planes.iter().any(|old| {
                old.wired
                    && old.kind == name.kind
                    && old.namespace == name.namespace
                    && old.name == name.name
            })
        });
        let lacks_ours = !plane.anchors.contains(anchor);
        let object = name.to_string();
        self.may_repair(
            &object,
            "spec.clusterAgent.clientCA",
            was_wired && lacks_ours,
            plane.manager.clone(),
            plane.changed,
        )?;
        Ok(Some(wiring))
    }

    /// An agent whose plane ID no plane resource has is refused by the gateway.
    pub(super) fn agents_without_plane(&mut self) {
        let observed = self.observed;
        let bundle = &observed.issuance.spec.trust.config_map_name;
        let planes = observed.planes.iter();
        let known: BTreeSet<(&str, &str)> = planes
            .map(|plane| (plane_type(plane.plane.kind), plane.plane_id.as_str()))
            .collect();
        let lost: Vec<(&WorkloadRef, Problem)> = observed
            .workloads
            .iter()
            .filter(|workload| {
                workload.mounts.iter().any(|mount| mount.kind == MaterialKind::ConfigMap && mount.object.name == *bundle)
            })
            .filter_map(|workload| {
                let (kind, id) = workload.agent.as_ref()?;
                (!known.contains(&(kind.as_str(), id.as_str()))).then(|| {
                    let message = format!(
                        "{} runs an agent with --plane-type={kind} --plane-id={id}, but no plane resource has that planeID, so the gateway \
                         would say \"no {kind} CRs found with planeID '{id}'\"; create the plane resource, or let its spec.planeID equal the agent's --plane-id",
                        workload.workload
                    );
                    (&workload.workload, Problem::new(Reason::PlaneNotFound, message))
                })
            })
            .collect();
        for (workload, problem) in lost {
            self.problem(Area::Planes, workload, problem);
        }
    }
}
