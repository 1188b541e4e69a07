//! One object of an answer, decoded by itself: what does not parse hides no other, and its values stand in no message.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// An object of a kind, or its metadata alone where the rest does not parse.
#[derive(Clone)]
pub struct Lenient<K> {
    metadata: ObjectMeta,
    object: Result<K, Undecodable>,
}

/// A field has a value that its kind does not know. The value is not told: it may be a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its field {field} has a value that cannot be read; correct that field")]
pub struct Undecodable {
    /// Where it stands, as a path.
    pub field: String,
}

/// So much of a path is told.
const TOLD_SEGMENTS: usize = 6;

/// And so much of each name in it, which whoever made the object may have chosen.
const TOLD_CHARACTERS: usize = 64;

impl<K> Lenient<K> {
    /// The object, where it parses.
    pub fn decoded(&self) -> Result<&K, &Undecodable> {
        self.object.as_ref()
    }

    /// The object, where it parses.
    pub fn into_decoded(self) -> Result<K, Undecodable> {
        self.object
    }
}

impl<K: DeserializeOwned> Lenient<K> {
    /// Decodes an object from its text.
    fn of_text(text: &str) -> Self {
        match (decode(text), decode(text)) {
            (Ok(object), Ok(Described { metadata })) => Self {
                metadata,
                object: Ok(object),
            },
            _ => Self::by_value(text),
        }
    }

    /// By way of a tree of values, in which what does not parse can be put right. It takes many times the text's room; and the
    /// text may be no value at all: nested too deep, or with an endless number.
    fn by_value(text: &str) -> Self {
        let mut value: Value = match decode(text) {
            Ok(value) => value,
            Err(error) => {
                return Self {
                    metadata: Outline::of(text).metadata.into(),
                    object: Err(error),
                };
            }
        };
        clamp_times(&mut value);
        let text = value.to_string();
        let metadata = decode(&text).map(|Described { metadata }| metadata);
        Self {
            metadata: metadata.unwrap_or_else(|_| Outline::of(&text).metadata.into()),
            object: decode(&text),
        }
    }
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Lenient<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Text is passed over without looking into it: whatever stands there, the list goes on behind it.
        let text = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self::of_text(text.get()))
    }
}

impl<K> fmt::Debug for Lenient<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (namespace, name) = (&self.metadata.namespace, &self.metadata.name);
        let object = (namespace.as_deref(), name.as_deref());
        f.debug_tuple("Lenient").field(&object).finish()
    }
}

