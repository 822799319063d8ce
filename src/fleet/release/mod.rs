//! Gets the agent's program for a target: from a release, from the cache, or from a file of the user's.
//!
//! Nothing is handed out whose digest was not checked, unless the user said that it may be. It knows
//! no host and no SSH.

mod asset;
mod cache;
mod digest;
mod download;
mod error;
mod http;
mod lookup;
mod magic;
mod remote;
mod unpack;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;
use tokio::sync::{Mutex, OnceCell};

pub use asset::{candidates, choose};
pub use digest::Digest;
pub use error::Error;
pub use lookup::{Asset, Release};
pub use remote::Remote;

use crate::fleet::target::Target;
use crate::support::secret::Secret;
use cache::Slot;
use http::Http;
use unpack::{Checks, Program};

/// The repository that the program comes from unless told otherwise.
pub const DEFAULT_REPOSITORY: &str = "EricGrill/picoclaw";

/// What PicoClaw is called in its releases.
pub const PICOCLAW: &str = "picoclaw";

/// What this program is called in its own.
pub const SKYCLAW: &str = "skyclaw";

/// The release API that is asked unless told otherwise.
pub const DEFAULT_API: &str = "https://api.github.com";

/// No program that we install is larger than this.
const MAX_BYTES: u64 = 512 * 1024 * 1024;

/// Where the program comes from, and what is asked of it.
#[derive(Debug, Clone)]
pub struct ReleaseSource {
    /// What it is called, in the names of assets and within archives.
    pub program: &'static str,
    /// `OWNER/NAME`.
    pub repo: String,
    /// The address of the release API.
    pub api_base: String,
    /// Takes the place of scheme and host in the addresses of assets (`--base-url`).
    pub download_base: Option<String>,
    /// The release; the latest one if absent.
    pub tag: Option<String>,
    /// Sent to the release API only (`GITHUB_TOKEN`).
    pub token: Option<Secret>,
    /// What the asset's digest must be (`--sha256`); then no other checksum counts.
    pub sha256: Option<Digest>,
    /// Take an asset for which no checksum exists (`--insecure-no-checksum`).
    pub allow_missing_checksum: bool,
    /// Where downloads are kept.
    pub cache_dir: PathBuf,
    /// The most that is downloaded or unpacked.
    pub max_bytes: u64,
    /// How long to wait before the second try; twice as long before the third.
    pub retry_pause: Duration,
}

impl ReleaseSource {
    /// Returns the usual source, which keeps its downloads in `cache_dir`.
    pub fn new(cache_dir: PathBuf) -> Self {
        Self {
            program: PICOCLAW,
            repo: DEFAULT_REPOSITORY.to_owned(),
            api_base: DEFAULT_API.to_owned(),
            download_base: None,
            tag: None,
            token: None,
            sha256: None,
            allow_missing_checksum: false,
            cache_dir,
            max_bytes: MAX_BYTES,
            retry_pause: Duration::from_millis(500),
        }
    }
}

/// A checked program on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Where it is. Not executable here.
    pub path: PathBuf,
    /// The digest of the program itself, unpacked.
    pub sha256: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The release's tag, if it came from one.
    pub version: Option<String>,
    /// Where it came from, for messages.
    pub source: String,
}

impl Artifact {
    fn new(program: Program, version: Option<String>, source: String) -> Self {
        Self {
            path: program.path,
            sha256: program.digest,
            size: program.size,
            version,
            source,
        }
    }
}

/// The releases of one source during one run: looked up once, each target fetched once.
pub struct Releases {
    source: ReleaseSource,
    http: OnceCell<Http>,
    release: OnceCell<Release>,
    done: Mutex<HashMap<Target, Artifact>>,
}

impl Releases {
    /// Returns the releases of `source`. Nothing is asked before a target is.
    pub fn new(source: ReleaseSource) -> Self {
        Self {
            source,
            http: OnceCell::new(),
            release: OnceCell::new(),
            done: Mutex::new(HashMap::new()),
        }
    }

    /// Returns the release, asked for at the first call.
    ///
    /// # Errors
    /// When the release API cannot be reached or has no such release.
    pub async fn release(&self) -> Result<&Release, Error> {
        let api = http::base(&self.source.api_base)?;
        let http = self.http().await?;
        let tag = self.source.tag.as_deref();
        self.release
            .get_or_try_init(|| lookup::lookup(http, &api, &self.source.repo, tag))
            .await
    }

    /// Returns the program for `target`: from the cache if its digest still holds, else downloaded.
    ///
    /// With a tag and a known digest the cache needs no network. Callers that ask at the same time wait
    /// for each other, so a target is fetched once; after a failure the next caller tries again.
    ///
    /// # Errors
    /// Whatever keeps a checked program from being there; see [`Error`].
    pub async fn artifact(&self, target: Target) -> Result<Artifact, Error> {
        let mut done = self.done.lock().await;
        if let Some(artifact) = done.get(&target) {
            return Ok(artifact.clone());
        }
        let artifact = match self.cached(target).await? {
            Some(artifact) => artifact,
            None => self.fetched(target).await?,
        };
        done.insert(target, artifact.clone());
        Ok(artifact)
    }

    async fn http(&self) -> Result<&Http, Error> {
        self.http
            .get_or_try_init(|| async {
                let api = http::base(&self.source.api_base)?;
                Http::new(api, self.source.token.as_ref(), self.source.retry_pause)
            })
            .await
    }

    fn slot(&self, tag: &str, asset: &str) -> Slot {
        Slot::new(&self.source.cache_dir, &self.source.repo, tag, asset)
    }

