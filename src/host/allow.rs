//! Which programs jobs may run: names of a list, each the one file that the host's own search path gave
//! for it when the daemon started, and on demand only certain argument vectors.
//!
//! A list that contains a shell or an interpreter limits nothing; only argument vectors do then.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use wildmatch::WildMatch;

/// Programs that run whatever they are given.
const INTERPRETERS: [&str; 17] = [
    "bash", "sh", "dash", "zsh", "ksh", "fish", "busybox", "env", "node", "npm", "npx", "pnpm",
    "python", "python3", "perl", "ruby", "xargs",
];

/// A whole argument vector, program first. `*` and `?` stand for characters within one argument; a last
/// element `...` stands for any further arguments.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct ArgvPattern(Vec<String>);

impl ArgvPattern {
    /// Returns the patterns in the text: a JSON list of lists of text.
    ///
    /// # Errors
    /// When the text is something else, or a pattern is empty.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        let patterns: Vec<Self> = serde_json::from_str(text).map_err(|error| {
            format!("write a JSON list of argument lists, such as [[\"git\",\"pull\"]]: {error}")
        })?;
        if patterns.iter().any(|pattern| pattern.0.is_empty()) {
            return Err("an argument list must name a program".to_owned());
        }
        Ok(patterns)
    }

    fn matches(&self, name: &str, args: &[String]) -> bool {
        let (patterns, open) = match self.0.split_last() {
            Some((last, rest)) if last == "..." => (rest, true),
            _ => (self.0.as_slice(), false),
        };
        let given = args.len() + 1;
        if given < patterns.len() || given > patterns.len() && !open {
            return false;
        }
        let given = std::iter::once(name).chain(args.iter().map(String::as_str));
        patterns
            .iter()
            .zip(given)
            .all(|(pattern, text)| WildMatch::new(pattern).matches(text))
    }
}

/// A program that a job may not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Not on the list, or not with these arguments.
    NotAllowed,
    /// On the list, but not on this machine.
    Missing,
}

/// The programs that jobs may run.
#[derive(Debug, Clone, Default)]
pub(super) struct Allowed {
    /// Name and file; no file if there was none.
    programs: BTreeMap<String, Option<PathBuf>>,
    argv: Option<Vec<ArgvPattern>>,
    /// The search path, if every program on it may run, and every absolute one.
    every: Option<String>,
}

/// In the list it stands for every program: for a host whose jobs come from its own user.
const EVERY: &str = "*";

impl Allowed {
    /// Looks for each of `names` in `path`, a list of directories with `:` between them.
    pub(super) fn resolve<'n>(
        names: impl IntoIterator<Item = &'n str>,
        argv: Option<Vec<ArgvPattern>>,
        path: &str,
    ) -> Self {
        let (every, names): (Vec<&str>, Vec<&str>) =
            names.into_iter().partition(|name| *name == EVERY);
        let programs = names
            .into_iter()
            .map(|name| (name.to_owned(), find(name, path)))
            .collect();
        Self {
            programs,
            argv,
            every: (!every.is_empty()).then(|| path.to_owned()),
        }
    }

    /// Returns the file to run for `command`: a name of the list, or exactly the file that a name stands for.
    pub(super) fn program(&self, command: &str, args: &[String]) -> Result<PathBuf, Refusal> {
        let by_name = self.programs.get(command);
        let found = match by_name {
            Some(found) => found.clone(),
            None if self.every.is_some() => {
                self.every.as_ref().and_then(|path| find(command, path))
            }
            // A path in the payload must be a file that a name stands for.
            None => Some(
                self.programs
                    .values()
                    .flatten()
                    .find(|file| command.contains('/') && is_same(file, Path::new(command)))
                    .ok_or(Refusal::NotAllowed)?
                    .clone(),
            ),
        };
        let allowed = self.argv.as_ref().is_none_or(|patterns| {
            patterns
                .iter()
                .any(|pattern| pattern.matches(command, args))
        });
        if !allowed {
            return Err(Refusal::NotAllowed);
        }
        found.ok_or(Refusal::Missing)
    }

    /// Returns the names on the list that run whatever they are given, unless arguments are limited.
    pub(super) fn unlimited(&self) -> Vec<&str> {
        if self.argv.is_some() {
            return Vec::new();
        }
        if self.every.is_some() {
            return vec![EVERY];
        }
        let base = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
        self.programs
            .iter()
            .filter(|(name, file)| file.is_some() && INTERPRETERS.contains(&base(name).as_str()))
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// Tells whether anything may run.
    pub(super) fn any(&self) -> bool {
        self.every.is_some() || self.programs.values().any(Option::is_some)
    }

    /// Returns the names on the list that are not on this machine.
    pub(super) fn missing(&self) -> Vec<&str> {
        self.programs
            .iter()
            .filter(|(_, file)| file.is_none())
            .map(|(name, _)| name.as_str())
            .collect()
    }
}

