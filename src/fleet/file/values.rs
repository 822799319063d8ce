//! Reads typed values out of the parsed file; whatever does not fit becomes a problem with a place.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use jsonc_parser::ast::{Object, Value};
use jsonc_parser::common::Ranged;

use super::names::{nearest, word};
use super::problem::{Problem, Problems, join};
use crate::support::paths::expand_home;
use crate::support::span::{self, Limit};

/// Reads values and keeps what is wrong with them.
pub(super) struct Reader<'t> {
    problems: Problems<'t>,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            problems: Problems::new(text),
        }
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems.into_sorted()
    }

    pub(super) fn error(&mut self, value: &impl Ranged, at: &str, message: impl Into<String>) {
        self.problems.error(value.start(), at, message);
    }

    pub(super) fn error_with(
        &mut self,
        value: &impl Ranged,
        at: &str,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        self.problems.error_with(value.start(), at, message, hint);
    }

    pub(super) fn error_at(&mut self, offset: usize, message: impl Into<String>) {
        self.problems.error(offset, "", message);
    }

    pub(super) fn warning(
        &mut self,
        value: &impl Ranged,
        at: &str,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        self.problems.warning(value.start(), at, message, hint);
    }

    /// Warns of a key nobody reads.
    pub(super) fn unknown_key(
        &mut self,
        name: &str,
        value: &impl Ranged,
        at: &str,
        known: &[&str],
    ) {
        let meant = nearest(name, known.iter().copied());
        self.warning(
            value,
            at,
            format!("unknown key `{}`", name.escape_debug()),
            meant.map(|meant| format!("did you mean `{meant}`?")),
        );
    }

    /// Returns the members with their pointers; a name given twice is an error.
    pub(super) fn members<'o>(
        &mut self,
        object: &'o Object<'_>,
        at: &str,
    ) -> Vec<(&'o str, &'o Value<'o>, String)> {
        let mut seen = BTreeSet::new();
        let mut members = Vec::with_capacity(object.properties.len());
        for property in &object.properties {
            let name = property.name.as_str();
            let at = join(at, name);
            if !seen.insert(name) {
                self.error(property, &at, "this key is here twice");
            }
            members.push((name, &property.value, at));
        }
        members
    }

    pub(super) fn object<'v, 'a>(
        &mut self,
        value: &'v Value<'a>,
        at: &str,
    ) -> Option<&'v Object<'a>> {
        let object = value.as_object();
        if object.is_none() {
            self.wrong_type(value, at, "an object");
        }
        object
    }

    pub(super) fn string<'v>(&mut self, value: &'v Value<'_>, at: &str) -> Option<&'v str> {
        let string = value.as_string_lit();
        if string.is_none() {
            self.wrong_type(value, at, "a string");
        }
        string.map(|literal| literal.value.as_ref())
    }

    pub(super) fn boolean(&mut self, value: &Value<'_>, at: &str) -> Option<bool> {
        let boolean = value.as_boolean_lit();
        if boolean.is_none() {
            self.wrong_type(value, at, "true or false");
        }
        boolean.map(|literal| literal.value)
    }

    pub(super) fn number(
        &mut self,
        value: &Value<'_>,
        at: &str,
        least: u32,
        most: u32,
    ) -> Option<u32> {
        let Some(literal) = value.as_number_lit() else {
            self.wrong_type(value, at, "a number");
            return None;
        };
        let number = literal
            .value
            .parse()
            .ok()
            .filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.error(
                value,
                at,
                format!(
                    "{} is not a whole number from {least} to {most}",
                    literal.value
                ),
            );
        }
        number
    }

    /// Reads a string that `check` accepts.
    pub(super) fn checked(
        &mut self,
        value: &Value<'_>,
        at: &str,
        check: impl Fn(&str) -> Result<(), &'static str>,
    ) -> Option<String> {
        self.parsed(value, at, |text| check(text).map(|()| text.to_owned()))
    }

    /// Reads a string that `parse` understands.
    pub(super) fn parsed<T, E: Display>(
        &mut self,
        value: &Value<'_>,
        at: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        match parse(self.string(value, at)?) {
            Ok(parsed) => Some(parsed),
            Err(why) => {
                let name = at.rsplit('/').next().unwrap_or(at);
                self.error(value, at, format!("`{name}`: {why}"));
                None
            }
        }
    }

    pub(super) fn path(&mut self, value: &Value<'_>, at: &str) -> Option<PathBuf> {
        self.parsed(value, at, |text| {
            if text.is_empty() {
                Err("must not be empty")
            } else if text.contains(char::is_control) {
                Err("must not have a control character")
            } else {
                Ok(expand_home(text))
            }
        })
    }

    /// Reads one path or a list of them.
    pub(super) fn paths(&mut self, value: &Value<'_>, at: &str) -> Option<Vec<PathBuf>> {
        if value.as_string_lit().is_some() {
            return self.path(value, at).map(|path| vec![path]);
        }
        self.list(value, at, "a string or a list of strings", Self::path)
    }

    /// Reads a list of plain words.
    pub(super) fn words(&mut self, value: &Value<'_>, at: &str) -> Option<Vec<String>> {
        self.list(value, at, "a list of strings", |reader, value, at| {
            reader.parsed(value, at, word)
        })
    }

    /// Reads a limit: seconds as a number, or a span as text; 0 means none.
    pub(super) fn limit(&mut self, value: &Value<'_>, at: &str) -> Option<Limit> {
        if value.as_number_lit().is_some() {
            let secs = u64::from(self.number(value, at, 0, u32::MAX)?);
            return Some(Limit((secs > 0).then(|| Duration::from_secs(secs))));
        }
        if value.as_string_lit().is_none() {
            self.wrong_type(value, at, "a span of time, such as \"2m\" or 120");
            return None;
        }
        self.parsed(value, at, span::parse_limit)
    }

    /// Reads an object of strings. `check` refuses an entry, or returns a warning about it.
    pub(super) fn map(
        &mut self,
        value: &Value<'_>,
        at: &str,
        check: impl Fn(&str, &str) -> Result<Option<String>, String>,
    ) -> BTreeMap<String, String> {
        let mut map = BTreeMap::new();
        let Some(object) = self.object(value, at) else {
            return map;
        };
        for (name, value, at) in self.members(object, at) {
            let Some(text) = self.string(value, &at) else {
                continue;
            };
            match check(name, text) {
                Ok(None) => {}
                Ok(Some(warning)) => self.warning(value, &at, warning, None),
                Err(why) => self.error(value, &at, why),
            }
            map.insert(name.to_owned(), text.to_owned());
        }
        map
    }

    fn list<T>(
        &mut self,
        value: &Value<'_>,
        at: &str,
        wanted: &str,
        each: impl Fn(&mut Self, &Value<'_>, &str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Some(array) = value.as_array() else {
            self.wrong_type(value, at, wanted);
            return None;
        };
        let mut list = Vec::with_capacity(array.elements.len());
        for (index, value) in array.elements.iter().enumerate() {
            list.extend(each(self, value, &join(at, &index.to_string())));
        }
        Some(list)
    }

    pub(super) fn wrong_type(&mut self, value: &Value<'_>, at: &str, wanted: &str) {
        let found = match value {
            Value::StringLit(_) => "a string",
            Value::NumberLit(_) => "a number",
            Value::BooleanLit(_) => "true or false",
            Value::Object(_) => "an object",
            Value::Array(_) => "a list",
            Value::NullKeyword(_) => "null",
        };
        self.error(value, at, format!("expected {wanted}, found {found}"));
    }
}
