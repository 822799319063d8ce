//! The programs of one run: each is fetched and checked once per target, however many hosts need it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{Mutex, OnceCell};

use super::supply::Supply;
use crate::fleet::release::{self, Digest, PICOCLAW, ReleaseSource, Releases, SKYCLAW};
use crate::fleet::target::{Arch, Os, Target};

/// Where a program comes from.
#[derive(Debug, Clone)]
pub enum Origin {
    /// A release.
    Release(Box<ReleaseSource>),
    /// A release, which every host downloads itself.
    There(Box<ReleaseSource>),
    /// A file on this machine, bare or in a `.tar.gz`.
    File {
        /// Which file.
        path: PathBuf,
        /// What its digest must be, if given.
        sha256: Option<Digest>,
    },
    /// skyclaw itself: a build for the host's kind beside this program, else this program where it fits.
    Own {
        /// This program.
        program: PathBuf,
        /// Where builds for other kinds of hosts are.
        dir: PathBuf,
    },
}

type Fetched = Result<Supply, Arc<release::Error>>;

/// The programs of one origin.
pub(super) struct Artifacts {
    origin: Fetch,
    /// What it is called within archives.
    name: &'static str,
    cache_dir: PathBuf,
    done: Mutex<HashMap<Target, Arc<OnceCell<Fetched>>>>,
}

enum Fetch {
    Releases(Box<Releases>, Option<String>),
    There(Box<Releases>),
    File(PathBuf, Option<Digest>),
    Own { program: PathBuf, dir: PathBuf },
}

impl Artifacts {
    pub(super) fn new(origin: &Origin, component: super::Component, cache_dir: &Path) -> Self {
        Self {
            origin: match origin {
                Origin::Release(source) => {
                    let releases = Releases::new((**source).clone());
                    Fetch::Releases(Box::new(releases), source.tag.clone())
                }
                Origin::There(source) => Fetch::There(Box::new(Releases::new((**source).clone()))),
                Origin::File { path, sha256 } => Fetch::File(path.clone(), *sha256),
                Origin::Own { program, dir } => Fetch::Own {
                    program: program.clone(),
                    dir: dir.clone(),
                },
            },
            name: match component {
                super::Component::Picoclaw => PICOCLAW,
                super::Component::Host => SKYCLAW,
            },
            cache_dir: cache_dir.to_owned(),
            done: Mutex::default(),
        }
    }

    /// Looks the release up, or checks the file as far as that goes without a host, so that a slip is
    /// known before any host is contacted.
    ///
    /// # Errors
    /// When there is no such release, or the file is no program or another one. With a tag, a server that does not answer is no error yet: what is
    /// needed may be in the cache.
    pub(super) async fn look_up(&self) -> Result<(), release::Error> {
        let (releases, tag) = match &self.origin {
            Fetch::Releases(releases, tag) => (releases, tag),
            Fetch::There(releases) => return releases.release().await.map(|_| ()),
            Fetch::File(..) => return self.check_file().await,
            Fetch::Own { .. } => return Ok(()),
        };
        match releases.release().await {
            Ok(_) => Ok(()),
            Err(
                release::Error::Unreachable { .. }
                | release::Error::RateLimited { .. }
                | release::Error::Status { .. },
            ) if tag.is_some() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Prepares the file for the commonest kind of host. What it is for is not known yet.
    async fn check_file(&self) -> Result<(), release::Error> {
        let target = Target {
            os: Os::Linux,
            arch: Arch::Amd64,
        };
        match self.fetch(target).await {
            Ok(artifact) => {
                // Hosts of that kind need no second look.
                let cell = OnceCell::new_with(Some(Ok(artifact)));
                self.done.lock().await.insert(target, Arc::new(cell));
                Ok(())
            }
            Err(release::Error::WrongTarget { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Returns the program for `target`. A failure counts for all hosts with that target.
    pub(super) async fn get(&self, target: Target) -> Fetched {
        let cell = {
            let mut done = self.done.lock().await;
            Arc::clone(done.entry(target).or_default())
        };
        cell.get_or_init(|| async { self.fetch(target).await.map_err(Arc::new) })
            .await
            .clone()
    }

    async fn fetch(&self, target: Target) -> Result<Supply, release::Error> {
        Ok(match &self.origin {
            Fetch::Releases(releases, _) => releases.artifact(target).await?.into(),
            Fetch::There(releases) => Supply::There(releases.remote(target).await?),
            Fetch::File(path, sha256) => self.file(path, target, *sha256).await?,
            Fetch::Own { program, dir } => {
                let names = release::candidates(self.name, target);
                let builds = names.iter().map(|name| dir.join(name));
                if let Some(build) = builds.into_iter().find(|build| build.is_file()) {
                    return self.file(&build, target, None).await;
                }
                if Target::of_this_machine() != Some(target) {
                    return Err(release::Error::NoBuild {
                        target: target.to_string(),
                        dir: dir.clone(),
                        looked_for: names.join(", "),
                    });
                }
                self.file(program, target, None).await?
            }
        })
    }

    async fn file(
        &self,
        path: &Path,
        target: Target,
        sha256: Option<Digest>,
    ) -> Result<Supply, release::Error> {
        let cache = &self.cache_dir;
        let found = release::program_in_file(self.name, path, target, sha256, cache);
        Ok(found.await?.into())
    }
}