/// Returns the absolute file that `name` stands for: a path itself, or the first in `path`.
pub(super) fn find(name: &str, path: &str) -> Option<PathBuf> {
    if name.contains('/') {
        let file = Path::new(name);
        return (file.is_absolute() && is_program(file)).then(|| file.to_owned());
    }
    path.split(':')
        // A relative entry would mean another file for each directory a job runs in.
        .filter(|dir| dir.starts_with('/'))
        .map(|dir| Path::new(dir).join(name))
        .find(|file| !name.is_empty() && is_program(file))
}

/// Tells whether two paths are one file of one name: `/bin` is often a link to `/usr/bin`.
fn is_same(file: &Path, named: &Path) -> bool {
    let real = |path: &Path| path.parent().and_then(|dir| dir.canonicalize().ok());
    let by_name = named.is_absolute() && file.file_name() == named.file_name();
    file == named || by_name && real(file) == real(named)
}

fn is_program(file: &Path) -> bool {
    std::fs::metadata(file)
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn names_stand_for_one_file_and_paths_must_be_that_file() {
        let dir = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let place = |dir: &Path, mode: u32| {
            let file = dir.join("tool");
            std::fs::write(&file, "").unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            file
        };
        let plain = place(dir.path(), 0o600);
        let tool = place(other.path(), 0o755);
        let path = format!(".:{}:{}", dir.path().display(), other.path().display());
        let allowed = Allowed::resolve(["tool", "gone"], None, &path);
        let ask = |command: &str| allowed.program(command, &[]);
        assert_eq!(ask("tool"), Ok(tool.clone()), "not the one that cannot run");
        assert_eq!(ask(tool.to_str().unwrap()), Ok(tool.clone()));
        assert_eq!(ask(plain.to_str().unwrap()), Err(Refusal::NotAllowed));
        assert_eq!(ask("gone"), Err(Refusal::Missing));
        assert_eq!(ask("./tool"), Err(Refusal::NotAllowed));
        assert_eq!(ask(""), Err(Refusal::NotAllowed));
        assert_eq!(allowed.missing(), ["gone"]);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(other.path(), &link).unwrap();
        assert_eq!(ask(link.join("tool").to_str().unwrap()), Ok(tool.clone()));
        let every = Allowed::resolve(["*"], None, &path);
        let ask = |command: &str| every.program(command, &[]);
        assert_eq!(ask("tool"), Ok(tool.clone()));
        assert_eq!(ask(tool.to_str().unwrap()), Ok(tool));
        assert_eq!(ask("nothing-of-this-name"), Err(Refusal::Missing));
        assert!(every.any() && every.unlimited() == ["*"]);
    }

    #[test]
    fn argument_vectors_are_matched_whole() {
        let patterns = ArgvPattern::parse_list(
            r#"[["sh","-c","uptime"],["git","pull","origin-*"],["ls","..."]]"#,
        )
        .unwrap();
        let fits = |line: &str| {
            let words = words(line);
            let (name, args) = words.split_first().unwrap();
            patterns.iter().any(|pattern| pattern.matches(name, args))
        };
        assert!(fits("sh -c uptime"));
        assert!(fits("git pull origin-1"));
        assert!(fits("ls") && fits("ls -l /"));
        assert!(!fits("sh -c id"));
        assert!(!fits("sh -c uptime now"));
        assert!(!fits("sh -c"));
        assert!(!fits("git pull upstream"));
        assert!(ArgvPattern::parse_list("[[]]").is_err());
        assert!(ArgvPattern::parse_list("{}").is_err());
    }

    #[test]
    fn both_the_list_and_the_arguments_must_agree() {
        let patterns = ArgvPattern::parse_list(r#"[["sh","-c","uptime"],["cat","..."]]"#).unwrap();
        let path = "/usr/bin:/bin";
        let allowed = Allowed::resolve(["sh"], Some(patterns), path);
        assert!(allowed.program("sh", &words("-c uptime")).is_ok());
        assert!(allowed.program("sh", &words("-c id")).is_err());
        assert_eq!(allowed.program("cat", &[]), Err(Refusal::NotAllowed));
        assert!(allowed.unlimited().is_empty());
        let open = Allowed::resolve(["sh", "cat"], None, path);
        assert_eq!(open.unlimited(), ["sh"]);
    }
}
