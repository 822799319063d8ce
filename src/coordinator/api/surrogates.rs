//! Halves of characters in JSON text.
//!
//! JavaScript cuts texts between the two halves of a character and writes the half that is left as an
//! escape, which no Unicode text can hold. A result is worth more than that half.

/// What stands for a half.
const UNKNOWN: &[u8; 6] = b"\\ufffd";

/// Returns `text` with each lone `\uD800` to `\uDFFF` replaced by `\ufffd`; nothing if there is none.
pub fn mended(text: &[u8]) -> Option<Vec<u8>> {
    let mut mended = Vec::new();
    // Up to where `text` was taken over.
    let mut taken = 0;
    let mut at = 0;
    while let Some(found) = text.get(at..)?.iter().position(|byte| *byte == b'\\') {
        at += found;
        let Some(unit) = unit(text, at) else {
            // Another escape, perhaps that of a backslash.
            at += 2;
            continue;
        };
        let length = match unit {
            0xD800..=0xDBFF if matches!(self::unit(text, at + 6), Some(0xDC00..=0xDFFF)) => 12,
            0xD800..=0xDFFF => {
                mended.extend_from_slice(text.get(taken..at)?);
                mended.extend_from_slice(UNKNOWN);
                taken = at + 6;
                6
            }
            _ => 6,
        };
        at += length;
    }
    if taken == 0 {
        return None;
    }
    mended.extend_from_slice(text.get(taken..)?);
    Some(mended)
}

/// Returns what the escape `\uXXXX` at `at` stands for, if there is one.
fn unit(text: &[u8], at: usize) -> Option<u16> {
    let digits = text.get(at..at.checked_add(6)?)?.strip_prefix(b"\\u")?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_halves_without_the_other_are_replaced() {
        for (text, expected) in [
            (r#""a\ud83d""#, Some(r#""a\ufffd""#)),
            (
                r#""\uDE00 \uD83Dx\ud83d\n""#,
                Some(r#""\ufffd \ufffdx\ufffd\n""#),
            ),
            (
                r#""\ud83d\ud83d\ude00\ude00""#,
                Some(r#""\ufffd\ud83d\ude00\ufffd""#),
            ),
            (r#""\ud83d\ude00 \u00e4 \\ud83d \"""#, None),
            (r#""\\\ud83d""#, Some(r#""\\\ufffd""#)),
            ("\"\\", None),
            ("\"\\ud8", None),
            ("", None),
        ] {
            let found = mended(text.as_bytes());
            let found = found
                .as_deref()
                .map(|bytes| std::str::from_utf8(bytes).unwrap());
            assert_eq!(found, expected, "{text}");
        }
    }
}
