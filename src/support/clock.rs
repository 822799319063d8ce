//! Wall-clock time as a value. Nothing outside this file asks the system what time it is.
//!
//! Wall-clock is for records and for display. Spans inside one process are counted with
//! [`std::time::Instant`], which neither steps nor runs backwards.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// A point in time: milliseconds since 1970-01-01T00:00:00Z.
///
/// On the wire and in JSON it is ISO 8601 in UTC with exactly three digits of milliseconds,
/// because peers of the original system compare times as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The last point that ISO 8601 has four digits of a year for: later ones cannot be read back.
    pub const LAST: Self = Self(253_402_300_799_999);
    /// The first such point, in the year 0.
    const FIRST: Self = Self(-62_167_219_200_000);

    /// Returns the point `millis` milliseconds after the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Returns milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Returns the time passed since `earlier`, or zero if the clock was set back in between.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Returns this point moved on by `span`, but not beyond [`Self::LAST`].
    pub fn plus(self, span: Duration) -> Self {
        let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        let moved = self.0.saturating_add(millis);
        Self(moved.min(Self::LAST.0.max(self.0)))
    }

    /// Returns this point moved back by `span`.
    pub fn minus(self, span: Duration) -> Self {
        let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(millis))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = i128::from(self.0) * 1_000_000;
        let text = OffsetDateTime::from_unix_timestamp_nanos(nanos)
            .ok()
            .and_then(|at| {
                at.format(format_description!(
                    "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
                ))
                .ok()
            });
        match text {
            Some(text) => f.write_str(&text),
            None => write!(f, "@{}ms", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let at = OffsetDateTime::parse(&text, &Rfc3339).map_err(serde::de::Error::custom)?;
        let millis = i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000_000))
            .map_err(serde::de::Error::custom)?;
        // The offset may carry it out of what can be written again in UTC.
        if !(Self::FIRST.0..=Self::LAST.0).contains(&millis) {
            return Err(serde::de::Error::custom("the year is not one of 0 to 9999"));
        }
        Ok(Self(millis))
    }
}

impl utoipa::PartialSchema for Timestamp {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{KnownFormat, Object, ObjectBuilder, SchemaFormat, Type};
        let text: ObjectBuilder = Object::builder().schema_type(Type::String);
        text.format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .into()
    }
}

impl utoipa::ToSchema for Timestamp {}

/// Tells the time. Handed in at start-up, so that a test can hold it still.
pub trait Clock: Send + Sync {
    /// Returns the time now.
    fn now(&self) -> Timestamp;
}

/// The clock of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place that asks the system"
    )]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A clock that asks the system for the time once and then counts, so that nobody who sets the
/// system's clock can prolong or cut what is measured with it.
///
/// On Linux it goes on counting while the machine sleeps.
#[derive(Debug, Clone, Copy)]
pub struct SteadyClock {
    start: Timestamp,
    counted: Duration,
}

impl SteadyClock {
    /// Returns a clock that goes on from what the system says now.
    pub fn start() -> Self {
        Self::from(SystemClock.now())
    }
}

impl From<Timestamp> for SteadyClock {
    fn from(start: Timestamp) -> Self {
        Self {
            start,
            counted: counter(),
        }
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        self.start.plus(counter().saturating_sub(self.counted))
    }
}

/// Returns what a counter stands at that nobody can set.
fn counter() -> Duration {
    #[cfg(target_os = "linux")]
    let id = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let id = rustix::time::ClockId::Monotonic;
    let at = rustix::time::clock_gettime(id);
    Duration::new(
        u64::try_from(at.tv_sec).unwrap_or(0),
        u32::try_from(at.tv_nsec).unwrap_or(0),
    )
}

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Returns a clock that stands at `at`.
    pub fn at(at: Timestamp) -> Self {
        Self(AtomicI64::new(at.0))
    }

    /// Moves the clock on by `span`.
    pub fn advance(&self, span: Duration) {
        let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        self.0.fetch_add(millis, Ordering::SeqCst);
    }

    /// Sets the clock to `at`, also back.
    pub fn set(&self, at: Timestamp) {
        self.0.store(at.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_three_digits_and_reads_back() {
        let at = Timestamp::from_millis(1_700_000_000_007);
        assert_eq!(at.to_string(), "2023-11-14T22:13:20.007Z");
        let json = serde_json::to_string(&at).unwrap();
        assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), at);
    }

    #[test]
    fn far_times_can_be_read_back() {
        let reads = |text: &str| serde_json::from_str::<Timestamp>(&format!("\"{text}\""));
        for span in [Duration::MAX, Duration::from_millis(u64::MAX)] {
            let far = Timestamp::from_millis(1_700_000_000_007).plus(span);
            assert_eq!(far.to_string(), "9999-12-31T23:59:59.999Z");
            assert_eq!(reads(&far.to_string()).unwrap(), far);
        }
        assert!(reads("0000-01-01T00:00:00Z").is_ok());
        for outside in ["9999-12-31T23:59:59.999-00:01", "0000-01-01T00:00:00+00:01"] {
            assert!(reads(outside).is_err(), "{outside}");
        }
    }

    #[test]
    fn a_steady_clock_counts_from_where_it_began() {
        let far = Timestamp::from_millis(4_000_000_000_000);
        let clock = SteadyClock::from(far);
        let (first, second) = (clock.now(), clock.now());
        assert!(first >= far && second >= first);
        assert!(second.since(far) < Duration::from_secs(60));
    }

    #[test]
    fn a_clock_set_back_gives_no_negative_span() {
        let (early, late) = (Timestamp::from_millis(5), Timestamp::from_millis(9));
        assert_eq!(late.since(early), Duration::from_millis(4));
        assert_eq!(early.since(late), Duration::ZERO);
    }
}
