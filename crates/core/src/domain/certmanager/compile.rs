//! From all of cert-manager's objects to the trust domains that they declare, and what becomes of each.

use std::collections::{BTreeMap, BTreeSet};

use super::declared::{DeclaredAuthority, DeclaredDomain, DeclaredLeaf};
use super::fields::{ISSUER_FIELDS, refused};
use super::spec::{IssuerRef, Spec, spec_of};
use super::words::{CertificateProblem, CertificateWord};
use crate::domain::leaf::{BundlePlace, DesiredLeaf, Role, SecretForm};
use crate::domain::trust_domain::{Generate, SelfSigned};
use crate::model::{
    CertManagerKind, CertManagerObject, CertManagerObjects, CertManagerRef, ObjectRef,
};
use crate::x509::{CaProfile, LeafProfile, San, Style};

/// What the chart's values say of the front end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FrontEnd {
    /// Namespaces that are served.
    pub served: BTreeSet<String>,
    /// The names of the Secrets that it writes.
    pub secrets: BTreeSet<String>,
    /// The names of CA Secrets that people make.
    pub cas: BTreeSet<String>,
    /// The names that issuances write: nothing of them is made here.
    pub of_issuances: BTreeSet<String>,
    /// Where the Secrets of ClusterIssuers lie.
    pub cluster_namespace: String,
}

/// What issuances have: they win.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Others {
    /// The issuance (`<namespace>/<name>`) that has a Secret as a leaf or bundle.
    pub claims: BTreeMap<ObjectRef, String>,
    /// The issuance whose CA Secret it is.
    pub authorities: BTreeMap<ObjectRef, String>,
}

/// What becomes of a Certificate or Issuer.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It belongs to the domain of this authority.
    Planned(ObjectRef),
    /// An issuance (`<namespace>/<name>`) has its Secret.
    Claimed {
        /// Which one.
        issuance: String,
        /// The Secret.
        secret: ObjectRef,
    },
    /// Nothing is made of it.
    Refused(CertificateProblem),
}

/// What all objects come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compiled {
    /// The domains, by the Secret of their authority.
    pub domains: BTreeMap<ObjectRef, DeclaredDomain>,
    /// What becomes of each Certificate.
    pub certificates: BTreeMap<ObjectRef, Verdict>,
    /// What each Issuer and ClusterIssuer signs with: itself, or the CA in a Secret.
    pub issuers: BTreeMap<CertManagerRef, Result<Option<ObjectRef>, CertificateProblem>>,
}

/// What an Issuer signs with.
enum Signer {
    Itself,
    Ca(ObjectRef),
}

/// Compiles all objects. Of two Certificates that want one Secret the older has it.
pub fn compile_all(objects: &CertManagerObjects, front: &FrontEnd, others: &Others) -> Compiled {
    let mut compiled = Compiled::default();
    let mut taken: BTreeMap<ObjectRef, ObjectRef> = BTreeMap::new();
    let mut certificates: Vec<_> = objects.of(CertManagerKind::Certificate).collect();
    certificates.sort_by_key(|(name, object)| (object.created, (*name).clone()));
    let mut leaves = Vec::new();
    let context = Context {
        objects,
        front,
        others,
    };
    for (name, object) in certificates {
        let verdict = match context.judge(name, object, &taken) {
            Ok(Judged::Claimed { issuance, secret }) => Verdict::Claimed { issuance, secret },
            Ok(Judged::Own(secret, spec)) => {
                taken.insert(secret.clone(), name.clone());
                let domain = own_domain(name, &secret, &spec);
                compiled.domains.insert(secret.clone(), domain);
                Verdict::Planned(secret)
            }
            Ok(Judged::Leaf { secret, ca, spec }) => {
                taken.insert(secret.clone(), name.clone());
                leaves.push((ca.clone(), leaf(name, &secret, &spec)));
                Verdict::Planned(ca)
            }
            Err(problem) => Verdict::Refused(problem),
        };
        compiled.certificates.insert(name.clone(), verdict);
    }
    for kind in [CertManagerKind::Issuer, CertManagerKind::ClusterIssuer] {
        for (object, found) in objects.of(kind) {
            let signer = context.signer_of(kind, object, found);
            let signer = signer.map(|signer| match signer {
                Signer::Itself => None,
                Signer::Ca(secret) => Some(secret),
            });
            let object = object.clone();
            let name = CertManagerRef { kind, object };
            compiled.issuers.insert(name, signer);
        }
    }
    for (ca, leaf) in leaves {
        let domain = compiled.domains.entry(ca.clone());
        let domain = domain.or_insert_with(|| DeclaredDomain {
            authority: DeclaredAuthority {
                secret: ca,
                made: None,
            },
            leaves: BTreeMap::new(),
        });
        domain.leaves.insert(leaf.leaf.target.clone(), leaf);
    }
    compiled
}

/// What one Certificate comes to.
enum Judged {
    Claimed {
        issuance: String,
        secret: ObjectRef,
    },
    /// It makes an authority.
    Own(ObjectRef, Spec),
    /// An authority signs it.
    Leaf {
        secret: ObjectRef,
        ca: ObjectRef,
        spec: Spec,
    },
}

