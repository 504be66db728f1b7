//! A wait that has an end.

use std::time::{Duration, Instant};

/// Waits until something is so; it fails the case after that many seconds.
#[track_caller]
pub fn wait_until(seconds: u64, what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !is_so() {
        assert!(Instant::now() < end, "not so in {seconds} s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
