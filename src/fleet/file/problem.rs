//! What is wrong with a fleet file, and exactly where.

use std::fmt;

use serde::Serialize;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The file cannot be used.
    Error,
    /// The file can be used, but it may not say what was meant.
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Whether the file can still be used.
    pub level: Level,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// JSON pointer (RFC 6901) of the value; empty for the whole file.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: ", self.line, self.column)?;
        if !self.pointer.is_empty() {
            write!(f, "{}: ", self.pointer)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// Collects problems and turns byte offsets into lines and columns.
pub(super) struct Problems<'t> {
    text: &'t str,
    found: Vec<Problem>,
}

impl<'t> Problems<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            found: Vec::new(),
        }
    }

    pub(super) fn error(&mut self, at: usize, pointer: &str, message: impl Into<String>) {
        self.push(Level::Error, at, pointer, message.into(), None);
    }

    pub(super) fn error_with(
        &mut self,
        at: usize,
        pointer: &str,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        self.push(Level::Error, at, pointer, message.into(), hint);
    }

    pub(super) fn warning(
        &mut self,
        at: usize,
        pointer: &str,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        self.push(Level::Warning, at, pointer, message.into(), hint);
    }

    /// Returns what was found, in the order of the file.
    pub(super) fn into_sorted(mut self) -> Vec<Problem> {
        self.found
            .sort_by_key(|problem| (problem.line, problem.column));
        self.found
    }

    fn push(
        &mut self,
        level: Level,
        at: usize,
        pointer: &str,
        message: String,
        hint: Option<String>,
    ) {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before
            .get(line_start..)
            .map_or(0, |line| line.chars().count());
        self.found.push(Problem {
            level,
            line: before.matches('\n').count() + 1,
            column: column + 1,
            pointer: pointer.to_owned(),
            message,
            hint,
        });
    }
}

/// Returns the pointer of `key` below `parent`.
pub(super) fn join(parent: &str, key: &str) -> String {
    let key = key.replace('~', "~0").replace('/', "~1");
    format!("{parent}/{key}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_characters_from_one() {
        let mut problems = Problems::new("{\n \"é\": 1\n}");
        problems.warning(11, "/b", "later", None);
        problems.error(9, "/a", "one");
        let found = problems.into_sorted();
        assert_eq!(found[0].to_string(), "line 2, column 7: /a: one");
        assert_eq!(found[1].line, 3);
        assert_eq!(join("/env", "a/b~c"), "/env/a~1b~0c");
    }
}
