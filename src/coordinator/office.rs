//! A room in office: the routes into it and the tasks that work in it, from a beginning to an end.
//!
//! A coordinator that runs alone has one office for its whole life. A member of a cluster opens one whenever it
//! becomes the leader and ends it when it is the leader no longer, while its connections stay.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::HttpBody;
use axum::http::Request;
use axum::response::Response;
use axum::{BoxError, Router};
use bytes::Bytes;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;

use super::{Caller, Room, admission, api, dispatch, news, notify, services, sweep, waiting};
use crate::protocol::JobId;
use crate::queue::Change;

/// How long those who wait are told one after another that there is no more waiting, at most.
const TOLD_WITHIN: Duration = Duration::from_secs(5);
/// The same in a cluster: another leads in a moment, and has work for them.
const TOLD_SOON: Duration = Duration::from_millis(500);
/// From one of them to the next.
const STEP: Duration = Duration::from_millis(5);

/// What the tasks begin with.
pub struct News {
    /// What changes in the queue, from before the room was read out of it: nothing falls in between.
    pub changes: broadcast::Receiver<Change>,
    /// Jobs that ended.
    pub ended: mpsc::Receiver<JobId>,
}

/// What works in the room.
enum Work {
    Prepared(News),
    Running(JoinSet<()>),
    Over,
}

/// A room, the way into it and what works in it.
pub struct Office {
    /// The room.
    pub room: Arc<Room>,
    /// Its routes.
    router: Router,
    over: AtomicBool,
    work: Mutex<Work>,
}

impl Office {
    /// Returns an office in which nothing works yet.
    pub fn new(room: Arc<Room>, news: News) -> Self {
        Self {
            router: api::router(Arc::clone(&room)),
            room,
            over: AtomicBool::new(false),
            work: Mutex::new(Work::Prepared(news)),
        }
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whether it serves no more.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Answers a request of `caller`.
    pub async fn answer<B>(&self, caller: Arc<Caller>, request: Request<B>) -> Response
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        admission::answer(&self.room, self.router.clone(), caller, request).await
    }

    /// Lets its tasks begin, once.
    pub fn start(&self) {
        let mut work = self.work();
        *work = match std::mem::replace(&mut *work, Work::Over) {
            Work::Prepared(news) => Work::Running(started(&self.room, news)),
            other => other,
        };
    }

    /// Begins nothing new, and ends streams and waits. Requests that are under way go on.
    pub fn close(&self) {
        self.over.store(true, Ordering::Release);
        close(&self.room);
    }

    /// Ends its tasks.
    pub async fn end(&self) {
        let work = std::mem::replace(&mut *self.work(), Work::Over);
        if let Work::Running(mut tasks) = work {
            tasks.shutdown().await;
        }
    }
}

fn started(room: &Arc<Room>, news: News) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let parts = &room.parts;
    tasks.spawn(parts.watched("news", news::run(Arc::clone(room), news.changes)));
    tasks.spawn(parts.watched("the dispatcher", dispatch::run(Arc::clone(room))));
    tasks.spawn(parts.watched("what ends leases", sweep::expire(Arc::clone(room))));
    tasks.spawn(parts.watched("what removes old jobs", sweep::prune(Arc::clone(room))));
    tasks.spawn(parts.watched("the watch over hosts", sweep::presence(Arc::clone(room))));
    let services = services::reconcile::run(Arc::clone(room));
    tasks.spawn(parts.watched("what places services", services));
    if room.ended.is_some() {
        let hooks = room.settings.hooks.clone();
        let telling = notify::run(Arc::clone(room), hooks, news.ended);
        tasks.spawn(parts.watched("the notifier", telling));
    }
    tasks
}

/// Ends streams and waits. Many hosts that wait are told one after another, so that they do not all
/// come to the next coordinator at the same moment.
fn close(room: &Arc<Room>) {
    room.closing.send_replace(true);
    room.watch.wake_all();
    room.desk.nudge_all();
    let waiters = room.waiting.close();
    let spread = STEP * u32::try_from(waiters.len()).unwrap_or(0);
    let within = match room.has_others() {
        true => TOLD_SOON,
        false => TOLD_WITHIN,
    };
    let step = spread.min(within) / (waiters.len().max(1) as u32);
    tokio::spawn(async move {
        for waiter in waiters {
            let _ = waiter.send(waiting::Wake::Nothing);
            tokio::time::sleep(step).await;
        }
    });
}
