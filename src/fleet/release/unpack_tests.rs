//! Archives of all kinds against the unpacker.

use std::fs;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, Header};

use super::*;

const SCRIPT: &[u8] = b"#!/bin/sh\necho hello\n";

struct Member<'a> {
    path: &'a str,
    kind: EntryType,
    content: &'a [u8],
}

fn file<'a>(path: &'a str, content: &'a [u8]) -> Member<'a> {
    Member {
        path,
        kind: EntryType::Regular,
        content,
    }
}

fn archive(members: &[Member<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for member in members {
        let mut header = Header::new_ustar();
        // Written into the raw field, since the crate refuses to build bad paths.
        header.as_mut_bytes()[..member.path.len()].copy_from_slice(member.path.as_bytes());
        header.set_entry_type(member.kind);
        header.set_mode(0o755);
        header.set_size(member.content.len() as u64);
        if matches!(member.kind, EntryType::Symlink | EntryType::Link) {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        builder.append(&header, member.content).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

fn prepared(
    content: &[u8],
    expected: &[(String, Digest)],
) -> (tempfile::TempDir, Result<Program, Error>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("download");
    fs::write(&path, content).unwrap();
    let checks = Checks {
        member: "picoclaw",
        target: Target::from_uname("Linux x86_64").unwrap(),
        expected,
        max_bytes: 1 << 20,
    };
    let result = prepare(&path, &dir.path().join("out/picoclaw"), &checks);
    (dir, result)
}

fn message(content: &[u8]) -> String {
    let (dir, result) = prepared(content, &[]);
    let error = result.err().unwrap().to_string();
    let left = fs::read_dir(dir.path().join("out")).map_or(0, |entries| entries.count());
    assert_eq!(left, 0, "nothing is left behind after: {error}");
    error
}

#[test]
fn takes_the_one_member_at_any_depth() {
    for path in ["picoclaw", "./picoclaw", "picoclaw_1.2/bin/picoclaw"] {
        let packed = archive(&[
            file("README.md", b"x"),
            file("picoclaw-launcher", b"#!/bin/sh\n"),
            file(path, SCRIPT),
        ]);
        let (dir, program) = prepared(&packed, &[("it".into(), Digest::of(&packed))]);
        let program = program.unwrap();
        assert_eq!(fs::read(&program.path).unwrap(), SCRIPT);
        assert_eq!(
            (program.digest, program.size),
            (Digest::of(SCRIPT), SCRIPT.len() as u64)
        );
        assert_eq!(fs::read_dir(dir.path().join("out")).unwrap().count(), 1);
    }
}

#[test]
fn a_directory_of_the_same_name_is_no_obstacle() {
    let dir = Member {
        path: "picoclaw/",
        kind: EntryType::Directory,
        content: b"",
    };
    let (_dir, program) = prepared(&archive(&[dir, file("picoclaw/picoclaw", SCRIPT)]), &[]);
    assert_eq!(program.unwrap().size, SCRIPT.len() as u64);
}

#[test]
fn a_bare_program_is_used_as_it_is() {
    let (dir, program) = prepared(SCRIPT, &[]);
    assert_eq!(program.unwrap().path, dir.path().join("download"));
}

#[test]
fn refuses_members_that_are_not_the_plain_program() {
    let link = |kind| Member {
        path: "picoclaw",
        kind,
        content: b"",
    };
    let cases = [
        (vec![link(EntryType::Symlink)], "link or special file"),
        (vec![link(EntryType::Link)], "link or special file"),
        (vec![link(EntryType::Fifo)], "link or special file"),
        (
            vec![file("/usr/bin/picoclaw", SCRIPT)],
            "out of the archive",
        ),
        (vec![file("a/../../picoclaw", SCRIPT)], "out of the archive"),
        (
            vec![file("picoclaw", SCRIPT), file("b/picoclaw", SCRIPT)],
            "more than one",
        ),
        (vec![file("other", SCRIPT)], "lacks the program"),
        (vec![], "lacks the program"),
        (vec![file("picoclaw", b"<html>")], "no program"),
    ];
    for (members, reason) in cases {
        let error = message(&archive(&members));
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn refuses_bombs_and_torn_archives() {
    let zeros = vec![0; 3 << 20];
    for members in [
        vec![file("picoclaw", &zeros)],
        vec![file("padding", &zeros), file("picoclaw", SCRIPT)],
    ] {
        assert!(message(&archive(&members)).contains("larger than 1048576 bytes"));
    }
    let noise: Vec<u8> = (0..20_000u32)
        .flat_map(|n| Digest::of(&n.to_le_bytes()).0)
        .collect();
    let packed = archive(&[file("picoclaw", SCRIPT), file("noise", &noise)]);
    for cut in [10, packed.len() / 2, packed.len() - 4] {
        assert!(
            message(&packed[..cut]).contains("not a readable .tar.gz"),
            "cut at {cut}"
        );
    }
    let mut damaged = packed.clone();
    let checksum = damaged.len() - 6;
    damaged[checksum] ^= 1;
    assert!(message(&damaged).contains("not a readable .tar.gz"));
}

#[test]
fn a_mismatch_shows_both_digests() {
    let other = Digest::of(b"other");
    let (_dir, result) = prepared(SCRIPT, &[("--sha256".into(), other)]);
    let error = result.err().unwrap().to_string();
    for part in [
        other.to_string(),
        Digest::of(SCRIPT).to_string(),
        "--sha256".into(),
    ] {
        assert!(error.contains(&part), "{error}");
    }
}
