//! Jobs for agents: which program runs, with what.

use skyclaw::protocol::Reason;
use skyclaw::protocol::api::JobKind;

use crate::bed::{Bed, assert_done, assert_failed, error, out, with_program};

const ECHO: &str =
    "#!/bin/sh\necho \"$0 $*\" | sed 's|.*/||'; cat; env | grep -E '^(TZ|NO_COLOR)='; exit 0\n";

fn openclaw(args: &[&str], message: Option<&str>) -> JobKind {
    JobKind::OpenclawRun {
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        message: message.map(str::to_owned),
        openclaw_dir: None,
        env: Default::default(),
        timeout_ms: None,
        grace_ms: None,
    }
}

#[test]
fn each_kind_runs_its_agent() {
    let bed = Bed::new();
    with_program(bed.dir.path(), "openclaw", ECHO);
    with_program(bed.dir.path(), "my-automaton", ECHO);
    let path = with_program(
        bed.dir.path(),
        "picoclaw",
        &ECHO.replace(
            "cat;",
            "[ \"$1\" = version ] && echo 'picoclaw 0.2.9'; cat;",
        ),
    );
    let vars = [
        ("PATH", path.as_str()),
        ("SKYCLAW_AUTOMATON_COMMAND", "my-automaton"),
        ("TZ", "UTC"),
    ];
    let _host = bed.host("lab", &vars);
    assert_eq!(
        bed.hosts()[0].capabilities,
        ["automaton", "openclaw", "picoclaw", "service-host", "shell"]
    );
    let run = |kind: &JobKind| {
        let job = bed.wait(bed.submit(kind));
        assert_done(&job);
        out(&job)
    };
    assert_eq!(run(&openclaw(&[], None)), "openclaw agent exec\nTZ=UTC\n");
    assert_eq!(
        run(&openclaw(&[], Some("what is 1+1?"))),
        "openclaw agent exec --message-file -\nwhat is 1+1?TZ=UTC\n"
    );
    assert_eq!(
        run(&openclaw(&["run", "-x"], None)),
        "openclaw run -x\nTZ=UTC\n"
    );
    let automaton = JobKind::AutomatonRun {
        args: vec![],
        automaton_dir: None,
        env: Default::default(),
        timeout_ms: None,
    };
    assert_eq!(run(&automaton), "my-automaton --run\nTZ=UTC\n");
    let task = JobKind::PicoclawTask {
        message: "say hi".into(),
        session: None,
        env: Default::default(),
        timeout_ms: None,
        grace_ms: None,
        task_stdin: false,
        cwd: None,
    };
    let text = run(&task);
    assert!(
        text.starts_with("picoclaw agent -m say hi -s agent:main:skyclaw:job_"),
        "{text}"
    );
    assert!(
        text.contains("NO_COLOR=1") && !text.contains("TZ="),
        "{text}"
    );
}

#[test]
fn what_openclaw_used_is_known() {
    let bed = Bed::new();
    let said = r#"{"ok":true,"final":"2","usage":{"input":812,"output":9,"total":821},"costUsd":0.5,"model":"m-1"}"#;
    let program = format!("#!/bin/sh\necho '{said}'\n");
    let path = with_program(bed.dir.path(), "openclaw", &program);
    let _host = bed.host("lab", &[("PATH", path.as_str())]);
    let job = bed.wait(bed.submit(&openclaw(&["agent", "exec", "--json", "1+1"], None)));
    assert_done(&job);
    let usage = bed.look(job.id).usage.unwrap();
    assert_eq!(
        usage.to_string(),
        "812 tokens in, 9 tokens out, 821 in all, 0.5 USD, m-1"
    );
}

#[test]
fn an_agent_that_is_not_here_is_named() {
    let bed = Bed::new();
    let vars = [
        ("PATH", "/usr/bin:/bin"),
        ("SKYCLAW_CAPABILITIES", "openclaw"),
        ("SKYCLAW_OPENCLAW_COMMAND", "openclaw-not-here"),
        ("SKYCLAW_ALLOWED_COMMANDS", "openclaw-not-here"),
    ];
    let _host = bed.host("lab", &vars);
    let job = bed.wait(bed.submit(&openclaw(&[], None)));
    assert_failed(&job, Reason::Spawn);
    assert_eq!(error(&job), "spawn openclaw-not-here ENOENT");
}

#[test]
fn another_program_with_picoclaws_name_is_not_trusted() {
    let bed = Bed::new();
    let path = with_program(
        bed.dir.path(),
        "picoclaw",
        "#!/bin/sh\necho 'other tool 1.0'\n",
    );
    let _host = bed.host("lab", &[("PATH", &path)]);
    assert!(!bed.hosts()[0].capabilities.contains(&"picoclaw".to_owned()));
}
