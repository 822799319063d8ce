//! What a run prints: bytes, prefixes, groups, JSON, events, files; and readers that are slow or gone.
//! Rows 4.2, 4.6 to 4.9, 4.26, 14.8; pitfalls 8 and 9.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests fail by panicking, as tests do"
)]

mod common;

use std::collections::BTreeMap;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine;
use common::{Bed, SOON};
use serde_json::Value;

fn decoded(value: &Value) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD
        .decode(value.as_str().unwrap())
        .unwrap()
}

#[test]
fn sixty_four_mebibytes_come_back_unchanged() {
    let Some(bed) = Bed::one() else { return };
    let done = bed
        .shell(
            &["--timeout", "5m"],
            "head -c 67108864 /dev/zero | tr '\\0' '\\377'; exit 3",
        )
        .expect_code(3);
    assert_eq!(done.stdout.len(), 64 << 20);
    assert!(done.stdout.iter().all(|byte| *byte == 0xff));
    assert!(!done.err().contains("cut"), "{}", done.err());
}

#[test]
fn binary_output_is_the_same_on_stdout_in_files_and_in_json() {
    let Some(bed) = Bed::one() else { return };
    // Every byte, a lonely half of a character at the end, no newline.
    let bytes: Vec<u8> = (0..=255).chain(*b"\xf0\x9f\xa6").collect();
    let octal: String = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
    let line = format!("printf '{octal}'; printf '{octal}' >&2");
    let dir = bed.world.dir().join("out");
    let path = dir.display().to_string();
    let done = bed.shell(&["--output-dir", &path], &line).expect_code(0);
    assert_eq!(done.stdout, bytes, "{done}");
    assert_eq!(done.stderr, bytes, "{done}");
    assert_eq!(std::fs::read(dir.join("web1.out")).unwrap(), bytes);
    assert_eq!(std::fs::read(dir.join("web1.err")).unwrap(), bytes);
    let told: Value =
        serde_json::from_slice(&std::fs::read(dir.join("web1.json")).unwrap()).unwrap();
    assert_eq!(
        (&told["status"], &told["stdoutBytes"]),
        (&"ok".into(), &259.into())
    );
    let told: Value =
        serde_json::from_slice(&std::fs::read(dir.join("summary.json")).unwrap()).unwrap();
    assert_eq!(
        (&told["schema"], &told["summary"]["ok"]),
        (&1.into(), &1.into())
    );
    let document = bed.shell(&["--json"], &line).expect_code(0).json();
    assert_eq!(document["schema"], 1);
    let result = &document["results"][0];
    assert_eq!(decoded(&result["stdout_b64"]), bytes);
    assert_eq!(decoded(&result["stderr_b64"]), bytes);
    assert!(result.get("stdout").is_none());
    let events = bed.shell(&["--ndjson"], &line).expect_code(0);
    assert_eq!(
        collect(&events.out()).0[&("web1".to_owned(), "stdout".to_owned())],
        bytes
    );
}

#[test]
fn a_large_document_is_written_as_it_is_made() {
    const EACH: usize = 16 << 20;
    const HOSTS: usize = 8;
    let Some(bed) = Bed::many(HOSTS) else { return };
    let line = format!("yes some-words-for-a-line | head -c {EACH}");
    let running = bed.start_shell(&["--json", "--timeout", "5m"], &line);
    let status = format!("/proc/{}/status", running.pid());
    // Read through a pipe by this process: what the peak is of, is the command alone.
    let mut peak = 0;
    common::holds_within(Duration::from_secs(240), || {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        match line {
            Some(line) => {
                let kib = line.trim().trim_end_matches(" kB");
                peak = kib.parse::<usize>().unwrap() << 10;
                false
            }
            None => true,
        }
    });
    let document = running.wait(Duration::from_secs(60)).expect_code(0).json();
    let results = document["results"].as_array().unwrap();
    assert_eq!(results.len(), HOSTS);
    for (n, result) in results.iter().enumerate() {
        assert_eq!(result["host"], format!("web{}", n + 1), "in order");
        assert_eq!(result["stdout"].as_str().unwrap().len(), EACH);
    }
    assert_eq!(document["summary"]["ok"], HOSTS);
    assert!(peak > 0, "nothing was measured");
    assert!(
        peak < HOSTS * EACH * 3 / 4,
        "{} MiB in memory at once",
        peak >> 20
    );
}

/// What came from each stream of each host.
type Chunks = BTreeMap<(String, String), Vec<u8>>;

