//! What a host runs on: its operating system and processor. Pure: it reads text, it probes nothing.

use std::fmt;

use serde::Serialize;

/// The processor family of a host, in the words of the release assets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// 64-bit x86.
    Amd64,
    /// 64-bit ARM.
    Arm64,
    /// 64-bit RISC-V.
    Riscv64,
}

impl Arch {
    /// Every architecture there is a binary for.
    pub const ALL: [Self; 3] = [Self::Amd64, Self::Arm64, Self::Riscv64];

    /// Returns the architecture that is written exactly like `text`.
    pub fn from_name(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|arch| arch.as_str() == text)
    }

    /// Returns the architecture that a kernel (`uname -m`) or a packager calls `text`.
    pub fn from_machine(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "x86_64" | "x86-64" | "x64" | "amd64" => Some(Self::Amd64),
            "aarch64" | "aarch64_be" | "armv8" | "armv8l" | "arm64" => Some(Self::Arm64),
            "riscv" | "riscv64" => Some(Self::Riscv64),
            _ => None,
        }
    }

    /// Returns the name that release archives use: amd64 is `x86_64` there.
    pub const fn archive_name(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "arm64",
            Self::Riscv64 => "riscv64",
        }
    }

    /// Returns the word used in the fleet file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
            Self::Riscv64 => "riscv64",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An operating system that has builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Os {
    /// Linux.
    Linux,
    /// macOS.
    Darwin,
}

impl Os {
    /// Returns the name that release archives use, with a capital.
    pub const fn archive_name(self) -> &'static str {
        match self {
            Self::Linux => "Linux",
            Self::Darwin => "Darwin",
        }
    }
}

impl fmt::Display for Os {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Linux => "linux",
            Self::Darwin => "darwin",
        })
    }
}

/// What a build must fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// The operating system.
    pub os: Os,
    /// The processor family.
    pub arch: Arch,
}

/// A system for which there is no build. Trying again does not help.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// `uname -sm` did not answer with two words.
    #[error("`uname -sm` answered {0:?}, not a system and a machine")]
    Uname(String),
    /// The operating system is none of ours.
    #[error("operating system {0:?} is not supported: there are builds for Linux and Darwin")]
    Os(String),
    /// The processor is none of ours.
    #[error("architecture {0:?} is not supported: there are builds for amd64, arm64 and riscv64")]
    Arch(String),
}

impl Target {
    /// Returns what this program itself runs on, if there are builds for that.
    pub fn of_this_machine() -> Option<Self> {
        let os = match std::env::consts::OS {
            "linux" => Os::Linux,
            "macos" => Os::Darwin,
            _ => return None,
        };
        let arch = Arch::from_machine(std::env::consts::ARCH)?;
        Some(Self { os, arch })
    }

    /// Reads what `uname -sm` printed.
    ///
    /// # Errors
    /// When the text names a system or machine for which there is no build; the error names it.
    pub fn from_uname(text: &str) -> Result<Self, Error> {
        let mut words = text.split_whitespace();
        let (Some(os), Some(machine), None) = (words.next(), words.next(), words.next()) else {
            return Err(Error::Uname(text.trim().to_owned()));
        };
        let os = match os {
            "Linux" => Os::Linux,
            "Darwin" => Os::Darwin,
            other => return Err(Error::Os(other.to_owned())),
        };
        let arch = Arch::from_machine(machine).ok_or_else(|| Error::Arch(machine.to_owned()))?;
        Ok(Self { os, arch })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.arch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_uname() {
        let cases = [
            ("Linux x86_64\n", "linux/amd64"),
            ("Linux amd64", "linux/amd64"),
            ("Linux aarch64", "linux/arm64"),
            ("Darwin arm64", "darwin/arm64"),
            ("Linux riscv64", "linux/riscv64"),
        ];
        for (text, target) in cases {
            assert_eq!(Target::from_uname(text).unwrap().to_string(), target);
        }
    }

    #[test]
    fn names_what_it_does_not_support() {
        let cases = [
            ("Linux armv7l", "armv7l"),
            ("FreeBSD amd64", "FreeBSD"),
            ("", "uname"),
            ("Linux x86_64 extra", "extra"),
        ];
        for (text, named) in cases {
            let error = Target::from_uname(text).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn machines_are_known_by_many_names() {
        assert_eq!(Arch::from_name("aarch64"), None);
        assert_eq!(Arch::from_machine("aarch64"), Some(Arch::Arm64));
        assert_eq!(Arch::from_machine("x86_64"), Some(Arch::Amd64));
        assert_eq!(Arch::from_machine("mips"), None);
        for arch in Arch::ALL {
            assert_eq!(Arch::from_name(arch.as_str()), Some(arch));
        }
    }
}
