//! The help texts of the verbs, as they are shown.

use std::process::Command;

#[test]
fn help_says_what_each_verb_does() {
    for verb in ["gateway", "call"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skyclaw"));
        let shown = command.env_clear().args([verb, "--help"]).output().unwrap();
        assert!(shown.status.success(), "{verb}");
        let text = String::from_utf8(shown.stdout).unwrap();
        assert!(text.contains("Exit codes:"), "{verb}: {text}");
        assert!(text.contains("Example: skyclaw "), "{verb}: {text}");
        insta::assert_snapshot!(format!("help_{verb}"), text);
    }
}
