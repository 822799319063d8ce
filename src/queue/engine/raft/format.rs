//! The form of the log: what is in an entry, on disk and on the wire.
//!
//! An entry of commands is one byte that says which form it has, then JSON: a list of envelopes. JSON, because a
//! command holds JSON that must stay as it is byte for byte, and because fields and commands can be
//! added. The rules for whoever changes a command:
//!
//! - A new field that older programs may pass over is optional, and nothing else is needed.
//! - A new command needs nothing: a program that does not know it stops there and says so.
//! - A new field that older programs must *not* pass over, or another meaning of an old one, needs
//!   a new form, so that they stop instead of coming to another state than the others.
//!
//! Every member applies what it reads here, the leader too: what JSON does not keep is then gone for all.

use serde::Serialize;

use crate::queue::command::Envelope;

/// The newest form that this program knows, and the one it writes.
pub const FORM: u8 = 1;

/// How many commands one entry holds at most.
pub const MOST_COMMANDS: usize = super::super::local::BATCH;

/// How long an entry is at most, unless it is a single command.
pub const MOST_BYTES: usize = 4 * 1024 * 1024;

/// How long a single command may be: a message between members must hold it.
pub const LONGEST: usize = 12 * 1024 * 1024;

/// What an entry is, beside its body.
pub mod kind {
    /// Nothing: a new leader's first word.
    pub const BLANK: u8 = 0;
    /// Commands.
    pub const COMMANDS: u8 = 1;
    /// Who is in the cluster.
    pub const MEMBERS: u8 = 2;
}

/// An entry in the making.
pub struct Builder {
    bytes: Vec<u8>,
    commands: usize,
}

impl Builder {
    /// Returns one without commands.
    pub fn new() -> Self {
        Self {
            bytes: vec![FORM, b'['],
            commands: 0,
        }
    }

    /// Tells whether `more` commands of `length` bytes together fit in.
    pub fn has_room(&self, more: usize, length: usize) -> bool {
        self.commands == 0
            || (self.commands + more <= MOST_COMMANDS && self.bytes.len() + length <= MOST_BYTES)
    }

    /// Adds a command in the form that [`written`] gives it.
    pub fn add(&mut self, command: &[u8]) {
        if self.commands > 0 {
            self.bytes.push(b',');
        }
        self.bytes.extend_from_slice(command);
        self.commands += 1;
    }

    /// Returns the body of the entry.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.push(b']');
        self.bytes
    }
}

/// Returns the form of one command.
///
/// # Errors
/// When it has none.
pub fn written(command: &Envelope) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = Vec::with_capacity(512);
    command.serialize(&mut serde_json::Serializer::new(&mut bytes))?;
    Ok(bytes)
}

/// Returns the commands of an entry.
///
/// # Errors
/// What this program cannot read in it, and what to do.
pub fn read(body: &[u8]) -> Result<Vec<Envelope>, String> {
    match body.split_first() {
        Some((&FORM, json)) => serde_json::from_slice(json).map_err(|error| {
            format!(
                "holds a command that this skyclaw cannot read ({error}): use the skyclaw of the \
                 other members, or a newer one"
            )
        }),
        Some((form, _)) => Err(format!(
            "has form {form}, this skyclaw knows up to {FORM}: use a newer skyclaw"
        )),
        None => Err(
            "is empty, so the log is damaged: remove this member's data and let it join again"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Payload;
    use crate::queue::command::{Command, NewJob, Submit};
    use crate::support::clock::Timestamp;

    fn one() -> Envelope {
        let jobs = vec![NewJob::new(
            Payload::parse(r#"{"b": [1 ,2],  "a":1.0}"#).unwrap(),
        )];
        let submit = Submit { group: None, jobs };
        let now = Timestamp::from_millis(5);
        Command::Submit { now, submit }.into()
    }

    #[test]
    fn commands_come_back_as_they_were() {
        let (first, second) = (one(), one());
        let mut builder = Builder::new();
        for each in [&first, &second] {
            builder.add(&written(each).unwrap());
        }
        assert_eq!(read(&builder.finish()).unwrap(), [first, second]);
        assert_eq!(read(&Builder::new().finish()).unwrap(), []);
    }

    #[test]
    fn fields_of_newer_programs_are_passed_over_and_what_is_not_known_stops_us() {
        let text = String::from_utf8(written(&one()).unwrap()).unwrap();
        let entry = |form: u8, text: &str| [&[form], format!("[{text}]").as_bytes()].concat();
        let newer = text.replacen("\"now\":", "\"later\":{\"x\":1},\"now\":", 1);
        assert_eq!(read(&entry(FORM, &newer)).unwrap().len(), 1);
        // As an older program left the field out.
        let older = text.replacen(",\"idempotency\":null", "", 1);
        assert_ne!(older, text);
        assert_eq!(read(&entry(FORM, &older)).unwrap().len(), 1);
        let unknown = text.replacen("Submit", "Teleport", 1);
        let error = read(&entry(FORM, &unknown)).unwrap_err();
        assert!(
            error.contains("Teleport") && error.contains("newer"),
            "{error}"
        );
        let error = read(&entry(FORM + 1, &text)).unwrap_err();
        assert!(
            error.contains("has form 2, this skyclaw knows up to 1"),
            "{error}"
        );
        assert!(read(b"").is_err());
    }

    #[test]
    fn an_entry_is_bounded_by_commands_and_by_bytes() {
        let mut builder = Builder::new();
        assert!(builder.has_room(1, LONGEST), "a long one alone");
        builder.add(&[b'1'; 100]);
        assert!(!builder.has_room(1, MOST_BYTES));
        assert!(builder.has_room(MOST_COMMANDS - 1, 100));
        assert!(!builder.has_room(MOST_COMMANDS, 100));
    }
}
