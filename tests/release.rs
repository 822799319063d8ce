//! Getting the agent's program from a release, against a real server (rows 3.2, 3.3, 3.6, 9.7).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/release_server.rs"]
mod release_server;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use release_server::{Mode, PROGRAM, ReleaseServer, sha256, tarball};
use skyclaw::fleet::release::{Artifact, Digest, Error, ReleaseSource, Releases, from_file};
use skyclaw::fleet::target::Target;
use skyclaw::support::secret::Secret;

fn amd64() -> Target {
    Target::from_uname("Linux x86_64").unwrap()
}

fn arm64() -> Target {
    Target::from_uname("Linux aarch64").unwrap()
}

struct Site {
    server: ReleaseServer,
    cache: tempfile::TempDir,
}

impl Site {
    fn new(mode: Mode) -> Self {
        Self {
            server: ReleaseServer::start(mode),
            cache: tempfile::tempdir().unwrap(),
        }
    }

    fn source(&self) -> ReleaseSource {
        ReleaseSource {
            api_base: self.server.base().to_owned(),
            retry_pause: Duration::from_millis(1),
            ..ReleaseSource::new(self.cache.path().join("cache"))
        }
    }

    async fn get(&self, change: impl FnOnce(&mut ReleaseSource)) -> Result<Artifact, Error> {
        let mut source = self.source();
        change(&mut source);
        Releases::new(source).artifact(amd64()).await
    }

    async fn error(&self, change: impl FnOnce(&mut ReleaseSource)) -> String {
        let error = self.get(change).await.unwrap_err();
        assert_eq!(self.files(), [""; 0], "nothing is kept after: {error}");
        format!("{error}")
    }

    /// All files in the cache.
    fn files(&self) -> Vec<String> {
        fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(dir).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, files);
                } else {
                    files.push(path);
                }
            }
        }
        let mut files = Vec::new();
        walk(self.cache.path(), &mut files);
        let name = |path: PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        let mut names: Vec<_> = files.into_iter().map(name).collect();
        names.sort();
        names
    }
}

#[tokio::test]
async fn both_naming_styles_give_the_same_program() {
    for mode in [Mode::BareNames, Mode::TarballNames, Mode::DigestOnly] {
        let site = Site::new(mode);
        let artifact = site.get(|_| {}).await.unwrap();
        assert_eq!(fs::read_to_string(&artifact.path).unwrap(), PROGRAM);
        assert_eq!(artifact.sha256, Digest::of(PROGRAM.as_bytes()));
        assert_eq!(artifact.size, PROGRAM.len() as u64);
        assert_eq!(artifact.version.as_deref(), Some("v1.2"));
        assert!(
            artifact
                .source
                .starts_with("EricGrill/picoclaw v1.2 (picoclaw")
        );
    }
}

#[tokio::test]
async fn one_run_looks_the_release_up_once() {
    let site = Site::new(Mode::TarballNames);
    let releases = Releases::new(site.source());
    let (one, two, three) = tokio::join!(
        releases.artifact(amd64()),
        releases.artifact(arm64()),
        releases.artifact(amd64())
    );
    assert_eq!(one.unwrap(), three.unwrap());
    two.unwrap();
    assert_eq!(site.server.count("/releases/latest"), 1);
    assert_eq!(site.server.count("x86_64"), 1);
    assert_eq!(site.server.count("arm64"), 1);
}

#[tokio::test]
async fn the_cache_is_used_only_while_its_digest_holds() {
    let site = Site::new(Mode::TarballNames);
    site.get(|_| {}).await.unwrap();
    site.get(|_| {}).await.unwrap();
    assert_eq!(
        site.server.count("x86_64"),
        1,
        "the second run used the cache"
    );

    let archive = site
        .cache
        .path()
        .join("cache/EricGrill%2fpicoclaw/v1.2/picoclaw_Linux_x86_64.tar.gz");
    fs::write(&archive, "damaged").unwrap();
    let artifact = site.get(|_| {}).await.unwrap();
    assert_eq!(
        site.server.count("x86_64"),
        2,
        "a damaged file is fetched again"
    );
    assert_eq!(fs::read_to_string(artifact.path).unwrap(), PROGRAM);
    assert_eq!(site.files().len(), 3, "{:?}", site.files());
}

