//! A command as the runner reads it. What is in it may be secret: it is sent and never shown.

use std::time::Duration;

use crate::fleet::remote::{Command, Input, Word};
use crate::ssh::shell;

/// The longest grace that is waited for when nobody is there any more, in seconds.
const MOST_GRACE: u64 = 3600;

/// Returns a record: a type, a length and its contents.
pub(super) fn record(kind: u8, contents: &[u8]) -> Vec<u8> {
    let length = u32::try_from(contents.len()).unwrap_or(u32::MAX);
    let mut record = Vec::with_capacity(contents.len() + 5);
    record.push(kind);
    record.extend_from_slice(&length.to_be_bytes());
    record.extend_from_slice(contents);
    record
}

impl Command {
    /// Tells whether a runner can run it. The rest needs a shell, or to be another user.
    pub(super) fn fits_a_runner(&self) -> bool {
        self.sudo.is_none() && self.if_offered.is_none() && !matches!(self.input, Input::File(_))
    }

    /// Returns the fields of the command, each ended by a NUL, as `templates/runner.pl` takes them. `word` is what
    /// its processes carry.
    pub(super) fn fields(&self, word: &str, grace: Duration) -> Vec<u8> {
        let mut fields = Fields::default();
        fields.text(word);
        fields.number(grace.as_secs().min(MOST_GRACE));
        fields.number(u64::from(self.end_leftovers));
        fields.number(u64::from(self.must_be_installed));
        // The login directory is not always $HOME, which is where a person expects to be.
        let directory = self.directory.as_deref().unwrap_or("~/");
        let in_home = directory.strip_prefix("~/");
        let directory = in_home.map_or_else(|| plain(directory), |rest| format!("~{rest}"));
        fields.text(&directory);
        let unset = self.unset.iter();
        let unset: Vec<_> = unset.filter(|name| shell::is_variable_name(name)).collect();
        fields.number(unset.len() as u64);
        for name in unset {
            fields.text(name);
        }
        fields.number(self.env.len() as u64);
        for (name, value) in &self.env {
            fields.text(name);
            fields.text(value.expose());
        }
        fields.bytes(match &self.input {
            Input::Text(text) => text,
            Input::Nothing | Input::File(_) => &[],
        });
        for word in &self.words {
            match word {
                Word::Plain(bytes) => fields.marked(b'=', bytes),
                Word::InHome(path) => fields.marked(b'~', path.as_bytes()),
            }
        }
        fields.0
    }
}

/// A path whose first letter means nothing.
fn plain(path: &str) -> String {
    format!("={path}")
}

#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn bytes(&mut self, bytes: &[u8]) {
        // A NUL cannot be part of a field; callers refuse it earlier.
        self.0.extend(bytes.iter().filter(|byte| **byte != 0));
        self.0.push(0);
    }

    fn marked(&mut self, mark: u8, bytes: &[u8]) {
        self.0.push(mark);
        self.bytes(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn number(&mut self, number: u64) {
        self.text(&number.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::remote::Value;

    #[test]
    fn a_command_is_fields_in_a_fixed_order() {
        let command = Command {
            words: vec!["a b".into(), Word::InHome("bin/x".into()), "~/y".into()],
            env: vec![("N".into(), Value::Open("1\n2".into()))],
            unset: vec!["GONE".into(), "not a name".into()],
            directory: Some("~/work".into()),
            input: Input::Text(b"in".to_vec()),
            end_leftovers: true,
            ..Command::default()
        };
        let fields = command.fields("word.", Duration::from_secs(7));
        let expected =
            "word.\x007\x001\x000\0~work\x001\0GONE\x001\0N\x001\n2\0in\0=a b\0~bin/x\0=~/y\0";
        assert_eq!(String::from_utf8(fields).unwrap(), expected);
        let home = Command::default().fields("w", Duration::ZERO);
        assert!(home.starts_with(b"w\x000\x000\x000\0~\x000\x000\0"));
        let elsewhere = Command {
            directory: Some("~else".into()),
            ..Command::default()
        };
        let fields = elsewhere.fields("w", Duration::ZERO);
        assert!(fields.starts_with(b"w\x000\x000\x000\0=~else\0"));
    }
}
