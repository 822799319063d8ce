//! Spans of time as people write them: `90`, `90s`, `2m`, `1h30m`, `500ms`.

use std::time::Duration;

/// A span that could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a span of time: write for example 90, 90s, 2m or 1h30m")]
pub struct Error(String);

/// Reads a span. A bare number is seconds.
///
/// # Errors
/// When the text is empty, has an unknown unit, repeats or misorders units, or is too large.
pub fn parse(text: &str) -> Result<Duration, Error> {
    let fail = || Error(text.to_owned());
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().map(Duration::from_secs).map_err(|_| fail());
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    let mut last_unit = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(fail)?;
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, after) = tail.split_at(unit_end);
        let unit_ms: u64 = match unit {
            "d" => 86_400_000,
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return Err(fail()),
        };
        // Larger units come first, each at most once: `30m1h` is more likely a slip than a wish.
        if unit_ms >= last_unit {
            return Err(fail());
        }
        last_unit = unit_ms;
        let number: u64 = number.parse().map_err(|_| fail())?;
        let millis = number.checked_mul(unit_ms).ok_or_else(fail)?;
        total = total
            .checked_add(Duration::from_millis(millis))
            .ok_or_else(fail)?;
        rest = after;
    }
    if last_unit == u64::MAX {
        Err(fail())
    } else {
        Ok(total)
    }
}

/// Reads a limit: a span, where `0` means no limit (`None`).
///
/// # Errors
/// As [`parse`].
pub fn parse_limit(text: &str) -> Result<Limit, Error> {
    let span = parse(text)?;
    Ok(Limit((!span.is_zero()).then_some(span)))
}

/// A span that may be absent, which means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(pub Option<Duration>);

impl Limit {
    /// No limit.
    pub const NONE: Self = Self(None);

    /// A limit of `secs` seconds.
    pub const fn secs(secs: u64) -> Self {
        Self(Some(Duration::from_secs(secs)))
    }
}

/// Writes a span briefly for people: `41s`, `2m05s`, `340ms`.
pub fn human(span: Duration) -> String {
    let secs = span.as_secs();
    match secs {
        0 if span.subsec_millis() > 0 => format!("{}ms", span.subsec_millis()),
        // Of a few seconds the first decimal still matters.
        1..10 if span.subsec_millis() >= 100 => {
            format!("{secs}.{}s", span.subsec_millis() / 100)
        }
        0..60 => format!("{secs}s"),
        60..3600 => format!("{}m{:02}s", secs / 60, secs % 60),
        _ => format!("{}h{:02}m", secs / 3600, secs / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        let cases = [
            ("90", 90_000),
            ("90s", 90_000),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("0", 0),
        ];
        for (text, millis) in cases {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "s",
            "1x",
            "30m1h",
            "1m1m",
            "-1",
            "1.5s",
            "1h30",
            "99999999999999999999",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn zero_is_no_limit() {
        assert_eq!(parse_limit("0"), Ok(Limit::NONE));
        assert_eq!(parse_limit("0s"), Ok(Limit::NONE));
        assert_eq!(parse_limit("8"), Ok(Limit::secs(8)));
    }

    #[test]
    fn writes_briefly() {
        let cases = [
            (340, "340ms"),
            (1_970, "1.9s"),
            (2_020, "2s"),
            (41_000, "41s"),
            (125_000, "2m05s"),
            (3_660_000, "1h01m"),
            (0, "0s"),
        ];
        for (millis, text) in cases {
            assert_eq!(human(Duration::from_millis(millis)), text);
        }
    }
}
