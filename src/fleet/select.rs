//! Which hosts are meant: names, globs, ranges, labels, groups and exclusions.
//!
//! Pure: a fleet and a selection in, hosts in file order out, each once. A selector that matches
//! nothing is an error, because a slip in `!db1` must not mean "everywhere".

mod pattern;

use std::collections::BTreeSet;

use crate::fleet::file::{Fleet, Host, nearest_few};
use pattern::Term;

/// One selector: every part of it must match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    text: String,
    exclude: bool,
    terms: Vec<Term>,
}

/// Which hosts are meant. The default means every enabled host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Hosts that match any of these, less those that an exclusion matches.
    pub selectors: Vec<Selector>,
    /// At most so many, the first in file order.
    pub limit: Option<usize>,
}

/// The hosts that are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected<'f> {
    /// At least one host, in file order, each once.
    pub hosts: Vec<&'f Host>,
    /// What the user should know, such as a named host that is disabled.
    pub notes: Vec<String>,
}

/// A selection that cannot be. Trying again does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The selector is not one.
    #[error("host selector `{}`: {why}", text.escape_debug())]
    Malformed {
        /// What was written.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// A selector matches nothing.
    #[error("no host matches `{}`", text.escape_debug())]
    NoMatch {
        /// The selector.
        text: String,
        /// Names, groups or labels that are near.
        near: Vec<String>,
    },
    /// What was named is disabled.
    #[error("disabled in the fleet file: {}", names.join(", "))]
    Disabled {
        /// Which hosts.
        names: Vec<String>,
    },
    /// The selectors cancel each other out.
    #[error("no host is left after the exclusions")]
    NothingLeft,
    /// There is no enabled host to select from.
    #[error("the fleet file has no enabled host")]
    Empty,
}

impl Selection {
    /// Leaves out selectors that match nothing now, and returns what they were. If nothing were left to choose
    /// hosts by, all stay: without any it would mean every host.
    pub fn still_there(self, fleet: &Fleet) -> (Self, Vec<String>) {
        let matches = |one: &Selector| fleet.hosts.iter().any(|host| one.matches(host));
        let chooses = |one: &&Selector| !one.exclude;
        let chosen = self.selectors.iter().filter(chooses).count();
        let left = self.selectors.iter().filter(chooses);
        if chosen > 0 && !left.into_iter().any(matches) {
            return (self, Vec::new());
        }
        let (selectors, gone): (Vec<_>, Vec<_>) = self.selectors.into_iter().partition(matches);
        let selection = Self { selectors, ..self };
        (selection, gone.into_iter().map(|one| one.text).collect())
    }
}

impl Error {
    /// Returns what the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Malformed { .. } => Some(
                "a selector is a name, 'web*', 'node[1-5,9]', label=value, @group, or one of these after `!`"
                    .to_owned(),
            ),
            Self::NoMatch { near, .. } if near.is_empty() => {
                Some("`skyclaw fleet hosts` lists what there is".to_owned())
            }
            Self::NoMatch { near, .. } => Some(format!("did you mean {}?", near.join(", "))),
            Self::Disabled { .. } => Some("remove `disabled` there to use it".to_owned()),
            Self::NothingLeft => None,
            Self::Empty => Some("add hosts to the fleet file".to_owned()),
        }
    }
}

impl Selector {
    /// Reads one selector.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let malformed = |why: String| Error::Malformed {
            text: text.to_owned(),
            why,
        };
        let (exclude, body) = match text.strip_prefix('!') {
            Some(body) => (true, body),
            None => (false, text),
        };
        let terms = pattern::split(body)
            .into_iter()
            .map(Term::parse)
            .collect::<Result<Vec<_>, _>>()
            .map_err(malformed)?;
        if terms.iter().filter(|term| term.is_name()).count() > 1 {
            return Err(malformed(
                "a comma means `and`, and no host has two names; give each as a selector of its own"
                    .to_owned(),
            ));
        }
        Ok(Self {
            text: text.to_owned(),
            exclude,
            terms,
        })
    }

    /// Reads a list of selectors, one per line; empty lines and what follows `#` are skipped.
    ///
    /// # Errors
    /// When a line is malformed.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, Error> {
        text.lines()
            .map(|line| line.split('#').next().unwrap_or_default().trim())
            .filter(|line| !line.is_empty())
            .map(Self::parse)
            .collect()
    }

    fn matches(&self, host: &Host) -> bool {
        self.terms.iter().all(|term| term.matches(host))
    }

    /// Tells whether this selector spells out the name of `host`.
    fn names_exactly(&self, host: &Host) -> bool {
        match self.terms.as_slice() {
            [term] => term.names_exactly(host),
            _ => false,
        }
    }
}

