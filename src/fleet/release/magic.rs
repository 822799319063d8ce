//! What the first bytes of a program say about where it runs. Pure.

use super::error::{Error, short_name};
use crate::fleet::target::{Arch, Os, Target};

/// How many bytes at the start tell everything.
pub(super) const ENOUGH: usize = 20;

/// What a program runs on, as far as its first bytes say.
#[derive(Debug, PartialEq, Eq)]
enum Build {
    /// A script, or a file for several processors of this system.
    Open(Option<Os>),
    /// For one system and processor.
    For(Os, Option<Arch>, String),
}

/// Tells whether this is a compressed archive.
pub(super) fn is_gzip(start: &[u8]) -> bool {
    start.starts_with(&[0x1f, 0x8b])
}

/// Checks that what begins with `start` is a program for `target`.
pub(super) fn check(start: &[u8], target: Target, what: &str) -> Result<(), Error> {
    let build = recognise(start).ok_or_else(|| Error::NotAProgram {
        what: what.to_owned(),
    })?;
    let wrong = |built_for| Error::WrongTarget {
        what: what.to_owned(),
        built_for,
        host: short_name(target),
    };
    match build {
        Build::Open(os) if os.is_none_or(|os| os == target.os) => Ok(()),
        Build::Open(os) => Err(wrong(os.map(|os| os.to_string()).unwrap_or_default())),
        Build::For(os, arch, _) if os == target.os && arch == Some(target.arch) => Ok(()),
        Build::For(os, Some(arch), _) => Err(wrong(short_name(Target { os, arch }))),
        Build::For(_, None, name) => Err(wrong(name)),
    }
}

fn recognise(start: &[u8]) -> Option<Build> {
    match start {
        [b'#', b'!', ..] => Some(Build::Open(None)),
        [0x7f, b'E', b'L', b'F', class, order, ..] => elf(start, *class, *order),
        [0xcf, 0xfa, 0xed, 0xfe, a, b, c, d, ..] => {
            Some(mach_o(u32::from_le_bytes([*a, *b, *c, *d])))
        }
        // One file for several processors.
        [0xca, 0xfe, 0xba, 0xbe, ..] => Some(Build::Open(Some(Os::Darwin))),
        _ => None,
    }
}

fn elf(start: &[u8], class: u8, order: u8) -> Option<Build> {
    let &[low, high] = start.get(18..20)? else {
        return None;
    };
    let little = order == 1;
    let machine = if little {
        u16::from_le_bytes([low, high])
    } else {
        u16::from_be_bytes([low, high])
    };
    let arch = match (class, little, machine) {
        (2, true, 62) => Some(Arch::Amd64),
        (2, true, 183) => Some(Arch::Arm64),
        (2, true, 243) => Some(Arch::Riscv64),
        _ => None,
    };
    let name = match (class, machine) {
        (_, 3) => "386".to_owned(),
        (_, 40) => "32-bit arm".to_owned(),
        (1, 243) => "32-bit riscv".to_owned(),
        _ => format!("another machine (ELF type {machine})"),
    };
    Some(Build::For(Os::Linux, arch, name))
}

fn mach_o(cpu: u32) -> Build {
    let arch = match cpu {
        0x0100_0007 => Some(Arch::Amd64),
        0x0100_000c => Some(Arch::Arm64),
        _ => None,
    };
    Build::For(
        Os::Darwin,
        arch,
        format!("another machine (Mach-O type {cpu:#x})"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf_for(class: u8, order: u8, machine: [u8; 2]) -> Vec<u8> {
        let mut start = vec![0; ENOUGH];
        start[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, order]);
        start[18..].copy_from_slice(&machine);
        start
    }

    fn checked(start: &[u8], uname: &str) -> Result<(), String> {
        let target = Target::from_uname(uname).unwrap();
        check(start, target, "f").map_err(|error| error.to_string())
    }

    #[test]
    fn a_program_must_fit_its_host() {
        let (amd64, arm64, riscv64) = (
            elf_for(2, 1, [62, 0]),
            elf_for(2, 1, [183, 0]),
            elf_for(2, 1, [243, 0]),
        );
        let mach = [0xcf, 0xfa, 0xed, 0xfe, 0x0c, 0, 0, 1];
        let fat = [0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 2];
        for (start, uname) in [
            (&amd64[..], "Linux x86_64"),
            (&arm64, "Linux aarch64"),
            (&riscv64, "Linux riscv64"),
            (&mach, "Darwin arm64"),
            (&fat, "Darwin x86_64"),
            (b"#!/bin/sh\n", "Linux x86_64"),
        ] {
            assert_eq!(checked(start, uname), Ok(()), "{uname}");
        }
        let wrong = [
            (
                &arm64[..],
                "Linux x86_64",
                "is built for arm64, the host is amd64",
            ),
            (
                &amd64,
                "Darwin x86_64",
                "is built for amd64, the host is darwin/amd64",
            ),
            (
                &mach,
                "Linux aarch64",
                "is built for darwin/arm64, the host is arm64",
            ),
            (
                &fat,
                "Linux x86_64",
                "is built for darwin, the host is amd64",
            ),
            (
                &elf_for(1, 1, [40, 0]),
                "Linux aarch64",
                "is built for 32-bit arm, the host is arm64",
            ),
            (&elf_for(2, 2, [0, 22]), "Linux x86_64", "ELF type 22"),
        ];
        for (start, uname, message) in wrong {
            let error = checked(start, uname).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
        for start in [&b""[..], b"<html>", b"\x7fELF", b"PK\x03\x04", &amd64[..19]] {
            assert!(
                checked(start, "Linux x86_64")
                    .unwrap_err()
                    .contains("no program")
            );
        }
    }
}
