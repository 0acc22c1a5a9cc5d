//! Durations and sizes as people write them (`500ms`, `10GiB`), and their serde forms.

use std::time::Duration;

/// A quantity that is not one. Nothing was changed; the same text fails again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}: {reason}")]
pub struct QuantityError {
    /// What was given.
    pub text: String,
    /// `duration`, `size` or `count`.
    pub what: &'static str,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl QuantityError {
    fn new(what: &'static str, text: &str, reason: &'static str) -> Self {
        Self { text: text.chars().take(80).collect(), what, reason }
    }
}

/// Duration units in milliseconds, largest first.
const DURATION_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Size units in bytes, largest first: the binary ones are what we print, the decimal ones we accept.
const SIZE_UNITS: [(&str, u64); 10] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1000),
    ("KB", 1000),
    ("B", 1),
];

/// Reads `500ms`, `10s`, `5m`, `1h`, `30d`: one whole number and one unit.
pub fn parse_duration(text: &str) -> Result<Duration, QuantityError> {
    let fail = |reason| QuantityError::new("duration", text, reason);
    let (digits, unit) = split_unit(text);
    let number: u64 = digits
        .parse()
        .map_err(|_| fail("write a whole number and a unit, such as 500ms, 10s, 5m, 1h or 30d"))?;
    let (_, scale_ms) = DURATION_UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(|| fail("the unit is ms, s, m, h or d"))?;
    let millis = number.checked_mul(*scale_ms).ok_or_else(|| fail("it is too large"))?;
    Ok(Duration::from_millis(millis))
}

/// Writes a duration in its largest exact unit; what [`parse_duration`] reads. Below a millisecond is
/// cut.
pub fn format_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    let (unit, scale_ms) = DURATION_UNITS
        .iter()
        .find(|(_, scale_ms)| millis.is_multiple_of(*scale_ms))
        .expect("every whole number is a multiple of the last unit, 1 ms");
    format!("{}{unit}", millis / scale_ms)
}

/// Reads `10GiB`, `500MB`, `64KiB`, `1B` or a bare number of bytes.
pub fn parse_size(text: &str) -> Result<u64, QuantityError> {
    let fail = |reason| QuantityError::new("size", text, reason);
    let (digits, unit) = split_unit(text);
    let number: u64 = digits
        .parse()
        .map_err(|_| fail("write a whole number and a unit, such as 10GiB, 500MB or 64KiB"))?;
    if unit.is_empty() {
        return Ok(number);
    }
    let (_, scale) = SIZE_UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(|| fail("the unit is B, KiB, MiB, GiB, TiB, kB, MB, GB or TB"))?;
    number.checked_mul(*scale).ok_or_else(|| fail("it is too large"))
}

/// Writes a size in its largest exact binary unit; what [`parse_size`] reads.
pub fn format_size(bytes: u64) -> String {
    if bytes == 0 {
        return "0B".to_owned();
    }
    let (unit, scale) = SIZE_UNITS
        .iter()
        .filter(|(_, scale)| scale.is_power_of_two())
        .find(|(_, scale)| bytes.is_multiple_of(*scale))
        .expect("every whole number is a multiple of the last unit, 1 B");
    format!("{}{unit}", bytes / scale)
}

/// Writes a size for reading, rounded to three digits: `1.43 GiB`. Not for [`parse_size`].
pub fn display_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let exponent = bytes.checked_ilog2().map_or(0, |log| log as usize / 10);
    if exponent == 0 {
        return format!("{bytes} B");
    }
    let scaled = bytes as f64 / (1u64 << (10 * exponent)) as f64;
    let decimals = if scaled < 9.995 {
        2
    } else if scaled < 99.95 {
        1
    } else {
        0
    };
    format!("{scaled:.decimals$} {}", UNITS[exponent])
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    (digits, unit.trim_start_matches(' '))
}

/// Serde form of a [`Duration`]: the text.
pub mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes the text.
    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format_duration(*value))
    }

    /// Reads the text.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse_duration(&text).map_err(serde::de::Error::custom)
    }
}

/// Serde form of a size in bytes: the text.
pub mod size {
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes the text.
    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format_size(*value))
    }

    /// Reads the text.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse_size(&text).map_err(serde::de::Error::custom)
    }
}

/// Serde form of a count that may be left to the node: a number, or `auto`.
pub mod count_or_auto {
    use serde::{Deserialize, Deserializer, Serializer};

    /// The word for `None`.
    pub const AUTO: &str = "auto";

    /// Writes the number or `auto`.
    pub fn serialize<S: Serializer>(value: &Option<u32>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(count) => serializer.serialize_u32(*count),
            None => serializer.serialize_str(AUTO),
        }
    }

    /// Reads the number or `auto`.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<u32>, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Count(u32),
            Word(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Count(count) => Ok(Some(count)),
            Form::Word(word) if word == AUTO => Ok(None),
            Form::Word(word) => {
                Err(serde::de::Error::custom(format!("{word:?} is neither a number nor {AUTO}")))
            }
        }
    }
}

#[cfg(test)]
mod tests;
