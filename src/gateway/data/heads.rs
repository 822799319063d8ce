//! What hyper does not show of a request's head: a length beside an encoding, of which it takes the encoding alone, and
//! lines that end without a carriage return. Both are where two programs may read one request differently.
//!
//! The bytes are looked at on their way to hyper, which reads them as it always does; where something is wrong one of
//! them is spoilt, and hyper refuses the request as it refuses every other that is malformed. So this is no second
//! parser that could disagree with the first: as soon as it is not certain that what comes next is a head, it looks
//! no more, and what hyper does by itself with such a request is safe, if not as plain.

/// How much is kept of a line that comes in pieces: more than what matters of one.
const KEPT: usize = 64;

/// Looks at what comes over one connection.
#[derive(Debug, Default)]
pub struct Heads {
    at: At,
    /// Something of this head came before this line.
    begun: bool,
    /// The beginning of a line that is not complete.
    line: Vec<u8>,
    /// How long that line is so far.
    long: usize,
    /// The byte before this one.
    before: u8,
    /// How long the body will be, as the head says.
    length: Option<u64>,
    encoded: bool,
    /// What follows the head is not known.
    unclear: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum At {
    #[default]
    Head,
    /// So much of a body is still to come.
    Body(u64),
    /// Nobody knows, and nothing is looked at any more.
    Nowhere,
}

impl Heads {
    /// Looks at what was just read, and spoils it where it must not be understood.
    pub fn look(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            match self.at {
                At::Nowhere => return,
                At::Body(left) => {
                    let skip =
                        usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
                    self.at = match left - skip as u64 {
                        0 => At::Head,
                        left => At::Body(left),
                    };
                    bytes = bytes.split_at_mut(skip).1;
                }
                At::Head => {
                    let Some(end) = memchr::memchr(b'\n', bytes) else {
                        self.keep(bytes);
                        return;
                    };
                    let (line, rest) = bytes.split_at_mut(end + 1);
                    if !self.is_sound(line) {
                        if let Some(last) = line.last_mut() {
                            *last = 0;
                        }
                        self.at = At::Nowhere;
                        return;
                    }
                    bytes = rest;
                }
            }
        }
    }

    fn keep(&mut self, piece: &[u8]) {
        let room = KEPT.saturating_sub(self.line.len()).min(piece.len());
        self.line
            .extend_from_slice(piece.get(..room).unwrap_or_default());
        self.long += piece.len();
        self.before = piece.last().copied().unwrap_or(self.before);
    }

    /// Takes note of the end of a line, its last byte included; `false` if it is no end or the line may not be there.
    fn is_sound(&mut self, end: &[u8]) -> bool {
        let text = end.get(..end.len() - 1).unwrap_or_default();
        let before = text.last().copied().unwrap_or(self.before);
        if before != b'\r' {
            return false;
        }
        if self.long == 0 {
            return self.read(text.strip_suffix(b"\r").unwrap_or_default(), true);
        }
        self.keep(text);
        let whole = self.long <= KEPT;
        let line = std::mem::take(&mut self.line);
        (self.long, self.before) = (0, 0);
        self.read(line.strip_suffix(b"\r").unwrap_or(&line), whole)
    }

    /// Reads a line; `whole` says that nothing of it is missing.
    fn read(&mut self, line: &[u8], whole: bool) -> bool {
        if line.is_empty() {
            // Some send an empty line behind a body.
            if self.begun {
                self.ends();
            }
            return true;
        }
        if !self.begun {
            self.begun = true;
            // What follows it is for whoever it is connected with.
            self.unclear = line.starts_with(b"CONNECT ");
            return true;
        }
        if is(line, b"upgrade:") {
            self.unclear = true;
        } else if is(line, b"transfer-encoding:") {
            self.encoded = true;
            return self.length.is_none();
        } else if is(line, b"content-length:") {
            let digits = line.get(b"content-length:".len()..).unwrap_or_default();
            let length = number(digits).filter(|_| whole);
            self.unclear |=
                length.is_none() || self.length.is_some_and(|known| Some(known) != length);
            self.length = Some(length.unwrap_or_default());
            return !self.encoded;
        }
        true
    }