/// Returns the bytes of each stream of each host, and the kinds of events in order.
fn collect(text: &str) -> (Chunks, Vec<String>) {
    let (mut bytes, mut kinds) = (BTreeMap::<_, Vec<u8>>::new(), Vec::new());
    for line in text.lines() {
        let event: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(event["schema"], 1, "{line}");
        let kind = event["event"].as_str().unwrap().to_owned();
        if kind == "chunk" {
            let word = |key: &str| event[key].as_str().unwrap().to_owned();
            let piece = match event.get("data") {
                Some(text) => text.as_str().unwrap().as_bytes().to_vec(),
                None => decoded(&event["data_b64"]),
            };
            bytes
                .entry((word("host"), word("stream")))
                .or_default()
                .extend(piece);
        }
        kinds.push(kind);
    }
    (bytes, kinds)
}

#[test]
fn characters_split_between_packets_stay_whole() {
    let Some(bed) = Bed::one() else { return };
    let line = "for n in 1 2 3; do printf '\\360\\237'; sleep 0.1; printf '\\246\\236'; done";
    assert_eq!(bed.shell(&[], line).expect_code(0).out(), "🦞🦞🦞");
    let events = bed.shell(&["--ndjson"], line).expect_code(0).out();
    let (bytes, _) = collect(&events);
    assert_eq!(
        bytes[&("web1".to_owned(), "stdout".to_owned())],
        "🦞🦞🦞".as_bytes()
    );
}

#[test]
fn events_come_in_order_and_every_one_is_a_document() {
    let Some(bed) = Bed::many(3) else { return };
    let done = bed
        .shell(&["--ndjson"], "echo out; echo err >&2; exit 2")
        .expect_code(1);
    let (bytes, kinds) = collect(&done.out());
    assert_eq!(bytes.len(), 6, "{done}");
    for kind in ["start", "end"] {
        assert_eq!(
            kinds.iter().filter(|known| *known == kind).count(),
            3,
            "{done}"
        );
    }
    assert_eq!(kinds.last().map(String::as_str), Some("summary"), "{done}");
    assert!(
        kinds
            .iter()
            .all(|kind| ["start", "chunk", "end", "summary"].contains(&kind.as_str())),
        "{kinds:?}"
    );
}

#[test]
fn json_is_one_document_whatever_happens() {
    let Some(bed) = Bed::many(2) else { return };
    let document = bed
        .shell(&["--json", "-v"], "echo hi; echo oh >&2; exit 5")
        .expect_code(1)
        .json();
    let result = &document["results"][1];
    for (key, value) in [
        ("host", "web2"),
        ("status", "failed"),
        ("stdout", "hi\n"),
        ("stderr", "oh\n"),
    ] {
        assert_eq!(result[key], value, "{document}");
    }
    assert_eq!(
        (&result["exit"], &result["attempt"], &result["stdoutBytes"]),
        (&5.into(), &1.into(), &3.into())
    );
    assert!(
        result["startedAt"].is_string() && result["durationMs"].is_u64(),
        "{document}"
    );
    let refused = bed
        .run(&["fleet", "exec", "nobody", "--json", "--", "true"])
        .expect_code(2);
    assert_eq!(refused.json()["error"]["exit"], 2);
}

#[test]
fn output_over_the_cap_is_cut_and_counted() {
    let Some(bed) = Bed::one() else { return };
    let dir = bed.world.dir().join("out");
    let path = dir.display().to_string();
    let flags = ["--max-output", "100KiB", "--output-dir", &path, "--json"];
    let document = bed
        .shell(&flags, "head -c 3000000 /dev/zero | tr '\\0' x")
        .expect_code(0)
        .json();
    let result = &document["results"][0];
    assert_eq!(result["stdout"].as_str().unwrap().len(), 100 << 10);
    assert_eq!(
        (&result["stdoutBytes"], &result["stdoutTruncated"]),
        (&3_000_000.into(), &true.into())
    );
    assert_eq!(
        std::fs::read(dir.join("web1.out")).unwrap().len(),
        100 << 10
    );
    let done = bed
        .shell(&["--max-output", "100KiB"], "head -c 3000000 /dev/zero")
        .expect_code(0);
    assert!(done.err().contains("3000000 bytes"), "{}", done.err());
    let all = bed
        .shell(
            &["--max-output", "0", "--json"],
            "head -c 3000000 /dev/zero | tr '\\0' x",
        )
        .json();
    assert_eq!(
        all["results"][0]["stdout"].as_str().unwrap().len(),
        3_000_000
    );
}

