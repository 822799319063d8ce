//! Options of `deploy-service` may also stand behind the command that is to be deployed.
//!
//! `skyclaw deploy-service api node server.js --replicas 2 --port 80` asks for two of `node server.js --port 80`:
//! what is an option here is ours, everything else is the program's. The parser knows only "options first", so the
//! words are put into that order before it sees them.

use std::ffi::{OsStr, OsString};

use clap::{Arg, ArgAction, Command};

/// Where the words of a `deploy-service` begin and which options it has.
struct Grammar {
    args: Vec<Arg>,
}

/// Returns the words with the options of `deploy-service` (or `service deploy`) before the service's name, and `--`
/// between. Other command lines come back as they are.
pub fn arrange(root: &Command, words: Vec<OsString>) -> Vec<OsString> {
    let globals = Grammar::of(root);
    let Some((at, name)) = globals.next_word(&words, 1) else {
        return words;
    };
    let (verb, from) = match name {
        "deploy-service" => (root.find_subcommand(name), at + 1),
        "service" => match globals.next_word(&words, at + 1) {
            Some((at, "deploy")) => {
                let group = root.find_subcommand(name);
                (
                    group.and_then(|group| group.find_subcommand("deploy")),
                    at + 1,
                )
            }
            Some(_) | None => return words,
        },
        _ => return words,
    };
    let Some(verb) = verb else {
        return words;
    };
    let own = Grammar::of(verb);
    let all = Grammar {
        args: own.args.iter().chain(&globals.args).cloned().collect(),
    };
    let mut words = words;
    let rest = words.split_off(from);
    let (options, program) = split(&own, &all, rest);
    words.extend(options);
    if !program.is_empty() {
        words.push("--".into());
        words.extend(program);
    }
    words
}

/// Parts options from the name and the command.
fn split(own: &Grammar, all: &Grammar, rest: Vec<OsString>) -> (Vec<OsString>, Vec<OsString>) {
    let (mut options, mut program) = (Vec::new(), Vec::new());
    let mut rest = rest.into_iter();
    while let Some(word) = rest.next() {
        let behind_command = program.len() > 1;
        let wants_value = match behind_command {
            // The program's own `-v` or `--help` is not ours: only what this verb's help lists.
            true => own.long(&word),
            false if word == "--" => {
                program.extend(rest);
                break;
            }
            false if looks_like_option(&word) => Some(all.takes_value(&word)),
            false => None,
        };
        match wants_value {
            Some(wants_value) => {
                options.push(word);
                options.extend(rest.by_ref().take(usize::from(wants_value)));
            }
            None if behind_command && word == "--" => {
                program.push(word);
                program.extend(rest);
                break;
            }
            None => program.push(word),
        }
    }
    (options, program)
}

impl Grammar {
    fn of(command: &Command) -> Self {
        let options = command.get_arguments().filter(|arg| !arg.is_positional());
        Self {
            args: options.cloned().collect(),
        }
    }

    /// Returns the first word from `from` on that is neither an option nor an option's value.
    fn next_word<'w>(&self, words: &'w [OsString], from: usize) -> Option<(usize, &'w str)> {
        let mut at = from;
        loop {
            let word = words.get(at)?;
            if !looks_like_option(word) {
                return Some((at, word.to_str()?));
            }
            at += 1 + usize::from(self.takes_value(word));
        }
    }

    /// Tells whether the value of the option is the next word. Unknown ones have none; the parser refuses them.
    fn takes_value(&self, word: &OsStr) -> bool {
        let Some(word) = word.to_str() else {
            return false;
        };
        self.args.iter().any(|arg| {
            let long = word.strip_prefix("--");
            let is_it = match long {
                Some(long) => names(arg).any(|name| name == long),
                None => {
                    // The last of `-qF` may take one.
                    let last = word.chars().next_back();
                    word.len() > 1 && arg.get_short().is_some_and(|short| Some(short) == last)
                }
            };
            is_it && has_value(arg)
        })
    }

    /// Tells whether it is one of these options in its long form, and if so, whether the next word is its value.
    fn long(&self, word: &OsStr) -> Option<bool> {
        let text = word.to_str()?.strip_prefix("--")?;
        let name = text.split_once('=').map_or(text, |(name, _)| name);
        let arg = self
            .args
            .iter()
            .find(|arg| names(arg).any(|known| known == name))?;
        Some(has_value(arg) && !text.contains('='))
    }
}

fn names(arg: &Arg) -> impl Iterator<Item = &str> {
    let aliases = arg.get_all_aliases().unwrap_or_default();
    arg.get_long().into_iter().chain(aliases)
}

fn has_value(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

fn looks_like_option(word: &OsStr) -> bool {
    word.as_encoded_bytes().starts_with(b"-") && word != "-" && word != "--"
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::args::Cli;

    fn arranged(line: &str) -> String {
        let words = line.split(' ').map(OsString::from).collect();
        let words = arrange(&Cli::command(), words);
        let words: Vec<String> = words
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect();
        words.join(" ")
    }

    #[test]
    fn options_go_to_the_front_and_the_rest_stays_the_programs() {
        let cases = [
            (
                "skyclaw deploy-service api node server.js --replicas 2 --health /health",
                "skyclaw deploy-service --replicas 2 --health /health -- api node server.js",
            ),
            (
                "skyclaw -q --color never service deploy api --env=A=1 web -x --wait --port 80 -v --help",
                "skyclaw -q --color never service deploy --env=A=1 --wait -- api web -x --port 80 -v --help",
            ),
            (
                "skyclaw deploy-service web npm start --wait -- --wait --port 1",
                "skyclaw deploy-service --wait -- web npm start -- --wait --port 1",
            ),
            (
                "skyclaw deploy-service --wait -- web npm --replicas 3",
                "skyclaw deploy-service --wait -- web npm --replicas 3",
            ),
            (
                "skyclaw deploy-service --replicas 2 web -- npm --replicas 3",
                "skyclaw deploy-service --replicas 2 -- web npm --replicas 3",
            ),
            (
                "skyclaw deploy-service web --no-such-option npm",
                "skyclaw deploy-service --no-such-option -- web npm",
            ),
            (
                "skyclaw deploy-service --help",
                "skyclaw deploy-service --help",
            ),
            (
                "skyclaw enqueue-shell --wait deploy-service --env A=1",
                "skyclaw enqueue-shell --wait deploy-service --env A=1",
            ),
            ("skyclaw service list", "skyclaw service list"),
            ("skyclaw", "skyclaw"),
        ];
        for (given, wanted) in cases {
            assert_eq!(arranged(given), wanted);
        }
    }
}
