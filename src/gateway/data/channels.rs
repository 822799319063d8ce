//! The shared backend connections of one thread: a request goes on the first that has a place left, and only when all
//! are full is another opened. However many wait for the first connection, it is opened once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::channel::{Channel, Ticket};
use super::connect::{self, Opened, Wish};
use super::pool;
use crate::gateway::endpoint::Endpoint;

/// How long an unused one may lie before it is closed.
const IDLE: Duration = Duration::from_secs(50);

/// What came of opening a connection.
type News = Option<Result<(), &'static str>>;

/// The connections to one endpoint.
struct Known {
    endpoint: Weak<Endpoint>,
    open: Vec<(Channel, Instant)>,
    /// Somebody opens one; whoever needs one waits for that.
    opening: Option<watch::Receiver<News>>,
}

thread_local! {
    static KNOWN: RefCell<HashMap<usize, Known>> = RefCell::default();
}

fn with<R>(endpoint: &Arc<Endpoint>, change: impl FnOnce(&mut Known) -> R) -> R {
    KNOWN.with_borrow_mut(|known| {
        change(known.entry(pool::key(endpoint)).or_insert_with(|| Known {
            endpoint: Arc::downgrade(endpoint),
            open: Vec::new(),
            opening: None,
        }))
    })
}

/// Returns a place on a connection that is there.
pub fn enter(endpoint: &Arc<Endpoint>) -> Option<Ticket> {
    with(endpoint, |known| {
        known.open.retain(|(channel, _)| !channel.is_over());
        known.open.iter_mut().find_map(|(channel, used)| {
            let ticket = channel.enter()?;
            *used = Instant::now();
            Some(ticket)
        })
    })
}

/// Waits until one more connection is open. It may turn out to be of HTTP/1.1: then it lies in the pool.
///
/// # Errors
/// Why there is none.
pub async fn opened(idle: Duration, endpoint: &Arc<Endpoint>) -> Result<(), &'static str> {
    let mut news = with(endpoint, |known| match &known.opening {
        Some(news) => news.clone(),
        None => {
            let (tell, news) = watch::channel(None);
            known.opening = Some(news.clone());
            // Apart from whoever asked first: it may leave, and others wait as well.
            tokio::spawn(open(idle, Arc::clone(endpoint), tell));
            news
        }
    });
    let told = news.wait_for(Option::is_some).await;
    match told.map(|told| *told) {
        Ok(Some(opened)) => opened,
        Ok(None) | Err(_) => {
            // Who opened it is gone without a word.
            with(endpoint, |known| known.opening = None);
            Err("no connection to it")
        }
    }
}

async fn open(idle: Duration, endpoint: Arc<Endpoint>, tell: watch::Sender<News>) {
    let opened = connect::open(idle, &endpoint, Wish::Best).await;
    with(&endpoint, |known| known.opening = None);
    let told = opened.map(|opened| match opened {
        Opened::Many(channel) => with(&endpoint, |known| {
            known.open.push((channel, Instant::now()));
        }),
        Opened::One(sender) => {
            endpoint.note_one(true);
            pool::keep(&endpoint, sender);
        }
    });
    tell.send_replace(Some(told));
}

/// Closes what nobody has used for long, and what leads to endpoints that left the list once nothing is under way there.
pub fn sweep() {
    KNOWN.with_borrow_mut(|all| {
        all.retain(|_, known| {
            let listed = known
                .endpoint
                .upgrade()
                .is_some_and(|one| !one.is_retired());
            known.open.retain_mut(|(channel, used)| {
                if !channel.is_idle() {
                    *used = Instant::now();
                }
                listed && !channel.is_over() && used.elapsed() < IDLE
            });
            known.opening.is_some() || listed && !known.open.is_empty()
        });
    });
}
