//! One runtime for what the test bed runs beside a test (kubelet, proxy, forwarders), so that it makes progress
//! whatever the test does with its own, often single-threaded, runtime.

use std::sync::OnceLock;
use tokio::runtime::{Builder, Handle, Runtime};

/// A handle of the background runtime. It is never shut down; its tasks are ended by their owners.
pub fn handle() -> &'static Handle {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME
        .get_or_init(|| {
            Builder::new_multi_thread()
                .worker_threads(2)
                .thread_name("test-bed")
                .enable_all()
                .build()
                .expect("the background runtime starts")
        })
        .handle()
}

/// Tasks of one owner: aborted when it is dropped.
#[derive(Default)]
pub struct Tasks(std::sync::Mutex<Vec<tokio::task::AbortHandle>>);

impl Tasks {
    /// Runs a future on the background runtime until it ends or the owner is dropped.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let task = handle().spawn(future).abort_handle();
        let mut tasks = self.0.lock().unwrap();
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
    }

    /// Aborts them all, now.
    pub fn abort(&self) {
        for task in self.0.lock().unwrap().drain(..) {
            task.abort();
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.abort();
    }
}
