//! The arrows between rooms that must not exist. `ARCHITECTURE.md` shows the rooms.
//!
//! Reads the sources as text, without comments: `crate::` paths, and a few words that belong to one
//! room only.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room and the rooms it may use besides itself.
const MAY_USE: &[(&str, &[&str])] = &[
    ("support", &[]),
    ("protocol", &["support"]),
    ("queue", &["protocol", "support"]),
    ("ssh", &["support"]),
    ("client", &["protocol", "support"]),
    ("identity", &["protocol", "support"]),
    (
        "fleet",
        &["ssh", "queue", "protocol", "client", "identity", "support"],
    ),
    ("host", &["protocol", "client", "identity", "support"]),
    ("gateway", &["protocol", "client", "identity", "support"]),
    (
        "coordinator",
        &["queue", "protocol", "client", "identity", "support"],
    ),
    (
        "cli",
        &[
            "support",
            "protocol",
            "queue",
            "ssh",
            "client",
            "identity",
            "fleet",
            "host",
            "gateway",
            "coordinator",
        ],
    ),
];

/// A word that only some places may use.
struct Reserved {
    words: &'static [&'static str],
    /// Path prefixes below `src/`.
    allowed: &'static [&'static str],
    rule: &'static str,
}

const RESERVED: &[Reserved] = &[
    Reserved {
        words: &["russh"],
        allowed: &["ssh/", "ssh.rs"],
        rule: "only ssh names russh",
    },
    Reserved {
        words: &["rusqlite"],
        allowed: &["queue/store"],
        rule: "only queue/store names rusqlite",
    },
    Reserved {
        words: &[
            "\"SELECT ",
            "\"INSERT INTO ",
            "\"UPDATE ",
            "\"DELETE FROM ",
            "\"CREATE TABLE ",
            "\"CREATE INDEX ",
            "\"PRAGMA ",
        ],
        allowed: &["queue/store"],
        rule: "only queue/store speaks SQL",
    },
    Reserved {
        words: &["println!", "print!", "io::stdout"],
        allowed: &["cli/"],
        rule: "only cli prints to stdout",
    },
    Reserved {
        words: &["axum", "reqwest"],
        allowed: &[
            "coordinator/",
            "gateway/",
            "client.rs",
            "client/",
            "host/",
            "fleet/",
            "cli/",
        ],
        rule: "queue, ssh, protocol, identity and support speak no HTTP",
    },
    Reserved {
        words: &["clap", "anyhow"],
        allowed: &["cli/", "main.rs"],
        rule: "only cli and main know clap and anyhow",
    },
    Reserved {
        words: &["cli"],
        allowed: &["cli/", "main.rs", "lib.rs"],
        rule: "only main uses cli",
    },
];

