//! `verify` and `parse_bundle` say what Go says, for every combination of leaves, intermediates, roots and times.

use std::collections::BTreeMap;
use std::fs;

use external_ca_core::x509::{Certificate, Usages, encode_bundle, parse_bundle, verify};
use jiff::{SignedDuration, Timestamp};

use super::support::{Question, ask_go, certificate, now, odd_cas};

fn all() -> BTreeMap<String, Certificate> {
    fs::read_dir(odd_cas().join("verify"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, certificate(&fs::read(path).unwrap()))
        })
        .collect()
}

struct Asked {
    what: String,
    chain: Vec<Certificate>,
    roots: Vec<Certificate>,
    usages: Usages,
    time: Timestamp,
}

/// Asks Go all of it, and compares.
fn compare(asked: &[Asked]) -> (usize, BTreeMap<&'static str, usize>) {
    let questions: Vec<Question> = asked
        .iter()
        .map(|asked| Question {
            roots_pem: encode_bundle(&asked.roots),
            chain_pem: encode_bundle(&asked.chain),
            usage: if asked.usages == Usages::SERVER {
                "server"
            } else {
                "client"
            },
            dns: String::new(),
            key_pem: String::new(),
            time: asked.time.to_string(),
        })
        .collect();
    let (mut accepted, mut reasons, mut disagreements) = (0, BTreeMap::new(), Vec::new());
    for (asked, go) in asked.iter().zip(ask_go(&questions)) {
        let ours = verify(&asked.chain, &asked.roots, asked.usages, asked.time);
        if ours.is_ok() != go.ok {
            disagreements.push(format!("{}: {ours:?}, Go: {}", asked.what, go.error));
        }
        match ours {
            Ok(()) => accepted += 1,
            Err(error) => *reasons.entry(error.reason()).or_default() += 1,
        }
    }
    assert!(
        disagreements.is_empty(),
        "{} disagreements: {:#?}",
        disagreements.len(),
        &disagreements[..disagreements.len().min(20)]
    );
    (accepted, reasons)
}

#[test]
fn go_agrees_on_every_combination() {
    let all = all();
    let of = |prefix: &str| {
        all.iter()
            .filter(|(name, _)| name.starts_with(prefix))
            .collect::<Vec<_>>()
    };
    let (roots, subs, leaves) = (of("root"), of("sub"), of("leaf"));
    let none: Vec<Certificate> = Vec::new();
    let now = now();
    let year = SignedDuration::from_hours(8766);
    let mut asked = Vec::new();
    let mut ask = |what: String, chain: Vec<Certificate>, roots: Vec<Certificate>, time| {
        for usages in [Usages::SERVER, Usages::CLIENT] {
            let (chain, roots) = (chain.clone(), roots.clone());
            asked.push(Asked {
                what: format!("{what} {usages:?} {time}"),
                chain,
                roots,
                usages,
                time,
            });
        }
    };

    // Each leaf through each intermediate to each root.
    for (leaf_name, leaf) in &leaves {
        for (root_name, root) in &roots {
            ask(
                format!("{leaf_name} {root_name}"),
                vec![(*leaf).clone()],
                vec![(*root).clone()],
                now,
            );
            for (sub_name, sub) in &subs {
                let chain = vec![(*leaf).clone(), (*sub).clone()];
                ask(
                    format!("{leaf_name} {sub_name} {root_name}"),
                    chain,
                    vec![(*root).clone()],
                    now,
                );
            }
        }
        // Pinned, or an intermediate as the only root, or everything trusted at once, or nothing of use.
        ask(
            format!("{leaf_name} itself"),
            vec![(*leaf).clone()],
            vec![(*leaf).clone()],
            now,
        );
        for (sub_name, sub) in &subs {
            ask(
                format!("{leaf_name} trusting {sub_name}"),
                vec![(*leaf).clone()],
                vec![(*sub).clone()],
                now,
            );
        }
        for (other_name, other) in &leaves {
            ask(
                format!("{leaf_name} trusting {other_name}"),
                vec![(*leaf).clone()],
                vec![(*other).clone()],
                now,
            );
        }
        if !["leaf-sub", "leaf-subsub", "leaf-constrained", "leaf-policy"]
            .contains(&leaf_name.as_str())
        {
            continue;
        }
        let everything: Vec<Certificate> = roots
            .iter()
            .chain(&subs)
            .map(|(_, c)| (*c).clone())
            .collect();
        ask(
            format!("{leaf_name} trusting all"),
            vec![(*leaf).clone()],
            everything.clone(),
            now,
        );
        let readable = everything.iter().filter(|c| c.defect().is_none());
        let with_all: Vec<Certificate> = std::iter::once(*leaf).chain(readable).cloned().collect();
        for (root_name, root) in &roots {
            for time in [now, now + 5 * year, now - 3 * year, now + 70 * year] {
                ask(
                    format!("{leaf_name} all {root_name}"),
                    with_all.clone(),
                    vec![(*root).clone()],
                    time,
                );
            }
        }
    }
    // The deep chain, in every order and with a gap.
    let pick = |names: &[&str]| {
        names
            .iter()
            .map(|name| all[*name].clone())
            .collect::<Vec<_>>()
    };
    for middle in [
        vec!["subsub", "sub-plain"],
        vec!["sub-plain", "subsub"],
        vec!["subsub"],
        vec!["subsub", "sub-path-zero"],
    ] {
        for (root_name, root) in &roots {
            let chain = pick(&[vec!["leaf-subsub"], middle.clone()].concat());
            ask(
                format!("deep {middle:?} {root_name}"),
                chain,
                vec![(*root).clone()],
                now,
            );
        }
    }
    ask("no roots".to_owned(), pick(&["leaf-direct"]), none, now);
    // At the very edges of the validity.
    let leaf = &all["leaf-direct"];
    for time in [leaf.not_before(), leaf.not_after()] {
        for offset in [-1, 0, 1] {
            let chain = vec![leaf.clone()];
            ask(
                "edge".to_owned(),
                chain,
                pick(&["root-endless"]),
                time + SignedDuration::from_secs(offset),
            );
        }
    }

    let (accepted, reasons) = compare(&asked);
    println!(
        "{} questions, {accepted} accepted, refused: {reasons:?}",
        asked.len()
    );
    assert!(asked.len() > 10_000 && accepted > 500);
    for reason in [
        "UnknownAuthority",
        "Expired",
        "NotYetValid",
        "NotACertificateAuthority",
        "PathLengthExceeded",
        "WeakSignature",
        "IncompatibleUsage",
        "NameConstraints",
        "PolicyConstraints",
        "UnhandledCriticalExtension",
        "CertificateInvalid",
    ] {
        assert!(reasons.contains_key(reason), "no case for {reason}");
    }
}

