//! What a runner says, taken apart.

use bytes::{Buf, Bytes, BytesMut};

use crate::fleet::supervise::Stream;
use crate::ssh::Exit;

/// The longest record a runner sends: one read of a pipe, and some room.
const MOST: usize = 128 << 10;
/// Type and length.
const HEAD: usize = 5;

/// One thing a runner says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// The runner is there; the version of what it speaks.
    Hello(String),
    /// What became of the start of a task.
    Words(String),
    /// The task printed this.
    Output(Stream, Bytes),
    /// The task ended.
    Exit(Exit),
    /// Nobody holds its pipes any more; the next task may come.
    Ready,
    /// The runner is gone before the task, while the connection lives.
    Gone,
}

/// Something that no runner says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Garbled;

/// Takes what comes in pieces of any length.
#[derive(Debug, Default)]
pub(super) struct Frames(BytesMut);

impl Frames {
    pub(super) fn push(&mut self, bytes: &Bytes) {
        self.0.extend_from_slice(bytes);
    }

    /// Returns the next one that is complete.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, Garbled> {
        let Some((&[kind, a, b, c, d], _)) = self.0.split_first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        // Looked at before the rest comes, or we might wait for it for ever.
        if !b"HWOEXZ".contains(&kind) || length > MOST {
            return Err(Garbled);
        }
        if self.0.len() < HEAD + length {
            return Ok(None);
        }
        self.0.advance(HEAD);
        let contents = self.0.split_to(length).freeze();
        let text = || String::from_utf8_lossy(&contents).into_owned();
        let frame = match kind {
            b'H' => Frame::Hello(text()),
            b'W' => Frame::Words(text()),
            b'O' => Frame::Output(Stream::Stdout, contents),
            b'E' => Frame::Output(Stream::Stderr, contents),
            b'X' => Frame::Exit(exit(&text())?),
            _ => Frame::Ready,
        };
        Ok(Some(frame))
    }

    /// Tells whether a record has come in part only.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn exit(text: &str) -> Result<Exit, Garbled> {
    match text.strip_prefix('-') {
        Some(signal) => Ok(Exit::Signal(signal.to_owned())),
        None => text.parse().map(Exit::Code).map_err(|_| Garbled),
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::record;
    use super::*;

    #[test]
    fn frames_are_found_wherever_the_pieces_end() {
        let all = [
            record(b'H', b"1"),
            record(b'W', b"run 12"),
            record(b'O', b"o\0\xff"),
            record(b'E', b""),
            record(b'X', b"-TERM"),
            record(b'X', b"3"),
            record(b'Z', b""),
        ]
        .concat();
        for piece in [1, 2, 7, all.len()] {
            let mut frames = Frames::default();
            let mut found = Vec::new();
            for bytes in all.chunks(piece) {
                frames.push(&Bytes::copy_from_slice(bytes));
                while let Some(frame) = frames.next().unwrap() {
                    found.push(frame);
                }
            }
            let expected = [
                Frame::Hello("1".into()),
                Frame::Words("run 12".into()),
                Frame::Output(Stream::Stdout, Bytes::from_static(b"o\0\xff")),
                Frame::Output(Stream::Stderr, Bytes::new()),
                Frame::Exit(Exit::Signal("TERM".into())),
                Frame::Exit(Exit::Code(3)),
                Frame::Ready,
            ];
            assert_eq!(found, expected, "in pieces of {piece}");
            assert!(frames.is_empty());
        }
    }

    #[test]
    fn what_a_login_script_prints_late_is_no_frame() {
        let mut frames = Frames::default();
        frames.push(&Bytes::from_static(b"Welcome"));
        assert_eq!(frames.next(), Err(Garbled));
        let mut frames = Frames::default();
        frames.push(&Bytes::from_static(b"O\xff\xff\xff\xff"));
        assert_eq!(frames.next(), Err(Garbled));
    }
}
