//! Takes back what deploy put on a host, and looks afterwards whether it is gone.
//!
//! Removes nothing it did not put there: other keys, the agent's own files and the user's lines stay,
//! and no symlink is followed. Doing it twice is the same as doing it once.

use std::time::Duration;

use crate::fleet::agent::security::{self, Unmerged, unmerge_security};
use crate::fleet::ask::{Answer, ask};
use crate::fleet::deploy::daemon::state_dir;
use crate::fleet::ephemeral::{self, Undone, Whose};
use crate::fleet::{seat, service};
use crate::ssh::shell::Code;
use crate::ssh::upload::{Upload, path_word};
use crate::ssh::{Connection, Error as SshError};

const TEARDOWN: &str = include_str!("../../templates/teardown.sh");
const READ_FILE: &str = include_str!("../../templates/read-file.sh");
/// The file in which PicoClaw keeps keys.
const SECURITY: &str = "~/.picoclaw/.security.yml";
/// One question; ending tasks takes up to 5 s of it, the rest is for slow disks.
const LIMIT: Duration = Duration::from_secs(60);

/// What is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub struct Options {
    /// The agent, its key, and what was written for it.
    pub agent: bool,
    /// The host daemon.
    pub host: bool,
    /// Also the agent's whole directory and the daemon's state, after running tasks are ended.
    pub purge: bool,
    /// Leave the agent's program where it is: it was there before.
    pub keep_program: bool,
    /// Only say what would go.
    pub dry_run: bool,
}

impl Default for Options {
    /// Returns what plain teardown removes.
    fn default() -> Self {
        Self {
            agent: true,
            host: false,
            purge: false,
            keep_program: false,
            dry_run: false,
        }
    }
}

/// What was done on one host. Paths begin with `~/`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Paths removed; in a dry run, those that would be.
    pub removed: Vec<String>,
    /// Files out of which our part was taken; in a dry run, would be.
    pub edited: Vec<String>,
    /// Tasks ended; in a dry run, those that run.
    pub tasks: u32,
    /// The host daemon that was ended; in a dry run, that runs.
    pub daemon: Option<u32>,
    /// Paths that were left alone or could not be removed, with the reason.
    pub problems: Vec<Problem>,
    /// What is still there afterwards; empty in a dry run.
    pub remains: Vec<String>,
}

/// A path that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The path.
    pub path: String,
    /// Why it stays and what to do.
    pub why: String,
}

impl Report {
    /// Tells whether nothing of ours is left.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty() && self.remains.is_empty()
    }
}

/// Removes what `options` say from the host behind `connection`.
///
/// # Errors
/// When the connection dies or the host's shell gives no whole answer. Trying again is safe.
pub async fn run_on(connection: &Connection, options: Options) -> Result<Report, SshError> {
    let mut report = Report::default();
    if options.agent && !undo_ephemeral(connection, options, &mut report).await? {
        return Ok(report);
    }
    let mut settings = KeyFile::Leave;
    if options.host {
        settings = end_daemon(connection, options, &mut report).await?;
    }
    let mut key_file = KeyFile::Leave;
    // A purge takes the whole directory, keys and all.
    if options.agent && !options.purge {
        key_file = take_out_key(connection, options.dry_run, &mut report).await?;
    }
    let done = sweep(connection, options, key_file, settings).await?;
    // In a dry run nothing is gone yet, and both looks see the same.
    add_new(&mut report.removed, done.removed);
    add_new(&mut report.edited, done.edited);
    report.problems.extend(done.problems);
    report.tasks = done.tasks;
    if !options.dry_run {
        report.remains = remains(connection, options).await?;
    }
    // What was refused is a problem already; it need not be told twice.
    let problems = &report.problems;
    report
        .remains
        .retain(|path| problems.iter().all(|problem| problem.path != *path));
    Ok(report)
}

