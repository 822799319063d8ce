//! What a job is asked to do: JSON text that the queue keeps byte for byte and never looks into.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Invalid;

/// JSON text, kept as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload(String);

impl Payload {
    /// Returns the payload with this text.
    ///
    /// # Errors
    /// When the text is not one JSON value.
    pub fn parse(text: impl Into<String>) -> Result<Self, Invalid> {
        let text = text.into();
        serde_json::from_str::<&RawValue>(&text)
            .map_err(|error| Invalid::new("payload", error.to_string()))?;
        Ok(Self(text))
    }

    /// Returns the payload that `value` serializes to.
    ///
    /// # Errors
    /// When the value has no JSON form, such as a map with keys that are not text.
    pub fn of<T: Serialize>(value: &T) -> Result<Self, Invalid> {
        serde_json::to_string(value)
            .map(Self)
            .map_err(|error| Invalid::new("payload", error.to_string()))
    }

    /// Returns the empty object.
    pub fn empty() -> Self {
        Self("{}".to_owned())
    }

    /// Returns text that was checked when it was stored.
    pub(crate) fn stored(text: String) -> Self {
        Self(text)
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl utoipa::PartialSchema for Payload {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::schema::Object::new().into()
    }
}

impl utoipa::ToSchema for Payload {}

impl Serialize for Payload {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::from_str::<&RawValue>(&self.0)
            .map_err(serde::ser::Error::custom)?
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self(Box::<str>::from(raw).into_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_kept_byte_for_byte() {
        let text = r#"{"kind": "shell",  "n":1.0, "b":[1 ,2], "a":"\u00e9"}"#;
        let payload = Payload::parse(text).unwrap();
        let json = serde_json::to_string(&payload).unwrap();
        assert_eq!(json, text);
        assert_eq!(serde_json::from_str::<Payload>(&json).unwrap(), payload);
        assert!(Payload::parse("{").is_err());
        assert!(Payload::parse("1 2").is_err());
    }
}
