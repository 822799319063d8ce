//! Facts about PicoClaw: where it lives, what its output means, which providers it is set up for.

/// Where deploy puts the program, below the user's home directory.
pub const PROGRAM: &str = ".local/bin/picoclaw";

/// The directory of its files, below the user's home directory.
pub const HOME: &str = ".picoclaw";

/// The mark before its name and before each answer.
const MARK: &str = "\u{1f99e} ";

/// A provider that cannot be used as asked. Trying again does not help.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// It is not in our table and nobody said where it is.
    #[error(
        "provider {provider:?} is not known: give its address (api_base), or use one of {}",
        names()
    )]
    Unknown {
        /// Its name.
        provider: String,
    },
    /// There is no model to ask for by default.
    #[error("provider {provider:?} has no default model: name one")]
    NoModel {
        /// Its name.
        provider: String,
    },
    /// The name is empty or has characters that no provider has.
    #[error("{0:?} is not a provider name: use letters, digits, `-` and `_`")]
    Name(String),
}

struct Known {
    name: &'static str,
    /// What the configuration file calls it.
    written: &'static str,
    model: Option<&'static str>,
    api_base: Option<&'static str>,
}

/// Providers that need no address, and the one that always does.
const KNOWN: [Known; 4] = [
    Known {
        name: "anthropic",
        written: "anthropic",
        model: Some("claude-sonnet-4-6"),
        api_base: Some("https://api.anthropic.com/v1"),
    },
    Known {
        name: "openai",
        written: "openai",
        model: None,
        api_base: Some("https://api.openai.com/v1"),
    },
    Known {
        name: "openrouter",
        written: "openrouter",
        model: None,
        api_base: Some("https://openrouter.ai/api/v1"),
    },
    Known {
        name: "openai-compatible",
        written: "openai",
        model: None,
        api_base: None,
    },
];

fn names() -> String {
    let with_address = KNOWN.iter().filter(|known| known.api_base.is_some());
    with_address
        .map(|known| known.name)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Which model PicoClaw asks, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The provider, as PicoClaw calls it.
    pub provider: String,
    /// The model, as the provider calls it.
    pub model: String,
    /// The provider's address.
    pub api_base: String,
}

impl Settings {
    /// Fills in what is known of `provider`; what is given wins.
    ///
    /// # Errors
    /// When the model or the address is neither given nor known.
    pub fn resolve(
        provider: &str,
        model: Option<&str>,
        api_base: Option<&str>,
    ) -> Result<Self, Error> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if provider.is_empty() || !provider.bytes().all(plain) {
            return Err(Error::Name(provider.to_owned()));
        }
        let known = KNOWN.iter().find(|known| known.name == provider);
        let api_base = api_base
            .or_else(|| known.and_then(|known| known.api_base))
            .ok_or_else(|| Error::Unknown {
                provider: provider.to_owned(),
            })?;
        let model = model
            .or_else(|| known.and_then(|known| known.model))
            .ok_or_else(|| Error::NoModel {
                provider: provider.to_owned(),
            })?;
        Ok(Self {
            provider: known.map_or(provider, |known| known.written).to_owned(),
            model: model.to_owned(),
            api_base: api_base.to_owned(),
        })
    }
}

/// Returns the variable that usually holds the key of `provider`: `ANTHROPIC_API_KEY` for `anthropic`.
pub fn key_variable(provider: &str) -> String {
    format!(
        "{}_API_KEY",
        provider.to_ascii_uppercase().replace('-', "_")
    )
}

/// Returns a session key that PicoClaw honours: it replaces any without one of two beginnings by a shared one.
pub fn session_key(name: &str) -> String {
    if name.starts_with("agent:") || name.starts_with("sk_v1_") {
        name.to_owned()
    } else {
        format!("agent:main:skyclaw:{name}")
    }
}

/// Returns the version in the output of `picoclaw version`, or nothing if another program answered.
///
/// Other programs of the same name exist, so the line must begin with `picoclaw`, after its mark and
/// drawing characters, and go on with a version number.
pub fn parse_version(stdout: &str) -> Option<String> {
    stdout.lines().find_map(|line| {
        let plain = without_escapes(line);
        let start = plain.trim_start_matches(|c: char| !c.is_ascii_graphic());
        let mut words = start.strip_prefix("picoclaw ")?.split_whitespace();
        let version = words
            .next()?
            .trim_end_matches(|c: char| !c.is_ascii_graphic());
        let number = version.strip_prefix('v').unwrap_or(version);
        let looks_right = number.starts_with(|c: char| c.is_ascii_digit()) && number.contains('.');
        (looks_right || version == "dev").then(|| version.to_owned())
    })
}

