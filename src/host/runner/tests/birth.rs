//! How jobs come to be, and what is said if they do not.

use std::collections::HashMap;
use std::fs;

use super::*;
use crate::host::watch::record::{self, Record};

fn fails(bench: &Bench, task: Task) -> String {
    let ran = bench.run(task);
    assert_eq!(ran.reason, Some(Reason::Spawn), "{ran:?}");
    ran.result.error.unwrap()
}

fn file(bench: &Bench, name: &str, text: &str, mode: u32) -> std::path::PathBuf {
    let file = bench.dir.path().join(name);
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    file
}

#[test]
fn what_cannot_start_says_why() {
    let bench = bench(1);
    let plain = |program: &Path| Task {
        program: program.to_owned(),
        name: "tool".to_owned(),
        ..bench.script("")
    };
    let closed = file(&bench, "closed", "#!/bin/sh\n", 0o644);
    assert_eq!(fails(&bench, plain(&closed)), "spawn tool EACCES");
    let below = closed.join("tool");
    assert_eq!(fails(&bench, plain(&below)), "spawn tool ENOTDIR");
    let orphan = file(&bench, "orphan", "#!/nonexistent/interpreter\n", 0o755);
    assert_eq!(fails(&bench, plain(&orphan)), "spawn tool ENOENT");
    let long = Task {
        args: vec!["x".repeat(200_000).into()],
        ..plain(Path::new("/bin/echo"))
    };
    assert_eq!(fails(&bench, long), "spawn tool E2BIG");
    let nowhere = Task {
        directory: "/nonexistent".into(),
        ..plain(Path::new("/bin/echo"))
    };
    assert_eq!(fails(&bench, nowhere), "spawn tool ENOENT");
    let torn = Task {
        args: vec!["a\0b".into()],
        ..plain(Path::new("/bin/echo"))
    };
    assert!(fails(&bench, torn).starts_with("spawn tool "));
    // None of it costs the slot.
    assert!(bench.run(bench.script("exit 0")).success);
}

#[test]
fn a_missing_program_is_named() {
    let bench = bench(1);
    let task = Task {
        program: "/nonexistent/tool".into(),
        name: "tool".to_owned(),
        ..bench.script("")
    };
    let ran = bench.run(task);
    assert_eq!(ran.reason, Some(Reason::Spawn));
    assert_eq!(ran.result.error.as_deref(), Some("spawn tool ENOENT"));
}

#[test]
fn a_script_that_does_not_name_its_shell_runs() {
    let bench = bench(1);
    let program = file(&bench, "bare", "echo \"$0 $# $2\"\n", 0o755);
    let ran = bench.run(Task {
        program: program.clone(),
        name: "bare".to_owned(),
        args: vec!["one".into(), "two words".into()],
        ..bench.script("")
    });
    let text = String::from_utf8(ran.result.stdout.bytes).unwrap();
    assert_eq!(text, format!("{} 2 two words\n", program.display()));
}

#[test]
fn a_job_gets_exactly_what_it_is_to_have() {
    let bench = bench(1);
    let ran = bench.run(Task {
        env: vec![("A".into(), "1=2".into()), ("B".into(), "".into())],
        ..bench.script("cat /proc/self/environ | tr '\\0' '\\n' | grep -v '^PWD\\|^_\\|^SHLVL\\|^OLDPWD'; tr '\\0' ' ' </proc/$$/cmdline; pwd")
    });
    let text = String::from_utf8(ran.result.stdout.bytes).unwrap();
    let here = bench.dir.path().canonicalize().unwrap();
    assert!(text.starts_with("A=1=2\nB=\nsh -c "), "{text}");
    assert!(text.ends_with(&format!("{}\n", here.display())), "{text}");
}

#[test]
fn signals_are_as_programs_expect_them() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // What a library handles here must not be handled there.
    let handled = runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        signal(SignalKind::user_defined1()).unwrap()
    });
    let bench = bench(1);
    // A shell would set its own.
    let ran = bench.run(Task {
        program: "/bin/cat".into(),
        name: "cat".to_owned(),
        args: vec!["/proc/self/status".into()],
        max_output: 100_000,
        ..bench.script("")
    });
    let text = String::from_utf8(ran.result.stdout.bytes).unwrap();
    let sets: HashMap<&str, u64> = text
        .lines()
        .filter(|line| line.starts_with("Sig") && !line.starts_with("SigQ"))
        .map(|line| {
            let (name, set) = line.split_once(":\t").unwrap();
            (name, u64::from_str_radix(set, 16).unwrap())
        })
        .collect();
    let pipe = 1 << (13 - 1);
    assert_eq!(sets["SigBlk"], 0, "{text}");
    assert_eq!(sets["SigCgt"], 0, "{text}");
    assert_eq!(sets["SigIgn"] & pipe, 0, "{text}");
    drop(handled);
    // Nor is anything of this process changed by it.
    let own = fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = |name: &str| {
        let line = own.lines().find_map(|line| line.strip_prefix(name));
        u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
    };
    assert_eq!(
        line("SigIgn:") & pipe,
        pipe,
        "ignored, as the runtime has it"
    );
}

#[test]
fn ten_thousand_descriptors_stay_here() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: most,
        maximum: most,
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    if most.is_some_and(|most| most < 10_500) {
        eprintln!("skipped: no more than {most:?} descriptors");
        return;
    }
    super::super::birth::keep_descriptors().unwrap();
    let null = fs::File::open("/dev/null").unwrap();
    let held: Vec<_> = (0..10_000).map(|_| null.try_clone().unwrap()).collect();
    let bench = bench(1);
    let ran = bench.run(bench.script("ls /proc/$$/fd; readlink /proc/$$/fd/0"));
    assert_eq!(ran.result.stdout.bytes, b"0\n1\n2\n/dev/null\n");
    assert_eq!(held.len(), 10_000);
}

#[test]
fn the_watcher_hears_of_the_end_of_what_could_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let heard = dir.path().join("heard");
    let text = format!("#!/bin/sh\nread opening\nexec cat >{}\n", heard.display());
    let bench = bench_with(1, dir, &text);
    fails(
        &bench,
        Task {
            program: "/nonexistent/tool".into(),
            ..bench.script("")
        },
    );
    let until = Instant::now() + Duration::from_secs(20);
    let records = loop {
        let bytes = fs::read(&heard).unwrap_or_default();
        let records: Vec<_> = bytes
            .chunks(record::SIZE)
            .filter_map(record::read)
            .collect();
        if records.len() >= 2 {
            break records;
        }
        assert!(Instant::now() < until, "{records:?}");
        std::thread::sleep(Duration::from_millis(2));
    };
    let [Record::Began(pid, ..), Record::Ended(ended)] = records[..] else {
        panic!("{records:?}");
    };
    assert_eq!(pid, ended);
}
