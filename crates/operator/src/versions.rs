//! The order of resource versions.

/// Whether one version of an object is older than another (KEP-5504). Versions that are no numbers have no order.
pub fn is_older(new: &str, known: &str) -> bool {
    matches!((new.parse::<u64>(), known.parse::<u64>()), (Ok(new), Ok(known)) if new < known)
}