#[test]
fn go_agrees_on_odd_cas_as_roots_of_each_other() {
    let now = now();
    let cas: Vec<_> = super::support::cases("good")
        .into_iter()
        .map(|(name, path)| (name, super::support::load(&path, now).unwrap()))
        .collect();
    let mut asked = Vec::new();
    for (name, ca) in &cas {
        let chain: Vec<Certificate> = ca.chain().cloned().collect();
        for (other, root) in &cas {
            let what = format!("{name} {other}");
            let (chain, roots) = (chain.clone(), vec![root.anchor().clone()]);
            asked.push(Asked {
                what,
                chain,
                roots,
                usages: Usages::SERVER,
                time: now,
            });
        }
    }
    let (accepted, reasons) = compare(&asked);
    println!(
        "{} questions, {accepted} accepted, refused: {reasons:?}",
        asked.len()
    );
}

#[test]
fn a_pile_of_look_alikes_does_not_take_for_ever() {
    let all = all();
    // Go gives up after 100 signatures; so do we, and it takes no longer for a thousand.
    let pile = vec![all["root-same-name"].clone(); 1000];
    let mut roots = pile.clone();
    roots.push(all["root"].clone());
    let verdict = verify(&[all["leaf-direct"].clone()], &roots, Usages::SERVER, now());
    // The fitting key identifier is tried first.
    assert_eq!(verdict, Ok(()));
    let verdict = verify(&[all["leaf-direct"].clone()], &pile, Usages::SERVER, now());
    assert_eq!(verdict.unwrap_err().reason(), "SignatureLimit");
    assert_eq!(
        verify(&[], &roots, Usages::SERVER, now())
            .unwrap_err()
            .reason(),
        "CertificateMissing"
    );
}

/// Always the same ones, so that the same damage is done in every run: leaf, root, stranger, and variants of the root.
fn kept() -> ([Certificate; 3], Vec<Certificate>, Timestamp) {
    let bundle = parse_bundle(include_bytes!("../../testdata/damaged.pem"));
    let [leaf, root, stranger, variants @ ..] = bundle.certificates.as_slice() else {
        panic!("testdata")
    };
    let now = "2027-01-01T00:00:00Z".parse().unwrap();
    (
        [leaf.clone(), root.clone(), stranger.clone()],
        variants.to_vec(),
        now,
    )
}

