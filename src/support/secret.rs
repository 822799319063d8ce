//! A text that must not be seen: it is wiped on drop and never shown by `Debug`.

use std::fmt;

use zeroize::Zeroizing;

/// A secret value. It has no `Display` and no `Serialize`: only [`Secret::expose`] gives it away.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes `value` into custody.
    pub fn new(value: String) -> Self {
        Self(Zeroizing::new(value))
    }

    /// Gives the value to the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
