//! Child processes that do not outlive the tests.
//!
//! Dropping a [`Process`] kills it. A test process that is itself killed drops nothing, so each child also dies with its
//! parent: it is started through util-linux's `setpriv --pdeathsig KILL`, which asks the kernel for that and then
//! *becomes* the program (same process id). Where there is no such `setpriv`, a shell that waits on a pipe from us
//! kills the child when the pipe closes. The kernel's signal is sent when the parent *thread* ends, so one thread that
//! never ends starts all children.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, mpsc};
use std::time::Duration;

pub use rustix::process::Signal;

/// A running child process; its output goes to a file.
pub struct Process {
    name: String,
    id: u32,
    log: PathBuf,
    child: Mutex<Child>,
    watchdog: Option<Mutex<Child>>,
}

/// What to run.
pub struct Program {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
}

impl Program {
    /// A program by path, or by a name on the PATH.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
        }
    }

    /// Adds arguments.
    pub fn args<S: Into<OsString>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable beside the inherited ones.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Starts it; standard output and error are appended to `log`.
    pub fn start(self, name: &str, log: &Path) -> io::Result<Process> {
        // Through setpriv, a program that is not there would only show in the log.
        if self.program.components().count() > 1 && !self.program.exists() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("{} is not there", self.program.display()),
            ));
        }
        let output = File::options().create(true).append(true).open(log)?;
        let mut command = if pdeathsig() {
            let mut command = Command::new("setpriv");
            command
                .args(["--pdeathsig", "KILL", "--"])
                .arg(&self.program);
            command
        } else {
            Command::new(&self.program)
        };
        command.args(&self.args).envs(self.env).stdin(Stdio::null());
        command.stdout(output.try_clone()?).stderr(output);
        let describe = |error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", self.program.display()))
        };
        let child = spawn(command).map_err(describe)?;
        let id = child.id();
        let watchdog = if pdeathsig() {
            None
        } else {
            Some(Mutex::new(watchdog(id)?))
        };
        Ok(Process {
            name: name.to_owned(),
            id,
            log: log.to_owned(),
            child: Mutex::new(child),
            watchdog,
        })
    }
}

impl Process {
    /// What the starter called it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The file that takes its output.
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        std::fs::read(&self.log)
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .unwrap_or_default()
    }

    /// The last lines of what it has printed.
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.log(), lines)
    }

    /// How it ended, if it has.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.child
            .lock()
            .unwrap()
            .try_wait()
            .expect("a child can be waited for")
    }

    /// Waits for its end.
    pub async fn exited(&self) -> ExitStatus {
        loop {
            if let Some(status) = self.exit_status() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends a signal; to a process that has ended, nothing.
    pub fn signal(&self, signal: Signal) {
        // Not reaped yet, so the id is still its own.
        let mut child = self.child.lock().unwrap();
        if matches!(child.try_wait(), Ok(None)) {
            let id =
                rustix::process::Pid::from_raw(self.id as i32).expect("a child's id is positive");
            let _ = rustix::process::kill_process(id, signal);
        }
    }

    /// SIGKILL; returns when it is gone.
    pub fn kill(&self) {
        {
            let mut child = self.child.lock().unwrap();
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(watchdog) = &self.watchdog {
            let mut watchdog = watchdog.lock().unwrap();
            let _ = watchdog.kill();
            let _ = watchdog.wait();
        }
    }

    /// SIGTERM, and SIGKILL when that has not helped in time. Returns the status if it ended by itself.
    pub async fn terminate(&self, patience: Duration) -> Option<ExitStatus> {
        self.signal(Signal::TERM);
        let status = tokio::time::timeout(patience, self.exited()).await.ok();
        self.kill();
        status
    }

    /// Resident memory, in KiB.
    pub fn rss_kib(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.id)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|value| value.split_whitespace().next()?.parse().ok())
            .unwrap_or_default()
    }

    /// The highest resident memory so far, in KiB.
    pub fn peak_rss_kib(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.id)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.and_then(|value| value.split_whitespace().next()?.parse().ok())
            .unwrap_or_default()
    }

    /// Processor time used so far, user and system.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id)).unwrap_or_default();
        // The name, in parentheses, may hold anything; fields 14 and 15 of the line are 12 and 13 of what follows it.
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let ticks = |index: usize| {
            fields
                .get(index)
                .and_then(|f| f.parse::<f64>().ok())
                .unwrap_or_default()
        };
        (ticks(11) + ticks(12)) / rustix::param::clock_ticks_per_second() as f64
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last lines of a text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Whether util-linux's setpriv is here, with `--pdeathsig`.
fn pdeathsig() -> bool {
    static PRESENT: OnceLock<bool> = OnceLock::new();
    *PRESENT.get_or_init(|| {
        let wanted = std::env::var_os("TEST_NO_SETPRIV").is_none();
        wanted
            && Command::new("setpriv")
                .args(["--pdeathsig", "KILL", "--", "true"])
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
    })
}

/// Kills the process with this id when we end: our end of its standard input closes then, however we end.
fn watchdog(id: u32) -> io::Result<Child> {
    Command::new("sh")
        .args([
            "-c",
            r#"trap "" INT TERM HUP; read -r _; kill -9 "$0" 2>/dev/null"#,
            &id.to_string(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

type Job = Box<dyn FnOnce() + Send>;

fn spawn(mut command: Command) -> io::Result<Child> {
    static STARTER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (send, receive) = mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name("process-starter".to_owned())
            .spawn(move || receive.into_iter().for_each(|job| job()))
            .expect("the starter thread starts");
        send
    });
    let (reply, child) = mpsc::channel();
    starter
        .send(Box::new(move || drop(reply.send(command.spawn()))))
        .expect("the starter thread lives");
    child.recv().expect("the starter thread answers")
}
