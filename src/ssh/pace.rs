//! Sends no faster than the server passes on, so that bulk data does not pile up inside sshd.
//!
//! OpenSSH offers a window of 2 MiB and keeps what its command has not read yet in a buffer that it
//! copies whole for every packet it appends. A full window costs the host several times the CPU of the
//! transfer itself. So less is kept under way: what the round trip needs at a gigabit per second.
//! Must never make a transfer hang: a server that acknowledges late gets the whole window.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// OpenSSH acknowledges every 96 KiB that its command has read; two and a half of these keep it busy.
const LEAST: u64 = 256 << 10;
/// A gigabit per second, which is what a window of this much per millisecond of round trip carries.
const PER_MILLISECOND: u64 = 128 << 10;
/// A busy host answers a question this much later than its network allows; past it the network is slow.
const BUSY: Duration = Duration::from_millis(20);
/// A server that is silent this long may acknowledge only when we have sent more.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is known of the way to a server.
#[derive(Debug)]
pub(super) struct Path {
    /// Whether the server is one that needs pacing.
    piles_up: AtomicBool,
    /// How long the TCP handshake took.
    round_trip: Duration,
    /// The quickest answer so far of the server itself, in microseconds.
    quickest: AtomicU64,
}

impl Path {
    pub(super) fn new(round_trip: Duration) -> Self {
        Self {
            piles_up: AtomicBool::new(false),
            round_trip,
            quickest: AtomicU64::new(u64::MAX),
        }
    }

    /// Takes note of how long the server took to answer.
    pub(super) fn answered(&self, after: Duration) {
        self.quickest.fetch_min(micros(after), Ordering::Relaxed);
    }

    /// The kernel's round trip is the better measure, for load does not blur it. But a tunnel's near end
    /// answers for the far one.
    fn round_trip_micros(&self) -> u64 {
        let (near, all) = (
            micros(self.round_trip),
            self.quickest.load(Ordering::Relaxed),
        );
        let is_tunnel = all != u64::MAX && all > near.saturating_add(micros(BUSY));
        if is_tunnel { all } else { near }
    }

    /// Takes note of how a server with this identification opens a channel.
    pub(super) fn learn(&self, identification: &[u8], window: u32) {
        // sshd opens it without a window and gives one when the command runs. Others copy nothing, and
        // may acknowledge only when half the window is used up.
        let piles_up = identification.starts_with(b"SSH-2.0-OpenSSH") && window == 0;
        self.piles_up.store(piles_up, Ordering::Relaxed);
    }

    /// Returns the pace of a new channel.
    pub(super) fn pace(&self) -> Pace {
        let under_way = under_way(self.round_trip_micros());
        Pace {
            under_way,
            free: AtomicBool::new(!self.piles_up.load(Ordering::Relaxed)),
            state: Mutex::new(State {
                window: None,
                left: i64::from(under_way),
            }),
            changed: Notify::new(),
            patience: PATIENCE,
        }
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

fn under_way(round_trip_micros: u64) -> u32 {
    let bytes = round_trip_micros.saturating_mul(PER_MILLISECOND) / 1000;
    u32::try_from(bytes.max(LEAST)).unwrap_or(u32::MAX)
}

/// How much may be sent on a channel now.
#[derive(Debug)]
pub(super) struct Pace {
    under_way: u32,
    /// The window alone limits.
    free: AtomicBool,
    state: Mutex<State>,
    changed: Notify,
    patience: Duration,
}

#[derive(Debug)]
struct State {
    /// The whole window, which the server gave before it had got anything.
    window: Option<u32>,
    left: i64,
}

impl Pace {
    /// Takes the server's word that `window` bytes may follow what it has got.
    pub(super) fn acknowledged(&self, window: u32) {
        let mut state = self.state();
        let whole = *state.window.get_or_insert(window);
        let held_back = whole.saturating_sub(self.under_way);
        state.left = i64::from(window) - i64::from(held_back);
        self.changed.notify_one();
    }

    /// Waits until `bytes` may be sent, which are then counted as sent.
    pub(super) async fn take(&self, bytes: usize) {
        while !self.free.load(Ordering::Relaxed) && self.state().left <= 0 {
            if timeout(self.patience, self.changed.notified())
                .await
                .is_err()
            {
                self.free.store(true, Ordering::Relaxed);
            }
        }
        self.state().left -= i64::try_from(bytes).unwrap_or(i64::MAX);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;

    const OPENSSH: &[u8] = b"SSH-2.0-OpenSSH_9.2p1";
    const WINDOW: u32 = 2 << 20;

    /// Returns the pace of a channel whose command has just been started by an sshd.
    fn pace(round_trip: Duration) -> Pace {
        let path = Path::new(round_trip);
        path.learn(OPENSSH, 0);
        let pace = path.pace();
        pace.acknowledged(WINDOW);
        pace
    }

    /// Returns what is sent in pieces of 64 KiB before the pace makes it wait, up to 4 MiB.
    async fn burst(pace: &Pace) -> usize {
        let mut sent = 0;
        while sent < 4 << 20 {
            let taking = std::pin::pin!(pace.take(64 << 10));
            if once(taking).await.is_pending() {
                break;
            }
            sent += 64 << 10;
        }
        sent
    }

    async fn once(mut future: std::pin::Pin<&mut impl Future<Output = ()>>) -> Poll<()> {
        std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
    }

    #[tokio::test]
    async fn what_is_under_way_follows_the_round_trip() {
        for (millis, expected) in [(0, 256 << 10), (2, 256 << 10), (8, 1 << 20)] {
            let pace = pace(Duration::from_millis(millis));
            assert_eq!(burst(&pace).await, expected, "{millis} ms");
        }
        let far = pace(Duration::from_millis(100));
        assert_eq!(burst(&far).await, 2 << 20, "the whole window");
    }

    #[tokio::test]
    async fn a_far_host_behind_a_near_tunnel_gets_its_window() {
        for (answers, expected) in [([50, 40], 2 << 20), ([50, 15], 256 << 10)] {
            let path = Path::new(Duration::ZERO);
            path.learn(OPENSSH, 0);
            for millis in answers {
                path.answered(Duration::from_millis(millis));
            }
            let pace = path.pace();
            pace.acknowledged(WINDOW);
            assert_eq!(burst(&pace).await, expected, "{answers:?}");
        }
    }

    #[tokio::test]
    async fn an_acknowledgement_lets_more_through() {
        let pace = pace(Duration::ZERO);
        assert_eq!(burst(&pace).await, 256 << 10);
        // 128 KiB of these were read there.
        pace.acknowledged(WINDOW - (128 << 10));
        assert_eq!(burst(&pace).await, 128 << 10);
    }

    #[tokio::test]
    async fn a_server_that_acknowledges_late_gets_the_whole_window() {
        let mut pace = pace(Duration::ZERO);
        pace.patience = Duration::from_millis(1);
        for _ in 0..64 {
            pace.take(64 << 10).await;
        }
        assert_eq!(burst(&pace).await, 4 << 20);
    }

    #[tokio::test]
    async fn other_servers_are_not_paced() {
        for (identification, window) in [(&b"SSH-2.0-dropbear"[..], 0), (OPENSSH, WINDOW)] {
            let path = Path::new(Duration::ZERO);
            path.learn(identification, window);
            assert_eq!(burst(&path.pace()).await, 4 << 20);
        }
    }
}
