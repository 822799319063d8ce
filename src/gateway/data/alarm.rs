//! Time limits of requests that nearly always end in time: the runtime's timers are kept and used again as they are
//! set, because setting one and taking it back for every request costs more than one that rings too early now and then.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::stall::LONGEST;

/// How many unused timers a thread keeps.
const MOST: usize = 128;

thread_local! {
    static UNUSED: RefCell<Vec<Pin<Box<Sleep>>>> = const { RefCell::new(Vec::new()) };
}

/// Rings at a certain time.
#[derive(Debug)]
pub struct Alarm {
    end: Instant,
    /// Set for the end, or for some time before. There until it is dropped.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Returns one that rings after this long.
    pub fn after(span: Duration) -> Self {
        let end = Instant::now() + span.min(LONGEST);
        let unused = UNUSED.with_borrow_mut(Vec::pop);
        let mut timer = unused.unwrap_or_else(|| Box::pin(tokio::time::sleep_until(end)));
        if timer.deadline() > end {
            timer.as_mut().reset(end);
        }
        Self {
            end,
            timer: Some(timer),
        }
    }

    /// Becomes ready when it rings.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(timer) = &mut self.timer else {
            return Poll::Ready(());
        };
        loop {
            ready!(timer.as_mut().poll(context));
            if timer.deadline() >= self.end {
                return Poll::Ready(());
            }
            timer.as_mut().reset(self.end);
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let Some(timer) = self.timer.take() else {
            return;
        };
        // While the thread ends there is no place for it any more.
        let _ = UNUSED.try_with(|unused| {
            let mut unused = unused.borrow_mut();
            if unused.len() < MOST {
                unused.push(timer);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn rings_after(span: Duration) -> Duration {
        let (start, mut alarm) = (Instant::now(), Alarm::after(span));
        poll_fn(|context| alarm.poll(context)).await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn it_rings_in_time_whatever_it_was_set_for_before() {
        let near = |span: Duration, seconds: u64| {
            let off = span.abs_diff(Duration::from_secs(seconds));
            assert!(
                off < Duration::from_millis(5),
                "{span:?} and not {seconds} s"
            );
        };
        near(rings_after(Duration::from_secs(10)).await, 10);
        // That timer has rung long ago.
        near(rings_after(Duration::from_secs(30)).await, 30);
        let mut unused = Alarm::after(Duration::from_secs(60));
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(unused.poll(&mut context).is_pending());
        drop(unused);
        // That one would ring too late, and the next one too early.
        near(rings_after(Duration::from_secs(20)).await, 20);
        drop(Alarm::after(Duration::from_secs(5)));
        near(rings_after(Duration::from_secs(40)).await, 40);
        near(
            rings_after(Duration::MAX.min(Duration::from_secs(7))).await,
            7,
        );
    }
}
