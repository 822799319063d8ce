//! Ids for requests that came without one: unlike all others, and made without asking the system each time.

use std::cell::RefCell;
use std::fmt::Write;

use hyper::header::HeaderValue;

use crate::support::ids;

/// Returns a fresh id.
pub fn fresh() -> HeaderValue {
    thread_local! {
        static NEXT: RefCell<Option<(String, u64)>> = const { RefCell::new(None) };
    }
    NEXT.with_borrow_mut(|next| {
        let (thread, count) = next.get_or_insert_with(|| (ids::random_hex::<8>(), 0));
        *count += 1;
        let mut id = String::with_capacity(28);
        let _ = write!(id, "{thread}-{count:08x}");
        HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("none"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_comes_twice() {
        let mut all: Vec<HeaderValue> = (0..4)
            .flat_map(|_| std::thread::spawn(|| [fresh(), fresh()]).join().unwrap())
            .collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 8);
    }
}
