//! Which coordinators, and what to show them: from flags, variables and files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderValue;

use super::address::parse_url;
use super::choice::RETURN_AFTER;
use super::error::Error;
use crate::support::secret::Secret;

/// Where a coordinator is looked for if nobody says anything else.
pub const DEFAULT_URL: &str = "http://127.0.0.1:8787";

/// How long an answer may take, beyond what the request itself waits for.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How a [`super::Client`] is made.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The coordinators, in the order in which they are tried. [`super::parse_url`] makes good ones.
    pub urls: Vec<Url>,
    /// The shared token of the cluster.
    pub token: Option<Secret>,
    /// A key for the public routes; sent to nothing else.
    pub api_key: Option<Secret>,
    /// How long an answer may take, beyond what the request itself waits for.
    pub timeout: Duration,
    /// How long another coordinator than the first is kept to.
    pub return_after: Duration,
    /// Whether coordinators may tell of others to ask. They are asked after those in `urls`, and get the token.
    pub discover: bool,
}

/// A setting that cannot be used. Nothing was contacted.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// An address is none.
    #[error("{origin}: `{text}` is not the address of a coordinator: {why}")]
    Url {
        /// The flag or variable.
        origin: String,
        /// What it says, without what may be secret in it.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The file with the token cannot be read.
    #[error("{origin}: read {}", path.display())]
    TokenFile {
        /// The flag or variable.
        origin: String,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is no usable token in the place for it.
    #[error("{origin}: {why}")]
    Token {
        /// The flag, variable or file.
        origin: String,
        /// What is wrong. Never shows the value.
        why: &'static str,
    },
}

/// What was given as flags. Flags outrank variables.
#[derive(Debug, Clone, Copy, Default)]
pub struct Given<'a> {
    /// `--coordinator`, as often as it was given.
    pub urls: &'a [String],
    /// `--token-file`.
    pub token_file: Option<&'a Path>,
}

impl Settings {
    /// Returns settings for these coordinators, without a token.
    pub fn new(urls: Vec<Url>) -> Self {
        Self {
            urls,
            token: None,
            api_key: None,
            timeout: TIMEOUT,
            return_after: RETURN_AFTER,
            discover: true,
        }
    }

    /// Returns the settings that flags and variables make: `SKYCLAW_COORDINATOR_URLS`, else
    /// `SKYCLAW_COORDINATOR_URL`, else [`DEFAULT_URL`]; `SKYCLAW_TOKEN`, else `SKYCLAW_TOKEN_FILE`. With
    /// `SKYCLAW_PEER_DISCOVERY=0` no others are learned of.
    ///
    /// # Errors
    /// When an address or the token cannot be used, or the file with the token cannot be read.
    pub fn read(
        given: Given<'_>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingsError> {
        Self::read_or(given, variable, || None)
    }

