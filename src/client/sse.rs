//! Reads a stream of server-sent events, however it is cut into pieces.

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// What kind; `message` if the server named none.
    pub event: String,
    /// Its text.
    pub data: String,
    /// Where to go on after it, if the server said so.
    pub id: Option<String>,
}

/// Turns bytes into events, after the HTML standard's rules.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    /// The last line ended in CR, so an LF that follows belongs to it.
    after_cr: bool,
    started: bool,
    event: String,
    data: String,
    has_data: bool,
    id: Option<String>,
    ready: std::collections::VecDeque<Message>,
}

/// A line longer than this is no event of ours; what is over is dropped.
const LONGEST_LINE: usize = 32 << 20;

impl Parser {
    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'\n' if std::mem::take(&mut self.after_cr) => {}
                b'\n' | b'\r' => {
                    self.after_cr = byte == b'\r';
                    let line = std::mem::take(&mut self.line);
                    self.take_line(&line);
                }
                _ => {
                    self.after_cr = false;
                    if self.line.len() < LONGEST_LINE {
                        self.line.push(byte);
                    }
                }
            }
        }
    }

    /// Returns the next event that is complete.
    pub fn next_message(&mut self) -> Option<Message> {
        self.ready.pop_front()
    }

    /// Returns where to go on, as far as the server has said it, also without an event.
    pub fn last_id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    fn take_line(&mut self, line: &[u8]) {
        let mut text = String::from_utf8_lossy(line);
        if !std::mem::replace(&mut self.started, true)
            && let Some(rest) = text.strip_prefix('\u{feff}')
        {
            text = rest.to_owned().into();
        }
        if text.is_empty() {
            return self.dispatch();
        }
        let (field, value) = match text.split_once(':') {
            Some((field, value)) => (field, value.strip_prefix(' ').unwrap_or(value)),
            None => (text.as_ref(), ""),
        };
        match field {
            "event" => self.event = value.to_owned(),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            // A comment keeps the connection alive; `retry` is ours to decide.
            _ => {}
        }
    }

    fn dispatch(&mut self) {
        let event = std::mem::take(&mut self.event);
        let data = std::mem::take(&mut self.data);
        if std::mem::take(&mut self.has_data) {
            self.ready.push_back(Message {
                event: if event.is_empty() {
                    "message".into()
                } else {
                    event
                },
                data,
                id: self.id.clone(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(pieces: &[&[u8]]) -> Vec<(String, String, Option<String>)> {
        let mut parser = Parser::default();
        for piece in pieces {
            parser.push(piece);
        }
        std::iter::from_fn(|| parser.next_message())
            .map(|message| (message.event, message.data, message.id))
            .collect()
    }

    const TEXT: &str = "\u{feff}: hi\n\nevent: piece\r\nid: 7\r\ndata: {\"a\":1}\r\ndata:two\r\n\r\nid: 8\n\ndata\n\nevent: end\ndata: é\n\nevent: cut";

    fn wanted() -> Vec<(String, String, Option<String>)> {
        let row = |event: &str, data: &str, id: &str| {
            (event.to_owned(), data.to_owned(), Some(id.to_owned()))
        };
        vec![
            row("piece", "{\"a\":1}\ntwo", "7"),
            row("message", "", "8"),
            row("end", "é", "8"),
        ]
    }

    #[test]
    fn events_are_read_after_the_standard() {
        assert_eq!(all(&[TEXT.as_bytes()]), wanted());
    }

    proptest! {
        #[test]
        fn where_the_stream_is_cut_does_not_matter(at in 0usize..TEXT.len(), then in 0usize..TEXT.len()) {
            let (from, to) = (at.min(then), at.max(then));
            let bytes = TEXT.as_bytes();
            prop_assert_eq!(all(&[&bytes[..from], &bytes[from..to], &bytes[to..]]), wanted());
        }
    }
}
