//! Command templates of the user's own agents: split into words first, filled in afterwards.
//!
//! No shell is involved. Since a placeholder is replaced inside a word that already exists, no task
//! text, whatever it contains, can become a second word or be read as a placeholder itself.

use std::fmt;
use std::iter::Peekable;
use std::str::{Chars, FromStr};

/// What a placeholder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placeholder {
    /// `{task}`: the task text.
    Task,
    /// `{name}`: the host's name in the fleet file.
    Name,
    /// `{host}`: the host's address.
    Host,
    /// `{index}`: the host's position in the run, from 0.
    Index,
    /// `{job}`: the job's id.
    Job,
}

impl Placeholder {
    fn named(name: &str) -> Option<Self> {
        match name {
            "task" => Some(Self::Task),
            "name" => Some(Self::Name),
            "host" => Some(Self::Host),
            "index" => Some(Self::Index),
            "job" => Some(Self::Job),
            _ => None,
        }
    }
}

/// A template that cannot be used. It has to be rewritten; trying again does not help.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// It has no words.
    #[error("the agent command is empty: write for example `mytool run --prompt {{task}}`")]
    Empty,
    /// A quote is opened and not closed.
    #[error("the agent command {template:?} opens a {quote} quote and does not close it")]
    OpenQuote {
        /// The whole template.
        template: String,
        /// The quote character.
        quote: char,
    },
    /// It ends in the middle of an escape.
    #[error("the agent command {0:?} ends in a backslash: write two of them for one")]
    OpenEscape(String),
    /// It names something that is not known.
    #[error(
        "the agent command has the unknown placeholder {{{0}}}: known are {{task}}, {{name}}, {{host}}, {{index}} and {{job}}"
    )]
    Unknown(String),
    /// The program would be chosen by a value that changes.
    #[error("the agent command starts with a placeholder: its first word must be the program")]
    ProgramVaries,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value(Placeholder),
}

/// A command of words with placeholders in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    program: String,
    args: Vec<Vec<Piece>>,
    text: String,
}

impl Template {
    /// Returns the program, as written: a path, `~/…`, or a name to be searched for.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Tells whether the task is one of the arguments. If not, it belongs on standard input.
    pub fn takes_task(&self) -> bool {
        self.args
            .iter()
            .flatten()
            .any(|piece| *piece == Piece::Value(Placeholder::Task))
    }

    /// Returns the arguments with each placeholder replaced by what `value` says.
    pub fn fill<'v>(&self, value: impl Fn(Placeholder) -> &'v str) -> Vec<String> {
        let word = |pieces: &Vec<Piece>| {
            pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Text(text) => text.as_str(),
                    Piece::Value(placeholder) => value(*placeholder),
                })
                .collect()
        };
        self.args.iter().map(word).collect()
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Template {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut words = split(text)?.into_iter();
        let program = words
            .next()
            .filter(|word| !word.is_empty())
            .ok_or(Error::Empty)?;
        if pieces(&program)?
            .iter()
            .any(|piece| matches!(piece, Piece::Value(_)))
        {
            return Err(Error::ProgramVaries);
        }
        Ok(Self {
            program,
            args: words.map(|word| pieces(&word)).collect::<Result<_, _>>()?,
            text: text.to_owned(),
        })
    }
}

/// Splits at unquoted blanks. Single quotes keep everything; double quotes and bare text know the backslash.
fn split(text: &str) -> Result<Vec<String>, Error> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = text.chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            blank if blank.is_whitespace() => words.extend(word.take()),
            quote @ ('\'' | '"') => {
                let word = word.get_or_insert_default();
                quoted(text, quote, &mut rest, word)?;
            }
            '\\' => {
                let escaped = rest
                    .next()
                    .ok_or_else(|| Error::OpenEscape(text.to_owned()))?;
                word.get_or_insert_default().push(escaped);
            }
            plain => word.get_or_insert_default().push(plain),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Reads up to the closing quote.
