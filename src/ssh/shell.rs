//! Commands for a far POSIX `sh`, which is all we trust about the other side.
//!
//! The command line is constant: `exec /bin/sh -c '<script>'`, where the script is one of our
//! templates on one line. Everything that varies travels on stdin, where no process list shows it:
//! first the marker that frames our replies, then one line of shell code made by [`Code`].

/// Reads the marker, whatever came before it, and refuses to go on without one: if a login script has
/// eaten our lines, the next one may be anything. `_n` is a newline and `_m` the word replies begin with.
const PREAMBLE: &str = "_n=${IFS#??}; _m=; while IFS= read -r _m; do case $_m in skyclaw-*) break;; esac; done; case $_m in skyclaw-*) _m=$_m.;; *) exit 255;; esac;";

/// Returns the constant command line that runs `template` under the host's `/bin/sh`, whatever the
/// login shell is.
///
/// A template has one statement a line and `#` comments on lines of their own. It must hold no
/// single quote, backslash or `!`: these are what bash, zsh, fish and csh disagree on within single
/// quotes. A test holds all templates against that.
pub fn command_line(template: &str) -> String {
    let script = script(template);
    format!("exec /bin/sh -c '{PREAMBLE} {}'", script.join(" "))
}

/// Returns the lines of a template that are sent: without comments, which have lines of their own.
pub(crate) fn script(template: &str) -> Vec<&str> {
    template
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

/// One line of shell code that a template reads from stdin and evaluates.
///
/// Values are quoted here and nowhere else. A newline in a value becomes `"$_n"`, which is set to a
/// newline before every template, so that the code stays one line.
#[derive(Debug, Clone, Default)]
pub struct Code(Vec<u8>);

impl Code {
    /// Returns empty code.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends shell text as it is. Only for constants of our own.
    #[must_use]
    pub fn raw(mut self, text: &'static str) -> Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// Appends `value` so that the shell takes it as one word, byte for byte.
    ///
    /// A NUL cannot be part of a word and is left out; callers refuse it earlier.
    #[must_use]
    pub fn word(mut self, value: &[u8]) -> Self {
        quote_into(&mut self.0, value);
        self
    }

    /// Appends `NAME=value; export NAME;`. The name must be a valid variable name.
    #[must_use]
    pub fn export(mut self, name: &str, value: &[u8]) -> Self {
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'=');
        quote_into(&mut self.0, value);
        self.0.extend_from_slice(b"; export ");
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b';');
        self
    }

    /// Appends a number.
    #[must_use]
    pub fn number(mut self, value: u64) -> Self {
        self.0.extend_from_slice(value.to_string().as_bytes());
        self
    }

    /// Returns it as it is sent.
    pub(crate) fn into_line(mut self) -> Vec<u8> {
        self.0.push(b'\n');
        self.0
    }
}

/// Returns what a template reads first: the marker line, then its lines of code.
pub fn header(marker: &Marker, lines: impl IntoIterator<Item = Code>) -> Vec<u8> {
    let mut header = marker.as_str().as_bytes().to_vec();
    header.push(b'\n');
    for line in lines {
        header.extend_from_slice(&line.into_line());
    }
    header
}

fn quote_into(out: &mut Vec<u8>, value: &[u8]) {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"_-./:=@%+,".contains(b);
    if !value.is_empty() && value.iter().all(plain) {
        out.extend_from_slice(value);
        return;
    }
    out.push(b'\'');
    for byte in value {
        match byte {
            b'\'' => out.extend_from_slice(b"'\"'\"'"),
            b'\n' => out.extend_from_slice(b"'\"$_n\"'"),
            0 => {}
            other => out.push(*other),
        }
    }
    out.push(b'\'');
}

/// Tells whether `name` is kept for the templates' own variables.
pub fn is_reserved_name(name: &str) -> bool {
    name.len() == 2 && name.starts_with('_')
}

/// Tells whether `name` can be a shell variable.
pub fn is_variable_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A random word that frames our own replies, so that what login scripts print is not taken for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker(String);

impl Marker {
    /// Returns a fresh marker.
    pub fn fresh() -> Self {
        Self(format!(
            "skyclaw-{}",
            crate::support::ids::random_hex::<16>()
        ))
    }

    /// Returns it as it is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the word that replies begin with. It differs from what is sent, so that a login script
    /// that prints our own input back is not taken for a reply.
    pub fn reply(&self) -> String {
        format!("{}.", self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use proptest::prelude::*;

    use super::*;

    /// A template that prints its arguments, each ended by a NUL.
    const ECHO: &str =
        "IFS= read -r c; eval \"$c\";\n# each\nfor a in \"$@\"; do printf \"%s.\" \"$a\" ; done";

    fn echo(values: &[&[u8]]) -> Vec<u8> {
        let mut code = Code::new().raw("set --");
        for value in values {
            code = code.raw(" ").word(value);
        }
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(command_line(ECHO))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(&header(&Marker::fresh(), [code]))
            .unwrap();
        child.wait_with_output().unwrap().stdout
    }

    #[test]
    fn words_arrive_byte_for_byte() {
        let all: Vec<u8> = (1..=255).collect();
        for value in [
            &all[..],
            b"",
            b"-n",
            b"a'b\"c",
            b"$(id) `id` \\ !",
            b"two\nlines\n\n",
            "né 🦞".as_bytes(),
        ] {
            let mut expected = value.to_vec();
            expected.extend_from_slice(b".x.");
            assert_eq!(echo(&[value, b"x"]), expected, "{value:?}");
        }
    }

    #[test]
    fn all_templates_survive_every_login_shell() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/templates");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "sh") {
                continue;
            }
            let line = command_line(&std::fs::read_to_string(&path).unwrap());
            let script = line
                .strip_prefix("exec /bin/sh -c '")
                .and_then(|rest| rest.strip_suffix('\''))
                .unwrap();
            for bad in ['\'', '\\', '!', '\n', '\t'] {
                assert!(!script.contains(bad), "{} holds {bad:?}", path.display());
            }
            assert!(script.is_ascii(), "{}", path.display());
            let checked = Command::new("sh").args(["-n", "-c", script]).status();
            assert!(checked.unwrap().success(), "{}", path.display());
            seen += 1;
        }
        assert!(seen >= 3, "the templates are elsewhere now");
    }

    #[test]
    fn a_hundred_kilobytes_fit_in_one_word() {
        let long = vec![b'\''; 100 << 10];
        assert_eq!(echo(&[&long]).len(), long.len() + 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn any_bytes_but_nul_survive(value in proptest::collection::vec(1u8..=255, 0..200)) {
            let mut expected = value.clone();
            expected.push(b'.');
            prop_assert_eq!(echo(&[&value]), expected);
        }
    }

    #[test]
    fn variable_names() {
        assert!(
            is_variable_name("_A1")
                && !is_variable_name("1A")
                && !is_variable_name("")
                && !is_variable_name("A-B;id")
        );
    }
}