struct Context<'a> {
    objects: &'a CertManagerObjects,
    front: &'a FrontEnd,
    others: &'a Others,
}

fn problem<T>(word: CertificateWord, message: impl Into<String>) -> Result<T, CertificateProblem> {
    Err(CertificateProblem::new(word, message))
}

impl Context<'_> {
    fn judge(
        &self,
        name: &ObjectRef,
        object: &CertManagerObject,
        taken: &BTreeMap<ObjectRef, ObjectRef>,
    ) -> Result<Judged, CertificateProblem> {
        let spec = spec_of(name, object)?;
        let secret = ObjectRef::new(&name.namespace, &spec.secret_name);
        if let Some(issuance) = self.others.claims.get(&secret) {
            let issuance = issuance.clone();
            return Ok(Judged::Claimed { issuance, secret });
        }
        self.may_write(&secret)?;
        if let Some(owner) = taken.get(&secret) {
            return problem(
                CertificateWord::SecretTaken,
                format!(
                    "the Secret {secret} is that of the older Certificate {owner}; give one of the two another secretName"
                ),
            );
        }
        match self.signer(name, &spec.issuer)? {
            Signer::Itself => {
                validate(&spec)?;
                Ok(Judged::Own(secret, spec))
            }
            Signer::Ca(_) if spec.is_ca => problem(
                CertificateWord::FieldNotSupported,
                "spec.isCA is true under a ca Issuer: intermediate CAs are not made here; sign it with a selfSigned Issuer",
            ),
            Signer::Ca(ca) if ca == secret => problem(
                CertificateWord::SecretTaken,
                format!(
                    "the Secret {secret} is that of its Issuer's CA; give it another secretName"
                ),
            ),
            Signer::Ca(ca) => {
                validate(&spec)?;
                Ok(Judged::Leaf { secret, ca, spec })
            }
        }
    }

    /// An issuance wins, also before it exists; beyond that only names count that the chart's values list.
    fn may_write(&self, secret: &ObjectRef) -> Result<(), CertificateProblem> {
        if let Some(issuance) = self.others.authorities.get(secret) {
            return problem(
                CertificateWord::SecretTaken,
                format!(
                    "the Secret {secret} is the CA Secret of the ExternalCAIssuance {issuance}; give the Certificate another secretName"
                ),
            );
        }
        if self.front.of_issuances.contains(&secret.name) {
            return problem(
                CertificateWord::WaitingForIssuance,
                format!(
                    "the Secret {secret} is an ExternalCAIssuance's to write, and none does yet: create one"
                ),
            );
        }
        if !self.front.secrets.contains(&secret.name) {
            return problem(
                CertificateWord::SecretNotListed,
                format!(
                    "the operator may not write the Secret {secret}: add its name to the chart's certManager.secrets"
                ),
            );
        }
        Ok(())
    }

    fn signer(
        &self,
        certificate: &ObjectRef,
        issuer: &IssuerRef,
    ) -> Result<Signer, CertificateProblem> {
        let (kind, namespace) = match issuer.kind.as_str() {
            "ClusterIssuer" => (CertManagerKind::ClusterIssuer, ""),
            _ => (CertManagerKind::Issuer, certificate.namespace.as_str()),
        };
        let name = ObjectRef::new(namespace, &issuer.name);
        let Some(found) = self.objects.get(kind, &name) else {
            return problem(
                CertificateWord::IssuerNotFound,
                format!("the {kind:?} {} does not exist; create it", issuer.name),
            );
        };
        self.signer_of(kind, &name, found)
    }

    fn signer_of(
        &self,
        kind: CertManagerKind,
        issuer: &ObjectRef,
        found: &CertManagerObject,
    ) -> Result<Signer, CertificateProblem> {
        let namespace = issuer.namespace.as_str();
        if let Some(field) = refused(&found.spec, ISSUER_FIELDS) {
            return problem(
                CertificateWord::FieldNotSupported,
                format!(
                    "spec.{field} of the {kind:?} {} is not honoured here; docs/cert-manager.md lists what is",
                    issuer.name
                ),
            );
        }
        if found.spec.get("selfSigned").is_some() {
            return Ok(Signer::Itself);
        }
        let ca = found
            .spec
            .pointer("/ca/secretName")
            .and_then(|name| name.as_str());
        let Some(ca) = ca.filter(|name| !name.is_empty()) else {
            return problem(
                CertificateWord::FieldNotSupported,
                format!(
                    "the {kind:?} {} says neither spec.selfSigned nor spec.ca.secretName",
                    issuer.name
                ),
            );
        };
        let namespace = match kind {
            CertManagerKind::ClusterIssuer => self.front.cluster_namespace.as_str(),
            _ => namespace,
        };
        self.ca(ObjectRef::new(namespace, ca)).map(Signer::Ca)
    }

    /// The CA Secret of an Issuer, where it may sign here.
    fn ca(&self, secret: ObjectRef) -> Result<ObjectRef, CertificateProblem> {
        let (claims, authorities) = (&self.others.claims, &self.others.authorities);
        if let Some(issuance) = claims.get(&secret).or_else(|| authorities.get(&secret)) {
            return problem(
                CertificateWord::NotTakenOver,
                format!(
                    "its Issuer's CA is that of the ExternalCAIssuance {issuance}, which signs what it names itself and nothing else"
                ),
            );
        }
        if self.front.of_issuances.contains(&secret.name) {
            return problem(
                CertificateWord::WaitingForIssuance,
                format!(
                    "its Issuer's CA Secret {secret} is an ExternalCAIssuance's to write, and none does yet: create one"
                ),
            );
        }
        let front = self.front;
        if !front.served.contains(&secret.namespace) {
            return problem(
                CertificateWord::SecretNotListed,
                format!(
                    "its Issuer's CA Secret {secret} lies in a namespace that is not served; add it to the chart's namespaces.serve"
                ),
            );
        }
        if !front.secrets.contains(&secret.name) && !front.cas.contains(&secret.name) {
            return problem(
                CertificateWord::SecretNotListed,
                format!(
                    "the operator may not read its Issuer's CA Secret {secret}: add its name to the chart's certManager.secrets, or to secrets.ca"
                ),
            );
        }
        Ok(secret)
    }
}

