//! Values of flags that may also come from the environment, where an empty variable means none.

use std::str::FromStr;

/// A value, or an empty text in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given<T>(Option<T>);

impl<T> Given<T> {
    /// Returns the value of a flag, if one was given.
    pub fn of(flag: &Option<Self>) -> Option<&T> {
        flag.as_ref().and_then(|given| given.0.as_ref())
    }
}

impl<T: FromStr> FromStr for Given<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        match text.trim() {
            "" => Ok(Self(None)),
            text => text.parse().map(|value| Self(Some(value))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_is_none_and_rubbish_is_an_error() {
        let read = |text: &str| text.parse::<Given<u16>>();
        assert_eq!(Given::of(&Some(read("12").unwrap())), Some(&12));
        assert_eq!(Given::of(&Some(read(" ").unwrap())), None);
        assert!(read("12abc").is_err());
    }
}