#[test]
fn lines_of_sixteen_hosts_are_never_mixed_or_cut() {
    let Some(bed) = Bed::many(16) else { return };
    // Long lines in two halves, so that a writer without care would mix them.
    let line = "n=0; while [ $n -lt 60 ]; do printf '%03d %0400d' $n 0; printf '%0400d\\n' 0; n=$((n+1)); done; printf last";
    let done = bed.shell(&[], line).expect_code(0);
    let mut next: BTreeMap<String, usize> = BTreeMap::new();
    for line in done.out().lines() {
        let (name, text) = line
            .strip_prefix('[')
            .and_then(|line| line.split_once("] "))
            .unwrap_or_else(|| panic!("{line}"));
        let seen = next.entry(name.to_owned()).or_default();
        if *seen == 60 {
            assert_eq!(text, "last");
        } else {
            assert_eq!(text, format!("{seen:03} {}", "0".repeat(800)));
        }
        *seen += 1;
    }
    assert_eq!(next.len(), 16);
    assert!(next.values().all(|count| *count == 61), "{next:?}");
}

#[test]
fn a_partial_line_is_shown_while_the_task_goes_on() {
    let Some(bed) = Bed::many(2) else { return };
    let running = bed.start_shell(
        &[],
        "printf 'Password: '; until [ -e go ]; do sleep 0.1; done; echo done",
    );
    running.wait_for_line("[web1] Password: ", SOON);
    running.wait_for_line("[web2] Password: ", SOON);
    std::fs::write(bed.server.home().join("go"), "").unwrap();
    running.wait(SOON).expect_code(0);
}

#[test]
fn groups_and_gathered_outputs_keep_hosts_apart() {
    let Some(bed) = Bed::many(4) else { return };
    let done = bed
        .shell(&["--group"], "echo one; sleep 0.1; echo two; printf three")
        .expect_code(0);
    for n in 1..=4 {
        let start = format!("--- web{n}: ok in ");
        let at = done.out().find(&start).unwrap_or_else(|| panic!("{done}"));
        let body = done.out()[at..]
            .lines()
            .skip(1)
            .take(3)
            .collect::<Vec<_>>()
            .join("\n");
        assert_eq!(body, "one\ntwo\nthree", "{done}");
    }
    let done = bed.shell(&["--gather"], "echo same").expect_code(0);
    assert_eq!(done.out(), "--- web[1-4] (4): ok ---\nsame\n", "{done}");
    let list = bed.world.dir().join("tasks");
    std::fs::write(&list, "echo I am {name} at {host}\n").unwrap();
    let path = list.display().to_string();
    let each = ["fleet", "exec", "--tasks", &path, "--each", "--gather"];
    let apart = bed.run(&each).expect_code(0);
    assert_eq!(apart.out().matches("(1): ok").count(), 4, "{apart}");
    let similar = bed
        .run(&[&each[..], &["--similar"]].concat())
        .expect_code(0);
    assert_eq!(similar.out().matches("--- ").count(), 1, "{similar}");
    assert!(similar.out().contains("web[1-4] (4)"), "{similar}");
}

/// Starts a shell line whose stdout this test reads by itself.
fn piped(bed: &Bed, flags: &[&str], line: &str) -> std::process::Child {
    let mut args = vec!["fleet", "exec"];
    args.extend(flags);
    args.extend(["--shell", line]);
    let mut command = bed.world.command(&args);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Command::spawn(&mut command).unwrap()
}

#[test]
fn a_reader_that_leaves_early_is_no_error_and_the_tasks_go_on() {
    let Some(bed) = Bed::many(2) else { return };
    for flags in [&[][..], &["--ndjson"], &["--json"], &["--group"]] {
        let _none = std::fs::remove_dir_all(bed.server.home().join("ran"));
        let line = "echo first; until [ -e gone ]; do sleep 0.05; done; for n in 1 2 3 4; do echo $n; done; mkdir -p ran; touch ran/$$";
        let mut child = piped(&bed, flags, line);
        if flags.is_empty() || flags == ["--ndjson"] {
            let mut byte = [0];
            child
                .stdout
                .as_mut()
                .unwrap()
                .read_exact(&mut byte)
                .unwrap();
        }
        drop(child.stdout.take());
        std::fs::write(bed.server.home().join("gone"), "").unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{flags:?}");
        assert_eq!(
            std::fs::read_dir(bed.server.home().join("ran"))
                .unwrap()
                .count(),
            2
        );
    }
}

