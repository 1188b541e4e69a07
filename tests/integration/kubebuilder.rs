//! What kubebuilder v4 scaffolds works as it is: its certificates are made, its webhooks and its conversion are trusted.

use external_ca_tests::apply::{MANAGER, apply_documents, apply_yaml, documents, dynamic_api};
use external_ca_tests::cert_manager::{CRDS, is_ready};
use external_ca_tests::crds::Release;
use external_ca_tests::kubelet::{Kubelet, KubeletOptions, rolled_out};
use external_ca_tests::openssl::{Purpose, fields, verify};
use external_ca_tests::scratch::Scratch;
use external_ca_tests::wait::{PATIENCE, wait_for};
use external_ca_tests::world::World;
use external_ca_tests::{Operator, OperatorOptions, Result, repository};
use k8s_openapi::ByteString;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, PostParams};
use serde_json::{Value, json};

const NAMESPACE: &str = "fleet-system";
const DEFINITION: &str = "frigates.ship.example.org";
const CONFIGURATIONS: [&str; 2] = [
    "fleet-mutating-webhook-configuration",
    "fleet-validating-webhook-configuration",
];
/// The webhook's is among the chart's own.
const SECRETS: [&str; 2] = ["webhook-server-cert", "metrics-server-cert"];

async fn scaffold() -> Result<Vec<Value>> {
    let dir = Scratch::new("kubebuilder")?;
    let project = dir.path().join("fleet");
    std::fs::create_dir(&project)?;
    let output = tokio::process::Command::new(repository().join("tests/kubebuilder.sh"))
        .arg(&project)
        .kill_on_drop(true)
        .output()
        .await?;
    match output.status.success() {
        true => documents(&String::from_utf8(output.stdout)?),
        false => Err(String::from_utf8_lossy(&output.stderr).into()),
    }
}

/// The operator, told by the chart's values what it may write.
async fn operator(world: &World) -> Result<Operator> {
    let mut options = OperatorOptions::installed(&world.cluster, None, &[NAMESPACE]).await?;
    for (flag, names) in [
        ("cert-manager-secrets", SECRETS.join(",")),
        ("webhook-configurations", CONFIGURATIONS.join(",")),
        ("injected-definitions", DEFINITION.to_owned()),
    ] {
        options.args.push(format!("--{flag}={names}"));
    }
    let operator = Operator::start(options).await?;
    operator.ready().await?;
    Ok(operator)
}

/// Every `caBundle` of an object, wherever it is.
fn bundles(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match serde_json::from_value::<ByteString>(value.clone()) {
                    Ok(bundle) if name == "caBundle" => {
                        found.push(String::from_utf8_lossy(&bundle.0).into_owned());
                    }
                    _ => found.extend(bundles(value)),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| found.extend(bundles(item))),
        _ => {}
    }
    found
}

async fn certificates_are_ready(
    world: &World,
    operator: &Operator,
    objects: &[Value],
) -> Result<()> {
    let certificates = objects.iter().filter(|one| one["kind"] == "Certificate");
    for certificate in certificates {
        let name = certificate["metadata"]["name"].as_str().unwrap();
        wait_for(
            &format!("Certificate {name}"),
            PATIENCE,
            async || match is_ready(&world.admin, NAMESPACE, name).await {
                Ok(true) => Ok(()),
                other => Err(format!("{other:?}\n{}", operator.log())),
            },
        )
        .await;
        let secret = certificate["spec"]["secretName"].as_str().unwrap();
        let made = world.secret_text(NAMESPACE, secret, "tls.crt").await;
        let names = fields(&made).names;
        for name in certificate["spec"]["dnsNames"].as_array().unwrap() {
            let name = format!("DNS:{}", name.as_str().unwrap().to_lowercase());
            assert!(names.contains(&name), "{name}: {names:?}");
        }
    }
    Ok(())
}

async fn bundles_verify(world: &World, objects: &[Value]) -> Result<()> {
    let served = world.secret_text(NAMESPACE, SECRETS[0], "tls.crt").await;
    for object in objects {
        let annotations = &object["metadata"]["annotations"];
        if annotations["cert-manager.io/inject-ca-from"].is_null() {
            continue;
        }
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap();
        let (kind, name) = (text("/kind"), text("/metadata/name"));
        let api = dynamic_api(&world.admin, text("/apiVersion"), kind, None).await?;
        wait_for(&format!("{kind} {name}"), PATIENCE, async || {
            let found = api.get(name).await.map_err(|error| error.to_string())?;
            let found = bundles(&found.data);
            if found.is_empty() {
                return Err("no caBundle".to_owned());
            }
            found
                .iter()
                .try_for_each(|bundle| verify(bundle, &served, Purpose::Any))
        })
        .await;
    }
    Ok(())
}

#[tokio::test]
async fn what_kubebuilder_scaffolds_works_unmodified() -> Result<()> {
    let objects = scaffold().await?;
    let values = json!({
        "namespaces": {"serve": [NAMESPACE]},
        "certManager": {
            "secrets": SECRETS,
            "webhookConfigurations": CONFIGURATIONS,
            "customResourceDefinitions": [DEFINITION],
        },
    });
    let world = World::without_planes(Release::V1_2, values).await?;
    apply_yaml(&world.admin, CRDS).await?;
    let kubelet = KubeletOptions {
        managers: true,
        ..KubeletOptions::default()
    };
    let _kubelet = Kubelet::start(&world.cluster, kubelet).await?;
    let operator = operator(&world).await?;
    apply_documents(&world.admin, objects.clone(), MANAGER).await?;
    certificates_are_ready(&world, &operator, &objects).await?;
    bundles_verify(&world, &objects).await?;
    let manager = "fleet-controller-manager";
    rolled_out(&world.admin, NAMESPACE, manager, PATIENCE).await?;

    // The API server asks its webhooks, and has it convert.
    let api = |version: &'static str| {
        let version = format!("ship.example.org/{version}");
        let admin = world.admin.clone();
        async move { dynamic_api(&admin, &version, "Frigate", Some("default")).await }
    };
    let (stored, served): (Api<DynamicObject>, Api<DynamicObject>) =
        (api("v1").await?, api("v1beta1").await?);
    let frigate = json!({
        "apiVersion": "ship.example.org/v1", "kind": "Frigate",
        "metadata": {"name": "one"}, "spec": {"foo": "bar"},
    });
    let frigate: DynamicObject = serde_json::from_value(frigate)?;
    wait_for("the webhooks to be trusted", PATIENCE, async || {
        stored.create(&PostParams::default(), &frigate).await
    })
    .await;
    let converted = wait_for("the conversion to be trusted", PATIENCE, async || {
        served.get("one").await
    })
    .await;
    assert_eq!(converted.name_any(), "one");
    let version = converted.types.unwrap().api_version;
    assert_eq!(version, "ship.example.org/v1beta1");
    Ok(())
}
