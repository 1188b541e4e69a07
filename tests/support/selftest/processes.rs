//! Children end with their owner, however that ends.

use external_ca_tests::openssl::{self, Ca, KeyKind, Purpose};
use external_ca_tests::process::{Program, Signal};
use external_ca_tests::scratch::Scratch;
use external_ca_tests::wait::{PATIENCE, wait_for};
use external_ca_tests::{Operator, OperatorOptions, Result};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

fn lives(id: u32) -> bool {
    // A zombie lives no more.
    std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn a_process_ends_with_its_value() -> Result<()> {
    let dir = Scratch::new("selftest")?;
    let log = dir.path().join("log");
    let process = Program::new("sh")
        .args(["-c", "echo started; sleep 600"])
        .start("sleeper", &log)?;
    wait_for("output", PATIENCE, async || {
        if process.log() == "started\n" {
            Ok(())
        } else {
            Err(process.log())
        }
    })
    .await;
    let id = process.id();
    assert!(lives(id) && process.rss_kib() > 0 && process.exit_status().is_none());
    drop(process);
    assert!(!lives(id));

    let process = Program::new("sh").args([
        "-c",
        "trap 'exit 3' TERM; echo ok; while :; do sleep 0.05; done",
    ]);
    let process = process.start("obedient", &log)?;
    wait_for("output", PATIENCE, async || {
        if process.log().ends_with("ok\n") {
            Ok(())
        } else {
            Err(process.log())
        }
    })
    .await;
    assert_eq!(
        process
            .terminate(PATIENCE)
            .await
            .and_then(|status| status.code()),
        Some(3)
    );

    let process = Program::new("sh").args([
        "-c",
        "trap '' TERM; echo deaf; while :; do sleep 0.05; done",
    ]);
    let process = process.start("deaf", &log)?;
    wait_for("output", PATIENCE, async || {
        if process.log().ends_with("deaf\n") {
            Ok(())
        } else {
            Err(process.log())
        }
    })
    .await;
    assert!(
        process
            .terminate(Duration::from_millis(100))
            .await
            .is_none()
    );
    assert!(!lives(process.id()));
    assert!(
        Program::new("/no/such/program")
            .start("missing", &log)
            .is_err()
    );
    Ok(())
}

/// Not a test of its own: the parent that the next test kills.
#[tokio::test]
#[ignore = "run by processes_do_not_outlive_a_killed_test"]
async fn parent_to_be_killed() -> Result<()> {
    let dir = std::env::var("TEST_PARENT_DIR")?;
    let dir = Path::new(&dir);
    let process = Program::new("sleep")
        .args(["600"])
        .start("sleeper", &dir.join("log"))?;
    // Complete or not there.
    std::fs::write(dir.join("id.tmp"), process.id().to_string())?;
    std::fs::rename(dir.join("id.tmp"), dir.join("id"))?;
    process.exited().await;
    Ok(())
}

#[tokio::test]
async fn processes_do_not_outlive_a_killed_test() -> Result<()> {
    // With the kernel's help, and with the shell's.
    for setpriv in [true, false] {
        let dir = Scratch::new("selftest")?;
        let mut parent = Command::new(std::env::current_exe()?);
        parent
            .args(["--ignored", "--exact", "processes::parent_to_be_killed"])
            .env("TEST_PARENT_DIR", dir.path());
        if !setpriv {
            parent.env("TEST_NO_SETPRIV", "1");
        }
        let mut parent = parent.stdout(std::process::Stdio::null()).spawn()?;
        let id = wait_for("the parent to have a child", PATIENCE, async || {
            std::fs::read_to_string(dir.path().join("id")).map_err(|error| error.to_string())
        })
        .await
        .parse()?;
        assert!(lives(id));
        parent.kill()?; // SIGKILL
        parent.wait()?;
        wait_for("the child to end", PATIENCE, async || {
            if lives(id) { Err("it lives") } else { Ok(()) }
        })
        .await;
    }
    Ok(())
}

#[tokio::test]
async fn the_operators_wrapper_starts_kills_and_restarts() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let dir = Scratch::new("selftest")?;
    let script = "#!/bin/sh\ntrap 'echo bye; exit 0' TERM\necho \"$KUBECONFIG $*\"\nwhile :; do sleep 0.05; done\n";
    let binary = dir.write("operator", script)?;
    std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755))?;
    let mut operator = Operator::start(OperatorOptions {
        kubeconfig: "/kubeconfig".into(),
        namespaces: vec!["a".to_owned(), "b".to_owned()],
        args: vec!["--leader-elect=false".to_owned()],
        binary: Some(binary),
        ..OperatorOptions::default()
    })
    .await?;
    let lines = |n: usize| {
        let log = operator.log();
        if log.lines().count() == n {
            Ok(log)
        } else {
            Err(log)
        }
    };
    let log = wait_for("output", PATIENCE, async || lines(1)).await;
    let port = operator.port();
    assert_eq!(
        log,
        format!(
            "/kubeconfig run --namespaces=a,b --http-address=127.0.0.1:{port} --lease-namespace=external-ca-system \
             --log-format=json --leader-elect=false\n"
        )
    );
    operator.process().signal(Signal::STOP);
    operator.kill();
    assert!(operator.exit_status().is_some());
    assert!(
        operator
            .ready()
            .await
            .unwrap_err()
            .to_string()
            .contains("it ended with signal: 9")
    );
    operator.restart().await?;
    wait_for("output", PATIENCE, async || {
        if operator.log().lines().count() == 2 {
            Ok(())
        } else {
            Err(operator.log())
        }
    })
    .await;
    assert!(
        operator
            .terminate()
            .await
            .is_some_and(|status| status.success())
    );
    assert!(operator.log().ends_with("bye\n"));
    Ok(())
}

