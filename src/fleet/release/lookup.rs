//! Finds a release: one question to the release API, its answer as a value.

use reqwest::Url;
use serde::Deserialize;

use super::error::Error;
use super::http::{self, Http};

/// A description of a release is some tens of kilobytes; this leaves room.
const MAX_DESCRIPTION: u64 = 8 * 1024 * 1024;

/// A release, as the API describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Release {
    /// Its tag, such as `v0.2.9`.
    pub tag_name: String,
    /// Its files.
    #[serde(default)]
    pub assets: Vec<Asset>,
}

/// A file of a release.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Asset {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub browser_download_url: String,
    /// `sha256:…`, where the API knows it.
    #[serde(default)]
    pub digest: Option<String>,
    /// How large it is, where the API says so.
    #[serde(default)]
    pub size: Option<u64>,
}

impl Release {
    /// Returns the asset with this name.
    pub fn asset(&self, name: &str) -> Option<&Asset> {
        self.assets.iter().find(|asset| asset.name == name)
    }
}

/// Checks that `repo` is written `OWNER/NAME`. Returns its parts.
pub(super) fn split_repository(repo: &str) -> Result<(&str, &str), Error> {
    let fine = |part: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        !part.is_empty() && !part.starts_with('.') && part.bytes().all(plain)
    };
    repo.split_once('/')
        .filter(|(owner, name)| fine(owner) && fine(name))
        .ok_or_else(|| Error::Repository(repo.to_owned()))
}

/// Asks for the release called `tag`, or the latest one.
pub(super) async fn lookup(
    http: &Http,
    api: &Url,
    repo: &str,
    tag: Option<&str>,
) -> Result<Release, Error> {
    let (owner, name) = split_repository(repo)?;
    let mut url = api.clone();
    url.path_segments_mut()
        .map_err(|()| Error::Address(http::shown(api)))?
        .pop_if_empty()
        .extend(["repos", owner, name, "releases"])
        .extend(tag.map_or_else(|| vec!["latest"], |tag| vec!["tags", tag]));
    let body = http
        .read(&url, "application/vnd.github+json", MAX_DESCRIPTION)
        .await?;
    let wrong = |reason: &str| Error::NotARelease {
        url: http::shown(&url),
        reason: reason.to_owned(),
    };
    let release: Release = serde_json::from_slice(&body)
        .map_err(|error| wrong(&format!("line {}, column {}", error.line(), error.column())))?;
    if release.tag_name.is_empty() || release.tag_name.chars().any(char::is_control) {
        return Err(wrong("its tag is empty or unprintable"));
    }
    Ok(release)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_owner_and_name() {
        assert_eq!(split_repository("a-b/c.d").unwrap(), ("a-b", "c.d"));
        for bad in [
            "",
            "a",
            "a/",
            "/b",
            "a/b/c",
            "a/..",
            "a b/c",
            "a/b?c",
            "https://h/a",
        ] {
            assert!(split_repository(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn reads_what_the_api_sends() {
        let json = r#"{"tag_name":"v1","draft":false,"assets":[
            {"name":"a","browser_download_url":"https://h/a","digest":null,"size":3,"state":"uploaded"}]}"#;
        let release: Release = serde_json::from_str(json).unwrap();
        assert_eq!(release.asset("a").unwrap().size, Some(3));
        assert_eq!(release.asset("b"), None);
    }
}