#[test]
fn a_reader_that_does_not_read_does_not_stop_the_clocks() {
    let Some(bed) = Bed::one() else { return };
    let mut child = piped(
        &bed,
        &["--timeout", "2s", "--grace", "1s"],
        "trap '' TERM; while :; do head -c 1000000 /dev/zero; done",
    );
    common::eventually(SOON, || !bed.tasks().is_empty());
    // Nobody has read a byte yet, and still the task ends.
    bed.assert_no_task_within(Duration::from_secs(2 + 1 + 10));
    let mut all = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut all).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(124));
    assert!(all.iter().all(|byte| *byte == 0));
}

#[test]
fn a_reader_that_pauses_gets_everything() {
    let Some(bed) = Bed::one() else { return };
    let mut child = piped(&bed, &[], "head -c 16000000 /dev/zero; touch done; exit 4");
    // Longer than any pause that would let a finished task be given up.
    common::holds_within(Duration::from_secs(9), || false);
    let mut all = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut all).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(4));
    assert_eq!(all.len(), 16_000_000);
}

#[test]
fn ctrl_c_twice_leaves_even_when_nobody_reads() {
    let Some(bed) = Bed::one() else { return };
    let child = piped(
        &bed,
        &["--timeout", "1h", "--grace", "1h"],
        "trap 'touch asked' TERM; touch begun; while :; do head -c 1000000 /dev/zero; done",
    );
    common::eventually(SOON, || bed.server.home().join("begun").exists());
    let pid = rustix::process::Pid::from_child(&child);
    let interrupt = || rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    interrupt();
    common::eventually(SOON, || bed.server.home().join("asked").exists());
    interrupt();
    let mut child = child;
    let mut code = None;
    let left = common::holds_within(Duration::from_secs(15), || {
        code = child.try_wait().unwrap();
        code.is_some()
    });
    if !left {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(code.and_then(|code| code.code()), Some(130), "left: {left}");
    bed.assert_no_task_within(Duration::from_secs(10));
}

#[test]
fn the_summary_counts_and_names_the_run() {
    let Some(bed) = Bed::many(3) else { return };
    let done = bed
        .shell(&[], "mkdir first 2>/dev/null && exit 3; true")
        .expect_code(1);
    let last = done.err().lines().last().unwrap().to_owned();
    assert!(
        last.starts_with("skyclaw: 2 ok, 1 failed in ") && last.contains("(run "),
        "{done}"
    );
    let quiet = bed.shell(&["-q"], "true").expect_code(0);
    assert_eq!(quiet.err(), "");
    let one = bed.shell(&["web1"], "echo x").expect_code(0);
    assert_eq!((one.out().as_str(), one.err().as_str()), ("x\n", ""));
}

#[test]
fn a_terminal_sees_colours_but_no_other_control_sequences() {
    let Some(bed) = Bed::one() else { return };
    if !common::require_program("script") {
        return;
    }
    let inner =
        "fleet exec --shell 'printf \"\\033[31mred\\033[0m \\033]0;title\\007 \\033[2J end\\n\"'";
    let line = format!("{} {inner}", env!("CARGO_BIN_EXE_skyclaw"));
    let typed = |flags: &str| {
        let mut script = bed.world.clean("script");
        script.args(["-qec", &format!("{line} {flags}"), "/dev/null"]);
        common::Running::start(script, None)
            .wait(SOON)
            .expect_code(0)
            .out()
    };
    let shown = typed("");
    assert!(
        shown.contains("\x1b[31mred\x1b[0m") && shown.contains("end"),
        "{shown:?}"
    );
    assert!(
        !shown.contains("\x1b]0;") && !shown.contains("\x1b[2J") && !shown.contains('\x07'),
        "{shown:?}"
    );
    assert!(typed("--raw").contains("\x1b]0;title\x07"));
}

#[test]
fn a_directory_that_cannot_be_written_does_not_hide_the_results() {
    let Some(bed) = Bed::one() else { return };
    let dir = bed.world.dir().join("out");
    std::fs::create_dir_all(dir.join("web1.out")).unwrap();
    let path = dir.display().to_string();
    let flags = ["--json", "--output-dir", &path];
    let done = bed.shell(&flags, "echo hi").expect_code(1);
    assert_eq!(done.json()["results"][0]["stdout"], "hi\n", "{done}");
    assert!(done.err().contains("web1.out"), "{done}");
    std::fs::write(bed.world.dir().join("file"), "").unwrap();
    let under_file = bed.world.dir().join("file/out").display().to_string();
    bed.shell(&["--output-dir", &under_file], "touch ran")
        .expect_code(2);
    assert!(!bed.server.home().join("ran").exists());
}
