//! Makes foreign text safe for a terminal: colours pass, everything else that controls is shown.
//!
//! A host we do not trust must not move the cursor, set the title, answer for the user or write to
//! the clipboard. Files and JSON keep the raw bytes; only terminals get filtered text.

use std::borrow::Cow;
use std::str;

const ESC: u8 = 0x1b;
/// A colour needs far fewer parameters than this; more is an attack on somebody's parser.
const LONGEST_SGR: usize = 64;

/// Filters a stream of bytes. How the stream is cut into chunks does not change what comes out.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// What may still become a colour or a character: an escape sequence or part of UTF-8.
    pending: Vec<u8>,
    /// A colour was set and not reset.
    coloured: bool,
}

impl Filter {
    /// Makes a filter.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends to `out` what can be said about `bytes` so far.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for &byte in bytes {
            if self.pending.is_empty() && is_plain(byte) {
                out.push(byte);
            } else {
                self.step(byte, out);
            }
        }
    }

    /// Appends what is left, and ends colours that the stream left on.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.show_pending(out);
        if std::mem::take(&mut self.coloured) {
            out.extend_from_slice(b"\x1b[0m");
        }
    }

    fn step(&mut self, byte: u8, out: &mut Vec<u8>) {
        match self.pending.as_slice() {
            [] => self.begin(byte, out),
            [ESC] if byte == b'[' => self.pending.push(byte),
            [ESC] => self.give_up(byte, out),
            [ESC, ..] => self.colour_step(byte, out),
            _ => self.text_step(byte, out),
        }
    }

    fn begin(&mut self, byte: u8, out: &mut Vec<u8>) {
        match byte {
            _ if is_plain(byte) => out.push(byte),
            ESC | 0x80.. => {
                self.pending.push(byte);
                if byte >= 0x80 {
                    self.settle_text(out);
                }
            }
            control => show_control(control, out),
        }
    }

    fn colour_step(&mut self, byte: u8, out: &mut Vec<u8>) {
        match byte {
            b'0'..=b'9' | b';' | b':' if self.pending.len() < LONGEST_SGR => {
                self.pending.push(byte);
            }
            b'm' => {
                // `ESC[m`, `ESC[0m`, `ESC[1;0m`: the last parameter decides.
                let parameters = self.pending.get(2..).unwrap_or_default();
                let last = parameters.rsplit(|byte| *byte == b';').next();
                self.coloured = last.is_some_and(|last| last.iter().any(|digit| *digit != b'0'));
                out.append(&mut self.pending);
                out.push(b'm');
            }
            _ => self.give_up(byte, out),
        }
    }

    fn text_step(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.pending.push(byte);
        self.settle_text(out);
    }

    /// Writes pending UTF-8 once it is complete or known to be broken.
    fn settle_text(&mut self, out: &mut Vec<u8>) {
        match str::from_utf8(&self.pending) {
            Ok(text) => {
                for c in text.chars() {
                    show_char(c, out);
                }
                self.pending.clear();
            }
            Err(error) if error.error_len().is_none() => {} // more is to come
            Err(_) => {
                // All but the newest byte were a good beginning; that one may begin something else.
                let newest = if self.pending.len() > 1 {
                    self.pending.pop()
                } else {
                    None
                };
                self.show_pending(out);
                if let Some(byte) = newest {
                    self.step(byte, out);
                }
            }
        }
    }

    fn give_up(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.show_pending(out);
        self.step(byte, out);
    }

    fn show_pending(&mut self, out: &mut Vec<u8>) {
        for byte in std::mem::take(&mut self.pending) {
            if is_plain(byte) {
                out.push(byte);
            } else {
                show_control(byte, out);
            }
        }
    }
}

/// Returns a whole text with everything that controls shown, newlines kept.
pub fn text(text: &str) -> Cow<'_, str> {
    if text.bytes().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut filter = Filter::new();
    let mut out = Vec::with_capacity(text.len());
    filter.push(text.as_bytes(), &mut out);
    filter.finish(&mut out);
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// Returns a text as one line without colours, for tables and messages: tabs, newlines and every
/// other control character are shown escaped.
pub fn one_line(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => out.extend_from_slice(b"\\t"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            other => show_char(other, &mut out),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x20..0x7f | b'\n' | b'\t' | b'\r')
}

