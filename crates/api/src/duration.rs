use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// A length of time in the format of `metav1.Duration`: hours, minutes and seconds, for example `8760h` or `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub SignedDuration);

impl Duration {
    /// A duration of whole hours.
    pub const fn from_hours(hours: i64) -> Self {
        Self(SignedDuration::from_hours(hours))
    }

    /// A duration of whole minutes.
    pub const fn from_mins(minutes: i64) -> Self {
        Self(SignedDuration::from_mins(minutes))
    }

    /// A duration of whole seconds.
    pub const fn from_secs(seconds: i64) -> Self {
        Self(SignedDuration::from_secs(seconds))
    }
}

impl FromStr for Duration {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.0.as_secs().unsigned_abs();
        if self.0.as_secs() < 0 {
            f.write_str("-")?;
        }
        let (hours, minutes, seconds) = (total / 3600, total / 60 % 60, total % 60);
        if hours != 0 {
            write!(f, "{hours}h")?;
        }
        if minutes != 0 {
            write!(f, "{minutes}m")?;
        }
        if seconds != 0 || total == 0 {
            write!(f, "{seconds}s")?;
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // The length keeps hours within what CEL's duration() can hold (about 292 years).
        json_schema!({
            "type": "string",
            "pattern": "^([0-9]{1,7}h)?([0-9]{1,7}m)?([0-9]{1,7}s)?$",
            "minLength": 2,
            "maxLength": 24
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Duration;

    #[test]
    fn go_durations_round_trip() {
        for text in ["8760h", "10m", "1h30m", "45s", "1h0m5s", "0s", "-1h2m"] {
            let parsed: Duration = text.parse().unwrap();
            assert_eq!(parsed.to_string().parse::<Duration>().unwrap(), parsed);
        }
        assert_eq!("1h0m5s".parse::<Duration>().unwrap().to_string(), "1h5s");
        assert!("soon".parse::<Duration>().is_err());
    }
}
