//! glibc's allocator, told to give memory back.
//!
//! By default it keeps a heap for every thread, and each large buffer that is freed raises the size below which it keeps
//! what is freed: a first list of a thousand pods, or the thousandth key, stays resident for good.

/// Of a heap's free end, at most this many bytes are kept; and larger buffers than this go back as soon as they are freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT: libc::c_int = 64 * 1024;

/// To be called before there is a second thread. `MALLOC_…` in the environment is overruled.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(
    unsafe_code,
    reason = "mallopt(3) takes two numbers by value, and no other thread allocates yet"
)]
pub fn give_back() {
    for (option, value) in [
        (libc::M_ARENA_MAX, 1),
        (libc::M_TRIM_THRESHOLD, KEPT),
        (libc::M_MMAP_THRESHOLD, KEPT),
    ] {
        // SAFETY: no pointer is passed. A refused option leaves the default in place.
        unsafe { libc::mallopt(option, value) };
    }
}

/// Other allocators have their own ways.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back() {}

/// Gives back what is free amidst what is in use: a turn over thousands of leaves leaves holes behind.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "malloc_trim(3) takes a number by value")]
pub fn give_back_holes() {
    use std::sync::{Mutex, PoisonError};
    use std::time::{Duration, Instant};

    /// The shortest time between two looks for free pages.
    const PAUSE: Duration = Duration::from_secs(1);
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if last.is_none_or(|last| last.elapsed() >= PAUSE) {
        // SAFETY: no pointer is passed, and it may be called at any time.
        unsafe { libc::malloc_trim(0) };
        *last = Some(Instant::now());
    }
}

/// Other allocators have their own ways.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back_holes() {}