fn show_char(c: char, out: &mut Vec<u8>) {
    match c {
        c if u8::try_from(c).is_ok_and(|byte| byte < 0x80) => {
            let byte = c as u8;
            if is_plain(byte) {
                out.push(byte);
            } else {
                show_control(byte, out);
            }
        }
        // C1 controls work like escape sequences; direction marks make text read as what it is not.
        '\u{80}'..='\u{9f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {
            out.extend_from_slice(format!("<U+{:04X}>", u32::from(c)).as_bytes())
        }
        printable => out.extend_from_slice(printable.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

fn show_control(byte: u8, out: &mut Vec<u8>) {
    match byte {
        0x7f => out.extend_from_slice(b"^?"),
        0x00..0x20 => out.extend_from_slice(&[b'^', byte + 0x40]),
        other => out.extend_from_slice(format!("\\x{other:02x}").as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filtered(chunks: &[&[u8]]) -> Vec<u8> {
        let mut filter = Filter::new();
        let mut out = Vec::new();
        for chunk in chunks {
            filter.push(chunk, &mut out);
        }
        filter.finish(&mut out);
        out
    }

    #[test]
    fn colours_and_text_pass_and_controls_are_shown() {
        let cases: &[(&[u8], &str)] = &[
            (b"plain\ttext\r\n", "plain\ttext\r\n"),
            ("größe 日本 🦀".as_bytes(), "größe 日本 🦀"),
            (b"\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m"),
            (b"\x1b[31mleft on", "\x1b[31mleft on\x1b[0m"),
            (b"\x1b[38:2:1:2:3mx\x1b[m", "\x1b[38:2:1:2:3mx\x1b[m"),
            (b"\x1b[2Jgone", "^[[2Jgone"),
            (b"\x1b[>4m", "^[[>4m"),
            (b"\x1b[?25l", "^[[?25l"),
            (b"\x1b]0;title\x07", "^[]0;title^G"),
            (b"\x1b]52;c;aGk=\x1b\\", "^[]52;c;aGk=^[\\"),
            (b"\x1bPq\x1b\\", "^[Pq^[\\"),
            (b"\x1b\x1b[1m", "^[\x1b[1m\x1b[0m"),
            (b"\x1b[\x1b[0m", "^[[\x1b[0m"),
            (b"\x9b2J", "\\x9b2J"),
            ("\u{9b}2J".as_bytes(), "<U+009B>2J"),
            ("\u{202e}x".as_bytes(), "<U+202E>x"),
            (b"\xffa\xe2\x82", "\\xffa\\xe2\\x82"),
            (b"\xe2\x1b[2J", "\\xe2^[[2J"),
            (b"\xe2\x82\xe2\x82\xac", "\\xe2\\x82\u{20ac}"),
            (b"a\x08b\0\x7f", "a^Hb^@^?"),
            (b"end \x1b[3", "end ^[[3"),
        ];
        for (given, shown) in cases {
            assert_eq!(
                String::from_utf8(filtered(&[given])).unwrap(),
                *shown,
                "{given:?}"
            );
        }
        let long = format!("\x1b[{}m", "1;".repeat(100));
        assert!(!filtered(&[long.as_bytes()]).contains(&ESC));
    }

    #[test]
    fn one_line_stays_one_line() {
        assert_eq!(one_line("a\tb\r\nc\u{1b}[31m"), "a\\tb\\r\\nc^[[31m");
        assert!(matches!(one_line("plain"), Cow::Borrowed(_)));
        assert_eq!(text("a\u{1b}[2J\n"), "a^[[2J\n");
    }

    /// Bytes that are likely to build sequences.
    fn nasty() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            3 => prop::sample::select(b"\x1b[]m0;:1?>P\\\x07\r\n\x9b\xc2\xe2\x82\xac\xf0\x9f".to_vec()),
            1 => any::<u8>(),
        ];
        prop::collection::vec(byte, 0..200)
    }

    fn without_colours(mut rest: &[u8]) -> Vec<u8> {
        let mut left = Vec::new();
        while let Some((&first, tail)) = rest.split_first() {
            let parameters = tail.strip_prefix(b"[").and_then(|tail| {
                let end = tail
                    .iter()
                    .position(|byte| !b"0123456789;:".contains(byte))?;
                (tail[end] == b'm').then(|| &tail[end + 1..])
            });
            match parameters {
                Some(after) if first == ESC => rest = after,
                _ => {
                    left.push(first);
                    rest = tail;
                }
            }
        }
        left
    }

    proptest! {
        #[test]
        fn nothing_but_colours_and_printable_text_comes_out(bytes in nasty()) {
            let out = filtered(&[&bytes]);
            let left = without_colours(&out);
            let left = String::from_utf8(left);
            prop_assert!(left.is_ok());
            for c in left.unwrap().chars() {
                prop_assert!(!c.is_control() || "\n\t\r".contains(c), "{:?}", c);
            }
        }

        #[test]
        fn chunking_does_not_change_the_output(bytes in nasty(), size in 1_usize..9) {
            let chunks: Vec<&[u8]> = bytes.chunks(size).collect();
            prop_assert_eq!(filtered(&chunks), filtered(&[&bytes]));
        }

        #[test]
        fn plain_text_is_left_alone(text in "[ -~\\n\\t]*") {
            prop_assert_eq!(filtered(&[text.as_bytes()]), text.as_bytes());
        }
    }
}
