//! Free loopback ports, below the range from which the kernel takes ports for outgoing connections, so that none is
//! taken between its choice and its use; and never the same one twice in a process.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = 16_000;
const COUNT: u32 = 16_000; // the kernel's own range starts at 32768

/// A port of 127.0.0.1 that nobody listens on.
pub fn free() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Processes at work at the same time start at different places.
    let start = std::process::id().wrapping_mul(257) % COUNT;
    for _ in 0..COUNT {
        let port = (FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!(
        "no free loopback port between {FIRST} and {}",
        FIRST + COUNT
    );
}