    fn ends(&mut self) {
        let length = self.length.take().unwrap_or_default();
        self.at = match (self.unclear || self.encoded, length) {
            (true, _) => At::Nowhere,
            (false, 0) => At::Head,
            (false, length) => At::Body(length),
        };
        self.begun = false;
    }
}

fn is(line: &[u8], name: &[u8]) -> bool {
    // The colon first: it is nearly never there, and one look tells.
    line.get(name.len() - 1) == Some(&b':')
        && line
            .get(..name.len())
            .is_some_and(|given| given.eq_ignore_ascii_case(name))
}

fn number(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii();
    let plain = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    plain.then(|| std::str::from_utf8(text).ok()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tells whether something is spoilt, however the bytes are cut in two; nothing but one byte ever is.
    fn spoils(text: &str) -> bool {
        let look = |cuts: &[usize]| {
            let (mut heads, mut bytes) = (Heads::default(), text.as_bytes().to_vec());
            let mut from = 0;
            for cut in cuts.iter().copied().chain([bytes.len()]) {
                heads.look(&mut bytes[from..cut]);
                from = cut;
            }
            bytes
        };
        let whole = look(&[]);
        for cut in 0..text.len() {
            assert_eq!(look(&[cut]), whole, "{text:?} cut at {cut}");
        }
        let each: Vec<usize> = (0..text.len()).collect();
        assert_eq!(look(&each), whole, "{text:?}");
        let differs = |(one, other): (&u8, u8)| *one != other;
        let spoilt = whole
            .iter()
            .zip(text.bytes())
            .filter(|one| differs((one.0, one.1)));
        let spoilt = spoilt.count();
        assert!(spoilt <= 1);
        spoilt == 1
    }

    const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    const BAD: &str =
        "POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-ENCODING: chunked\r\n\r\n0\r\n\r\n";

    #[test]
    fn a_length_beside_an_encoding_is_seen_wherever_it_stands() {
        assert!(spoils(BAD));
        assert!(spoils(
            "POST / HTTP/1.1\r\ntransfer-encoding:x\r\na: b\r\ncontent-length:0\r\n\r\n"
        ));
        let post = "POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\na\nb\nc";
        for before in [
            GET,
            post,
            "\r\n",
            "GET / HTTP/1.1\r\ncontent-length: 0\r\n\r\n",
        ] {
            assert!(!spoils(before), "{before:?}");
            assert!(spoils(&format!("{before}{BAD}")), "{before:?}");
            assert!(spoils(&format!("{before}{before}{GET}{BAD}")), "{before:?}");
        }
    }

    #[test]
    fn a_line_in_a_head_ends_with_both_characters() {
        for bad in [
            "GET / HTTP/1.1\nhost: x\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: x\n\r\n",
            "GET / HTTP/1.1\r\nhost: x\r\n\n",
            "\nGET / HTTP/1.1\r\nhost: x\r\n\r\n",
        ] {
            assert!(spoils(bad), "{bad:?}");
        }
    }

    #[test]
    fn what_may_be_a_body_is_never_touched() {
        let rest = "a\nb\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n\n";
        let zeros = "0".repeat(70);
        for head in [
            "POST / HTTP/1.1\r\ncontent-length: 1000\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
            "CONNECT a:1 HTTP/1.1\r\nhost: x\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 1, 1\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length:\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        ] {
            assert!(!spoils(&format!("{head}{rest}")), "{head:?}");
        }
        let (mut heads, head) = (
            Heads::default(),
            format!("POST / HTTP/1.1\r\ncontent-length: {zeros}"),
        );
        for piece in [&head, "9\r\n\r\n", rest] {
            let mut bytes = piece.as_bytes().to_vec();
            heads.look(&mut bytes);
            assert_eq!(bytes, piece.as_bytes());
        }
        assert!(!spoils(
            "GET / HTTP/1.1\r\nx-content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n"
        ));
    }
}
