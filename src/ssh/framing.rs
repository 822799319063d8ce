//! Separates what our scripts say from what login scripts, banners and rc files print before.

use bytes::{Bytes, BytesMut};

use crate::ssh::shell::Marker;

/// How much text before the marker is kept for an error message; the rest is dropped.
const NOISE_KEPT: usize = 4096;

/// How much of it a message shows, in characters.
const NOISE_SHOWN: usize = 200;

/// Passes on what comes after the marker line and keeps a little of what came before it.
#[derive(Debug)]
pub struct Unframer {
    sent: Vec<u8>,
    /// Our own input came back: what came with it may be anything we sent, secrets included.
    echoed: bool,
    marker: Vec<u8>,
    /// What came so far, until the marker line is complete.
    before: BytesMut,
    open: bool,
}

/// What one chunk brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The marker line is not complete yet.
    Waiting,
    /// The marker line came, with these words after the marker; then the first payload bytes.
    Opened {
        /// The rest of the marker line, without the newline.
        words: String,
        /// Payload that came with it.
        rest: Bytes,
    },
    /// Payload.
    Payload(Bytes),
}

impl Unframer {
    /// Returns one that waits for the reply to `marker`.
    pub fn new(marker: &Marker) -> Self {
        Self {
            sent: marker.as_str().as_bytes().to_vec(),
            echoed: false,
            marker: marker.reply().into_bytes(),
            before: BytesMut::new(),
            open: false,
        }
    }

    /// Takes the next chunk.
    pub fn push(&mut self, chunk: Bytes) -> Step {
        if self.open {
            return Step::Payload(chunk);
        }
        self.before.extend_from_slice(&chunk);
        let Some(at) = find(&self.before, &self.marker) else {
            self.echoed = self.echoed || find(&self.before, &self.sent).is_some();
            let spare = self
                .before
                .len()
                .saturating_sub(NOISE_KEPT.max(self.marker.len()));
            let _ = self.before.split_to(spare);
            return Step::Waiting;
        };
        let start = at + self.marker.len();
        let Some(length) = self.before.get(start..).and_then(|tail| find(tail, b"\n")) else {
            return Step::Waiting;
        };
        let rest = self.before.split_off(start + length + 1).freeze();
        let words = self.before.get(start..start + length).unwrap_or_default();
        let words = String::from_utf8_lossy(words).trim().to_owned();
        self.before.truncate(at);
        self.open = true;
        Step::Opened { words, rest }
    }

    /// Tells whether the marker line came.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Returns the end of what came before the marker, short enough for a message.
    pub fn noise(&self) -> String {
        if self.echoed {
            return "(it printed our own input back)".to_owned();
        }
        let text = String::from_utf8_lossy(&self.before);
        let text = text.trim();
        let skip = text.chars().count().saturating_sub(NOISE_SHOWN);
        text.chars().skip(skip).collect()
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_dropped_wherever_the_chunks_end() {
        let marker = Marker::fresh();
        let stream = format!("Welcome!\nno newline {} go 42\npay\x00load", marker.reply());
        for cut in 0..stream.len() {
            let (first, second) = stream.as_bytes().split_at(cut);
            let mut unframer = Unframer::new(&marker);
            let (mut words, mut payload) = (None, Vec::new());
            for chunk in [first, second] {
                match unframer.push(Bytes::copy_from_slice(chunk)) {
                    Step::Waiting => {}
                    Step::Opened { words: w, rest } => {
                        words = Some(w);
                        payload.extend_from_slice(&rest);
                    }
                    Step::Payload(bytes) => payload.extend_from_slice(&bytes),
                }
            }
            assert_eq!(words.as_deref(), Some("go 42"), "cut at {cut}");
            assert_eq!(payload, b"pay\x00load");
        }
    }

    #[test]
    fn our_own_input_sent_back_opens_nothing_and_is_not_shown() {
        let marker = Marker::fresh();
        let mut unframer = Unframer::new(&marker);
        let echo = format!("{}\nKEY=secret; export KEY;\n", marker.as_str());
        assert_eq!(unframer.push(Bytes::from(echo)), Step::Waiting);
        assert!(!unframer.noise().contains("secret"), "{}", unframer.noise());
    }

    #[test]
    fn endless_noise_takes_bounded_memory_and_makes_a_short_message() {
        let marker = Marker::fresh();
        let mut unframer = Unframer::new(&marker);
        for _ in 0..1000 {
            assert_eq!(unframer.push(Bytes::from(vec![b'x'; 1000])), Step::Waiting);
        }
        assert_eq!(unframer.noise().len(), NOISE_SHOWN);
        let opening = Bytes::from(format!("{}\n", marker.reply()));
        assert!(matches!(unframer.push(opening), Step::Opened { .. }));
    }
}
