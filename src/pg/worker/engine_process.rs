//! \[supervisor\] The engine as a child process: start, settings, end.

use crate::pg::gucs;
use pgrx::pg_sys;
use std::ffi::CStr;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Name of the executable in PostgreSQL's package library directory.
const EXECUTABLE: &str = "elacsym-engine";
/// How many heaps the C library's allocator has. By itself it makes up to eight for each core, and memory that was freed in one is
/// no use to the others: the engine then holds several times what it uses.
const ARENAS: &str = "MALLOC_ARENA_MAX";
/// Fewest of them, so that threads do not wait for each other.
const MIN_ARENAS: usize = 2;
/// Highest descriptor looked at where `close_range` is missing (Linux before 5.11): the usual hard limit is below.
const MAX_DESCRIPTOR: i32 = 65_536;

/// A running engine. Dropping it closes the lifeline, which makes the engine stop by itself.
#[derive(Debug)]
pub struct EngineProcess {
    child: Child,
    /// Settings, one JSON object a line; its end is the engine's signal to stop.
    lifeline: Option<ChildStdin>,
    stderr: ChildStderr,
    /// Settings the pipe had no room for yet.
    unsent: Vec<u8>,
    started: Instant,
}

/// Where the engine's executable is: `elacsym.engine_path`, else PostgreSQL's package library directory.
pub fn executable() -> PathBuf {
    if let Some(path) = gucs::engine_path() {
        return path;
    }
    let directory = (&raw const pg_sys::pkglib_path).cast::<std::ffi::c_char>();
    // SAFETY: a zero-terminated array the postmaster fills before it loads any library.
    let directory = unsafe { CStr::from_ptr(directory) };
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(directory.to_bytes())).join(EXECUTABLE)
}

impl EngineProcess {
    /// Starts `executable` and gives it its first settings.
    ///
    /// # Errors
    /// Those of fork and exec: a file that is missing or not executable is reported here.
    pub fn spawn(executable: &Path, settings: &str) -> io::Result<Self> {
        // SAFETY: getpid(2) cannot fail.
        let parent = unsafe { libc::getpid() };
        let mut command = Command::new(executable);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        if std::env::var_os(ARENAS).is_none() {
            let cores = std::thread::available_parallelism().map_or(MIN_ARENAS, usize::from);
            command.env(ARENAS, cores.max(MIN_ARENAS).to_string());
        }
        // SAFETY: `prepare_child` makes only async-signal-safe calls and allocates nothing.
        unsafe { command.pre_exec(move || prepare_child(parent)) };
        // A signal that arrives between fork and exec would run PostgreSQL's handler in the child.
        let child = with_signals_blocked(|| command.spawn());
        let mut child = child?;
        let (Some(lifeline), Some(stderr)) = (child.stdin.take(), child.stderr.take()) else {
            return Err(io::Error::other("the pipes of the engine are missing"));
        };
        set_nonblocking(lifeline.as_raw_fd())?;
        set_nonblocking(stderr.as_raw_fd())?;
        let mut process = Self { child, lifeline: Some(lifeline), stderr, unsent: Vec::new(), started: Instant::now() };
        process.send_settings(settings);
        Ok(process)
    }

    /// Process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(0)
    }

    /// How long ago it was started.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Where its messages come from; does not block.
    pub fn stderr(&mut self) -> &mut ChildStderr {
        &mut self.stderr
    }

    /// The descriptor to wait on for messages, or for its end.
    pub fn stderr_fd(&self) -> RawFd {
        self.stderr.as_raw_fd()
    }

    /// Hands new settings down. They arrive in order, possibly later (see [`Self::flush`]).
    pub fn send_settings(&mut self, settings: &str) {
        self.unsent.extend_from_slice(settings.as_bytes());
        self.unsent.push(b'\n');
        self.flush();
    }

    /// Tells something that is not worth waiting for room in the pipe: it is left out if there is none.
    pub fn tell(&mut self, line: &str) {
        if self.unsent.is_empty() {
            self.send_settings(line);
        }
    }

    /// Settings wait for room in the pipe.
    pub fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Writes what the pipe takes. A broken pipe is noticed elsewhere, by the engine's end.
    pub fn flush(&mut self) {
        let Some(lifeline) = &mut self.lifeline else { return };
        while !self.unsent.is_empty() {
            match lifeline.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.unsent.clear(),
            }
        }
    }

    /// How it ended, if it has. Reaps this child and no other.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        match self.child.try_wait() {
            Ok(status) => status,
            // Somebody else reaped it: the only thing known is that it is gone.
            Err(_) => Some(ExitStatus::from_raw(0)),
        }
    }

    /// Tells it to stop (by closing the lifeline).
    pub fn let_go(&mut self) {
        self.lifeline = None;
    }

    /// Ends it at once and reaps it.
    pub fn kill(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How an engine ended, in PostgreSQL's words.
pub fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was terminated by signal {signal}"),
        (None, Some(code)) => format!("exited with exit code {code}"),
        (None, None) => "ended".to_owned(),
    }
}

/// \[engine's child process, between fork and exec\] Only async-signal-safe calls.
fn prepare_child(parent: libc::pid_t) -> io::Result<()> {
    // Ignored signals stay ignored over exec, and PostgreSQL ignores several.
    for signal in 1..=64 {
        // SAFETY: SIG_DFL is a valid disposition; where it is not allowed, the call only fails.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // The parent blocks every signal around the fork, and the mask is inherited.
    // SAFETY: all-zero bytes are a valid set to empty.
    let mut none: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: a valid set.
    unsafe { libc::sigemptyset(&mut none) };
    // SAFETY: a valid set; async-signal-safe.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &none, std::ptr::null_mut()) };
    // Its own session: the postmaster signals whole process groups.
    // SAFETY: no pointers; fails only for a group leader, which a new child is not.
    unsafe { libc::setsid() };
    #[cfg(target_os = "linux")]
    {
        // SIGKILL, not SIGTERM: when the supervisor dies without having stopped its engine, the next one starts another at
        // once, and two must not share the socket and the cache directory. The engine holds nothing that a kill can lose.
        // SAFETY: no pointers.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        // The parent may have died before the line above.
        // SAFETY: no pointers.
        if unsafe { libc::getppid() } != parent {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = parent;
    forget_descriptors();
    Ok(())
}

/// Every descriptor but the standard three goes away at exec. PostgreSQL's would outlive it otherwise: the pipe by which
/// processes notice the postmaster's death, client connections, listening sockets. Not closed here, as the standard library
/// still needs one to report a failing exec.
fn forget_descriptors() {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: no pointers.
        let result = unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
        if result == 0 {
            return;
        }
    }
    for fd in 3..MAX_DESCRIPTOR {
        // SAFETY: no pointers; fails harmlessly for a number that is not open.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

fn with_signals_blocked<R>(body: impl FnOnce() -> R) -> R {
    // SAFETY: all-zero bytes are a valid (empty) set on the platforms we run on; it is filled at once.
    let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let mut before: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: a valid set to fill.
    unsafe { libc::sigfillset(&mut all) };
    // SAFETY: two valid sets.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before) };
    let result = body();
    // SAFETY: the set that was in force.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut()) };
    result
}

fn set_nonblocking(fd: RawFd) -> io::Result<()> {
    // SAFETY: no pointers.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: no pointers.
    if unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