#[test]
fn openssl_makes_reads_and_verifies_the_guides_certificates() {
    let ca = Ca::guide();
    let (server, agent) = (ca.server_leaf("ns"), ca.agent_leaf("eu-1"));
    let root = openssl::fields(&ca.certificate);
    assert_eq!(
        (root.subject.as_str(), root.public_key.as_str()),
        (
            "O=OpenChoreo,CN=openchoreo-cluster-gateway-ca",
            "rsaEncryption 4096"
        )
    );
    let fields = openssl::fields(&server.certificate);
    assert_eq!(
        fields.names,
        [
            "DNS:cluster-gateway.ns.svc",
            "DNS:cluster-gateway.ns.svc.cluster.local"
        ]
    );
    assert_eq!(fields.key_usage, ["Digital Signature", "Key Encipherment"]);
    assert_eq!(fields.extended_key_usage, ["TLS Web Server Authentication"]);
    assert_eq!(
        (fields.basic_constraints.as_str(), fields.issuer),
        ("CA:FALSE", root.subject.clone())
    );
    assert_eq!(
        (fields.authority_key_id, fields.not_after.len()),
        (root.subject_key_id, "2026-01-01T00:00:00Z".len())
    );
    let fields = openssl::fields(&agent.certificate);
    assert_eq!(
        (
            fields.subject.as_str(),
            fields.key_usage.len(),
            fields.public_key.as_str()
        ),
        ("O=OpenChoreo,CN=eu-1", 1, "rsaEncryption 2048")
    );
    assert!(
        openssl::key_matches(&agent.certificate, &agent.key)
            && !openssl::key_matches(&agent.certificate, &server.key)
    );

    let verify = |roots: &str, leaf: &openssl::Leaf, purpose| {
        openssl::verify(roots, &leaf.certificate, purpose)
    };
    verify(
        &ca.certificate,
        &server,
        Purpose::Server("cluster-gateway.ns.svc"),
    )
    .unwrap();
    verify(&ca.certificate, &agent, Purpose::Client).unwrap();
    let strictly = openssl::verify_strictly(&ca.certificate, &agent.certificate, Purpose::Client);
    assert!(
        strictly
            .unwrap_err()
            .contains("CA cert does not include key usage extension")
    );
    assert!(
        verify(&ca.certificate, &server, Purpose::Server("other"))
            .unwrap_err()
            .contains("ostname mismatch")
    );
    assert!(verify(&ca.certificate, &server, Purpose::Client).is_err());
    assert!(
        verify(&Ca::replacement(1).certificate, &agent, Purpose::Any).is_err(),
        "same subject, another key"
    );

    // An intermediate, as a root of its own and below one.
    let intermediate = ca.intermediate("/CN=eu-1", KeyKind::P256);
    let leaf = intermediate.agent_leaf("eu-1");
    assert_eq!(openssl::pem_blocks(&leaf.certificate).len(), 2);
    verify(&ca.certificate, &leaf, Purpose::Client).unwrap();
    verify(&intermediate.certificate, &leaf, Purpose::Client).unwrap();
    for kind in [KeyKind::P384, KeyKind::Ed25519] {
        let ca = Ca::new("/DC=com/DC=example/OU=a/OU=b/CN=root", kind);
        verify(&ca.certificate, &ca.agent_leaf("x"), Purpose::Client).unwrap();
    }
}
