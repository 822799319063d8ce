//! Several jobs from one command: what they are counted by, and how each gets its part.

use std::path::Path;

use serde_json::Value;

use super::read_text;
use crate::cli::error::Failure;
use crate::protocol::api::JobKind;

/// The variable with a job's number.
const INDEX: &str = "SKYCLAW_ARRAY_INDEX";
/// The variable with a job's line or value.
const ITEM: &str = "SKYCLAW_ITEM";
/// More jobs than this at once are a mistake more often than a wish.
pub const MOST: usize = 100_000;

/// What one of several jobs differs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its number: that of the list, or its place from 0.
    pub index: u64,
    /// Its line, its value, or its number again.
    pub text: String,
}

/// Numbers as `--array` takes them, in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbers(Vec<u64>);

impl Numbers {
    /// Returns one item per number.
    pub fn items(&self) -> Vec<Item> {
        let item = |index: &u64| Item {
            index: *index,
            text: index.to_string(),
        };
        self.0.iter().map(item).collect()
    }
}

/// Reads numbers such as `1-100`, `1,5-9` or `0-100:10`.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_numbers(text: &str) -> Result<Numbers, String> {
    let wrong = || "write numbers as 1-100, 1,5-9 or 0-100:10".to_owned();
    let mut numbers = Vec::new();
    for part in text.split(',') {
        let (range, step) = match part.split_once(':') {
            Some((range, step)) => (range, step.trim().parse().map_err(|_| wrong())?),
            None => (part, 1_usize),
        };
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let first: u64 = first.trim().parse().map_err(|_| wrong())?;
        let last: u64 = last.trim().parse().map_err(|_| wrong())?;
        if last < first || step == 0 {
            return Err(wrong());
        }
        numbers.extend((first..=last).step_by(step).take(MOST + 1));
        if numbers.len() > MOST {
            return Err(format!("more than {MOST} jobs at once"));
        }
    }
    Ok(Numbers(numbers))
}

/// Returns one item per line of a file; empty lines are none.
///
/// # Errors
/// When the file cannot be read or has no line.
pub fn lines(path: &Path) -> anyhow::Result<Vec<Item>> {
    let text = read_text(path)?;
    let lines = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(str::to_owned);
    counted(lines.collect(), path)
}

/// Returns one item per value of a JSON list: texts as they are, other values as JSON.
///
/// # Errors
/// When the file cannot be read, is no JSON list, or the list is empty.
pub fn values(path: &Path) -> anyhow::Result<Vec<Item>> {
    let values: Vec<Value> = serde_json::from_str(&read_text(path)?).map_err(|error| {
        Failure::usage(format!("{} is no JSON list", path.display())).because(error)
    })?;
    let texts = values.into_iter().map(|value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    });
    counted(texts.collect(), path)
}

fn counted(texts: Vec<String>, path: &Path) -> anyhow::Result<Vec<Item>> {
    if texts.is_empty() {
        return Err(Failure::usage(format!("{} is empty", path.display())).into());
    }
    if texts.len() > MOST {
        let why = format!("{}: more than {MOST} jobs at once", path.display());
        return Err(Failure::usage(why).into());
    }
    let item = |(index, text)| Item { index, text };
    Ok((0..).zip(texts).map(item).collect())
}

/// Returns `kind` for one of several jobs: `{index}` and `{item}` filled in, the variables set.
pub fn filled_in(kind: &JobKind, item: &Item) -> JobKind {
    let fill = |text: &String| fill(text, item);
    let mut kind = kind.clone();
    let env = match &mut kind {
        JobKind::Shell {
            command, args, env, ..
        } => {
            *command = fill(command);
            *args = args.iter().map(fill).collect();
            env
        }
        JobKind::OpenclawRun {
            args, message, env, ..
        } => {
            *args = args.iter().map(fill).collect();
            *message = message.as_ref().map(fill);
            env
        }
        JobKind::AutomatonRun { args, env, .. } => {
            *args = args.iter().map(fill).collect();
            env
        }
        JobKind::PicoclawTask { message, env, .. } => {
            *message = fill(message);
            env
        }
    };
    env.insert(INDEX.to_owned(), item.index.to_string());
    env.insert(ITEM.to_owned(), item.text.clone());
    kind
}

/// One pass, so that an item that holds `{index}` itself stays as it is.
fn fill(text: &str, item: &Item) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let (before, tail) = rest.split_at(at);
        out.push_str(before);
        if let Some(after) = tail.strip_prefix("{index}") {
            out.push_str(&item.index.to_string());
            rest = after;
        } else if let Some(after) = tail.strip_prefix("{item}") {
            out.push_str(&item.text);
            rest = after;
        } else {
            out.push('{');
            rest = tail.strip_prefix('{').unwrap_or_default();
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_ranges_steps_and_lists() {
        let cases = [
            ("1-3", vec![1, 2, 3]),
            ("5", vec![5]),
            ("9,1-2", vec![9, 1, 2]),
            ("0-10:5", vec![0, 5, 10]),
        ];
        for (text, numbers) in cases {
            assert_eq!(parse_numbers(text), Ok(Numbers(numbers)), "{text}");
        }
        for text in ["", "3-1", "a", "1-", "1-2:0", "0-18446744073709551615"] {
            assert!(parse_numbers(text).is_err(), "{text}");
        }
    }

    #[test]
    fn each_place_is_filled_in_once() {
        let item = Item {
            index: 7,
            text: "{index}".into(),
        };
        assert_eq!(
            fill("{item}-{index} {x} {{index}", &item),
            "{index}-7 {x} {7"
        );
    }
}