    /// A named release does not change, so what was checked once need not be looked up again.
    async fn cached(&self, target: Target) -> Result<Option<Artifact>, Error> {
        lookup::split_repository(&self.source.repo)?;
        let Some(tag) = &self.source.tag else {
            return Ok(None);
        };
        for name in candidates(self.source.program, target) {
            let slot = self.slot(tag, &name);
            let expected = match self.source.sha256 {
                Some(pinned) => vec![said_by_user(pinned)],
                None => slot.checked_digest().into_iter().collect(),
            };
            if let Some(program) = self.reuse(&slot, expected, target).await? {
                return Ok(Some(self.artifact_of(program, tag, &name)));
            }
        }
        Ok(None)
    }

    async fn fetched(&self, target: Target) -> Result<Artifact, Error> {
        let release = self.release().await?;
        let tag = &release.tag_name;
        let asset = choose(release, self.source.program, target)?;
        let expected = self.expectations(release, asset).await?;
        if expected.is_empty() && !self.source.allow_missing_checksum {
            return Err(Error::NoChecksum {
                asset: asset.name.clone(),
                tag: tag.clone(),
            });
        }
        let slot = self.slot(tag, &asset.name);
        let program = match self.reuse(&slot, expected.clone(), target).await? {
            Some(program) => program,
            None => {
                let url = self.asset_url(asset)?;
                let limits = download::Limits {
                    max_bytes: self.source.max_bytes,
                    announced: asset.size,
                };
                download::to_slot(self.http().await?, &url, &slot, limits, &expected).await?;
                self.prepare(&slot, expected, target).await?
            }
        };
        Ok(self.artifact_of(program, tag, &asset.name))
    }

    fn artifact_of(&self, program: Program, tag: &str, asset: &str) -> Artifact {
        let source = format!("{} {tag} ({asset})", self.source.repo);
        Artifact::new(program, Some(tag.to_owned()), source)
    }

    /// Returns the cached program if there is one whose digest is as expected.
    async fn reuse(
        &self,
        slot: &Slot,
        expected: Vec<(String, Digest)>,
        target: Target,
    ) -> Result<Option<Program>, Error> {
        if expected.is_empty() || !slot.path.is_file() {
            return Ok(None);
        }
        match self.prepare(slot, expected, target).await {
            Ok(program) => Ok(Some(program)),
            // Damaged or outdated: fetched again and replaced.
            Err(Error::Mismatch { .. } | Error::Io { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn prepare(
        &self,
        slot: &Slot,
        expected: Vec<(String, Digest)>,
        target: Target,
    ) -> Result<Program, Error> {
        prepare(
            slot.path.clone(),
            slot.unpacked(),
            self.source.program,
            expected,
            target,
            self.source.max_bytes,
        )
        .await
    }

    /// Collects everything that says what the asset's digest should be.
    async fn expectations(
        &self,
        release: &Release,
        asset: &Asset,
    ) -> Result<Vec<(String, Digest)>, Error> {
        if let Some(pinned) = self.source.sha256 {
            return Ok(vec![said_by_user(pinned)]);
        }
        let mut expected = Vec::new();
        if let Some(digest) = asset.digest.as_deref().and_then(|text| text.parse().ok()) {
            expected.push(("the release API".to_owned(), digest));
        }
        let names = asset::checksum_files(self.source.program, &release.tag_name);
        if let Some(file) = names.iter().find_map(|name| release.asset(name)) {
            let text = download::checksum_file(self.http().await?, &self.asset_url(file)?).await?;
            expected
                .extend(digest::find(&text, &asset.name).map(|digest| (file.name.clone(), digest)));
        }
        Ok(expected)
    }

    fn asset_url(&self, asset: &Asset) -> Result<Url, Error> {
        let url = http::base(&asset.browser_download_url)?;
        let Some(base) = &self.source.download_base else {
            return Ok(url);
        };
        let mut rewritten = http::base(base)?;
        let path = format!("{}{}", rewritten.path().trim_end_matches('/'), url.path());
        rewritten.set_path(&path);
        Ok(rewritten)
    }
}

fn said_by_user(pinned: Digest) -> (String, Digest) {
    ("--sha256".to_owned(), pinned)
}

async fn prepare(
    path: PathBuf,
    unpacked: PathBuf,
    member: &'static str,
    expected: Vec<(String, Digest)>,
    target: Target,
    max_bytes: u64,
) -> Result<Program, Error> {
    tokio::task::spawn_blocking(move || {
        let checks = Checks {
            member,
            target,
            expected: &expected,
            max_bytes,
        };
        unpack::prepare(&path, &unpacked, &checks)
    })
    .await?
}

/// Returns PicoClaw's program in `file`, as [`program_in_file`] does.
///
/// # Errors
/// As there.
pub async fn from_file(
    file: &Path,
    target: Target,
    sha256: Option<Digest>,
    cache_dir: &Path,
) -> Result<Artifact, Error> {
    program_in_file(PICOCLAW, file, target, sha256, cache_dir).await
}

/// Returns `program`, which is `file` or in it if that is a `.tar.gz`, without any network (`--from`).
///
/// # Errors
/// When the file cannot be read, is not as `sha256` says, or is no program for `target`.
pub async fn program_in_file(
    program: &'static str,
    file: &Path,
    target: Target,
    sha256: Option<Digest>,
    cache_dir: &Path,
) -> Result<Artifact, Error> {
    let expected = sha256.map(said_by_user).into_iter().collect();
    let unpacked = cache::unpacked_file(cache_dir, file, program, target);
    let found = prepare(
        file.to_owned(),
        unpacked,
        program,
        expected,
        target,
        MAX_BYTES,
    );
    Ok(Artifact::new(
        found.await?,
        None,
        file.display().to_string(),
    ))
}
