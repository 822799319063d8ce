//! Just enough YAML to change one entry of a file: a tree that remembers how scalars were written,
//! and a writer for it.
//!
//! Plain scalars are written back as they stood, so that `0012` stays `0012`. Comments are lost, but
//! for those before the first entry.

use std::fmt::Write;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};

/// Deeper files than this are not written by anybody; the limit keeps the writer off the stack's end.
const MAX_DEPTH: usize = 64;

/// Text that is not the one YAML document we can edit.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("line {}, column {}", .0.marker().line(), .0.marker().col() + 1)]
    Syntax(ScanError),
    #[error("it holds more than one document")]
    ManyDocuments,
    #[error("it is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    #[error("an entry occurs twice")]
    Duplicate,
    #[error("it ends too early")]
    Unfinished,
}

/// A value with its anchor and tag.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    anchor: usize,
    tag: Option<String>,
    pub(super) value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// As it stood, unquoted, on one line.
    Plain(String),
    /// Quoted or in a block: a text in any case.
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    /// What has this anchor.
    Alias(usize),
}

impl From<Value> for Node {
    fn from(value: Value) -> Self {
        Self {
            anchor: 0,
            tag: None,
            value,
        }
    }
}

impl Node {
    /// A text, quoted.
    pub(super) fn text(text: &str) -> Self {
        Value::Text(text.to_owned()).into()
    }

    /// A word that needs no quotes.
    pub(super) fn plain(word: &str) -> Self {
        Value::Plain(word.to_owned()).into()
    }

