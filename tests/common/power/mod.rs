//! A disk that forgets what was not synced when the power goes, and clocks that are off: `shim.c`, made by the C
//! compiler that the build needs anyway, and loaded into real programs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What is left of writes that were not synced.
#[derive(Clone, Copy, Debug)]
pub enum Loss {
    /// Nothing.
    All,
    /// Some blocks of 4096 bytes and some changes of length, as this number chooses: disks write in any order.
    Some(u64),
}

/// The disk below one directory.
pub struct Power {
    state: PathBuf,
    shadow: tempfile::TempDir,
}

impl Power {
    /// Watches over what is below `state`, which must exist. Nothing is kept until a program starts with
    /// [`Power::env`].
    pub fn over(state: &Path) -> Self {
        Self {
            state: state.to_owned(),
            shadow: shadow(),
        }
    }

    /// Returns the variables with which the program is to be started.
    pub fn env(&self) -> [(&'static str, String); 2] {
        let watched = format!("{}:{}", self.state.display(), self.shadow.path().display());
        [
            ("LD_PRELOAD", shim().display().to_string()),
            ("SKYCLAW_TEST_POWER", watched),
        ]
    }

    /// Makes the directory what it would be after the power was gone and came back. The program must be dead.
    pub fn lose(&mut self, loss: Loss) {
        let mut chance = match loss {
            Loss::All => None,
            Loss::Some(seed) => Some(Chance(seed)),
        };
        let tree = self.shadow.path().join("tree");
        assert!(tree.is_dir(), "the program ran without the shim");
        let survived = self.shadow.path().join("survived");
        survive(&tree, &self.state, &survived, &mut chance);
        for entry in std::fs::read_dir(&self.state).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => std::fs::remove_dir_all(&path).unwrap(),
                false => std::fs::remove_file(&path).unwrap(),
            }
        }
        copy_all(&survived, &self.state);
        self.shadow = shadow();
    }
}

/// Returns the variables with which a program finds the time of day to be so many milliseconds later.
pub fn clock_env(ahead_ms: i64) -> [(&'static str, String); 2] {
    [
        ("LD_PRELOAD", shim().display().to_string()),
        ("SKYCLAW_TEST_CLOCK_MS", ahead_ms.to_string()),
    ]
}

fn shadow() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("skyclaw-power-")
        .tempdir()
        .unwrap()
}

fn survive(durable: &Path, real: &Path, to: &Path, chance: &mut Option<Chance>) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(durable).unwrap() {
        let entry = entry.unwrap();
        let (real, to) = (real.join(entry.file_name()), to.join(entry.file_name()));
        if entry.file_type().unwrap().is_dir() {
            survive(&entry.path(), &real, &to, chance);
            continue;
        }
        let mut bytes = std::fs::read(entry.path()).unwrap();
        if let (Some(chance), Ok(written)) = (chance.as_mut(), std::fs::read(&real)) {
            bytes = mixed(&bytes, &written, chance);
        }
        std::fs::write(&to, bytes).unwrap();
    }
}

/// Returns the durable bytes with some of the blocks that were written since.
fn mixed(durable: &[u8], written: &[u8], chance: &mut Chance) -> Vec<u8> {
    const BLOCK: usize = 4096;
    let length = match chance.coin() {
        true => durable.len(),
        false => written.len(),
    };
    let mut bytes = vec![0; length];
    let upto = durable.len().min(length);
    bytes[..upto].copy_from_slice(&durable[..upto]);
    let most = written.len().min(length);
    for from in (0..most).step_by(BLOCK) {
        let to = (from + BLOCK).min(most);
        if chance.coin() {
            bytes[from..to].copy_from_slice(&written[from..to]);
        }
    }
    bytes
}

fn copy_all(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy_all(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).unwrap();
            // Private, as such files are.
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&to, mode).unwrap();
        }
    }
}

/// The same choices for the same number.
struct Chance(u64);

impl Chance {
    fn coin(&mut self) -> bool {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) & 1 == 1
    }
}

/// Makes the shim once for all tests of a run.
fn shim() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/power/shim.c");
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let made = dir.join("power-shim.so");
        // Each test is a process of its own, and may find another at work on the same file.
        let own = dir.join(format!("power-shim-{}.so", std::process::id()));
        let done = Command::new("cc")
            .args(["-O1", "-shared", "-fPIC", "-o"])
            .args([&own, &source])
            .output()
            .expect("run cc");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "cc {}: {said}", source.display());
        std::fs::rename(&own, &made).unwrap();
        made
    })
}
