//! Everything that is drawn in a simulation comes from its seed.
//!
//! Our own draws come from [`Chance`]. What libraries draw (hash maps, the order in which ready futures are
//! looked at, election timeouts, fresh ids) reaches the system's `getrandom`, which this test binary replaces:
//! a thread that was given a seed gets numbers made of it, every other thread those of the system.

#![allow(
    unsafe_code,
    reason = "the one function of the C library that is replaced"
)]

use std::cell::Cell;

thread_local! {
    static STATE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Makes all randomness of this thread follow from `seed`, from now on.
pub fn fix(seed: u64) {
    STATE.set(Some(seed));
}

/// Stands before the function of the C library of this name.
///
/// # Safety
/// As with that function, `buffer` must have room for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(
    buffer: *mut libc::c_void,
    length: usize,
    flags: libc::c_uint,
) -> isize {
    let Some(state) = STATE.get() else {
        // SAFETY: the caller's promise, handed on.
        let read = unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) };
        return isize::try_from(read).unwrap_or(-1);
    };
    if length == 0 {
        return 0;
    }
    let mut chance = Chance(state);
    // SAFETY: the caller promises that these bytes are its own to be written.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
    for byte in bytes {
        *byte = chance.next().to_le_bytes()[0];
    }
    STATE.set(Some(chance.0));
    isize::try_from(length).unwrap_or(-1)
}

/// A stream of numbers (SplitMix64) that is the same wherever it runs.
#[derive(Clone)]
pub struct Chance(u64);

impl Chance {
    /// Returns the stream number `stream` of `seed`.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut mixed = Self(seed ^ stream.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        mixed.next();
        mixed
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number in `0..end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// Returns a number in `from..to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from))
    }

    /// Tells whether something that happens in `percent` of a hundred cases happens now.
    pub fn happens(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Returns one of `items`.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }
}
