//! The help texts of the verbs, as they are shown.

use crate::place::bare;

#[test]
fn help_says_what_each_verb_does() {
    let dir = tempfile::tempdir().unwrap();
    for verb in [
        "deploy-service",
        "list-services",
        "service",
        "service list",
        "service show",
        "service logs",
        "service scale",
        "service restart",
        "service stop",
        "service start",
        "service rm",
    ] {
        let words: Vec<&str> = verb.split(' ').chain(["--help"]).collect();
        let shown = bare(dir.path(), &words).output().unwrap();
        assert!(shown.status.success(), "{verb}");
        let text = String::from_utf8(shown.stdout).unwrap();
        assert!(text.contains("Exit codes:"), "{verb}: {text}");
        assert!(text.contains("Example: skyclaw "), "{verb}: {text}");
        insta::assert_snapshot!(format!("help_{}", verb.replace([' ', '-'], "_")), text);
    }
    let alias = |words: &[&str]| bare(dir.path(), words).output().unwrap().stdout;
    let (plain, grouped) = (
        alias(&["deploy-service", "--help"]),
        alias(&["service", "deploy", "--help"]),
    );
    let plain = String::from_utf8(plain).unwrap();
    let grouped = String::from_utf8(grouped).unwrap();
    assert_eq!(
        plain,
        grouped.replace("skyclaw service deploy", "skyclaw deploy-service")
    );
}
