//! What a host needs, by what it has.

use super::*;
use crate::fleet::release::Artifact;
use crate::fleet::target::Target;

const KEY: &str = "sk-planned";

fn provider() -> Provider {
    Provider {
        name: "anthropic".into(),
        key_name: "ANTHROPIC_API_KEY".into(),
        key: Secret::new(KEY.into()),
        settings: picoclaw::Settings::resolve("anthropic", None, None).unwrap(),
    }
}

fn artifact(content: &[u8]) -> Supply {
    Supply::Here(Artifact {
        path: "p".into(),
        sha256: Digest::of(content),
        size: 1 << 20,
        version: None,
        source: "file p".into(),
    })
}

fn desired() -> Desired {
    Desired {
        programs: vec![(Component::Picoclaw, artifact(b"new"))],
        provider: Some(provider()),
        daemon: None,
        force: false,
    }
}

fn empty() -> Observed {
    Observed {
        target: Target::from_uname("Linux x86_64"),
        programs: vec![AtPath::Nothing],
        free: Some(1 << 30),
        is_ephemeral: false,
        files: [Found::Nothing, Found::Nothing, Found::Nothing],
        daemon: None,
    }
}

fn text(text: &str) -> Found {
    Found::Text {
        text: Secret::new(text.into()),
        mode: 0o600,
    }
}

/// A host on which everything is as desired.
fn done() -> Observed {
    let written = files_to_write(&empty().files, &provider()).unwrap();
    let mut files = written.iter().map(|(_, merged)| text(merged.expose()));
    Observed {
        programs: vec![AtPath::File(Some(Digest::of(b"new")))],
        is_ephemeral: true,
        files: [(); 3].map(|()| files.next().unwrap()),
        ..empty()
    }
}

fn names(steps: &[Step]) -> Vec<&'static str> {
    let name = |step: &Step| match step {
        Step::Install { .. } => "install",
        Step::SelfTest { .. } => "test",
        Step::Onboard => "onboard",
        Step::Merge(file) => file.name(),
        Step::DaemonSettings => "settings",
        Step::DaemonStart => "start",
    };
    steps.iter().map(name).collect()
}

#[test]
fn an_empty_host_needs_everything() {
    let steps = plan(&empty(), &desired()).unwrap();
    let expected = [
        "install",
        "test",
        "onboard",
        ".env",
        "config.json",
        ".security.yml",
    ];
    assert_eq!(names(&steps), expected);
    let shown: Vec<String> = steps.iter().map(Step::to_string).collect();
    assert!(!format!("{shown:?}{steps:?}{:?}", desired()).contains(KEY));
}

#[test]
fn a_host_that_is_as_desired_needs_a_test_alone() {
    let steps = plan(&done(), &desired()).unwrap();
    assert_eq!(names(&steps), ["test"]);
    assert!(!steps.iter().any(Step::changes));
}

#[test]
fn only_what_differs_is_done() {
    let other = AtPath::File(Some(Digest::of(b"old")));
    let unknown = AtPath::File(None);
    for there in [other, unknown] {
        let observed = Observed {
            programs: vec![there],
            ..done()
        };
        let steps = plan(&observed, &desired()).unwrap();
        assert_eq!(names(&steps), ["install", "test"]);
        let Step::Install { former, .. } = &steps[0] else {
            panic!("{steps:?}");
        };
        assert_eq!(*former, Former::Kept);
    }
    let mut observed = done();
    observed.files[0] = text("PROVIDER=other\n");
    let steps = plan(&observed, &desired()).unwrap();
    assert_eq!(names(&steps), ["test", ".env"]);
    observed = done();
    observed.files[2] = Found::Text {
        text: Secret::new(done().files[2].text().unwrap().into()),
        mode: 0o644,
    };
    assert_eq!(
        names(&plan(&observed, &desired()).unwrap()),
        ["test", ".security.yml"]
    );
}

#[test]
fn force_sends_the_same_again_and_pushes_nothing_out() {
    let desired = Desired {
        force: true,
        ..desired()
    };
    let steps = plan(&done(), &desired).unwrap();
    let Step::Install { former, .. } = &steps[0] else {
        panic!("{steps:?}");
    };
    assert_eq!(*former, Former::Same);
}

#[test]
fn what_cannot_be_done_is_known_first() {
    let mut observed = empty();
    observed.free = Some(1 << 20);
    let error = plan(&observed, &desired()).unwrap_err();
    assert!(matches!(error, DeployError::NoSpace { .. }), "{error}");
    observed.free = None;
    assert!(plan(&observed, &desired()).is_ok());

    observed.programs = vec![AtPath::Other];
    let error = plan(&observed, &desired()).unwrap_err().to_string();
    assert!(error.contains("~/.local/bin/picoclaw"), "{error}");

    let mut observed = empty();
    observed.files[1] = Found::Unusable("it is no regular file");
    let error = plan(&observed, &desired()).unwrap_err().to_string();
    assert!(error.contains("config.json"), "{error}");
    observed.files[1] = text("{");
    assert!(plan(&observed, &desired()).is_err());
}

#[test]
fn skyclaw_itself_needs_no_settings() {
    let desired = Desired {
        programs: vec![(Component::Host, artifact(b"new"))],
        provider: None,
        ..desired()
    };
    assert_eq!(
        names(&plan(&empty(), &desired).unwrap()),
        ["install", "test"]
    );
}
