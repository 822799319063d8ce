//! The ends of what a job printed, within a limit, as raw bytes.

/// How many bytes of each stream a result keeps.
pub const OUTPUT_LIMIT: usize = 131_072;

/// The line that stands for what was left out.
pub const MARK: &str = "\n[output truncated]\n";

/// What is kept of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output {
    /// The kept bytes, with [`MARK`] where something was left out.
    pub bytes: Vec<u8>,
    /// How many bytes were printed in all.
    pub total: u64,
    /// Whether something was left out.
    pub truncated: bool,
}

impl Output {
    /// Returns what is kept of `printed` within `limit` bytes.
    pub fn of(printed: Vec<u8>, limit: usize) -> Self {
        let total = printed.len() as u64;
        if printed.len() <= limit {
            return Self {
                bytes: printed,
                total,
                truncated: false,
            };
        }
        Self {
            bytes: cut(&printed, limit),
            total,
            truncated: true,
        }
    }

    /// Returns the same output within `limit` bytes, however much of it was kept before.
    #[must_use]
    pub fn within(self, limit: usize) -> Self {
        if self.bytes.len() <= limit {
            return self;
        }
        Self {
            bytes: cut(&self.bytes, limit),
            total: self.total.max(self.bytes.len() as u64),
            truncated: true,
        }
    }
}

/// Returns the head and the tail of `printed` with [`MARK`] between them, at most `limit` bytes in all.
///
/// The head says what was started and the tail how it ended, so both are worth keeping. No UTF-8
/// character is cut in two; bytes that are not UTF-8 are cut where they are.
pub fn cut(printed: &[u8], limit: usize) -> Vec<u8> {
    if printed.len() <= limit {
        return printed.to_vec();
    }
    let Some(room) = limit.checked_sub(MARK.len()) else {
        // Not even the mark fits: an honest short head is all that can be had.
        return head(printed, limit).to_vec();
    };
    let front = head(printed, room / 2);
    let back = tail(printed, room - front.len());
    [front, MARK.as_bytes(), back].concat()
}

fn head(bytes: &[u8], at_most: usize) -> &[u8] {
    let mut end = at_most.min(bytes.len());
    // A character has at most three bytes after its first; more are not UTF-8 and may be cut anywhere.
    for back in 0..=3.min(end) {
        if bytes.get(end - back).is_none_or(|byte| !is_middle(*byte)) {
            end -= back;
            break;
        }
    }
    bytes.get(..end).unwrap_or_default()
}

fn tail(bytes: &[u8], at_most: usize) -> &[u8] {
    let start = bytes.len().saturating_sub(at_most);
    let skipped = (0..=3)
        .find(|on| bytes.get(start + on).is_none_or(|byte| !is_middle(*byte)))
        .unwrap_or(0);
    bytes.get(start + skipped..).unwrap_or_default()
}

const fn is_middle(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_output_is_untouched_and_long_output_keeps_both_ends() {
        let short = Output::of(b"hello".to_vec(), 10);
        assert_eq!((short.bytes.as_slice(), short.total), (&b"hello"[..], 5));
        assert!(!short.truncated);
        let printed: Vec<u8> = (0..100_000)
            .flat_map(|n| format!("{n}\n").into_bytes())
            .collect();
        let total = printed.len() as u64;
        let long = Output::of(printed, OUTPUT_LIMIT);
        assert_eq!(long.bytes.len(), OUTPUT_LIMIT);
        assert!(long.truncated);
        assert_eq!(long.total, total);
        let text = String::from_utf8(long.bytes).unwrap();
        assert!(text.starts_with("0\n1\n") && text.ends_with("99999\n"));
        assert_eq!(text.matches("[output truncated]").count(), 1);
    }

    #[test]
    fn a_limit_smaller_than_the_mark_still_holds() {
        assert_eq!(cut("éééé".as_bytes(), 3), "é".as_bytes());
        assert_eq!(cut(b"abcdef", 0), b"");
    }

    proptest! {
        #[test]
        fn never_longer_than_the_limit_and_never_half_a_character(text in "\\PC{0,200}", limit in 0usize..120) {
            let kept = cut(text.as_bytes(), limit);
            prop_assert!(kept.len() <= limit.max(text.len().min(limit)));
            prop_assert!(String::from_utf8(kept).is_ok());
        }

        #[test]
        fn any_bytes_are_cut_without_loss_of_the_limit(bytes in proptest::collection::vec(any::<u8>(), 0..300), limit in 0usize..200) {
            prop_assert!(cut(&bytes, limit).len() <= limit.max(bytes.len().min(limit)));
        }
    }
}
