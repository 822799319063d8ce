//! Chance: fresh ids, markers and jitter. Nothing outside this file draws random numbers.

use std::cell::Cell;

use uuid::Uuid;

thread_local! {
    /// Where the chance of a simulation stands on this thread; nothing otherwise.
    static SIMULATED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Makes all chance on this thread follow from `seed`, for simulations that must run the same way
/// every time. Ids, tokens and secrets made after it can be guessed.
pub fn simulate(seed: u64) {
    SIMULATED.set(Some(seed));
}

/// Returns the next number of the simulation on this thread, if there is one (SplitMix64).
fn simulated() -> Option<u64> {
    let state = SIMULATED.get()?.wrapping_add(0x9e37_79b9_7f4a_7c15);
    SIMULATED.set(Some(state));
    let mut mixed = state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Some(mixed ^ (mixed >> 31))
}

/// Returns a fresh id that sorts by the time it was made (UUID version 7).
pub fn time_ordered() -> Uuid {
    match SIMULATED.get() {
        None => Uuid::now_v7(),
        Some(_) => uuid::Builder::from_random_bytes(random_bytes()).into_uuid(),
    }
}

/// Returns `N` random bytes from the system.
///
/// # Panics
/// If the system has no source of randomness: nothing that needs a secret or an id can go on then.
#[allow(clippy::expect_used, reason = "no randomness, no safe way to go on")]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if SIMULATED.get().is_some() {
        for part in bytes.chunks_mut(8) {
            let number = simulated().unwrap_or_default().to_le_bytes();
            for (byte, drawn) in part.iter_mut().zip(number) {
                *byte = drawn;
            }
        }
        return bytes;
    }
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

    #[test]
    fn a_simulation_draws_the_same_again() {
        let drawn = |seed| {
            let thread = std::thread::spawn(move || {
                simulate(seed);
                (random_bytes::<20>(), time_ordered(), time_ordered())
            });
            thread.join().unwrap()
        };
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        let (_, first, second) = drawn(7);
        assert_ne!(first, second);
    }
}
