//! Names of things: jobs, groups, hosts, attempts, leases. Each is its own type, so none stands in for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Invalid;
use crate::support::ids;

/// Describes a type that is text on the wire.
macro_rules! text_schema {
    ($name:ty) => {
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::schema::Object::with_type(utoipa::openapi::schema::Type::String)
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}

/// Writes a type as its `Display` text and reads it back through `FromStr`, so that it may also be the key of a
/// JSON object.
macro_rules! as_text {
    ($name:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text: std::borrow::Cow<'de, str> =
                    serde::Deserialize::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use as_text;

/// As [`as_text`], for a type that is also in the description of the API.
macro_rules! text_serde {
    ($name:ident) => {
        as_text!($name);
        text_schema!($name);
    };
}

/// Makes ids out of chance and bytes, for a type around one UUID.
macro_rules! uuid_bytes {
    ($name:ident) => {
        impl $name {
            /// Returns a fresh id.
            pub fn fresh() -> Self {
                Self(ids::time_ordered())
            }

            /// Returns the id with these bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// Returns the bytes of the id.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }
    };
}

/// One job. Printed as `job_` and a UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(Uuid);

uuid_bytes!(JobId);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job_{}", self.0)
    }
}

impl FromStr for JobId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        text.strip_prefix("job_")
            .and_then(|rest| Uuid::try_parse(rest).ok())
            .map(Self)
            .ok_or_else(|| Invalid::new("job id", format!("`{text}` is not job_ and a UUID")))
    }
}

text_serde!(JobId);

/// Jobs that belong together, such as one dispatch run. Printed as a bare UUID that sorts by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(Uuid);

uuid_bytes!(GroupId);

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for GroupId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Uuid::try_parse(text)
            .map(Self)
            .map_err(|_| Invalid::new("group id", format!("`{text}` is not a UUID")))
    }
}

text_serde!(GroupId);

/// One machine that runs jobs: the name of a fleet entry, or the id a daemon registered with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(String);

impl HostId {
    /// Returns the id with this text.
    ///
    /// # Errors
    /// When it is empty, `.` or `..`, longer than 255 bytes, or holds white space or control characters.
    pub fn new(text: impl Into<String>) -> Result<Self, Invalid> {
        let text = text.into();
        let clean = !text.chars().any(|c| c.is_whitespace() || c.is_control());
        // In an address these two mean other places, so such a host could not be asked for.
        let dots = text == "." || text == "..";
        if text.is_empty() || text.len() > 255 || !clean || dots {
            return Err(Invalid::new(
                "host id",
                format!("{text:?} must be 1 to 255 bytes without white space"),
            ));
        }
        Ok(Self(text))
    }

    /// Returns the text of the id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for HostId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::new(text)
    }
}

text_serde!(HostId);

/// Which try of a job, from 1. Zero means that none was made yet.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(transparent)]
pub struct AttemptNo(u16);

impl AttemptNo {
    /// No attempt yet.
    pub const NONE: Self = Self(0);

    /// Returns attempt number `number`.
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// Returns the number.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Returns the number of the try after this one, or nothing when there can be no more.
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }
}

impl fmt::Display for AttemptNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Proof of holding a lease. Random, so that a holder of an older lease cannot guess it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseToken([u8; 16]);

impl LeaseToken {
    /// Stands for the proof that a coordinator of the original does not give.
    pub const NONE: Self = Self([0; 16]);

    /// Returns a fresh token.
    pub fn fresh() -> Self {
        Self(ids::random_bytes())
    }

    /// Returns the token with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes of the token.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Returns a token that begins with `mark` and goes on as this one: still nothing that could be guessed.
    #[must_use]
    pub const fn marked(self, mark: [u8; 8]) -> Self {
        let [a, b, c, d, e, f, g, h] = mark;
        let [_, _, _, _, _, _, _, _, i, j, k, l, m, n, o, p] = self.0;
        Self([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
    }
}

impl fmt::Debug for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whoever knows it can end the attempt, so it stays out of logs.
        f.write_str("LeaseToken(…)")
    }
}

impl fmt::Display for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&ids::hex(&self.0))
    }
}

impl FromStr for LeaseToken {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let number = u128::from_str_radix(text, 16);
        match number {
            Ok(number) if text.len() == 32 && !text.starts_with('+') => {
                Ok(Self(number.to_be_bytes()))
            }
            Ok(_) | Err(_) => Err(Invalid::new("lease token", "not 32 hexadecimal digits")),
        }
    }
}

text_serde!(LeaseToken);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_and_read_back() {
        let job = JobId::fresh();
        assert!(job.to_string().starts_with("job_"));
        assert_eq!(job.to_string().parse::<JobId>().unwrap(), job);
        let group = GroupId::fresh();
        assert_eq!(group.to_string().len(), 36);
        assert_eq!(group.to_string().parse::<GroupId>().unwrap(), group);
        let token = LeaseToken::fresh();
        assert_eq!(token.to_string().parse::<LeaseToken>().unwrap(), token);
        let json = serde_json::to_string(&(job, token)).unwrap();
        assert_eq!(
            serde_json::from_str::<(JobId, LeaseToken)>(&json).unwrap(),
            (job, token)
        );
    }

    #[test]
    fn bad_ids_are_refused() {
        for text in ["", "job_", "job_12", "0192f0c0-0000-7000-8000-000000000000"] {
            assert!(text.parse::<JobId>().is_err(), "{text}");
        }
        for text in ["", ".", "..", "two words", "tab\t", &"x".repeat(256)] {
            assert!(HostId::new(text).is_err(), "{text}");
        }
        for text in ["", "+123456789012345678901234567890123", "00"] {
            assert!(text.parse::<LeaseToken>().is_err(), "{text}");
        }
        assert_eq!(AttemptNo::new(u16::MAX).next(), None);
    }
}
