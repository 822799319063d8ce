//! Reads the answer of `templates/probe.sh`. Believes nothing: what it cannot read is absent.

use std::collections::BTreeSet;

use super::{Agent, Daemon, Observed};
use crate::fleet::agent::picoclaw;

/// Returns what the lines after the marker line say.
pub(super) fn observed(body: &str, marker: &str) -> Observed {
    let mut seen = Observed::default();
    let mut found = Programs::default();
    let mut memory_pages = None;
    let mut page = None;
    // What a program says stands between two lines that begin with the marker, which it cannot know.
    let mut speaker: Option<&str> = None;
    for line in body.lines() {
        if let Some(words) = line.strip_prefix(marker) {
            speaker = match words.trim() {
                "" | "end" => None,
                program => Some(program),
            };
            continue;
        }
        if let Some(program) = speaker {
            found.hear(program, line);
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        let value = value.trim();
        match name {
            "uname" => seen.uname = some_text(value),
            "file" => match value {
                "config.json" => seen.has_config = true,
                ".security.yml" | ".env" => seen.has_key = true,
                _ => {}
            },
            "load" => seen.load1 = load(value),
            "cpus" => seen.cpus = value.parse().ok(),
            "mem_kib" => seen.free_memory = kibibytes(value),
            "page" => page = value.parse::<u64>().ok(),
            "pages" => {
                let more = value.parse::<u64>().unwrap_or(0);
                memory_pages = Some(memory_pages.unwrap_or(0_u64).saturating_add(more));
            }
            "disk_kib" => seen.free_disk = kibibytes(value),
            "tasks" => seen.running = Some(tasks(value)),
            "abandoned" => seen.abandoned = some_text(value),
            "last" => seen.last_task = some_text(value),
            "unit" => found.unit = some_text(value),
            "skyclaw" => found.skyclaw_there = value == "there",
            "picoclaw" => found.picoclaw = value.to_owned(),
            _ => {}
        }
    }
    if let Some((pages, size)) = memory_pages.zip(page) {
        seen.free_memory = seen.free_memory.or(pages.checked_mul(size));
    }
    seen.agent = found.agent();
    seen.daemon = found.daemon();
    seen
}

#[derive(Default)]
struct Programs {
    picoclaw: String,
    picoclaw_said: String,
    skyclaw_there: bool,
    skyclaw_said: String,
    unit: Option<String>,
}

impl Programs {
    fn hear(&mut self, program: &str, line: &str) {
        let said = match program {
            "picoclaw" => &mut self.picoclaw_said,
            "skyclaw" => &mut self.skyclaw_said,
            _ => return,
        };
        said.push_str(line);
        said.push('\n');
    }

    fn agent(&self) -> Agent {
        let said = self.picoclaw_said.trim();
        match self.picoclaw.as_str() {
            "missing" => Agent::Missing,
            "there" => match picoclaw::parse_version(said) {
                Some(version) => Agent::Installed { version },
                None if said.is_empty() => Agent::Unknown {
                    why: "~/.local/bin/picoclaw does not tell its version",
                },
                None => Agent::Unknown {
                    why: "~/.local/bin/picoclaw is another program",
                },
            },
            "unusable" => Agent::Unknown {
                why: "~/.local/bin/picoclaw is not an executable file",
            },
            _ => Agent::Unknown {
                why: "the host's answer ended early",
            },
        }
    }

    fn daemon(self) -> Option<Daemon> {
        self.skyclaw_there.then(|| Daemon {
            version: self
                .skyclaw_said
                .lines()
                .find_map(|line| line.trim().strip_prefix("skyclaw "))
                .map(|version| version.trim().to_owned()),
            state: self.unit.unwrap_or_else(|| "installed".into()),
        })
    }
}

/// Returns the host's time in milliseconds since 1970.
///
/// Where `date` knows no `%N` it prints the letters or nothing: then whole seconds are all there is,
/// taken as the middle of the second.
pub(super) fn time(text: &str) -> Option<i64> {
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    let number: i64 = digits.parse().ok()?;
    if digits.len() >= 18 {
        Some(number / 1_000_000)
    } else {
        number.checked_mul(1000)?.checked_add(500)
    }
}

/// `0.52`, or `{ 1.20 1.40 1.50 }` where sysctl says it.
fn load(text: &str) -> Option<f64> {
    let mut words = text.split_whitespace();
    words
        .find_map(|word| word.replace(',', ".").parse().ok())
        .filter(|load: &f64| load.is_finite() && *load >= 0.0)
}

fn kibibytes(text: &str) -> Option<u64> {
    text.parse::<u64>().ok()?.checked_mul(1024)
}

/// Tasks are words, one per process, with a NUL after each.
fn tasks(text: &str) -> u32 {
    let words = text.split('\0').map(str::trim);
    let words: BTreeSet<&str> = words.filter(|word| !word.is_empty()).collect();
    u32::try_from(words.len()).unwrap_or(u32::MAX)
}

fn some_text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.chars().take(200).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINUX: &str = "uname=Linux x86_64\nfile=config.json\nfile=.env\nload=0.52\ncpus=4\nmem_kib=2048\n\
        disk_kib=1024\ntasks=SKYCLAW_TASK=skyclaw-a\0SKYCLAW_TASK=skyclaw-a\0SKYCLAW_TASK=skyclaw-b\0\nabandoned=run 1 of me\nlast=job 7\n\
        unit=active\nskyclaw=there\nM skyclaw\nskyclaw 0.1.0\n\nM\npicoclaw=there\nM picoclaw\n\
        cpus=99\n\u{1f99e} picoclaw 0.2.9 (git: abc)\n\nM\nM end\n";

    #[test]
    fn reads_a_whole_answer() {
        let seen = observed(LINUX, "M");
        let expected = Observed {
            uname: Some("Linux x86_64".into()),
            agent: Agent::Installed {
                version: "0.2.9".into(),
            },
            has_config: true,
            has_key: true,
            daemon: Some(Daemon {
                version: Some("0.1.0".into()),
                state: "active".into(),
            }),
            load1: Some(0.52),
            cpus: Some(4),
            free_memory: Some(2 << 20),
            free_disk: Some(1 << 20),
            clock_offset_ms: None,
            running: Some(2),
            abandoned: Some("run 1 of me".into()),
            last_task: Some("job 7".into()),
            latency: std::time::Duration::ZERO,
        };
        assert_eq!(seen, expected, "and what a program says is no line of ours");
    }

    #[test]
    fn a_macos_answer_has_pages_and_no_tasks() {
        let body = "load={ 1.20 1.40 1.50 }\npage=16384\npages=10\npages=5\npicoclaw=missing\nskyclaw=missing\n";
        let seen = observed(body, "M");
        assert_eq!(seen.load1, Some(1.2));
        assert_eq!(seen.free_memory, Some(15 * 16384));
        assert_eq!((seen.running, seen.daemon), (None, None));
        assert_eq!(seen.agent, Agent::Missing);
    }

    #[test]
    fn what_is_in_the_agents_place() {
        let cases = [
            ("picoclaw=missing\n", "missing"),
            ("picoclaw=unusable\n", "not an executable"),
            ("picoclaw=there\nM picoclaw\n\nM\n", "does not tell"),
            ("picoclaw=there\nM picoclaw\n", "does not tell"),
            (
                "picoclaw=there\nM picoclaw\nPicoClaw bootstrap 2.0.4\nM\n",
                "another program",
            ),
            ("uname=Linux\n", "ended early"),
            ("picoclaw=there\nM picoclaw\npicoclaw v0.1.1\nM\n", "v0.1.1"),
        ];
        for (body, expected) in cases {
            let said = match observed(body, "M").agent {
                Agent::Missing => "missing".to_owned(),
                Agent::Unknown { why } => why.to_owned(),
                Agent::Installed { version } => version,
            };
            assert!(said.contains(expected), "{body:?}: {said}");
        }
    }

    #[test]
    fn times_with_and_without_nanoseconds() {
        let cases = [
            ("1700000000123456789", Some(1_700_000_000_123)),
            ("1700000000N", Some(1_700_000_000_500)),
            ("1700000000%N", Some(1_700_000_000_500)),
            ("1700000000", Some(1_700_000_000_500)),
            ("", None),
            ("N", None),
            ("99999999999999999999999", None),
        ];
        for (text, millis) in cases {
            assert_eq!(time(text), millis, "{text}");
        }
    }

    #[test]
    fn nonsense_is_absent() {
        let seen = observed(
            "load=x\ncpus=-1\nmem_kib=\ndisk_kib=99999999999999999999\ntasks=\nuname=\n=\n",
            "M",
        );
        let expected = Observed {
            running: Some(0),
            agent: Agent::Unknown {
                why: "the host's answer ended early",
            },
            ..Observed::default()
        };
        assert_eq!(seen, expected);
    }
}