/// Ends the host daemon, kindly unless everything is to go, and keeps it from being started again. Takes our part
/// out of its settings: they say whose daemon works there. Returns what is to happen to them besides.
async fn end_daemon(
    connection: &Connection,
    options: Options,
    report: &mut Report,
) -> Result<KeyFile, SshError> {
    let path = format!("~/{}", seat::SETTINGS);
    let code = path_word(Code::new().raw("p="), &path);
    let answer = ask(connection, READ_FILE, code, LIMIT).await?;
    let settings = &answer.body;
    let running = service::look(connection, &state_dir(settings)).await?;
    if !options.dry_run {
        let drain = service::settings::drain(settings);
        service::stop(connection, drain, options.purge).await?;
    }
    report.daemon = running.map(|running| running.pid);
    if options.purge {
        return Ok(KeyFile::Leave);
    }
    let Some(rest) = service::settings::unmerge(settings) else {
        return Ok(KeyFile::Leave);
    };
    if rest.expose().trim().is_empty() {
        return Ok(KeyFile::Remove);
    }
    if !options.dry_run {
        let text = rest.expose().as_bytes();
        let upload = Upload::of_bytes(path.clone(), 0o600, text);
        match connection.upload(&upload, &mut &*text).await {
            Ok(_) => {}
            Err(SshError::Upload { why, .. }) => {
                report.problems.push(Problem { path, why });
                return Ok(KeyFile::Leave);
            }
            Err(error) => return Err(error),
        }
    }
    report.edited.push(path);
    Ok(KeyFile::Leave)
}

fn add_new(paths: &mut Vec<String>, more: Vec<String>) {
    for path in more {
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
}

/// Undoes what an ephemeral run has left, which is more than we would take: what it replaced comes back.
/// Returns whether to go on.
async fn undo_ephemeral(
    connection: &Connection,
    options: Options,
    report: &mut Report,
) -> Result<bool, SshError> {
    let whose = match (options.dry_run, options.purge) {
        (true, _) => Whose::Look,
        (false, true) => Whose::Anybodys,
        (false, false) => Whose::Abandoned,
    };
    let why = match ephemeral::undo(connection, whose).await {
        Ok(Undone::Nothing) => return Ok(true),
        Ok(Undone::Run { lines, .. }) => {
            for line in lines.lines() {
                match line.split_once(' ') {
                    Some(("cut", path)) => report.edited.push(path.to_owned()),
                    Some((_, path)) => report.removed.push(path.to_owned()),
                    None => {}
                }
            }
            report.removed.push(ephemeral::PLACE.to_owned());
            return Ok(true);
        }
        Err(ephemeral::Error::Ssh(error)) => return Err(error),
        Err(ephemeral::Error::Busy(mark)) => {
            format!("{mark} is at work and takes back what it brought; --purge ends it")
        }
        Err(error @ (ephemeral::Error::Stays(_) | ephemeral::Error::Refused(_))) => {
            error.to_string()
        }
    };
    report.problems.push(Problem {
        path: ephemeral::PLACE.to_owned(),
        why,
    });
    Ok(false)
}

/// What is to happen besides to a file that was ours in part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyFile {
    Leave,
    Remove,
}

/// Looks again, with the eyes of a dry run.
async fn remains(connection: &Connection, options: Options) -> Result<Vec<String>, SshError> {
    let look = Options {
        dry_run: true,
        ..options
    };
    let mut again = Report::default();
    let mut key_file = KeyFile::Leave;
    if options.agent && !options.purge {
        key_file = take_out_key(connection, true, &mut again).await?;
    }
    let left = sweep(connection, look, key_file, KeyFile::Leave).await?;
    let mut paths = left.removed;
    paths.extend(again.edited);
    paths.extend(left.edited);
    if options.host
        && let Some(running) = service::look(connection, &state_dir("")).await?
    {
        paths.push(format!("the host daemon (process {})", running.pid));
    }
    if left.tasks > 0 {
        paths.push(format!("{} running tasks", left.tasks));
    }
    Ok(paths)
}

async fn sweep(
    connection: &Connection,
    options: Options,
    key_file: KeyFile,
    settings: KeyFile,
) -> Result<Report, SshError> {
    let code = [
        ("d=", options.dry_run),
        (";a=", options.agent),
        (";y=", key_file == KeyFile::Remove),
        (";s=", options.host),
        (";e=", settings == KeyFile::Remove),
        (";k=", options.keep_program),
        (";z=", options.purge),
    ]
    .into_iter()
    .fold(Code::new(), |code, (name, on)| {
        code.raw(name).number(u64::from(on))
    });
    parse(&ask(connection, TEARDOWN, code, LIMIT).await?)
}

