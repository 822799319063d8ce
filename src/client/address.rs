//! The address of a coordinator: `http://…`, `https://…`, or the file of a Unix socket, `unix:/path`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::Url;
use tokio::sync::Notify;

use super::CONNECT_TIMEOUT;
use super::error::Error;
use super::judge::Resolver;

/// What requests over a Unix socket are addressed to: HTTP wants a name, the socket says who it is.
const OVER_SOCKET: &str = "http://localhost/";

/// A coordinator and the connections to it.
#[derive(Debug)]
pub(super) struct Reach {
    pub(super) http: reqwest::Client,
    /// Where it is.
    pub(super) url: Url,
    /// What routes are appended to.
    pub(super) base: Url,
    /// How messages name it.
    pub(super) shown: String,
    /// Another coordinator told us of it.
    pub(super) learned: bool,
    /// Somebody waited for it in vain, and another coordinator answered: whoever else waits should go there.
    pub(super) silent: Notify,
    made_at: Instant,
    /// When it last said anything, in milliseconds since it was made.
    heard_at: AtomicU64,
}

impl Reach {
    /// Prepares connections to each of these addresses. Those over TCP share theirs.
    pub(super) fn all(urls: &[Url]) -> Result<Vec<Self>, Error> {
        let tcp = client(None, false)?;
        urls.iter().map(|url| Self::to(url, &tcp, false)).collect()
    }

    /// Prepares connections to an address that another coordinator told.
    pub(super) fn learned(url: &Url, tcp: &reqwest::Client) -> Result<Self, Error> {
        Self::to(url, tcp, true)
    }

    /// Takes note that it said something.
    pub(super) fn heard(&self) {
        let now = u64::try_from(self.made_at.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard_at.store(now, Ordering::Relaxed);
    }

    /// Tells whether it said anything within the last `span`.
    pub(super) fn heard_within(&self, span: Duration) -> bool {
        let at = Duration::from_millis(self.heard_at.load(Ordering::Relaxed));
        self.made_at.elapsed().saturating_sub(at) < span
    }

    fn to(url: &Url, tcp: &reqwest::Client, learned: bool) -> Result<Self, Error> {
        let none = || {
            let text = url.as_str().rsplit('@').next().unwrap_or_default();
            Error::Address {
                url: text.to_owned(),
            }
        };
        let (http, base) = match socket(url) {
            None if matches!(url.scheme(), "http" | "https") => (tcp.clone(), url.clone()),
            None => return Err(none()),
            Some(path) => (
                client(Some(path), false)?,
                Url::parse(OVER_SOCKET).map_err(|_| none())?,
            ),
        };
        let shown = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self {
            http,
            url: url.clone(),
            base,
            shown,
            learned,
            silent: Notify::new(),
            made_at: Instant::now(),
            heard_at: AtomicU64::new(0),
        })
    }
}

/// Returns what connects to addresses that other coordinators told.
pub(super) fn careful_client() -> Result<reqwest::Client, Error> {
    client(None, true)
}

fn client(socket: Option<PathBuf>, careful: bool) -> Result<reqwest::Client, Error> {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("skyclaw/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        // A coordinator is asked where it says it is: a redirect could take the token elsewhere,
        // and a proxy of the environment is meant for the web, not for machines of one's own.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    let builder = match socket {
        Some(path) => builder.unix_socket(path),
        None if careful => builder.dns_resolver(Resolver),
        None => builder,
    };
    builder
        .build()
        .map_err(|error| Error::Build(error.without_url()))
}

/// Returns the address with which requests are made: http or https without a slash at the end, or
/// `unix:` and the absolute path of a socket, in which `%`, `?` and `#` are written `%25`, `%3F`, `%23`.
///
/// # Errors
/// What is wrong with the text, in a few words.
pub fn parse_url(text: &str) -> Result<Url, &'static str> {
    let mut url = Url::parse(text).map_err(|_| "write for example http://10.0.0.5:8787")?;
    if url.scheme() == "unix" {
        return unix_address(text, &url);
    }
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("it must begin with http://, https:// or unix:/");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it must hold no user and no password: use --token-file or SKYCLAW_TOKEN");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("it must hold no ? and no #");
    }
    // Or `//v1/…` would be asked for, which no coordinator knows.
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

fn unix_address(text: &str, url: &Url) -> Result<Url, &'static str> {
    if url.query().is_some() || url.fragment().is_some() {
        return Err("it must hold no ? and no #; in a path they are written %3F and %23");
    }
    // URLs drop `..` without looking at the disk, which symbolic links may make another place.
    if text.split('/').any(|part| part == "..") {
        return Err("its path must hold no ..");
    }
    let path = socket(url).filter(|path| path.parent().is_some());
    path.and_then(|path| unix_url(&path))
        .ok_or("after unix: comes the absolute path of a socket, as in unix:/run/skyclaw.sock")
}

/// Returns the address of the coordinator that answers at the Unix socket `path`; `None` unless the
/// path is absolute.
pub fn unix_url(path: &Path) -> Option<Url> {
    let file = Url::from_file_path(path).ok()?;
    // A comma separates addresses in a list.
    let path = file.path().replace(',', "%2C");
    Url::parse(&format!("unix:{path}")).ok()
}

/// Returns the Unix socket that the address names; `None` if it names a machine.
pub fn socket(url: &Url) -> Option<PathBuf> {
    let local = url.scheme() == "unix" && url.host_str().unwrap_or_default().is_empty();
    // An empty host, as in `unix:///path`, would not be taken for none.
    let file = local.then(|| Url::parse(&format!("file://{}", url.path())))?;
    let path = file.ok()?.to_file_path().ok()?;
    // No file's name holds one.
    let nul = path.as_os_str().as_encoded_bytes().contains(&0);
    (!nul).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_addresses_that_read_back_as_themselves() {
        for (text, shown, path) in [
            ("unix:/run/a.sock", "unix:/run/a.sock", "/run/a.sock"),
            ("unix:///run/a.sock/", "unix:/run/a.sock", "/run/a.sock"),
            ("unix:/a b/é", "unix:/a%20b/%C3%A9", "/a b/é"),
            ("unix:/50%25/%2C", "unix:/50%25/%2C", "/50%/,"),
        ] {
            let url = parse_url(text).unwrap();
            assert_eq!(url.as_str(), shown);
            assert_eq!(socket(&url).unwrap(), Path::new(path));
            assert_eq!(parse_url(url.as_str()), Ok(url.clone()));
            assert_eq!(unix_url(Path::new(path)), Some(url));
        }
        assert_eq!(socket(&parse_url("http://h/run/a").unwrap()), None);
        assert_eq!(unix_url(Path::new("run/a.sock")), None);
    }

    #[test]
    fn what_is_no_socket_is_said() {
        for bad in [
            "unix:",
            "unix:/",
            "unix:run/a.sock",
            "unix://run/a.sock",
            "unix://u:geheim@/run/a",
            "unix:/run/../a",
            "unix:/run/a?b",
            "unix:/run/a#b",
            "unix:/run/%00",
        ] {
            let why = parse_url(bad).unwrap_err();
            assert!(!why.contains("geheim"), "{bad}: {why}");
        }
    }
}
