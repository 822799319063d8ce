//! Who is in a cluster: numbers of members and clusters, and what members know of each other.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::protocol::{Invalid, as_text};
use crate::support::ids;

/// What this program can read of what members say to each other and write into the log; see
/// `queue/command/since.rs`. Members of different numbers understand each other in what the lower one knows.
pub const PROTOCOL: u32 = 2;

/// A member's number: drawn at random, kept with its data. A wiped disk is a new member.
/// Printed, and written down, as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MemberId(u64);

impl MemberId {
    /// Returns a fresh number.
    pub fn random() -> Self {
        Self(u64::from_be_bytes(ids::random_bytes()))
    }

    /// Returns the number as such.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl From<u64> for MemberId {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for MemberId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits
            .then(|| u64::from_str_radix(text, 16).ok())
            .flatten()
            .map(Self)
            .ok_or_else(|| {
                Invalid::new(
                    "member id",
                    format!("`{text}` is not 16 hexadecimal digits"),
                )
            })
    }
}

/// One cluster, whoever its members are. Two clusters never take each other's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId([u8; 16]);

impl ClusterId {
    /// Returns a fresh one.
    pub fn random() -> Self {
        Self(ids::random_bytes())
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&ids::hex(&self.0))
    }
}

impl FromStr for ClusterId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits
            .then(|| u128::from_str_radix(text, 16).ok())
            .flatten()
            .map(|number| Self(number.to_be_bytes()))
            .ok_or_else(|| {
                Invalid::new(
                    "cluster id",
                    format!("`{text}` is not 32 hexadecimal digits"),
                )
            })
    }
}

as_text!(MemberId);
as_text!(ClusterId);

/// What members know of each other. It is in the log, so fields of newer programs are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Member {
    /// Where the others reach it.
    pub url: String,
    /// The coordinator's own name.
    pub name: String,
    /// Which messages it understands; see [`PROTOCOL`].
    pub protocol: u32,
    /// What this program does not know.
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_their_text_and_unknown_fields_stay() {
        let id = MemberId::from(0xab);
        assert_eq!(id.to_string(), "00000000000000ab");
        assert_eq!(id.to_string().parse::<MemberId>().unwrap(), id);
        assert!("ab".parse::<MemberId>().is_err());
        assert!("+0000000000000ab".parse::<MemberId>().is_err());
        let cluster = ClusterId::random();
        assert_eq!(cluster.to_string().parse::<ClusterId>().unwrap(), cluster);
        let text = r#"{"url":"http://a:1","name":"a","protocol":1,"zone":{"x":1}}"#;
        let member: Member = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&member).unwrap(), text);
        let map = BTreeMap::from([(id, 1)]);
        let json = serde_json::to_string(&map).unwrap();
        assert_eq!(json, r#"{"00000000000000ab":1}"#);
        assert_eq!(
            serde_json::from_str::<BTreeMap<MemberId, u8>>(&json).unwrap(),
            map
        );
    }
}