/// Drops colour sequences (`ESC [ … letter`).
fn without_escapes(line: &str) -> String {
    let mut parts = line.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| c.is_ascii_alphabetic());
        plain.push_str(end.and_then(|end| part.get(end + 1..)).unwrap_or_default());
    }
    plain
}

/// Returns the answer alone, out of what `picoclaw agent -m` printed.
///
/// That is everything after the first mark that begins a line, without one final newline. Without any
/// mark the whole output is returned as it is.
pub fn answer_only(stdout: &[u8]) -> Vec<u8> {
    let mark = MARK.as_bytes();
    let answer = stdout
        .split_inclusive(|byte| *byte == b'\n')
        .scan(0, |next, line| {
            let start = *next;
            *next += line.len();
            Some((start, line))
        })
        .find(|(_, line)| line.starts_with(mark))
        .and_then(|(start, _)| stdout.get(start + mark.len()..));
    let Some(answer) = answer else {
        return stdout.to_vec();
    };
    answer.strip_suffix(b"\n").unwrap_or(answer).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_version_and_no_impostor() {
        let cases = [
            (
                "██ ██\n\n🦞 picoclaw 0.2.9 (git: abc)\n  Build: x\n  Go: y\n",
                Some("0.2.9"),
            ),
            ("🦞 picoclaw v0.1.1\n", Some("v0.1.1")),
            ("picoclaw dev (git: abc)\n", Some("dev")),
            (
                "╭──╮\n│ \u{1b}[1m🦞 picoclaw 1.0.0\u{1b}[0m │\n",
                Some("1.0.0"),
            ),
            ("PicoClaw installer 2.0.3\n", None),
            ("openpicoclaw 2.0.3\n", None),
            ("usage: picoclaw 2.0 [options]\n", None),
            ("picoclaw is not configured. Run setup.\n", None),
            ("", None),
        ];
        for (stdout, version) in cases {
            assert_eq!(parse_version(stdout).as_deref(), version, "{stdout}");
        }
    }

    #[test]
    fn strips_what_stands_before_the_answer() {
        let cases: [(&[u8], &[u8]); 6] = [
            (
                "██\n15:04:05 WRN x\n\n🦞 hello\nmore\n".as_bytes(),
                b"hello\nmore",
            ),
            ("🦞 a\n🦞 b\n\n".as_bytes(), "a\n🦞 b\n".as_bytes()),
            ("note 🦞 not here\n🦞 x".as_bytes(), b"x"),
            (b"no mark\n", b"no mark\n"),
            (b"\xff\n\xf0\x9f\xa6\x9e \xfe\xff\n", b"\xfe\xff"),
            (b"", b""),
        ];
        for (stdout, answer) in cases {
            assert_eq!(answer_only(stdout), answer);
        }
    }

    #[test]
    fn providers_are_completed_from_the_table() {
        let resolve = |provider, model, base| {
            Settings::resolve(provider, model, base).map(|s| (s.provider, s.model, s.api_base))
        };
        let own = |a: &str, b: &str, c: &str| Ok((a.to_owned(), b.to_owned(), c.to_owned()));
        assert_eq!(
            resolve("anthropic", None, None),
            own(
                "anthropic",
                "claude-sonnet-4-6",
                "https://api.anthropic.com/v1"
            )
        );
        assert_eq!(
            resolve("openai", Some("m"), None),
            own("openai", "m", "https://api.openai.com/v1")
        );
        let base = Some("http://127.0.0.1:1/v1");
        assert_eq!(
            resolve("openai-compatible", Some("m"), base),
            own("openai", "m", "http://127.0.0.1:1/v1")
        );
        assert_eq!(
            resolve("groq", Some("m"), base),
            own("groq", "m", "http://127.0.0.1:1/v1")
        );
        assert!(matches!(
            resolve("groq", Some("m"), None),
            Err(Error::Unknown { .. })
        ));
        assert!(matches!(
            resolve("openai", None, None),
            Err(Error::NoModel { .. })
        ));
        assert!(matches!(resolve("a b", None, None), Err(Error::Name(_))));
        assert_eq!(
            key_variable("openai-compatible"),
            "OPENAI_COMPATIBLE_API_KEY"
        );
    }
}