#[tokio::test]
async fn a_named_release_in_the_cache_needs_no_network() {
    let site = Site::new(Mode::TarballNames);
    let tagged = |source: &mut ReleaseSource| source.tag = Some("v1.2".to_owned());
    let first = site.get(tagged).await.unwrap();
    assert_eq!(site.server.count("/releases/tags/v1.2"), 1);
    let before = site.server.requests().len();
    let nowhere = |source: &mut ReleaseSource| {
        tagged(source);
        source.api_base = "http://127.0.0.1:9".to_owned();
    };
    assert_eq!(site.get(nowhere).await.unwrap(), first);
    assert_eq!(site.server.requests().len(), before);
    let pinned = Digest::of(&tarball(PROGRAM.as_bytes()));
    let artifact = site.get(|source| {
        nowhere(source);
        source.sha256 = Some(pinned);
    });
    assert_eq!(artifact.await.unwrap(), first);
}

#[tokio::test]
async fn a_wrong_checksum_keeps_nothing_and_shows_both_digests() {
    for mode in [Mode::WrongChecksum, Mode::WrongDigest] {
        let site = Site::new(mode);
        let error = site.error(|_| {}).await;
        for part in [
            sha256(b"something else"),
            sha256(&tarball(PROGRAM.as_bytes())),
        ] {
            assert!(error.contains(&part), "{error}");
        }
        assert_eq!(
            site.server.count("x86_64"),
            1,
            "a mismatch is no reason to retry"
        );
    }
    let site = Site::new(Mode::TarballNames);
    let error = site
        .error(|source| source.sha256 = Some(Digest::of(b"x")))
        .await;
    assert!(error.contains("--sha256 says"), "{error}");
}

#[tokio::test]
async fn without_a_checksum_it_refuses_unless_told_otherwise() {
    let site = Site::new(Mode::NoChecksum);
    let error = site.error(|_| {}).await;
    assert!(
        error.contains("--insecure-no-checksum") && error.contains("--sha256"),
        "{error}"
    );
    assert_eq!(site.server.count("x86_64"), 0, "it is not even fetched");

    let pinned = Digest::of(&tarball(PROGRAM.as_bytes()));
    site.get(|source| source.sha256 = Some(pinned))
        .await
        .unwrap();
    let unchecked = |source: &mut ReleaseSource| source.allow_missing_checksum = true;
    site.get(unchecked).await.unwrap();
    site.get(unchecked).await.unwrap();
    assert_eq!(
        site.server.count("x86_64"),
        3,
        "what nobody vouches for is never reused"
    );
}

#[tokio::test]
async fn a_missing_asset_names_what_there_is() {
    let site = Site::new(Mode::MissingAsset);
    let error = site.error(|_| {}).await;
    assert!(
        error.starts_with("no asset for amd64 in v1.2; looked for picoclaw-linux-amd64"),
        "{error}"
    );
    assert!(
        error.contains("the release offers picoclaw_x.deb"),
        "{error}"
    );
}

#[tokio::test]
async fn failures_of_the_server_are_told_apart() {
    let cases = [
        (
            Mode::NotFound,
            "/repos/EricGrill/picoclaw/releases/latest does not exist (404)",
            1,
        ),
        (Mode::RateLimited, "set GITHUB_TOKEN", 1),
        (Mode::NotJson, "did not answer with a release", 1),
        (Mode::AssetGone, "does not exist (404)", 2),
        (Mode::CutTransfer, "was cut off after", 5),
    ];
    for (mode, message, requests) in cases {
        let site = Site::new(mode);
        let change = |source: &mut ReleaseSource| source.allow_missing_checksum = true;
        let error = site.error(change).await;
        assert!(error.contains(message), "{error}");
        assert_eq!(site.server.requests().len(), requests, "{mode:?}");
    }
    let site = Site::new(Mode::TarballNames);
    let error = site
        .error(|source| source.tag = Some("v9".to_owned()))
        .await;
    assert!(
        error.contains("/releases/tags/v9 does not exist"),
        "{error}"
    );
    let error = site
        .error(|source| source.api_base = "http://127.0.0.1:9".to_owned())
        .await;
    assert!(
        error.contains("no answer from http://127.0.0.1:9/"),
        "{error}"
    );
    let error = site.error(|source| source.max_bytes = 10).await;
    assert!(error.contains("larger than 10 bytes"), "{error}");
}

#[tokio::test]
async fn a_busy_server_is_asked_three_times() {
    let site = Site::new(Mode::TarballNames);
    site.server.fail_next(2);
    site.get(|_| {}).await.unwrap();
    let site = Site::new(Mode::TarballNames);
    site.server.fail_next(3);
    let error = site.error(|_| {}).await;
    assert!(error.contains("status 503"), "{error}");
    assert_eq!(site.server.requests().len(), 3);
}

