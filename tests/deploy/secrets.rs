//! The key is in three files on the host, and nowhere else on either side.

use super::*;
use crate::common::{ps_snapshot, scan_files};

#[test]
fn the_key_is_in_three_files_and_nowhere_else() {
    // A key of its own: tests that run at the same time have theirs in their environment.
    let key = &format!("sk-scanned-{}", std::process::id());
    let Some(mut bed) = Bed::new() else { return };
    bed.world.set_env("ANTHROPIC_API_KEY", key);
    let sampler = ps_snapshot();
    let verbose = bed.deploy(&["-vvv", "--from", AGENT]).expect_code(0);
    let planned = bed.deploy(&["-vvv", "--dry-run", "--force", "--json", "--from", AGENT]);
    let changed = bed.deploy(&["-vvv", "--model", "m", "--ndjson", "--from", AGENT]);
    let failed = bed
        .deploy(&["-vvv", "--json", "--from", IMPOSTOR])
        .expect_code(1);
    let seen = sampler.stop();
    for output in [verbose, planned, changed, failed] {
        assert!(!output.to_string().contains(key), "{output}");
    }
    let own = std::process::id().cast_signed();
    for process in seen.iter().filter(|process| process.pid != own) {
        assert!(
            !process.cmdline.contains(key),
            "in the arguments of {process:?}"
        );
        // The controller has it in its environment, because the fleet file says so; nobody else has.
        let controller = process
            .environ
            .contains(&format!("HOME={}", bed.world.home().display()));
        assert!(
            controller || !process.environ.contains(key),
            "around {process:?}"
        );
    }
    assert!(
        seen.iter()
            .any(|process| process.environ.contains(&bed.server.marker())),
        "the far side was looked at"
    );
    assert_eq!(scan_files(bed.world.dir(), key), [] as [PathBuf; 0]);
    let mut holding = scan_files(bed.server.home(), key);
    holding.sort();
    let expected = [".env", ".security.yml"].map(|file| bed.home(".picoclaw").join(file));
    assert_eq!(holding, expected);
    assert!(!bed.server.log().contains(key));
}

#[test]
fn a_program_that_prints_the_key_does_not_make_us_show_it() {
    let Some(bed) = Bed::new() else { return };
    let chatty = bed.world.dir().join("chatty");
    let text = format!(
        "#!/bin/sh\ncase $1 in version) echo picoclaw 1.0;; *) echo $0 {KEY}; exit 1;; esac\n"
    );
    fs::write(&chatty, text).unwrap();
    let row = bed.row(0, &["--from", chatty.to_str().unwrap()]);
    assert!(
        row["warnings"][0].as_str().unwrap().contains("***"),
        "{row}"
    );
}