    fn is_null(&self) -> bool {
        matches!(&self.value, Value::Plain(text) if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// Returns the entries of a map; nothing counts as an empty one. `None` if this is something else.
    pub(super) fn entries(&mut self) -> Option<&mut Vec<(Self, Self)>> {
        if self.is_null() {
            self.value = Value::Map(Vec::new());
        }
        match &mut self.value {
            Value::Map(entries) => Some(entries),
            Value::Plain(_) | Value::Text(_) | Value::List(_) | Value::Alias(_) => None,
        }
    }

    /// Returns the value of the entry `name`, made (as nothing) if it is missing. `None` if this is no map.
    pub(super) fn entry(&mut self, name: &str) -> Option<&mut Self> {
        let entries = self.entries()?;
        let at = entries.iter().position(|(key, _)| key.is_called(name));
        let at = at.unwrap_or_else(|| {
            entries.push((Self::plain(name), Self::plain("")));
            entries.len() - 1
        });
        entries.get_mut(at).map(|(_, value)| value)
    }

    /// Tells whether this key is `name`.
    pub(super) fn is_called(&self, name: &str) -> bool {
        matches!(&self.value, Value::Plain(text) | Value::Text(text) if text == name)
    }

    /// Tells whether something else in the file refers to this.
    pub(super) fn has_anchor(&self) -> bool {
        self.anchor != 0
    }
}

/// A list or map that is still being read.
struct Open {
    node: Node,
    /// A key that waits for its value.
    key: Option<Node>,
}

/// Reads one document. Nothing at all is an empty one.
pub(super) fn read(text: &str) -> Result<Node, Error> {
    let mut open: Vec<Open> = Vec::new();
    let mut root = None;
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(Error::Syntax)?;
        let done = match event {
            Event::Scalar(text, style, anchor, tag) => scalar(&text, style, anchor, tag.as_deref()),
            Event::Alias(anchor) => Value::Alias(anchor).into(),
            Event::SequenceStart(anchor, tag) => {
                start(&mut open, Value::List(Vec::new()), anchor, tag.as_deref())?;
                continue;
            }
            Event::MappingStart(anchor, tag) => {
                start(&mut open, Value::Map(Vec::new()), anchor, tag.as_deref())?;
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => open.pop().ok_or(Error::Unfinished)?.node,
            Event::DocumentStart(_) if root.is_some() => return Err(Error::ManyDocuments),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => continue,
        };
        match open.last_mut() {
            Some(parent) => add(parent, done)?,
            None => root = Some(done),
        }
    }
    if !open.is_empty() {
        return Err(Error::Unfinished);
    }
    Ok(root.unwrap_or_else(|| Node::plain("")))
}

fn scalar(text: &str, style: ScalarStyle, anchor: usize, tag: Option<&Tag>) -> Node {
    let plain = style == ScalarStyle::Plain && stays_plain(text);
    let value = if plain { Value::Plain } else { Value::Text };
    Node {
        anchor,
        tag: tag.map(written),
        value: value(text.to_owned()),
    }
}

/// Tells whether an unquoted scalar can be written back unquoted, on one line. The parser also takes
/// some that no other parser would; those can only be texts, and are quoted.
fn stays_plain(text: &str) -> bool {
    let indicator = text.starts_with([
        ',', '[', ']', '{', '}', '#', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`',
    ]);
    let mut words = text.split(' ');
    let structure = words
        .next()
        .is_some_and(|word| matches!(word, "-" | "?" | ":" | "---" | "..."));
    let cut = text.contains(": ") || text.contains(" #") || text.ends_with(':');
    !(indicator || structure || cut || text.chars().any(char::is_control))
}

fn start(
    open: &mut Vec<Open>,
    value: Value,
    anchor: usize,
    tag: Option<&Tag>,
) -> Result<(), Error> {
    if open.len() == MAX_DEPTH {
        return Err(Error::TooDeep);
    }
    let node = Node {
        anchor,
        tag: tag.map(written),
        value,
    };
    open.push(Open { node, key: None });
    Ok(())
}

fn written(tag: &Tag) -> String {
    match tag.handle.as_str() {
        "!" => format!("!{}", tag.suffix),
        // Resolved by the parser already, so only the long form is certain to mean the same.
        handle => format!("!<{handle}{}>", tag.suffix),
    }
}

fn add(parent: &mut Open, child: Node) -> Result<(), Error> {
    match (&mut parent.node.value, parent.key.take()) {
        (Value::List(items), _) => items.push(child),
        (Value::Map(_), None) => parent.key = Some(child),
        (Value::Map(entries), Some(key)) => {
            if entries.iter().any(|(other, _)| *other == key) {
                return Err(Error::Duplicate);
            }
            entries.push((key, child));
        }
        (Value::Plain(_) | Value::Text(_) | Value::Alias(_), _) => return Err(Error::Unfinished),
    }
    Ok(())
}

/// Writes the document in block form, after the comment lines that `original` begins with.
pub(super) fn write(root: &Node, original: &str) -> String {
    let is_comment = |line: &&str| line.trim().is_empty() || line.trim_start().starts_with('#');
    let mut out: String = original
        .split_inclusive('\n')
        .take_while(is_comment)
        .collect();
    if !out.is_empty() && !out.ends_with('\n') {
        out.push('\n');
    }
    let mut body = String::new();
    block(root, 0, &mut body);
    out.push_str(body.trim_start_matches(' '));
    out
}

/// Writes a value after `key:` or `-`: on the same line if it is short, below it otherwise.
fn block(node: &Node, indent: usize, out: &mut String) {
    properties(node, out);
    match &node.value {
        Value::List(items) if !items.is_empty() => {
            for item in items {
                new_line(indent, out);
                out.push('-');
                block(item, indent + 1, out);
            }
        }
        Value::Map(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                new_line(indent, out);
                if matches!(key.value, Value::List(_) | Value::Map(_)) {
                    out.push('?');
                    block(key, indent + 1, out);
                    new_line(indent, out);
                } else {
                    inline(key, out);
                    // After an alias a colon would be read as part of its name.
                    if matches!(key.value, Value::Alias(_)) {
                        out.push(' ');
                    }
                }
                out.push(':');
                block(value, indent + 1, out);
            }
        }
        Value::List(_) | Value::Map(_) | Value::Plain(_) | Value::Text(_) | Value::Alias(_) => {
            let mut text = String::new();
            short(&node.value, &mut text);
            if !text.is_empty() {
                out.push(' ');
                out.push_str(&text);
            }
            // An empty document needs no line.
            if !(out.is_empty() || out.ends_with('\n')) {
                out.push('\n');
            }
        }
    }
}

fn new_line(indent: usize, out: &mut String) {
    if !out.is_empty() && !out.ends_with('\n') {
        out.push('\n');
    }
    out.push_str(&"  ".repeat(indent));
}

fn properties(node: &Node, out: &mut String) {
    if let Some(tag) = &node.tag {
        let _ = write!(out, " {tag}");
    }
    if node.has_anchor() {
        let _ = write!(out, " &a{}", node.anchor);
    }
}

fn inline(node: &Node, out: &mut String) {
    let mut text = String::new();
    properties(node, &mut text);
    text.push(' ');
    short(&node.value, &mut text);
    out.push_str(text.trim_start());
}

fn short(value: &Value, out: &mut String) {
    match value {
        Value::Plain(text) => out.push_str(text),
        Value::Text(text) => quote(text, out),
        Value::Alias(anchor) => {
            let _ = write!(out, "*a{anchor}");
        }
        Value::List(_) => out.push_str("[]"),
        Value::Map(_) => out.push_str("{}"),
    }
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            hidden
                if hidden.is_control()
                    || matches!(hidden, '\u{2028}' | '\u{2029}' | '\u{feff}') =>
            {
                let _ = write!(out, "\\u{:04x}", u32::from(hidden));
            }
            plain => out.push(plain),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_reads_the_same() {
        let cases = [
            "",
            "{}",
            "a: 1",
            "# top\n\na: b\nc: [1, two, 'three']\nd: {e: f, g: []}\n",
            "a:\n  - b: 1\n    c: 2\n  -\n    - x\n    - - y\n  - {}\n  -\n",
            "a: |\n  line one\n  line two\nb: >-\n  folded\n  text\nc: \"q\\\"\\t\\u0007\"\nd: 'it''s'\n",
            "x: &one\n  k: v\ny: *one\nz: &two scalar\n*two : w\n",
            "plain: several\n  lines here\n\n  and more\n",
            "n: 0012\nf: 1.10\nb: yes\nnull: ~\nt: !!str 12\nu: !mine {a: b}\n? [k, l]\n: v\n'1': q\n1: r\n",
            "- a\n- b: c\n",
            "just a text",
        ];
        for text in cases {
            let tree = read(text).unwrap();
            let out = write(&tree, text);
            assert_eq!(read(&out).unwrap(), tree, "{text}\n=>\n{out}");
            assert_eq!(write(&read(&out).unwrap(), &out), out, "{out}");
        }
    }

    #[test]
    fn refuses_what_it_cannot_edit() {
        let deep = "[".repeat(100);
        for text in [
            "a: [",
            "a: b: c",
            "a: 1\na: 2",
            "a: 1\n---\nb: 2\n",
            "a: *gone",
            &deep,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back(key in any::<String>(), value in any::<String>()) {
            let entry = (Node::text(&key), Value::List(vec![Node::text(&value)]).into());
            let tree = Node::from(Value::Map(vec![entry]));
            prop_assert_eq!(read(&write(&tree, "")).unwrap(), tree);
        }

        #[test]
        fn whatever_can_be_read_is_written_the_same(text in "([ ]{0,3}[-?:&*!|>'\"{}, a-c0-9#]{0,8}\n){0,5}") {
            if let Ok(tree) = read(&text) {
                let out = write(&tree, &text);
                prop_assert_eq!(read(&out).ok(), Some(tree), "{}\n=>\n{}", text, out);
            }
        }
    }
}
