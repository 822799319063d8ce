//! Which asset of a release is the program for a target. Pure.

use super::error::{Error, short_name};
use super::lookup::{Asset, Release};
use crate::fleet::target::{Os, Target};

/// Returns the names that `program` may have for `target`, best first: the bare names of PicoClaw's first
/// release and the original script, then the archive of later releases. Ours follow the first of them.
pub fn candidates(program: &str, target: Target) -> Vec<String> {
    let (os, arch) = (target.os, target.arch);
    let mut names = vec![
        format!("{program}-{os}-{arch}"),
        format!("{program}-{arch}-{os}"),
    ];
    if os == Os::Linux {
        // Without a system in its name it can only be meant for Linux.
        names.push(format!("{program}-{arch}"));
    }
    let (os, arch) = (os.archive_name(), arch.archive_name());
    names.push(format!("{program}_{os}_{arch}.tar.gz"));
    names
}

/// Returns the names that the release's checksum file may have.
pub(super) fn checksum_files(program: &str, tag: &str) -> [String; 2] {
    let version = tag.strip_prefix('v').unwrap_or(tag);
    [
        format!("{program}_{version}_checksums.txt"),
        "sha256sums.txt".to_owned(),
    ]
}

/// Returns the asset of `release` that is `program` for `target`.
///
/// # Errors
/// When the release has none of the names we know; the error lists both sides.
pub fn choose<'r>(release: &'r Release, program: &str, target: Target) -> Result<&'r Asset, Error> {
    let names = candidates(program, target);
    let found = names.iter().find_map(|name| release.asset(name));
    found.ok_or_else(|| {
        let offers: Vec<_> = release
            .assets
            .iter()
            .map(|asset| asset.name.as_str())
            .collect();
        Error::NoAsset {
            target: short_name(target),
            tag: release.tag_name.clone(),
            looked_for: names.join(", "),
            offers: if offers.is_empty() {
                "nothing".to_owned()
            } else {
                offers.join(", ")
            },
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(names: &[&str]) -> Release {
        let asset = |name: &&str| Asset {
            name: (*name).to_owned(),
            browser_download_url: format!("https://example.invalid/{name}"),
            digest: None,
            size: None,
        };
        Release {
            tag_name: "v1.2".to_owned(),
            assets: names.iter().map(asset).collect(),
        }
    }

    fn target(text: &str) -> Target {
        Target::from_uname(text).unwrap()
    }

    #[test]
    fn skyclaws_own_builds_are_named_alike() {
        let names = candidates("skyclaw", target("Linux x86_64"));
        assert_eq!(names[0], "skyclaw-linux-amd64");
        assert_eq!(
            checksum_files("skyclaw", "v1.2")[0],
            "skyclaw_1.2_checksums.txt"
        );
    }

    #[test]
    fn picks_the_name_that_fits() {
        let all = [
            "picoclaw_Linux_arm64.tar.gz",
            "picoclaw_Linux_x86_64.tar.gz",
            "picoclaw_Darwin_arm64.tar.gz",
            "picoclaw_Linux_riscv64.tar.gz",
            "picoclaw_aarch64.deb",
        ];
        let cases: [(&str, &[&str], &str); 8] = [
            (
                "Linux aarch64",
                &["picoclaw-linux-arm64", "picoclaw-arm64"],
                "picoclaw-linux-arm64",
            ),
            (
                "Linux aarch64",
                &["picoclaw-arm64-linux"],
                "picoclaw-arm64-linux",
            ),
            (
                "Linux x86_64",
                &["picoclaw-arm64", "picoclaw-amd64"],
                "picoclaw-amd64",
            ),
            ("Linux x86_64", &all, "picoclaw_Linux_x86_64.tar.gz"),
            ("Linux aarch64", &all, "picoclaw_Linux_arm64.tar.gz"),
            ("Linux riscv64", &all, "picoclaw_Linux_riscv64.tar.gz"),
            ("Darwin arm64", &all, "picoclaw_Darwin_arm64.tar.gz"),
            (
                "Darwin arm64",
                &["picoclaw-arm64", "picoclaw-darwin-arm64"],
                "picoclaw-darwin-arm64",
            ),
        ];
        for (uname, names, chosen) in cases {
            let release = release(names);
            assert_eq!(
                choose(&release, "picoclaw", target(uname)).unwrap().name,
                chosen
            );
        }
    }

    #[test]
    fn says_what_it_looked_for_and_what_there_is() {
        let error = choose(
            &release(&["picoclaw.exe", "x.deb"]),
            "picoclaw",
            target("Linux aarch64"),
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "no asset for arm64 in v1.2; looked for picoclaw-linux-arm64, picoclaw-arm64-linux, picoclaw-arm64, \
             picoclaw_Linux_arm64.tar.gz; the release offers picoclaw.exe, x.deb: choose another --version, or \
             install from a file with --from"
        );
        let error = choose(&release(&[]), "picoclaw", target("Darwin arm64"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("darwin/arm64") && error.contains("offers nothing"),
            "{error}"
        );
    }
}