/// Texts as they stand in trust places, and the same texts damaged: Go finds the root in exactly those where we do.
#[test]
fn go_finds_the_same_roots_in_damaged_bundles() {
    let ([leaf, root, other], _, now) = kept();
    let text = format!(
        "# trust\n{}middle: x\n{}\n-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\ntrailing",
        other.to_pem(),
        root.to_pem()
    );
    let mut texts: Vec<Vec<u8>> = vec![
        text.clone().into_bytes(),
        text.replace('\n', "\r\n").into_bytes(),
        text.replace('\n', "\r").into_bytes(),
        text.replace('\n', " \n").into_bytes(),
        text.replace('\n', "\n ").into_bytes(),
        text.replace(
            "-----BEGIN CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\nA: b\n\n",
        )
        .into_bytes(),
        text.replace("CERTIFICATE", "X509 CERTIFICATE").into_bytes(),
        text.replace("CERTIFICATE", "TRUSTED CERTIFICATE")
            .into_bytes(),
        text.replace("END CERTIFICATE-----\n", "END CERTIFICATE-----")
            .into_bytes(),
        format!("\u{feff}{}", root.to_pem()).into_bytes(),
        root.to_pem().trim_end().as_bytes().to_vec(),
        root.to_pem().replace("\n-----END", "-----END").into_bytes(),
    ];
    let mut state = 1_u64;
    let mut random = move |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let alphabet = b"\n\r\t -:=ABEGIN/+\0\xff";
    for _ in 0..1500 {
        let mut damaged = text.clone().into_bytes();
        for _ in 0..=random(4) {
            let at = random(damaged.len());
            match random(4) {
                0 => damaged[at] = alphabet[random(alphabet.len())],
                1 => damaged.insert(at, alphabet[random(alphabet.len())]),
                2 => drop(damaged.drain(at..(at + random(80)).min(damaged.len()))),
                _ => {
                    let piece = damaged[at..(at + random(80)).min(damaged.len())].to_vec();
                    let to = random(damaged.len());
                    damaged.splice(to..to, piece);
                }
            }
            if damaged.is_empty() {
                damaged.push(b'x');
            }
        }
        texts.push(damaged);
    }
    // JSON carries text only: bytes that are none are made into some, for both.
    let texts: Vec<String> = texts
        .iter()
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .collect();
    let questions: Vec<Question> = texts
        .iter()
        .map(|text| Question {
            roots_pem: text.clone(),
            chain_pem: leaf.to_pem(),
            usage: "server",
            dns: String::new(),
            key_pem: String::new(),
            time: now.to_string(),
        })
        .collect();
    let (mut found, mut missed) = (0, 0);
    for (text, go) in texts.iter().zip(ask_go(&questions)) {
        let bundle = parse_bundle(text.as_bytes());
        let ours = verify(
            std::slice::from_ref(&leaf),
            &bundle.certificates,
            Usages::SERVER,
            now,
        );
        assert_eq!(
            ours.is_ok(),
            go.ok,
            "ours: {ours:?}, Go: {}, unreadable: {:?}\n{text}",
            go.error,
            bundle.unreadable
        );
        if go.ok { found += 1 } else { missed += 1 }
    }
    println!(
        "{} texts: the root is found in {found}, and not in {missed}",
        texts.len()
    );
    assert!(found > 100 && missed > 100);
}

/// Anchors are not checked by signature, so a damaged one may still serve: Go says which.
#[test]
fn go_takes_the_same_damaged_roots() {
    let ([leaf, root, _], variants, now) = kept();
    let mut asked = Vec::new();
    for root in std::iter::once(root).chain(variants) {
        for index in 0..root.der().len() {
            for bit in [index % 8, (index + 3) % 8] {
                let mut der = root.der().to_vec();
                der[index] ^= 1 << bit;
                let Ok(damaged) = Certificate::from_der(der) else {
                    continue;
                };
                let what = format!(
                    "{root:?} {index} {bit}: {damaged:?}, {:?}",
                    damaged.defect()
                );
                let chain = vec![leaf.clone()];
                asked.push(Asked {
                    what,
                    chain,
                    roots: vec![damaged],
                    usages: Usages::SERVER,
                    time: now,
                });
            }
        }
    }
    let (accepted, reasons) = compare(&asked);
    println!(
        "{} damaged roots, {accepted} accepted, refused: {reasons:?}",
        asked.len()
    );
    assert!(accepted > 500);
}
