//! The unit for systemd that `fleet up --print-unit` prints.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Context;

const UNIT: &str = include_str!("../../../templates/skyclaw-up.service");
/// What is said only to us, and not to the service.
const OURS: [&str; 2] = ["--print-unit", "--detach"];

/// Returns the unit that runs this program as it was called, from where it was called.
///
/// # Errors
/// When this program or this directory cannot be found.
pub fn unit() -> anyhow::Result<String> {
    let program = std::env::current_exe().context("find this program")?;
    let here = std::env::current_dir().context("find this directory")?;
    Ok(made(&program, &here, std::env::args_os().skip(1)))
}

fn made(program: &Path, here: &Path, words: impl Iterator<Item = OsString>) -> String {
    let program = word(&program.to_string_lossy());
    let words = words.filter(|word| !OURS.iter().any(|ours| word == ours));
    let words = words.map(|one| word(&one.to_string_lossy()));
    let command: Vec<String> = std::iter::once(program).chain(words).collect();
    let lines = UNIT.lines().map(|line| match line.split_once('=') {
        // Paths may have been given from here.
        Some(("ExecStart", _)) => format!(
            "WorkingDirectory={}\nExecStart={}\n",
            here.to_string_lossy().replace('%', "%%"),
            command.join(" ")
        ),
        _ => format!("{line}\n"),
    });
    lines.collect()
}

/// Writes a word so that systemd reads it as it is.
fn word(text: &str) -> String {
    let text = text.replace('%', "%%").replace('$', "$$");
    let plain = |c: char| c.is_ascii_alphanumeric() || "%$@+=:,./_-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    let inside: String = text
        .chars()
        .map(|c| match c {
            '\\' | '"' => format!("\\{c}"),
            '\n' => "\\n".to_owned(),
            c => c.to_string(),
        })
        .collect();
    format!("\"{inside}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_runs_what_was_called() {
        let words = [
            "fleet",
            "up",
            "web*",
            "--print-unit",
            "--config",
            "a 100%$x.json",
        ];
        let unit = made(
            Path::new("/opt/skyclaw"),
            Path::new("/home/me"),
            words.into_iter().map(OsString::from),
        );
        let line = "WorkingDirectory=/home/me\nExecStart=/opt/skyclaw fleet up \"web*\" --config \"a 100%%$$x.json\"\n";
        assert!(unit.contains(line), "{unit}");
        assert!(unit.contains("Restart=on-failure\n"), "{unit}");
    }
}