#[tokio::test]
async fn the_token_stays_with_the_release_api() {
    let site = Site::new(Mode::Redirect);
    let mirror = ReleaseServer::start(Mode::TarballNames);
    site.server.redirect_to(mirror.base());
    let token = "ghp_notreal0123456789";
    let with_token =
        |source: &mut ReleaseSource| source.token = Some(Secret::new(token.to_owned()));
    site.get(with_token).await.unwrap();
    let sent = Some(format!("Bearer {token}"));
    assert!(
        site.server
            .requests()
            .iter()
            .all(|request| request.authorization == sent)
    );
    assert_eq!(mirror.count("x86_64"), 1);
    assert!(
        mirror
            .requests()
            .iter()
            .all(|request| request.authorization.is_none())
    );

    let site = Site::new(Mode::TarballNames);
    let mirror = ReleaseServer::start(Mode::TarballNames);
    let mirrored = |source: &mut ReleaseSource| {
        with_token(source);
        source.download_base = Some(mirror.base().to_owned());
    };
    site.get(mirrored).await.unwrap();
    assert_eq!(
        site.server.requests().len(),
        1,
        "assets come from the other address"
    );
    assert_eq!(
        mirror.count("/EricGrill/picoclaw/releases/download/v1.2/"),
        2
    );
    assert!(
        mirror
            .requests()
            .iter()
            .all(|request| request.authorization.is_none())
    );

    let mut source = site.source();
    with_token(&mut source);
    assert!(!format!("{source:?}").contains(token));
    let limited = Site::new(Mode::RateLimited);
    let error = limited.get(with_token).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains(token));
}

#[tokio::test]
async fn two_runs_at_once_do_not_disturb_each_other() {
    let site = Site::new(Mode::TarballNames);
    let runs: Vec<_> = (0..8)
        .map(|_| {
            let releases = Releases::new(site.source());
            tokio::spawn(async move { releases.artifact(amd64()).await })
        })
        .collect();
    for run in runs {
        let artifact = run.await.unwrap().unwrap();
        assert_eq!(fs::read_to_string(artifact.path).unwrap(), PROGRAM);
    }
    assert_eq!(
        site.files().len(),
        3,
        "no temporary file stays: {:?}",
        site.files()
    );
}

#[tokio::test]
async fn the_cache_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new(Mode::TarballNames);
    let artifact = site.get(|_| {}).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&artifact.path), 0o600);
    assert_eq!(mode(artifact.path.parent().unwrap()), 0o700);
}

#[tokio::test]
async fn a_release_for_another_processor_is_refused() {
    let mut program = vec![0; 64];
    program[..6].copy_from_slice(b"\x7fELF\x02\x01");
    program[18] = 183;
    let site = Site {
        server: ReleaseServer::serving(Mode::TarballNames, "v1.2", &program),
        cache: tempfile::tempdir().unwrap(),
    };
    let error = site.get(|_| {}).await.unwrap_err().to_string();
    assert!(
        error.contains("is built for arm64, the host is amd64"),
        "{error}"
    );
    Releases::new(site.source())
        .artifact(arm64())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_local_file_needs_no_network_in_either_form() {
    let dir = tempfile::tempdir().unwrap();
    let packed = tarball(PROGRAM.as_bytes());
    for (name, content) in [("bare", PROGRAM.as_bytes()), ("packed.tgz", &packed)] {
        let file = dir.path().join(name);
        fs::write(&file, content).unwrap();
        let digest = Some(Digest::of(content));
        let artifact = from_file(&file, amd64(), digest, &dir.path().join("cache"))
            .await
            .unwrap();
        assert_eq!(fs::read_to_string(&artifact.path).unwrap(), PROGRAM);
        assert_eq!(artifact.sha256, Digest::of(PROGRAM.as_bytes()));
        assert_eq!(artifact.version, None);
        assert_eq!(artifact.source, file.display().to_string());
        let other = Some(Digest::of(b"other"));
        let refused = from_file(&file, amd64(), other, dir.path()).await;
        assert!(matches!(refused, Err(Error::Mismatch { .. })));
    }
    let missing = from_file(&dir.path().join("none"), amd64(), None, dir.path()).await;
    assert!(missing.unwrap_err().to_string().starts_with("open "));
}

#[tokio::test]
async fn the_sample_agent_can_be_deployed() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/agents/sample-agent.sh");
    let cache = tempfile::tempdir().unwrap();
    let artifact = from_file(&file, arm64(), None, cache.path()).await.unwrap();
    assert_eq!(artifact.path, file);
}
