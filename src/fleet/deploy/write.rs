//! Writes settings on a host: all files of a directory in one round trip, all of them or none.
//!
//! Their texts hold keys, so they travel on stdin alone. A host whose shell cannot write them that way,
//! and texts too long for it, go through one upload each.

use std::time::Duration;

use super::desk::{Answer, Desk};
use super::error::DeployError;
use super::observe::File;
use crate::fleet::agent::picoclaw;
use crate::ssh::Error;
use crate::ssh::pieces::Stream;
use crate::ssh::shell::Code;
use crate::ssh::upload::{Upload, path_word};
use crate::support::secret::Secret;

const LIMIT: Duration = Duration::from_secs(60);
/// A shell reads a line byte by byte; beyond this an upload is the faster way.
const MOST_IN_LINE: usize = 32 << 10;
/// Others may hold keys, too: nobody else may read them.
const MODE: u32 = 0o600;

/// Puts the agent's `files` in place.
///
/// # Errors
/// When the host could not store one of them, or the connection dies.
pub(super) async fn write(
    desk: &mut Desk<'_>,
    files: &[(File, Secret)],
) -> Result<(), DeployError> {
    let files: Vec<(&str, &Secret)> = files.iter().map(|(f, text)| (f.name(), text)).collect();
    write_into(desk, picoclaw::HOME, &files).await
}

/// Puts files with these names into `dir`, which is below the home.
///
/// # Errors
/// As [`write`].
pub(super) async fn write_into(
    desk: &mut Desk<'_>,
    dir: &str,
    files: &[(&str, &Secret)],
) -> Result<(), DeployError> {
    let texts = || files.iter().map(|(_, text)| text.expose());
    let fits = texts().map(str::len).sum::<usize>() <= MOST_IN_LINE;
    // A shell has no NUL in its words.
    if fits && !texts().any(|text| text.contains('\0')) && at_once(desk, dir, files).await? {
        return Ok(());
    }
    for (name, text) in files {
        let bytes = text.expose().as_bytes();
        let upload = Upload::of_bytes(format!("~/{dir}/{name}"), MODE, bytes);
        desk.put(&upload, &mut Stream::new(&mut &*bytes)).await?;
    }
    Ok(())
}

/// Returns whether the host's shell is able to do it.
async fn at_once(
    desk: &mut Desk<'_>,
    dir: &str,
    files: &[(&str, &Secret)],
) -> Result<bool, DeployError> {
    let home = format!("~/{dir}");
    let mut code = path_word(Code::new().raw("d="), &home).raw(";files");
    for (name, text) in files {
        code = code.raw(" ").word(name.as_bytes());
        code = code.raw(" ").word(text.expose().as_bytes());
    }
    let answer = desk.ask(code, LIMIT).await?;
    match answer.words.as_str() {
        "ok" => Ok(true),
        "noprintf" => Ok(false),
        _ => Err(failure(&home, &answer).into()),
    }
}

fn failure(home: &str, answer: &Answer) -> Error {
    let (word, name) = answer
        .words
        .split_once(' ')
        .unwrap_or((answer.words.as_str(), ""));
    let path = match name {
        "" => home.to_owned(),
        name => format!("{home}/{name}"),
    };
    let what = match word {
        "mkdir" => "cannot make the directory",
        "enter" => "cannot enter the directory",
        "write" => "cannot write it",
        "rename" => "cannot rename it",
        other => other,
    };
    let why = match answer.stderr.lines().rfind(|line| !line.trim().is_empty()) {
        Some(line) => format!("{what}: {}", line.trim()),
        None => what.to_owned(),
    };
    Error::Upload { path, why }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::fleet::deploy::desk::template;
    use crate::ssh::shell::{Marker, command_line, header};

    /// What may stand at `/bin/sh`.
    const SHELLS: [&str; 4] = ["/bin/sh", "bash --posix", "busybox sh", "zsh --emulate sh"];

    /// Runs the template under each shell that this machine has and hands each answer to `check`.
    fn under_each_shell(before: &'static str, files: &[(&str, &str)], check: impl Fn(&Path, &str)) {
        let mut seen = 0;
        for shell in SHELLS {
            let home = tempfile::tempdir().unwrap();
            let folder = home.path().join("of theirs");
            let mut code = path_word(Code::new().raw(before).raw("d="), folder.to_str().unwrap());
            code = code.raw(";files");
            for (name, text) in files {
                code = code.raw(" ").word(name.as_bytes());
                code = code.raw(" ").word(text.as_bytes());
            }
            let line = command_line(&template()).replacen("/bin/sh", shell, 1);
            let mut child = Command::new("sh")
                .args(["-c", &line])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let marker = Marker::fresh();
            let sent = header(&marker, [code]);
            child.stdin.take().unwrap().write_all(&sent).unwrap();
            let output = child.wait_with_output().unwrap();
            if output.status.code() == Some(127) {
                continue;
            }
            let said = String::from_utf8(output.stdout).unwrap();
            let words = said.strip_prefix(&format!("{} ", marker.reply()));
            check(&folder, words.unwrap_or(&said).trim());
            seen += 1;
        }
        assert!(seen > 0);
    }

    #[test]
    fn every_shell_writes_texts_byte_for_byte_and_for_the_owner_alone() {
        let files = [
            (".env", "KEY=a\\nb%s 'x' \"$HOME\"\n\n"),
            ("config.json", "{\n\t\"né\": 1}"),
            (".security.yml", ""),
        ];
        under_each_shell("", &files, |folder, words| {
            assert_eq!(words, "ok");
            for (name, text) in files {
                let path = folder.join(name);
                assert_eq!(fs::read_to_string(&path).unwrap(), text, "{name}");
                let mode = fs::metadata(&path).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o600, "{name}");
            }
            assert_eq!(
                fs::read_dir(folder).unwrap().count(),
                3,
                "nothing is left over"
            );
        });
    }

    #[test]
    fn one_that_cannot_be_written_leaves_the_others_alone() {
        let files = [("a", "new"), ("no/such", "new")];
        under_each_shell("", &files, |folder, words| {
            assert_eq!(words, "write no/such");
            assert_eq!(
                fs::read_dir(folder).unwrap().count(),
                0,
                "no half file stays"
            );
        });
    }

    #[test]
    fn a_shell_that_would_show_the_texts_in_process_lists_writes_nothing() {
        let before = "command() { echo /usr/bin/printf; };";
        under_each_shell(before, &[("a", "secret")], |folder, words| {
            assert_eq!(words, "noprintf");
            assert!(!folder.exists());
        });
    }
}