/// Returns the hosts that `selection` means.
///
/// # Errors
/// When it means none, or one of its selectors matches nothing.
pub fn select<'f>(fleet: &'f Fleet, selection: &Selection) -> Result<Selected<'f>, Error> {
    let enabled: Vec<&Host> = fleet.hosts.iter().filter(|host| !host.disabled).collect();
    let (excluded, included): (Vec<&Selector>, Vec<&Selector>) = selection
        .selectors
        .iter()
        .partition(|selector| selector.exclude);
    let disabled = named_but_disabled(fleet, &included);
    for selector in &selection.selectors {
        check_matches_something(fleet, selector)?;
    }
    let meant = |host: &Host| included.is_empty() || included.iter().any(|one| one.matches(host));
    let mut hosts: Vec<&Host> = enabled.iter().copied().filter(|host| meant(host)).collect();
    if hosts.is_empty() {
        return Err(match (enabled.is_empty(), disabled.is_empty()) {
            (_, false) => Error::Disabled { names: disabled },
            (true, true) => Error::Empty,
            (false, true) => only_disabled(fleet, &included),
        });
    }
    hosts.retain(|host| !excluded.iter().any(|one| one.matches(host)));
    hosts.truncate(selection.limit.unwrap_or(usize::MAX));
    if hosts.is_empty() {
        return Err(Error::NothingLeft);
    }
    let mut notes = Vec::new();
    if !disabled.is_empty() {
        notes.push(format!(
            "left out, disabled in the fleet file: {}",
            disabled.join(", ")
        ));
    }
    notes.extend(missing_of_ranges(fleet, &included));
    Ok(Selected { hosts, notes })
}

fn named_but_disabled(fleet: &Fleet, included: &[&Selector]) -> Vec<String> {
    fleet
        .hosts
        .iter()
        .filter(|host| host.disabled)
        .filter(|host| included.iter().any(|one| one.names_exactly(host)))
        .map(|host| host.name.to_string())
        .collect()
}

/// The selectors match, but only hosts that are disabled.
fn only_disabled(fleet: &Fleet, included: &[&Selector]) -> Error {
    Error::Disabled {
        names: fleet
            .hosts
            .iter()
            .filter(|host| included.iter().any(|one| one.matches(host)))
            .map(|host| host.name.to_string())
            .collect(),
    }
}

fn check_matches_something(fleet: &Fleet, selector: &Selector) -> Result<(), Error> {
    if fleet.hosts.iter().any(|host| selector.matches(host)) {
        return Ok(());
    }
    if fleet.hosts.is_empty() {
        return Err(Error::Empty);
    }
    Err(Error::NoMatch {
        text: selector.text.clone(),
        near: nearest_words(fleet, &selector.text),
    })
}

/// Returns what can be written as a selector and looks like `text`.
fn nearest_words(fleet: &Fleet, text: &str) -> Vec<String> {
    let mut words = BTreeSet::new();
    for host in &fleet.hosts {
        words.insert(host.name.to_string());
        words.extend(host.groups.iter().map(|group| format!("@{group}")));
        words.extend(
            host.labels
                .iter()
                .map(|(label, value)| format!("{label}={value}")),
        );
    }
    let text = text.trim_start_matches('!');
    nearest_few(text, words.iter().map(String::as_str), 3)
        .into_iter()
        .map(str::to_owned)
        .collect()
}

fn missing_of_ranges(fleet: &Fleet, included: &[&Selector]) -> Option<String> {
    let missing: Vec<String> = included
        .iter()
        .flat_map(|selector| &selector.terms)
        .flat_map(Term::range_names)
        .filter(|name| fleet.host(name).is_none())
        .take(10)
        .collect();
    (!missing.is_empty()).then(|| format!("not in the fleet file: {}", missing.join(", ")))
}

/// Writes many names briefly: `web[1-3],db1`. Names keep their order of first appearance.
pub fn fold_names(names: &[String]) -> String {
    let mut folded: Vec<(&str, Vec<&str>)> = Vec::new();
    for name in names {
        let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let (stem, number) = name.split_at(name.len() - digits);
        match folded.iter_mut().find(|(known, _)| *known == stem) {
            Some((_, numbers)) => numbers.push(number),
            None => folded.push((stem, vec![number])),
        }
    }
    let parts: Vec<String> = folded
        .into_iter()
        .map(|(stem, numbers)| match numbers.as_slice() {
            [one] => format!("{stem}{one}"),
            _ => format!("{stem}[{}]", ranges(numbers).join(",")),
        })
        .collect();
    parts.join(",")
}

/// Joins neighbours of one width: `1,2,3` is `1-3`, `09,10` is `09-10`, and `9,10` is too.
fn ranges(mut numbers: Vec<&str>) -> Vec<String> {
    numbers.sort_by_key(|number| (number.parse::<u64>().unwrap_or(u64::MAX), number.len()));
    let mut ranges: Vec<(&str, &str)> = Vec::new();
    for number in numbers {
        let value = number.parse::<u64>().ok();
        match ranges.last_mut() {
            Some((_, last))
                if last
                    .parse::<u64>()
                    .ok()
                    .and_then(|last| last.checked_add(1))
                    == value
                    && (last.len() == number.len() || !last.starts_with('0')) =>
            {
                *last = number;
            }
            Some(_) | None => ranges.push((number, number)),
        }
    }
    ranges
        .into_iter()
        .map(|(first, last)| {
            if first == last {
                first.to_owned()
            } else {
                format!("{first}-{last}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
