//! Chance: fresh ids, markers and jitter. Nothing outside this file draws random numbers.

use uuid::Uuid;

/// Returns a fresh id that sorts by the time it was made (UUID version 7).
pub fn time_ordered() -> Uuid {
    Uuid::now_v7()
}

/// Returns `N` random bytes from the system.
///
/// # Panics
/// If the system has no source of randomness: nothing that needs a secret or an id can go on then.
#[allow(clippy::expect_used, reason = "no randomness, no safe way to go on")]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    bytes
}

/// Returns `N` random bytes as lower-case hexadecimal text, twice as long.
pub fn random_hex<const N: usize>() -> String {
    hex(&random_bytes::<N>())
}

/// Returns `bytes` as lower-case hexadecimal text.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Returns a fraction in `0.0..1.0`, for jitter.
pub fn fraction() -> f64 {
    let bits = u64::from_le_bytes(random_bytes::<8>()) >> 11;
    // 53 bits: every value is exactly representable.
    bits as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_stay_in_range_and_ids_sort() {
        assert!(
            (0..1000)
                .map(|_| fraction())
                .all(|f| (0.0..1.0).contains(&f))
        );
        let (first, second) = (time_ordered(), time_ordered());
        assert!(first < second);
        assert_eq!(hex(&[0, 255, 16]), "00ff10");
    }
}
