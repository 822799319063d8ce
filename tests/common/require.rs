//! What a test needs from the machine. A missing need skips loudly, or fails where it must be there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Set by `scripts/test`: there a skipped SSH test would be a hole nobody sees.
const REQUIRE: &str = "SKYCLAW_TEST_REQUIRE_SSHD";

/// Where sshd lives; it insists on being started by its absolute path.
pub fn sshd_path() -> Option<PathBuf> {
    [
        "/usr/sbin/sshd",
        "/usr/local/sbin/sshd",
        "/sbin/sshd",
        "/usr/bin/sshd",
    ]
    .iter()
    .map(PathBuf::from)
    .find(|path| path.exists())
}

/// Returns whether tests against a real sshd can run; says how to get one if not.
pub fn require_sshd() -> bool {
    let missing: Vec<&str> = [
        (sshd_path().is_some(), "sshd"),
        (on_path("ssh").is_some(), "ssh"),
        (on_path("ssh-keygen").is_some(), "ssh-keygen"),
    ]
    .into_iter()
    .filter_map(|(there, name)| (!there).then_some(name))
    .collect();
    missing.is_empty()
        || skip(&format!(
            "{} not found; run: apt-get install openssh-server",
            missing.join(", ")
        ))
}

/// Returns whether a program is on PATH (a shell to be emulated, for example). Never a failure:
/// `scripts/test` installs what it may, and not every system has every shell.
pub fn require_program(name: &str) -> bool {
    require_packaged(name, name)
}

/// The same for a program whose Debian package has another name.
pub fn require_packaged(name: &str, package: &str) -> bool {
    let found = on_path(name).is_some();
    if !found {
        eprintln!("SKIP: {name} not found; run: apt-get install {package}");
    }
    found
}

/// Returns whether this process may mount a tmpfs: root with the right to, which containers often lack.
pub fn require_mounts() -> bool {
    let probe = tempfile::tempdir().expect("make a directory for the mount probe");
    let mounted = is_root() && mount_tmpfs(probe.path(), "64k");
    if mounted {
        unmount(probe.path());
        return true;
    }
    // Never a failure: an ordinary user cannot help it.
    eprintln!("SKIP: cannot mount a tmpfs here (needs root with the right to mount)");
    false
}

/// Returns whether the tests run as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Finds a program on PATH.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// Mounts a tmpfs of that size; false if the system refuses.
pub fn mount_tmpfs(at: &Path, size: &str) -> bool {
    quiet(
        Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={size},mode=0700"),
                "tmpfs",
            ])
            .arg(at),
    )
}

/// Unmounts, lazily if something still sits in it.
pub fn unmount(at: &Path) {
    if !quiet(Command::new("umount").arg(at)) {
        quiet(Command::new("umount").arg("-l").arg(at));
    }
}

fn quiet(command: &mut Command) -> bool {
    let done = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    done.is_ok_and(|status| status.success())
}

fn skip(why: &str) -> bool {
    assert!(
        std::env::var_os(REQUIRE).is_none(),
        "{REQUIRE} is set, but {why}"
    );
    eprintln!("SKIP: {why}");
    false
}
