//! Reads side by side.

use futures::{StreamExt, stream};

/// How many reads are under way at once.
const READERS: usize = 16;

/// Reads for each item, and returns the answers in any order.
pub async fn for_each<T, R: Future>(
    items: impl IntoIterator<Item = T>,
    read: impl Fn(T) -> R,
) -> Vec<R::Output> {
    let reads = stream::iter(items).map(read);
    reads.buffer_unordered(READERS).collect().await
}