    /// Returns the settings as [`Settings::read`] does; where neither flags nor variables name a coordinator,
    /// `usual` is asked for one before [`DEFAULT_URL`].
    ///
    /// # Errors
    /// As [`Settings::read`].
    pub fn read_or(
        given: Given<'_>,
        variable: impl Fn(&str) -> Option<String>,
        usual: impl FnOnce() -> Option<Url>,
    ) -> Result<Self, SettingsError> {
        let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let (origin, texts) = if !given.urls.is_empty() {
            ("--coordinator", given.urls.to_vec())
        } else if let Some(list) = set("SKYCLAW_COORDINATOR_URLS") {
            ("SKYCLAW_COORDINATOR_URLS", vec![list])
        } else if let Some(one) = set("SKYCLAW_COORDINATOR_URL") {
            ("SKYCLAW_COORDINATOR_URL", vec![one])
        } else {
            let usual = usual().map(String::from);
            ("default", vec![usual.unwrap_or_else(|| DEFAULT_URL.into())])
        };
        let mut urls: Vec<Url> = Vec::new();
        for text in texts.iter().flat_map(|list| list.split(',')) {
            let text = text.trim();
            if text.is_empty() {
                continue;
            }
            let url = parse_url(text).map_err(|why| SettingsError::Url {
                origin: origin.to_owned(),
                // Whatever stands before an `@` may be a password.
                text: text.rsplit('@').next().unwrap_or_default().to_owned(),
                why,
            })?;
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
        if urls.is_empty() {
            return Err(SettingsError::Url {
                origin: origin.to_owned(),
                text: texts.join(","),
                why: "there is none in it",
            });
        }
        Ok(Self {
            // As the original reads it: only this very text is a no.
            discover: set("SKYCLAW_PEER_DISCOVERY").as_deref() != Some("0"),
            token: token(given.token_file, set)?,
            ..Self::new(urls)
        })
    }
}

fn token(
    file: Option<&Path>,
    set: impl Fn(&str) -> Option<String>,
) -> Result<Option<Secret>, SettingsError> {
    let (origin, path) = match (file, set("SKYCLAW_TOKEN"), set("SKYCLAW_TOKEN_FILE")) {
        (Some(path), _, _) => ("--token-file".to_owned(), path.to_owned()),
        (None, Some(text), _) => return usable("SKYCLAW_TOKEN", text).map(Some),
        (None, None, Some(path)) => ("SKYCLAW_TOKEN_FILE".to_owned(), PathBuf::from(path)),
        (None, None, None) => return Ok(None),
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => usable(&format!("{origin} {}", path.display()), text).map(Some),
        Err(source) => Err(SettingsError::TokenFile {
            origin,
            path,
            source,
        }),
    }
}

/// While a token is being replaced a coordinator takes two, `new,old`; who sends one sends the first.
fn usable(origin: &str, text: String) -> Result<Secret, SettingsError> {
    let text = Secret::new(text);
    let wrong = |why| SettingsError::Token {
        origin: origin.to_owned(),
        why,
    };
    let token = text
        .expose()
        .split(',')
        .map(str::trim)
        .find(|part| !part.is_empty())
        .ok_or_else(|| wrong("there is no token in it"))?;
    let token = Secret::new(token.to_owned());
    header(&token)
        .map(|_| token)
        .map_err(|_| wrong("a token is one line of visible ASCII characters"))
}

/// Returns the token as a header's value that shows in no log.
pub(super) fn header(token: &Secret) -> Result<HeaderValue, Error> {
    sensitive(token.expose())
}

/// Returns the key as the value of `authorization`.
pub(super) fn bearer(key: &Secret) -> Result<HeaderValue, Error> {
    sensitive(&format!("Bearer {}", key.expose()))
}

fn sensitive(text: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(text).map_err(|_| Error::Token)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        flags: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<(Vec<String>, Option<String>), String> {
        let urls: Vec<String> = flags.iter().map(|text| (*text).to_owned()).collect();
        let given = Given {
            urls: &urls,
            token_file: None,
        };
        let look = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let settings = Settings::read(given, look).map_err(|error| error.to_string())?;
        Ok((
            settings.urls.iter().map(Url::to_string).collect(),
            settings.token.map(|token| token.expose().to_owned()),
        ))
    }

    #[test]
    fn flags_outrank_the_list_and_the_list_the_single_address() {
        let variables = [
            ("SKYCLAW_COORDINATOR_URLS", " http://a:1/ , http://b:2,,"),
            ("SKYCLAW_COORDINATOR_URL", "http://c:3"),
            ("SKYCLAW_TOKEN", " new , old "),
        ];
        let (urls, token) = read(&[], &variables).unwrap();
        assert_eq!(urls, ["http://a:1/", "http://b:2/"]);
        assert_eq!(token.as_deref(), Some("new"));
        let (urls, _) = read(&["http://f/x//"], &variables).unwrap();
        assert_eq!(urls, ["http://f/x"]);
        let (urls, token) = read(&[], &[("SKYCLAW_COORDINATOR_URLS", " ")]).unwrap();
        assert_eq!((urls, token), (vec![format!("{DEFAULT_URL}/")], None));
    }

    #[test]
    fn others_are_learned_of_unless_that_is_switched_off() {
        for (value, wanted) in [(None, true), (Some("1"), true), (Some("0"), false)] {
            let look = |name: &str| value.filter(|_| name == "SKYCLAW_PEER_DISCOVERY");
            let settings =
                Settings::read(Given::default(), |name| look(name).map(str::to_owned)).unwrap();
            assert_eq!(settings.discover, wanted);
        }
    }

    #[test]
    fn what_cannot_be_used_is_named_without_secrets() {
        for bad in [
            "ftp://h",
            "h:1",
            "http://u:geheim@h",
            "http://h?x=1",
            "http://",
        ] {
            let error = read(&[bad], &[]).unwrap_err();
            assert!(error.contains("--coordinator"), "{error}");
            assert!(!error.contains("geheim"), "{error}");
        }
        let error = read(&[], &[("SKYCLAW_TOKEN", "geh\neim")]).unwrap_err();
        assert!(error.contains("SKYCLAW_TOKEN") && !error.contains("geh"));
    }

    #[test]
    fn the_file_outranks_the_variable_and_loses_its_newline() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "from-file\n").unwrap();
        let given = Given {
            urls: &[],
            token_file: Some(&path),
        };
        let look = |name: &str| (name == "SKYCLAW_TOKEN").then(|| "variable".to_owned());
        let settings = Settings::read(given, look).unwrap();
        assert_eq!(settings.token.unwrap().expose(), "from-file");
        std::fs::write(&path, "\n").unwrap();
        assert!(Settings::read(given, look).is_err());
    }
}