#[test]
fn no_forbidden_arrow_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 10, "the sources were not found");
    let mut broken = Vec::new();
    // Tests beside the code may print: that is how a child process of theirs answers.
    files.retain(|file| !file.components().any(|part| part.as_os_str() == "tests"));
    for file in files {
        let below = file
            .strip_prefix(&root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let text = fs::read_to_string(&file).unwrap();
        broken.extend(check(&below, &text));
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn every_room_has_a_row() {
    let text = include_str!("../src/lib.rs");
    for line in text.lines() {
        let Some(room) = line
            .strip_prefix("pub mod ")
            .and_then(|rest| rest.strip_suffix(';'))
        else {
            continue;
        };
        assert!(
            MAY_USE.iter().any(|(name, _)| *name == room),
            "src/lib.rs: the room {room} has no row in MAY_USE"
        );
    }
}

#[test]
fn the_rules_catch_what_they_forbid() {
    let caught = [
        (
            "support/ids.rs",
            "use crate::fleet::file;",
            "support may not use fleet",
        ),
        (
            "ssh/pool.rs",
            "fn f() { crate::queue::open() }",
            "ssh may not use queue",
        ),
        (
            "queue/mod.rs",
            "use crate::{support, cli::exit};",
            "queue may not use cli",
        ),
        (
            "queue/mod.rs",
            "use crate::{\n  protocol,\n  ssh,\n};",
            "src/queue/mod.rs:3: queue may not use ssh",
        ),
        (
            "client.rs",
            "use super::fleet::file;",
            "client may not use fleet",
        ),
        (
            "fleet/push.rs",
            "use russh::client;",
            "only ssh names russh",
        ),
        (
            "queue/engine.rs",
            "rusqlite::Connection",
            "only queue/store names rusqlite",
        ),
        (
            "queue/engine.rs",
            "let q = \"SELECT 1\";",
            "only queue/store speaks SQL",
        ),
        (
            "host/mod.rs",
            "\nprintln!(\"x\")",
            "src/host/mod.rs:2: only cli prints to stdout",
        ),
        (
            "host/mod.rs",
            "std::io::stdout()",
            "only cli prints to stdout",
        ),
        ("nowhere/mod.rs", "", "no row"),
    ];
    for (file, text, message) in caught {
        let broken = check(file, text);
        assert!(
            broken.iter().any(|line| line.contains(message)),
            "{file}: {text}: {broken:?}"
        );
    }
    let fine = [
        (
            "fleet/push.rs",
            "use crate::{ssh::{exec, pool}, queue};\nuse super::file;",
        ),
        (
            "fleet/push.rs",
            "// as crate::cli does with russh\nlet url = \"http://x\"; eprintln!(\"\")",
        ),
        ("ssh/exec.rs", "use russh::client; use crate::ssh::pool;"),
        (
            "queue/store/sqlite.rs",
            "use rusqlite::Connection; let q = \"SELECT 1\";",
        ),
        ("cli/output.rs", "use crate::fleet; std::io::stdout()"),
        ("host/runner.rs", "command.stdout(Stdio::piped())"),
        ("main.rs", "use skyclaw::cli;"),
        (
            "fleet/push.rs",
            "let a = r#\"odd \" quote // x?\"#; // russh\n",
        ),
        ("host/mod.rs", "/* crate::cli\n crate::fleet */ fn f() {}"),
    ];
    for (file, text) in fine {
        assert_eq!(check(file, text), Vec::<String>::new(), "{file}: {text}");
    }
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files.sort();
}

/// Returns what is forbidden in the file `below` src, one message each.
fn check(below: &str, text: &str) -> Vec<String> {
    let text = without_comments(text);
    let mut broken = Vec::new();
    let mut report = |at: usize, rule: &str| {
        let line = text[..at].matches('\n').count() + 1;
        broken.push(format!("src/{below}:{line}: {rule}"));
    };
    for reserved in RESERVED {
        if reserved
            .allowed
            .iter()
            .any(|place| below.starts_with(place))
        {
            continue;
        }
        for word in reserved.words {
            // `cli` alone is an ordinary word; as the head of a path it is the room.
            let needle = if *word == "cli" { "cli::" } else { word };
            for at in words(&text, needle) {
                report(at, reserved.rule);
            }
        }
    }
    let room = below.split('/').next().unwrap().trim_end_matches(".rs");
    if room == "main" || room == "lib" {
        return broken;
    }
    let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == room) else {
        report(
            0,
            &format!("the room {room} has no row in tests/architecture.rs"),
        );
        return broken;
    };
    for (at, used) in used_rooms(&text, below) {
        let known = MAY_USE.iter().any(|(name, _)| *name == used);
        if known && used != room && !allowed.contains(&used.as_str()) {
            report(at, &format!("{room} may not use {used}"));
        }
    }
    broken
}

/// Returns the first segment of each path from the crate's root, with its place.
fn used_rooms(text: &str, below: &str) -> BTreeSet<(usize, String)> {
    let mut roots = words(text, "crate::")
        .into_iter()
        .map(|at| at + "crate::".len())
        .collect::<Vec<_>>();
    // From the top file of a room, `super::` is the crate's root.
    let depth = below.matches('/').count();
    if depth == 0 || (depth == 1 && below.ends_with("/mod.rs")) {
        roots.extend(
            words(text, "super::")
                .into_iter()
                .map(|at| at + "super::".len()),
        );
    }
    roots.into_iter().flat_map(|at| heads(text, at)).collect()
}

/// Returns the names at `at`: one, or each of a `{…}` list.
fn heads(text: &str, at: usize) -> Vec<(usize, String)> {
    if !text[at..].starts_with('{') {
        return vec![(at, identifier(&text[at..]))];
    }
    let mut heads = Vec::new();
    let mut depth = 0;
    let mut expects_name = false;
    for (offset, c) in text[at..].char_indices() {
        match c {
            '{' => {
                depth += 1;
                expects_name = depth == 1;
            }
            '}' => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            ',' => expects_name = depth == 1,
            c if c.is_whitespace() => {}
            _ if expects_name => {
                heads.push((at + offset, identifier(&text[at + offset..])));
                expects_name = false;
            }
            _ => {}
        }
    }
    heads
}

fn identifier(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// Returns where `needle` stands as a word of its own.
fn words(text: &str, needle: &str) -> Vec<usize> {
    let joins = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(needle)
        .map(|(at, _)| at)
        .filter(|at| {
            let before = text[..*at].chars().next_back();
            let after = text[at + needle.len()..].chars().next();
            let starts = !needle.starts_with(joins) || !before.is_some_and(joins);
            let ends = !needle.ends_with(joins) || !after.is_some_and(joins);
            starts && ends
        })
        .collect()
}

/// Blanks comments, keeping every newline and the length of the rest.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut in_string = false;
    while let Some(c) = rest.chars().next() {
        if in_string && c == '\\' {
            let end = rest
                .char_indices()
                .nth(2)
                .map_or(rest.len(), |(end, _)| end);
            out.push_str(&rest[..end]);
            rest = &rest[end..];
            continue;
        }
        if !in_string && rest.starts_with("//") {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
            continue;
        }
        if !in_string && rest.starts_with("/*") {
            let end = rest.find("*/").map_or(rest.len(), |end| end + 2);
            out.extend(rest[..end].chars().filter(|c| *c == '\n'));
            rest = &rest[end..];
            continue;
        }
        if !in_string && let Some(end) = raw_string(rest, &out) {
            out.push_str(&rest[..end]);
            rest = &rest[end..];
            continue;
        }
        // A quote as a character literal opens no string.
        if c == '\'' && (rest.starts_with("'\"'") || rest.starts_with("'\\\"'")) {
            let end = if rest.starts_with("'\"'") { 3 } else { 4 };
            rest = &rest[end..];
            continue;
        }
        if c == '"' {
            in_string = !in_string;
        }
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}

/// Returns the length of the raw string that `rest` begins with, if it does.
fn raw_string(rest: &str, before: &str) -> Option<usize> {
    let inner = rest.strip_prefix('r')?;
    let in_word = |c: char| c != 'b' && (c.is_alphanumeric() || c == '_');
    if before.chars().next_back().is_some_and(in_word) {
        return None;
    }
    let opening = inner.trim_start_matches('#');
    let hashes = &inner[..inner.len() - opening.len()];
    let text = opening.strip_prefix('"')?;
    let end = text.find(&format!("\"{hashes}"))?;
    Some(1 + hashes.len() + 1 + end + 1 + hashes.len())
}