/// What no certificate could be made of is told before anything is.
fn validate(spec: &Spec) -> Result<(), CertificateProblem> {
    let told = |error: String| {
        CertificateProblem::new(CertificateWord::FieldNotSupported, format!("spec: {error}"))
    };
    let result = leaf_profile(spec).validate();
    match result {
        Err(error) => Err(told(error.to_string())),
        Ok(()) if spec.is_ca && spec.common_name.is_empty() => Err(told(
            "commonName is empty, and a CA is known by it".to_owned(),
        )),
        Ok(()) => Ok(()),
    }
}

fn leaf_profile(spec: &Spec) -> LeafProfile {
    LeafProfile {
        common_name: spec.common_name.clone(),
        organizations: spec.organizations.clone(),
        sans: spec.sans.clone(),
        usages: spec.usages,
        key: spec.key,
        duration: spec.duration,
        style: Style::Asked(spec.asked.clone()),
    }
}

fn leaf(certificate: &ObjectRef, secret: &ObjectRef, spec: &Spec) -> DeclaredLeaf {
    DeclaredLeaf {
        certificate: certificate.clone(),
        leaf: DesiredLeaf {
            target: secret.clone(),
            role: Role::Further,
            profile: leaf_profile(spec),
            planes: BTreeSet::new(),
            blocked: false,
            renewal: Some(spec.renewal),
            form: form(certificate, spec),
        },
    }
}

/// The domain of a Certificate that signs itself.
fn own_domain(certificate: &ObjectRef, secret: &ObjectRef, spec: &Spec) -> DeclaredDomain {
    let profile = match spec.is_ca {
        true => SelfSigned::Ca(CaProfile {
            common_name: spec.common_name.clone(),
            organizations: spec.organizations.clone(),
            organizational_units: spec.asked.organizational_units.clone(),
            path_length: None,
            duration: spec.duration,
        }),
        false => SelfSigned::Leaf(leaf_profile(spec)),
    };
    let leaves = match spec.is_ca {
        true => BTreeMap::new(),
        false => BTreeMap::from([(secret.clone(), leaf(certificate, secret, spec))]),
    };
    let generate = Generate {
        profile,
        key: spec.key,
        keeps_key: spec.renewal.keeps_key,
        form: form(certificate, spec),
        renew_before: Some(spec.renewal.before),
    };
    DeclaredDomain {
        authority: DeclaredAuthority {
            secret: secret.clone(),
            made: Some((certificate.clone(), generate)),
        },
        leaves,
    }
}

/// cert-manager's own annotations, so that it adopts what it finds, and the template's.
fn form(certificate: &ObjectRef, spec: &Spec) -> SecretForm {
    let joined = |kind: fn(&San) -> Option<String>| {
        let names: Vec<String> = spec.sans.iter().filter_map(kind).collect();
        names.join(",")
    };
    let annotation = |name: &str, value: String| (format!("cert-manager.io/{name}"), value);
    let own = [
        annotation(
            "alt-names",
            joined(|san| match san {
                San::Dns(name) => Some(name.clone()),
                _ => None,
            }),
        ),
        annotation("certificate-name", certificate.name.clone()),
        annotation("common-name", spec.common_name.clone()),
        annotation(
            "ip-sans",
            joined(|san| match san {
                San::Ip(address) => Some(address.to_string()),
                _ => None,
            }),
        ),
        annotation("issuer-group", spec.issuer.group.clone()),
        annotation("issuer-kind", spec.issuer.kind.clone()),
        annotation("issuer-name", spec.issuer.name.clone()),
        annotation(
            "uri-sans",
            joined(|san| match san {
                San::Uri(uri) => Some(uri.clone()),
                _ => None,
            }),
        ),
    ];
    let mut annotations = spec.annotations.clone();
    annotations.extend(own);
    SecretForm {
        labels: spec.labels.clone(),
        annotations,
        bundle: BundlePlace::Beside,
    }
}