/// Takes our key out of the file. The file goes with the rest if nothing else is in it.
async fn take_out_key(
    connection: &Connection,
    dry_run: bool,
    report: &mut Report,
) -> Result<KeyFile, SshError> {
    let code = path_word(Code::new().raw("p="), SECURITY);
    let answer = ask(connection, READ_FILE, code, LIMIT).await?;
    let mut stays = |why: String| {
        report.problems.push(Problem {
            path: SECURITY.into(),
            why,
        });
        Ok(KeyFile::Leave)
    };
    match answer.words.as_str() {
        "none" => return Ok(KeyFile::Leave),
        "file" => {}
        // The directory is told of by the sweep, but the key in it is worth a word of its own.
        "link" => return stays("a symlink is not followed; take the key out by hand".into()),
        _ => return stays("it may not be read; check its owner and mode".into()),
    }
    if answer.body.contains(char::REPLACEMENT_CHARACTER) {
        return stays("it is not text and was left alone; repair it or move it away".into());
    }
    match unmerge_security(&answer.body) {
        Ok(Unmerged::Unchanged) => Ok(KeyFile::Leave),
        Ok(Unmerged::Empty) => Ok(KeyFile::Remove),
        Ok(Unmerged::Rest(rest)) => {
            if !dry_run {
                let text = rest.expose().as_bytes();
                let upload = Upload::of_bytes(SECURITY, 0o600, text);
                match connection.upload(&upload, &mut &*text).await {
                    Ok(_) => {}
                    Err(SshError::Upload { why, .. }) => return stays(why),
                    Err(error) => return Err(error),
                }
            }
            report.edited.push(SECURITY.into());
            Ok(KeyFile::Leave)
        }
        Err(security::Error::Broken { reason }) => stays(format!(
            "it cannot be read ({reason}); repair it or move it away"
        )),
        Err(security::Error::Shape(part)) => stays(format!(
            "{part} is not a plain list of entries; repair it or move it away"
        )),
    }
}

fn parse(answer: &Answer) -> Result<Report, SshError> {
    let mut report = Report::default();
    let mut whole = false;
    for line in answer.body.lines() {
        let (word, path) = line.split_once(' ').unwrap_or((line, ""));
        let why = match word {
            "gone" => {
                report.removed.push(path.to_owned());
                continue;
            }
            "cut" => {
                report.edited.push(path.to_owned());
                continue;
            }
            "tasks" => {
                report.tasks = path.parse().unwrap_or(0);
                continue;
            }
            "link" => "it is a symlink, which is not followed; remove what is ours there by hand",
            "fail" if path.ends_with("rc") || path.ends_with("profile") => {
                "its skyclaw block has no end, or it cannot be written; edit it by hand"
            }
            "fail" => "it could not be removed; check its owner and mode, and whether it is a file",
            _ => {
                whole |= word.starts_with("skyclaw-") && path == "end";
                continue;
            }
        };
        report.problems.push(Problem {
            path: path.to_owned(),
            why: why.to_owned(),
        });
    }
    if whole {
        return Ok(report);
    }
    let stderr = answer.stderr.trim();
    let last = stderr.lines().last().unwrap_or("it gave no reason");
    Err(SshError::Lost {
        why: format!("the host did not finish: {last}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::Exit;

    fn answer(body: &str) -> Answer {
        Answer {
            words: "teardown".into(),
            body: body.into(),
            stderr: "sh: rm: not found\n".into(),
            exit: Exit::Code(0),
        }
    }

    #[test]
    fn reads_what_was_done() {
        let body = "tasks 2\ngone ~/.local/bin/picoclaw\ncut ~/.bashrc\nlink ~/.picoclaw\nfail ~/.profile\nnoise\nskyclaw-1 end\n";
        let report = parse(&answer(body)).unwrap();
        assert_eq!(report.removed, ["~/.local/bin/picoclaw"]);
        assert_eq!(report.edited, ["~/.bashrc"]);
        assert_eq!(report.tasks, 2);
        let paths: Vec<&str> = report.problems.iter().map(|p| p.path.as_str()).collect();
        assert_eq!(paths, ["~/.picoclaw", "~/.profile"]);
        assert!(!report.is_clean());
    }

    #[test]
    fn half_an_answer_is_no_success() {
        let error = parse(&answer("gone ~/.local/bin/picoclaw\n")).unwrap_err();
        assert!(error.to_string().contains("rm: not found"), "{error}");
    }
}
