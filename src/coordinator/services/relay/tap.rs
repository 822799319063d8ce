//! The output of one assignment while somebody reads it: one request to its host at a time, whose answer goes to
//! all who asked the same. Who comes while it is followed hears first what is remembered of it.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::Source;
use super::inbox::{Inbox, Word};
use crate::protocol::api::WantedLogs;

/// How much of what was followed is remembered for readers that come later, in bytes.
const REMEMBERED: usize = 256 << 10;

/// Somebody who reads.
#[derive(Debug, Clone)]
pub struct Listener {
    pub inbox: Arc<Inbox>,
    pub tail: u32,
    pub follow: bool,
}

/// What the host is asked for.
#[derive(Debug)]
pub struct Request {
    pub wanted: WantedLogs,
    /// When the host was asked, heard of it, or sent something last.
    pub at: Instant,
    /// The host knows of it.
    pub told: bool,
    listeners: Vec<Listener>,
    past: VecDeque<u8>,
}

/// The output of one assignment.
#[derive(Debug)]
pub struct Tap {
    pub source: Source,
    pub current: Option<Request>,
    waiting: VecDeque<Listener>,
}

impl Tap {
    /// Returns one that nobody listens to yet.
    pub const fn new(source: Source) -> Self {
        Self {
            source,
            current: None,
            waiting: VecDeque::new(),
        }
    }

    /// Tells whether nobody listens.
    pub fn is_idle(&self) -> bool {
        self.current.is_none() && self.waiting.is_empty()
    }

    /// Adds a listener.
    pub fn join(&mut self, listener: Listener) {
        let followed = self.current.as_mut().filter(|one| one.wanted.follow);
        let Some(current) = followed else {
            self.waiting.push_back(listener);
            return;
        };
        let past = last_lines(current.past.make_contiguous(), listener.tail);
        if !past.is_empty() {
            let past = Bytes::copy_from_slice(past);
            let word = Word::Bytes(self.source.clone(), past);
            listener.inbox.push(word);
        }
        if listener.follow {
            current.listeners.push(listener);
        } else {
            listener.inbox.push(Word::End(self.source.clone()));
        }
    }

    /// Removes a listener.
    pub fn leave(&mut self, inbox: &Arc<Inbox>) {
        self.waiting.retain(|one| !Arc::ptr_eq(&one.inbox, inbox));
        if let Some(current) = &mut self.current {
            current
                .listeners
                .retain(|one| !Arc::ptr_eq(&one.inbox, inbox));
            if current.listeners.is_empty() {
                self.current = None;
            }
        }
    }

    /// Returns those who listen to the answer of the host.
    pub fn listeners(&self, request: u64) -> impl Iterator<Item = &Listener> {
        let current = self.current.as_ref();
        let current = current.filter(|one| one.wanted.request == request);
        current.into_iter().flat_map(|one| &one.listeners)
    }

    /// Passes on what the host sent for `request`. Tells whether more is wanted.
    pub fn pour(&mut self, request: u64, bytes: &Bytes, end: bool) -> bool {
        let Some(current) = self.current.as_mut() else {
            return false;
        };
        if current.wanted.request != request {
            return false;
        }
        current.at = Instant::now();
        current.told = true;
        if current.wanted.follow {
            current.past.extend(bytes);
            let over = current.past.len().saturating_sub(REMEMBERED);
            current.past.drain(..over);
        }
        for one in &current.listeners {
            if !bytes.is_empty() {
                let word = Word::Bytes(self.source.clone(), bytes.clone());
                one.inbox.push(word);
            }
            if end {
                one.inbox.push(Word::End(self.source.clone()));
            }
        }
        if end {
            self.current = None;
        }
        !end
    }

