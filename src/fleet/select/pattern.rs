//! The parts of a selector: how they are written and what they match.

use wildmatch::WildMatch;

use crate::fleet::file::Host;

/// More names than this in one range is a slip of the finger, not a fleet.
const MOST_NAMES: usize = 10_000;

/// One condition on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Term {
    /// The name is one of these; each may have `*` and `?`.
    Name(Vec<String>),
    /// A label has this value, which may have `*` and `?`.
    Label { label: String, value: String },
    /// It is in a group of this name, which may have `*` and `?`.
    Group(String),
}

impl Term {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty".to_owned());
        }
        if let Some(group) = text.strip_prefix('@') {
            return plain(group, "group").map(Self::Group);
        }
        if let Some((label, value)) = text.split_once('=') {
            if label.ends_with('!') {
                return Err("to exclude, put `!` in front of the whole selector".to_owned());
            }
            let label = plain(label, "label")?;
            let value = if value.is_empty() {
                String::new()
            } else {
                plain(value, "value")?
            };
            return Ok(Self::Label { label, value });
        }
        let names = expand(text)?;
        for name in &names {
            plain(name, "name")?;
        }
        Ok(Self::Name(names))
    }

    pub(super) fn is_name(&self) -> bool {
        matches!(self, Self::Name(_))
    }

    pub(super) fn matches(&self, host: &Host) -> bool {
        match self {
            Self::Name(names) => names.iter().any(|name| glob(name, host.name.as_str())),
            Self::Label { label, value } => host
                .labels
                .get(label)
                .is_some_and(|given| glob(value, given)),
            Self::Group(group) => host.groups.iter().any(|given| glob(group, given)),
        }
    }

    pub(super) fn names_exactly(&self, host: &Host) -> bool {
        match self {
            Self::Name(names) => names.iter().any(|name| name == host.name.as_str()),
            Self::Label { .. } | Self::Group(_) => false,
        }
    }

    /// Returns the names that a range spells out; none for a plain name or a glob.
    pub(super) fn range_names(&self) -> Vec<String> {
        match self {
            Self::Name(names) if names.len() > 1 => names
                .iter()
                .filter(|name| !is_glob(name))
                .cloned()
                .collect(),
            Self::Name(_) | Self::Label { .. } | Self::Group(_) => Vec::new(),
        }
    }
}

/// Cuts at commas outside brackets.
pub(super) fn split(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    text.split(|c| {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .collect()
}

fn is_glob(text: &str) -> bool {
    text.contains(['*', '?'])
}

fn glob(pattern: &str, text: &str) -> bool {
    if is_glob(pattern) {
        WildMatch::new(pattern).matches(text)
    } else {
        pattern == text
    }
}

fn plain(text: &str, what: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err(format!("the {what} is empty"));
    }
    match text
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || "._-*?".contains(*c)))
    {
        Some(odd) => Err(format!("`{}` cannot be in a {what}", odd.escape_debug())),
        None => Ok(text.to_owned()),
    }
}

/// Writes out `node[1-3,9]` and the like, several brackets included.
fn expand(text: &str) -> Result<Vec<String>, String> {
    let mut done = vec![String::new()];
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        let (inside, after) = after
            .split_once(']')
            .ok_or("`[` is not closed".to_owned())?;
        let choices = choices(inside)?;
        if done.len().saturating_mul(choices.len()) > MOST_NAMES {
            return Err(format!("a range is limited to {MOST_NAMES} names"));
        }
        done = done
            .iter()
            .flat_map(|start| {
                choices
                    .iter()
                    .map(move |choice| format!("{start}{before}{choice}"))
            })
            .collect();
        rest = after;
    }
    for name in &mut done {
        name.push_str(rest);
    }
    Ok(done)
}

fn choices(inside: &str) -> Result<Vec<String>, String> {
    let mut choices = Vec::new();
    for part in inside.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (number(first)?, number(last)?);
        if from > to {
            return Err(format!("the range {part} runs backwards"));
        }
        if usize::try_from(to - from).map_or(true, |span| span >= MOST_NAMES) {
            return Err(format!("a range is limited to {MOST_NAMES} names"));
        }
        // `01-10` counts 01, 02, …; `1-10` counts 1, 2, …
        let width = if first.starts_with('0') {
            first.len()
        } else {
            0
        };
        choices.extend((from..=to).map(|number| format!("{number:0width$}")));
    }
    Ok(choices)
}

fn number(text: &str) -> Result<u64, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!(
            "brackets hold numbers and ranges such as [1-5,9], not `{}`",
            text.escape_debug()
        ));
    }
    text.parse()
        .map_err(|_| format!("the number {text} is too large"))
}
