//! An issuer that signs, fails, or returns what was not asked for; what it returns is checked as the operator does.

use external_ca_core::x509::{
    Certificate, CertificateAuthority, LeafProfile, PrivateKey, check_issued, request, sign_request,
};
use jiff::Timestamp;

use crate::operator::Answer;
use crate::pki::{CAS, ca, key};

pub fn sign(
    authority: &CertificateAuthority,
    profile: &LeafProfile,
    number: u64,
    now: Timestamp,
    answer: Answer,
    trusting: bool,
) -> Result<(Vec<Certificate>, PrivateKey), String> {
    let own = key(number);
    let other = key(number + 1_000_000);
    let serial = u128::from(number).to_be_bytes();
    let issue = |authority: &CertificateAuthority, key: &PrivateKey, profile: &LeafProfile| {
        let csr = request(key, profile).map_err(|error| error.to_string())?;
        let signed = sign_request(authority, csr.der(), profile, serial, now);
        signed.map_err(|error| error.to_string())
    };
    let chain = match answer {
        Answer::Rejected => return Err("the issuer does not answer".into()),
        Answer::WrongChain => match number % 4 {
            0 => Vec::new(),
            1 => issue(&ca(CAS), &own, profile)?,
            2 => issue(authority, &other, profile)?,
            _ => {
                let mut short = profile.clone();
                short.sans.clear();
                short.common_name.push('x');
                short.usages.server_auth = !short.usages.server_auth;
                short.usages.client_auth = !short.usages.client_auth;
                short.sans = profile.sans.iter().take(1).cloned().collect();
                issue(authority, &own, &short)?
            }
        },
        _ => issue(authority, &own, profile)?,
    };
    if !trusting {
        check_issued(&chain, &own, profile, authority, now).map_err(|error| error.to_string())?;
    }
    Ok((chain, own))
}