impl<K: Resource> Resource for Lenient<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(of: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(of)
    }

    fn group(of: &Self::DynamicType) -> Cow<'_, str> {
        K::group(of)
    }

    fn version(of: &Self::DynamicType) -> Cow<'_, str> {
        K::version(of)
    }

    fn plural(of: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(of)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl Undecodable {
    fn at(path: &serde_path_to_error::Path) -> Self {
        let segments = path.iter().take(TOLD_SEGMENTS).map(told);
        let mut field = segments.collect::<Vec<_>>().join(".").replace(".[", "[");
        if path.iter().len() > TOLD_SEGMENTS {
            field.push_str(".…");
        }
        Self { field }
    }
}

/// The metadata of any object.
#[derive(Deserialize)]
struct Described {
    metadata: ObjectMeta,
}

/// A name of a path, on one line.
fn told(segment: &serde_path_to_error::Segment) -> String {
    let name = segment.to_string();
    let mut characters = name
        .chars()
        .map(|one| if one.is_control() { '?' } else { one });
    let mut told: String = characters.by_ref().take(TOLD_CHARACTERS).collect();
    if characters.next().is_some() {
        told.push('…');
    }
    told
}

/// What tells which object it is, in a text that may be no value.
#[derive(Default, Deserialize)]
struct Outline {
    #[serde(default)]
    metadata: Names,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Names {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
}

impl Outline {
    fn of(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }
}

impl From<Names> for ObjectMeta {
    fn from(names: Names) -> Self {
        Self {
            name: names.name,
            namespace: names.namespace,
            uid: names.uid,
            resource_version: names.resource_version,
            ..Self::default()
        }
    }
}

/// Decodes a text; the error names the field.
fn decode<K: DeserializeOwned>(text: &str) -> Result<K, Undecodable> {
    let mut reader = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| Undecodable::at(error.path()))
}

/// Kubernetes stores times of any year, jiff those until a day before the end of 9999: others become the nearest that it
/// holds.
fn clamp_times(value: &mut Value) {
    match value {
        Value::String(text) if is_beyond_jiff(text) => {
            let nearest = match text.starts_with('-') {
                true => Timestamp::MIN,
                false => Timestamp::MAX,
            };
            *text = nearest.to_string();
        }
        Value::Array(items) => items.iter_mut().for_each(clamp_times),
        Value::Object(fields) => fields.values_mut().for_each(clamp_times),
        _ => {}
    }
}

/// Whether a text is a time, of a year that jiff does not hold: the same day of another year is one.
fn is_beyond_jiff(text: &str) -> bool {
    let year = text.strip_prefix('-').unwrap_or(text);
    let Some((year, rest)) = year.split_once('-') else {
        return false;
    };
    (4..=12).contains(&year.len())
        && year.bytes().all(|digit| digit.is_ascii_digit())
        && text.parse::<Timestamp>().is_err()
        && format!("2000-{rest}").parse::<Timestamp>().is_ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use external_ca_api::ExternalCAIssuance;
    use k8s_openapi::api::apps::v1::Deployment;
    use k8s_openapi::api::core::v1::Secret;
    use kube::core::{ObjectList, WatchEvent};
    use serde_json::json;

    #[test]
    fn a_time_that_jiff_cannot_hold_is_the_last_that_it_can() {
        let fields = json!({"managedFields": [{"manager": "x", "time": "9999-12-31T23:59:59Z"}], "name": "a"});
        assert!(serde_json::from_value::<ObjectMeta>(fields.clone()).is_err());
        let found = Lenient::<Secret>::of_text(&json!({"metadata": fields}).to_string());
        let found = found.into_decoded().unwrap();
        let entries = found.metadata.managed_fields.unwrap();
        let time = entries.first().unwrap().time.clone().unwrap();
        assert_eq!(time.0.as_second(), Timestamp::MAX.as_second());
        // Text that only looks like one stays as it is.
        let data = json!({"stringData": {"when": "9999-12-31T23:59:59Z but not now"}});
        let found = Lenient::<Secret>::of_text(&data.to_string())
            .into_decoded()
            .unwrap();
        let text = found.string_data.unwrap().remove("when").unwrap();
        assert!(text.ends_with("but not now"));
    }

    #[test]
    fn what_does_not_parse_is_named_and_its_value_is_not_told() {
        let secret = json!({
            "metadata": {"name": "a", "namespace": "n", "resourceVersion": "7", "labels": {"x": 1}},
            "data": {"tls.crt": 5, "tls.key": "c2VjcmV0"},
        });
        let found = Lenient::<Secret>::of_text(&secret.to_string());
        let error = found.decoded().unwrap_err();
        assert_eq!(error.field, "data.tls.crt");
        assert_eq!(found.meta().name.as_deref(), Some("a"));
        assert_eq!(found.meta().resource_version.as_deref(), Some("7"));
        assert!(!format!("{found:?} {error} {error:?}").contains("c2VjcmV0"));

        let wrong = json!({"metadata": {}, "data": "c2VjcmV0IQ=="});
        let error = Lenient::<Secret>::of_text(&wrong.to_string())
            .into_decoded()
            .unwrap_err();
        assert_eq!(error.field, "data");
        assert!(!error.to_string().contains("c2VjcmV0"));
    }

    #[test]
    fn the_name_of_a_field_neither_breaks_a_line_nor_fills_a_message() {
        let long = "x".repeat(1000);
        let text = format!(r#"{{"a\nb":{{"{long}":1e999}}}}"#);
        let error = Lenient::<Value>::of_text(&text).into_decoded().unwrap_err();
        assert!(error.field.starts_with("a?b.xxx"), "{error}");
        assert!(error.field.chars().count() < 80, "{error}");
    }

    #[test]
    fn a_list_goes_on_without_its_broken_object() {
        let list = json!({"items": [
            {"metadata": {"name": "a"}, "status": {"replicas": 99_999_999_999_u64}},
            {"metadata": {"name": "b"}},
        ]});
        let items = serde_json::from_value(list.get("items").cloned().unwrap());
        let items: Vec<Lenient<Deployment>> = items.unwrap();
        let broken: Vec<bool> = items.iter().map(|one| one.decoded().is_err()).collect();
        assert_eq!(broken, [true, false]);
    }

    #[test]
    fn neither_a_list_nor_a_watch_ends_at_an_object_that_is_nested_too_deep_or_holds_an_endless_number()
     {
        let deep = format!("{}1{}", r#"{"f:a":"#.repeat(300), "}".repeat(300));
        let odd = |name: &str, fields: &str| {
            format!(
                r#"{{"metadata":{{"name":"{name}","namespace":"n","resourceVersion":"7","managedFields":[{{"fieldsV1":{fields}}}]}},"data":{{"tls.key":"c2VjcmV0"}}}}"#
            )
        };
        let (nested, endless) = (odd("nested", &deep), odd("endless", "1e999"));
        let list = format!(r#"{{"items":[{nested},{endless},{{"metadata":{{"name":"b"}}}}]}}"#);
        let list: ObjectList<Lenient<Secret>> = serde_json::from_str(&list).unwrap();
        let told = list.items.iter().map(|one| {
            let name = one.meta().name.clone().unwrap();
            (name, one.decoded().map_err(ToString::to_string).err())
        });
        let told: Vec<_> = told.collect();
        assert_eq!(told.len(), 3);
        assert!(
            matches!(told.as_slice(), [(a, Some(_)), (b, Some(_)), (c, None)]
            if a == "nested" && b == "endless" && c == "b"),
            "{told:?}"
        );
        let texts = format!("{told:?}");
        assert!(
            texts.contains("metadata.managedFields[0].fieldsV1"),
            "{texts}"
        );
        assert!(!texts.contains("c2VjcmV0") && texts.len() < 1024, "{texts}");
        let first = list.items.first().unwrap().meta();
        assert_eq!(first.resource_version.as_deref(), Some("7"));

        let event = format!(r#"{{"type":"ADDED","object":{nested}}}"#);
        let event: WatchEvent<Lenient<Secret>> = serde_json::from_str(&event).unwrap();
        assert!(matches!(event, WatchEvent::Added(one) if one.decoded().is_err()));
    }

    #[test]
    fn a_time_of_any_year_is_read_as_the_nearest_that_jiff_holds() {
        // In protobuf, Kubernetes takes any number of seconds.
        for (text, nearest) in [
            ("292277026596-12-04T15:30:07Z", Timestamp::MAX),
            ("10000-01-01T00:00:00Z", Timestamp::MAX),
            ("-292277022399-01-01T00:00:00Z", Timestamp::MIN),
        ] {
            let fields = json!({"managedFields": [{"time": text}], "name": "a"});
            let found = Lenient::<Secret>::of_text(&json!({"metadata": fields}).to_string());
            let entries = found.into_decoded().unwrap().metadata.managed_fields;
            let time = entries.unwrap().first().unwrap().time.clone().unwrap();
            assert_eq!(time.0.as_second(), nearest.as_second(), "{text}");
        }
    }

    #[test]
    fn an_issuance_with_an_odd_number_is_named() {
        let contested = json!({"object": "x", "manager": "y", "count": 99_999_999_999_u64,
            "lastTime": "2026-01-01T00:00:00Z"});
        let issuance = json!({
            "apiVersion": "pki.openchoreo.dev/v1alpha1", "kind": "ExternalCAIssuance",
            "metadata": {"name": "a", "namespace": "n"},
            "spec": {"issuer": {"caSecret": {"name": "ca"}}},
            "status": {"contested": [contested]},
        });
        let error = Lenient::<ExternalCAIssuance>::of_text(&issuance.to_string()).into_decoded();
        assert_eq!(error.unwrap_err().field, "status.contested[0].count");
    }
}
