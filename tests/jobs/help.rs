//! The help texts of the verbs, as they are shown.

use crate::place::bare;

#[test]
fn help_says_what_each_verb_does() {
    let dir = tempfile::tempdir().unwrap();
    for verb in [
        "enqueue-shell",
        "enqueue-openclaw",
        "enqueue-automaton",
        "enqueue-picoclaw",
        "job",
        "job submit",
        "job list",
        "job wait",
        "job logs",
        "job cancel",
        "host list",
        "host drain",
        "queue",
        "peer",
        "peer list",
        "peer remove",
        "peer leave",
        "events",
        "coordinator backup",
        "coordinator restore",
        "coordinator gc",
    ] {
        let words: Vec<&str> = verb.split(' ').chain(["--help"]).collect();
        let shown = bare(dir.path(), &words).output().unwrap();
        assert!(shown.status.success(), "{verb}");
        let text = String::from_utf8(shown.stdout).unwrap();
        assert!(text.contains("Exit codes:"), "{verb}: {text}");
        assert!(text.contains("Example: skyclaw "), "{verb}: {text}");
        insta::assert_snapshot!(format!("help_{}", verb.replace([' ', '-'], "_")), text);
    }
}
