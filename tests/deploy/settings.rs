//! The files of PicoClaw: what is merged into them and what is kept.

use super::*;

fn write(bed: &Bed, file: &str, text: &str) {
    let path = bed.home(".picoclaw").join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn foreign_content_is_kept() {
    let Some(bed) = Bed::new() else { return };
    write(&bed, ".env", "# mine\nOTHER=1\nANTHROPIC_API_KEY=old\n");
    write(
        &bed,
        "config.json",
        "{\n  \"zeta\": 1.10,\n  \"model_list\": [{\"model_name\": \"own\"}]\n}\n",
    );
    write(
        &bed,
        ".security.yml",
        "model_list:\n  own:\n    api_keys:\n      - other-key\n",
    );
    let row = bed.row(0, &["--from", AGENT]);
    assert_eq!(row["result"], "installed", "{row}");
    assert_eq!(
        bed.read(".picoclaw/.env"),
        format!("# mine\nOTHER=1\nANTHROPIC_API_KEY={KEY}\nPROVIDER=anthropic\n")
    );
    let config = bed.read(".picoclaw/config.json");
    assert!(
        config.contains("\"zeta\": 1.10") && config.contains("\"own\""),
        "{config}"
    );
    assert!(config.contains("claude-sonnet-4-6"), "{config}");
    let security = bed.read(".picoclaw/.security.yml");
    assert!(security.contains("other-key") && security.contains(KEY));
    assert!(
        !bed.home(".picoclaw/workspace").exists(),
        "no onboard where a configuration exists"
    );
    let row = bed.row(0, &["--from", AGENT]);
    assert_eq!(row["result"], "unchanged", "{row}");
}

#[test]
fn content_that_is_too_long_for_a_line_of_shell_is_kept_too() {
    let Some(bed) = Bed::new() else { return };
    let long = "é'\\n ".repeat(10_000);
    write(&bed, ".env", &format!("# {long}\n"));
    write(&bed, "config.json", "{\"own\": 1}\n");
    let row = bed.row(0, &["--from", AGENT]);
    assert_eq!(row["result"], "installed", "{row}");
    assert_eq!(
        bed.read(".picoclaw/.env"),
        format!("# {long}\nPROVIDER=anthropic\nANTHROPIC_API_KEY={KEY}\n")
    );
    assert_eq!(mode(&bed.home(".picoclaw/.env")), 0o600);
    assert!(bed.read(".picoclaw/config.json").contains("\"own\": 1"));
}

#[test]
fn a_file_that_others_can_read_is_closed() {
    let Some(bed) = Bed::new() else { return };
    bed.deploy(&["--from", AGENT]).expect_code(0);
    let file = bed.home(".picoclaw/.security.yml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let row = bed.row(0, &["--from", AGENT]);
    assert_eq!(row["result"], "updated", "{row}");
    assert_eq!(
        row["replaced"],
        serde_json::json!(["~/.picoclaw/.security.yml"])
    );
    assert_eq!(mode(&file), 0o600);
}

#[test]
fn a_broken_file_stops_the_deploy_before_anything_changes() {
    let Some(bed) = Bed::new() else { return };
    for (file, text) in [
        ("config.json", "{ \"a\": "),
        ("config.json", "{\"a\": \"\u{0}\"}"),
        (".security.yml", "- secret-of-theirs"),
    ] {
        write(&bed, "config.json", "{}");
        write(&bed, file, text);
        let before = state(bed.server.home());
        let output = bed.deploy(&["--json", "--from", AGENT]).expect_code(1);
        let row = only(&output);
        assert_eq!(row["result"], "failed", "{row}");
        assert!(row["error"].as_str().unwrap().contains(file), "{row}");
        assert!(!output.to_string().contains("secret-of-theirs"));
        assert_eq!(state(bed.server.home()), before);
    }
}

#[test]
fn settings_change_without_sending_the_program_again() {
    let Some(bed) = Bed::new() else { return };
    bed.deploy(&["--from", AGENT]).expect_code(0);
    let inode = fs::metadata(bed.program()).unwrap().ino();
    let args = ["--provider", "openai-compatible", "--model", "m-1"];
    let base = ["--api-base", "http://127.0.0.1:1/v1", "--from", AGENT];
    let row = bed.row(0, &[&args[..], &base].concat());
    assert_eq!(row["result"], "updated", "{row}");
    assert_eq!(fs::metadata(bed.program()).unwrap().ino(), inode);
    let config: Value = serde_json::from_str(&bed.read(".picoclaw/config.json")).unwrap();
    let model = &config["model_list"][0];
    assert_eq!(
        (&model["model"], &model["provider"]),
        (&"m-1".into(), &"openai".into())
    );
    assert_eq!(model["api_base"], "http://127.0.0.1:1/v1");
    assert!(
        bed.read(".picoclaw/.env")
            .contains("PROVIDER=openai-compatible\n")
    );
}

#[test]
fn an_onboard_that_asks_or_fails_is_a_warning() {
    let Some(bed) = Bed::new() else { return };
    let asking = bed.world.dir().join("asking");
    let script = |onboard: &str| {
        format!(
            "#!/bin/sh\ncase $1 in\nversion) echo picoclaw 0.1.1;;\nonboard) {onboard};;\nesac\n"
        )
    };
    fs::write(
        &asking,
        script("printf 'Overwrite? '; read -r a || { echo nobody answers >&2; exit 3; }"),
    )
    .unwrap();
    let row = bed.row(0, &["--from", asking.to_str().unwrap()]);
    assert_eq!(row["result"], "installed", "{row}");
    let warning = row["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("onboard failed: exit code 3: nobody answers"),
        "{warning}"
    );
    assert!(
        bed.read(".picoclaw/config.json")
            .contains("claude-sonnet-4-6")
    );
}

#[test]
fn the_first_form_of_picoclaw_works_too() {
    let Some(bed) = Bed::new() else { return };
    fs::write(bed.home(".picoclaw-mode"), "old").unwrap();
    for expected in ["installed", "unchanged"] {
        let row = bed.row(0, &["--from", AGENT]);
        assert_eq!(
            (&row["result"], &row["version"]),
            (&expected.into(), &"v0.1.1".into())
        );
    }
}

#[test]
fn keys_come_from_each_hosts_own_source() {
    let Some(bed) = Bed::new() else { return };
    let second = bed.world.sshd().start();
    let key_file = bed.world.dir().join("key");
    fs::write(&key_file, "sk-from-a-file\n").unwrap();
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).unwrap();
    let beta = second
        .fleet_host("beta")
        .with("api_key_file", key_file.to_str().unwrap());
    bed.world.fleet(&[bed.server.fleet_host("alpha"), beta]);
    let output = bed.deploy(&["--from", AGENT]).expect_code(0);
    assert!(!output.to_string().contains("sk-from-a-file"));
    assert!(bed.read(".picoclaw/.security.yml").contains(KEY));
    let other = fs::read_to_string(second.home().join(".picoclaw/.env")).unwrap();
    assert_eq!(
        other,
        "PROVIDER=anthropic\nANTHROPIC_API_KEY=sk-from-a-file\n"
    );
}