    /// Asks the host for the next ones who wait, if it is not busy with others. Tells whether it did.
    pub fn ask(&mut self, number: u64) -> bool {
        if self.current.is_some() {
            return false;
        }
        let Some(first) = self.waiting.pop_front() else {
            return false;
        };
        let wanted = WantedLogs {
            request: number,
            tail: first.tail,
            follow: first.follow,
        };
        let (alike, others): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|one| (one.tail, one.follow) == (wanted.tail, wanted.follow));
        let mut listeners = vec![first];
        listeners.extend(alike);
        self.current = Some(Request {
            wanted,
            at: Instant::now(),
            told: false,
            listeners,
            past: VecDeque::new(),
        });
        // Behind one that is followed nobody waits: its past is there for them.
        for one in others {
            self.join(one);
        }
        true
    }
}

/// Returns the last lines of `text`, of which the very last may not be ended.
fn last_lines(text: &[u8], count: u32) -> &[u8] {
    let mut left = count;
    if left == 0 {
        return &[];
    }
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    for (at, byte) in body.iter().enumerate().rev() {
        if *byte == b'\n' {
            left -= 1;
            if left == 0 {
                return text.get(at + 1..).unwrap_or_default();
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::HostId;

    fn source() -> Source {
        Source {
            assignment: "asg_1".into(),
            host: HostId::new("a").unwrap(),
        }
    }

    fn listener(tail: u32, follow: bool) -> Listener {
        Listener {
            inbox: Arc::new(Inbox::default()),
            tail,
            follow,
        }
    }

    fn text(listener: &Listener) -> (String, bool) {
        let mut text = Vec::new();
        let mut ended = false;
        for word in listener.inbox.take().0 {
            match word {
                Word::Bytes(_, bytes) => text.extend_from_slice(&bytes),
                Word::End(_) => ended = true,
            }
        }
        (String::from_utf8(text).unwrap(), ended)
    }

    #[test]
    fn the_last_lines_are_whole_ones() {
        for (text, count, wanted) in [
            ("a\nb\nc\n", 2, "b\nc\n"),
            ("a\nb\nc", 2, "b\nc"),
            ("a\nb\n", 9, "a\nb\n"),
            ("a\nb\n", 0, ""),
            ("", 3, ""),
            ("\n\n", 1, "\n"),
        ] {
            assert_eq!(
                last_lines(text.as_bytes(), count),
                wanted.as_bytes(),
                "{text:?} {count}"
            );
        }
    }

    #[tokio::test]
    async fn who_asks_the_same_is_answered_together_and_others_after_them() {
        let mut tap = Tap::new(source());
        let (one, two, other) = (listener(5, false), listener(5, false), listener(9, true));
        for listener in [&one, &other, &two] {
            tap.join(listener.clone());
        }
        assert!(tap.ask(1) && !tap.ask(2));
        assert!(tap.pour(1, &Bytes::from("x\n"), false));
        assert!(!tap.pour(7, &Bytes::from("stale\n"), false));
        assert!(!tap.pour(1, &Bytes::new(), true));
        for listener in [&one, &two] {
            assert_eq!(text(listener), ("x\n".to_owned(), true));
        }
        assert_eq!(text(&other), (String::new(), false));
        assert!(tap.ask(2));
        let wanted = tap.current.as_ref().unwrap().wanted;
        assert_eq!((wanted.request, wanted.tail, wanted.follow), (2, 9, true));
        // Who comes now hears what was, and then what comes if it is to follow.
        assert!(tap.pour(2, &Bytes::from("1\n2\n3\n"), false));
        let (late, short) = (listener(2, true), listener(1, false));
        tap.join(late.clone());
        tap.join(short.clone());
        assert_eq!(text(&short), ("3\n".to_owned(), true));
        tap.pour(2, &Bytes::from("4\n"), false);
        assert_eq!(text(&late), ("2\n3\n4\n".to_owned(), false));
        tap.leave(&other.inbox);
        assert!(!tap.is_idle());
        tap.leave(&late.inbox);
        assert!(tap.is_idle());
    }
}