fn quoted(
    text: &str,
    quote: char,
    rest: &mut Peekable<Chars<'_>>,
    word: &mut String,
) -> Result<(), Error> {
    while let Some(next) = rest.next() {
        match next {
            end if end == quote => return Ok(()),
            // As in a shell, the backslash is a plain character before anything it need not protect.
            '\\' if quote == '"' => {
                let escaped = rest.next_if(|c| matches!(c, '"' | '\\' | '$' | '`'));
                word.push(escaped.unwrap_or('\\'));
            }
            plain => word.push(plain),
        }
    }
    Err(Error::OpenQuote {
        template: text.to_owned(),
        quote,
    })
}

/// Cuts a word at its placeholders. Braces around anything but lower-case letters are plain text,
/// so that a word of JSON needs no escaping.
fn pieces(word: &str) -> Result<Vec<Piece>, Error> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let name = after
            .split_once('}')
            .filter(|(name, _)| !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase()));
        let Some((name, tail)) = name else {
            text.push('{');
            rest = after;
            continue;
        };
        let placeholder =
            Placeholder::named(name).ok_or_else(|| Error::Unknown(name.to_owned()))?;
        if !text.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut text)));
        }
        pieces.push(Piece::Value(placeholder));
        rest = tail;
    }
    text.push_str(rest);
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(template: &str) -> Vec<String> {
        let template: Template = template.parse().unwrap();
        let mut words = vec![template.program().to_owned()];
        words.extend(template.fill(|placeholder| match placeholder {
            Placeholder::Task => "do {name}; 'now'",
            Placeholder::Name => "alpha",
            Placeholder::Host => "10.0.0.1",
            Placeholder::Index => "0",
            Placeholder::Job => "j1",
        }));
        words
    }

    #[test]
    fn splits_like_a_shell_and_fills_in_afterwards() {
        let cases: [(&str, &[&str]); 8] = [
            (
                "mytool run --prompt {task}",
                &["mytool", "run", "--prompt", "do {name}; 'now'"],
            ),
            (
                "t --to={name}@{host} {index}/{job}",
                &["t", "--to=alpha@10.0.0.1", "0/j1"],
            ),
            ("'my tool' \"a b\" 'c'd\\ e", &["my tool", "a b", "cd e"]),
            ("t '' \"\"", &["t", "", ""]),
            (r#"t "a\"b\n" 'c\d'"#, &["t", "a\"b\\n", "c\\d"]),
            (
                r#"t '{"q":"{task}"}'"#,
                &["t", r#"{"q":"do {name}; 'now'"}"#],
            ),
            ("t '{task} please'", &["t", "do {name}; 'now' please"]),
            ("  t\t{}  {1} }{ ", &["t", "{}", "{1}", "}{"]),
        ];
        for (template, words) in cases {
            assert_eq!(filled(template), words, "{template}");
        }
    }

    #[test]
    fn refuses_what_it_cannot_mean() {
        let open = |quote| Error::OpenQuote {
            template: format!("t {quote}x"),
            quote,
        };
        let cases = [
            ("", Error::Empty),
            ("  ", Error::Empty),
            ("'' x", Error::Empty),
            ("t 'x", open('\'')),
            ("t \"x", open('"')),
            ("t \\", Error::OpenEscape("t \\".into())),
            ("t {tsk}", Error::Unknown("tsk".into())),
            ("{task}", Error::ProgramVaries),
        ];
        for (template, error) in cases {
            assert_eq!(template.parse::<Template>(), Err(error), "{template}");
        }
    }

    proptest! {
        #[test]
        fn a_task_never_becomes_two_words(task in any::<String>()) {
            let template: Template = "t a {task} x{task}y".parse().unwrap();
            let words = template.fill(|_| &task);
            prop_assert_eq!(words, vec!["a".to_owned(), task.clone(), format!("x{task}y")]);
        }

        #[test]
        fn a_single_quoted_word_stays_as_it_is(word in "[^'{]*") {
            let template: Template = format!("t '{word}' end").parse().unwrap();
            prop_assert_eq!(template.fill(|_| ""), vec![word, "end".to_owned()]);
        }
    }
}
