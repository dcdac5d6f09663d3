//! \[backend, worker\] The client of the engine: one request, waiting on the process latch, cancellable at any moment.
//!
//! One connection is kept between calls. It is taken out during a call and put back only after a whole reply, so that an
//! error, a cancel or a `FATAL` in between drops it, which makes the engine drop the work. Nothing here blocks in a system
//! call that PostgreSQL's interrupts cannot end.

use super::{preload, shmem};
use crate::error::{Error, Result};
use crate::ids::EntryId;
use crate::ipc::frame::{Decoder, Kind, encode};
use crate::ipc::message::{PROTOCOL_VERSION, ProvidedEntry, Request, Response, Tombstone};
pub use crate::ipc::reply::Reply;
use crate::pg::gucs::SOCKET_PATH;
use pgrx::pg_sys;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a call waits for an engine that is not there: several times what a restart takes.
pub const ENGINE_WAIT: Duration = Duration::from_secs(5);
/// First and longest pause between two attempts to connect.
const CONNECT_PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));
/// Bytes of payload in one `Provide` frame: far below the frame limit, even with one largest document on top.
const PROVIDE_PART_BYTES: usize = 4 << 20;
/// How often a request is started again after the engine went away under it. All requests are idempotent (a flush writes
/// new objects each time), but an engine that dies twice of the same request must not be asked a third time.
const MAX_RESTARTS: u32 = 1;

/// Answers the engine's questions during a call.
pub trait Needs {
    /// The payloads of `entries` and the bytes of `delete_vectors`, as the caller's snapshot sees them. It may raise.
    ///
    /// # Errors
    /// Whatever makes the answer impossible; the call ends with it.
    fn provide(&mut self, entries: &[EntryId], delete_vectors: &[String]) -> Result<Provided>;

    /// The tombstones of the request's view. It may raise.
    ///
    /// # Errors
    /// Whatever makes the answer impossible; the call ends with it.
    fn tombstones(&mut self) -> Result<Vec<Tombstone>> {
        Err(Error::internal("the engine asked for tombstones of a request that has none"))
    }
}

impl<N: Needs + ?Sized> Needs for &mut N {
    fn provide(&mut self, entries: &[EntryId], delete_vectors: &[String]) -> Result<Provided> {
        (**self).provide(entries, delete_vectors)
    }

    fn tombstones(&mut self) -> Result<Vec<Tombstone>> {
        (**self).tombstones()
    }
}

/// Answer to [`Needs::provide`].
#[derive(Debug, Default)]
pub struct Provided {
    /// Payloads, CRC already verified.
    pub entries: Vec<ProvidedEntry>,
    /// Segment ids and encoded delete vectors.
    pub delete_vectors: Vec<(String, Vec<u8>)>,
}

/// For requests about which the engine never asks anything.
#[derive(Debug)]
pub struct NoNeeds;

impl Needs for NoNeeds {
    fn provide(&mut self, _: &[EntryId], _: &[String]) -> Result<Provided> {
        Err(Error::internal("the engine asked for entries of a request that has none"))
    }
}

/// Asks the engine and waits for the whole reply. Raises `elacsym is not loaded` when the library is not preloaded, and
/// whatever `CHECK_FOR_INTERRUPTS` raises (cancel, `statement_timeout`, termination).
///
/// # Errors
/// The engine's own error, or `Unavailable` when no engine answers.
pub fn call(request: &Request, needs: &mut dyn Needs) -> Result<Reply> {
    preload::require();
    let frame = encode(Kind::Request, request)?;
    let mut restarts = 0;
    loop {
        let kept = Connection::take_kept();
        let fresh = kept.is_none();
        let mut connection = match kept {
            Some(connection) => connection,
            None => Connection::open()?,
        };
        match connection.exchange(&frame, needs) {
            Ok(reply) => {
                connection.keep();
                return Ok(reply);
            }
            Err(Failure::Refused(error)) => {
                connection.keep();
                return Err(error);
            }
            Err(Failure::Broken(error)) => return Err(error),
            // A kept connection may be of an engine that is long gone: that is no failure of this request.
            Err(Failure::Lost(_)) if !fresh => {}
            Err(Failure::Lost(_)) if restarts < MAX_RESTARTS => restarts += 1,
            Err(Failure::Lost(error)) => {
                return Err(Error::unavailable("the connection to the elacsym engine was lost")
                    .with_detail(error.to_string())
                    .with_hint("Try again; the server log says why the engine went away."));
            }
        }
    }
}

/// The connection that the next [`call`] uses, if one is open. What the engine keeps for a connection (scans, scorers) is
/// gone when this changes.
pub fn connection() -> Option<u64> {
    (KEPT.load(Ordering::Relaxed) >= 0).then(|| KEPT_NUMBER.load(Ordering::Relaxed))
}

/// Tells the engine something that is not worth waiting for another engine: only over the connection that is open.
///
/// # Errors
/// The engine's own error; none when it is gone.
pub fn tell(request: &Request) -> Result<()> {
    let frame = encode(Kind::Request, request)?;
    let Some(mut connection) = Connection::take_kept() else { return Ok(()) };
    match connection.exchange(&frame, &mut NoNeeds) {
        Ok(_) => connection.keep(),
        Err(Failure::Refused(error)) => {
            connection.keep();
            return Err(error);
        }
        Err(Failure::Broken(error)) => return Err(error),
        Err(Failure::Lost(_)) => {}
    }
    Ok(())
}

/// As [`call`], but only on that very connection; `None` when it is gone, and whatever it held in the engine with it.
///
/// # Errors
/// The engine's own error.
pub fn call_on(number: u64, request: &Request, needs: &mut dyn Needs) -> Result<Option<Reply>> {
    if connection() != Some(number) {
        return Ok(None);
    }
    let frame = encode(Kind::Request, request)?;
    let Some(mut connection) = Connection::take_kept() else { return Ok(None) };
    match connection.exchange(&frame, needs) {
        Ok(reply) => {
            connection.keep();
            Ok(Some(reply))
        }
        Err(Failure::Refused(error)) => {
            connection.keep();
            Err(error)
        }
        Err(Failure::Broken(error)) => Err(error),
        Err(Failure::Lost(_)) => Ok(None),
    }
}

/// Whether an engine answers now. Waits for none to be started.
pub fn engine_answers() -> bool {
    let kept = Connection::take_kept().filter(Connection::is_open);
    match kept.map_or_else(Connection::try_open, Ok) {
        Ok(connection) => {
            connection.keep();
            true
        }
        Err(_) => false,
    }
}

/// Process id and version of the engine that answers. Same waiting and errors as [`call`].
///
/// # Errors
/// As [`call`].
pub fn engine_identity() -> Result<(u32, String)> {
    preload::require();
    let connection = Connection::open()?;
    let identity = (connection.engine_pid, connection.engine_version.clone());
    drop(connection);
    Ok(identity)
}

/// Why an exchange ended without a reply.
enum Failure {
    /// The engine answered with an error; the connection is fine.
    Refused(Error),
    /// Something is wrong that another attempt cannot mend.
    Broken(Error),
    /// The engine went away.
    Lost(io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Broken(error)
    }
}

/// PostgreSQL's count of file descriptors it did not open itself.
struct ExternalFd;

impl ExternalFd {
    fn acquire() -> Result<Self> {
        // SAFETY: counts, and closes files of PostgreSQL's own cache if there are too many.
        if unsafe { pg_sys::AcquireExternalFD() } {
            Ok(Self)
        } else {
            Err(Error::new(
                crate::error::ErrorKind::Exhausted,
                "no file descriptor is left for a connection to the elacsym engine",
            )
            .with_hint("Raise max_files_per_process, or use fewer files in one session."))
        }
    }
}

impl Drop for ExternalFd {
    fn drop(&mut self) {
        // SAFETY: only decrements a counter, so it is safe even while an error unwinds.
        unsafe { pg_sys::ReleaseExternalFD() };
    }
}

struct Connection {
    fd: OwnedFd,
    /// Counts the connections of this process.
    number: u64,
    decoder: Decoder,
    engine_pid: u32,
    engine_version: String,
    _counted: ExternalFd,
}

/// The connection between two calls (-1: none). A plain number, not a thread-local with a destructor: those run while the
/// process exits, when PostgreSQL is half gone.
static KEPT: AtomicI32 = AtomicI32::new(-1);
/// Its number.
static KEPT_NUMBER: AtomicU64 = AtomicU64::new(0);
/// Connections opened by this process.
static OPENED: AtomicU64 = AtomicU64::new(0);

impl Connection {
    fn take_kept() -> Option<Self> {
        let fd = KEPT.swap(-1, Ordering::Relaxed);
        if fd < 0 {
            return None;
        }
        // SAFETY: `keep` stored it and gave up ownership; the swap makes us its only owner.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Some(Self::new(fd, KEPT_NUMBER.load(Ordering::Relaxed), ExternalFd))
    }

    fn new(fd: OwnedFd, number: u64, counted: ExternalFd) -> Self {
        let decoder = Decoder::new(Kind::Response);
        Self { fd, number, decoder, engine_pid: 0, engine_version: String::new(), _counted: counted }
    }

    fn keep(self) {
        let Self { fd, number, _counted, .. } = self;
        // The count stays up while the connection is kept; `take_kept` takes it over.
        std::mem::forget(_counted);
        KEPT_NUMBER.store(number, Ordering::Relaxed);
        KEPT.store(fd.into_raw_fd(), Ordering::Relaxed);
    }

    /// Connects and says hello, waiting up to [`ENGINE_WAIT`] for an engine to be there.
    fn open() -> Result<Self> {
        let deadline = Instant::now() + ENGINE_WAIT;
        let mut pause = CONNECT_PAUSE.0;
        loop {
            let error = match Self::try_open() {
                Ok(connection) => return Ok(connection),
                Err(Failure::Refused(error) | Failure::Broken(error)) => return Err(error),
                Err(Failure::Lost(error)) => error,
            };
            let problem = shmem::engine_problem();
            if Instant::now() >= deadline || problem.is_lasting() {
                let detail = problem.describe().map_or_else(|| error.to_string(), str::to_owned);
                return Err(Error::unavailable("the elacsym engine is not running").with_detail(detail).with_hint(
                    "The server log has messages of the elacsym supervisor that say why. Try again later.",
                ));
            }
            wait(None, 0, Some(pause));
            pause = (pause * 2).min(CONNECT_PAUSE.1);
        }
    }

    /// Whether the other end is still there, as far as this end knows. Between two calls nothing is there to be read.
    fn is_open(&self) -> bool {
        let mut byte = 0_u8;
        // SAFETY: room for the one byte asked for; the descriptor is open.
        let received =
            unsafe { libc::recv(self.fd.as_raw_fd(), (&raw mut byte).cast(), 1, libc::MSG_PEEK | libc::MSG_DONTWAIT) };
        received < 0 && io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock
    }

    fn try_open() -> std::result::Result<Self, Failure> {
        let counted = ExternalFd::acquire()?;
        let mut connection =
            Self::new(connect().map_err(Failure::Lost)?, OPENED.fetch_add(1, Ordering::Relaxed) + 1, counted);
        let hello = Request::Hello { protocol: PROTOCOL_VERSION, version: env!("CARGO_PKG_VERSION").to_owned() };
        connection.send(&encode(Kind::Request, &hello)?)?;
        match connection.receive()? {
            Response::Hello { protocol: PROTOCOL_VERSION, version, pid } => {
                connection.engine_pid = pid;
                connection.engine_version = version;
                Ok(connection)
            }
            Response::Hello { protocol, version, .. } => Err(Failure::Broken(version_mismatch(&version, protocol))),
            Response::Error(error) => Err(Failure::Refused(error)),
            _ => Err(Failure::Broken(Error::internal("the elacsym engine did not answer the hello"))),
        }
    }

    /// One request and everything that belongs to it.
    fn exchange(&mut self, request: &[u8], needs: &mut dyn Needs) -> std::result::Result<Reply, Failure> {
        self.send(request)?;
        let mut all_rows = Vec::new();
        let mut scan_rows = Vec::new();
        let mut all_keys = Vec::new();
        let mut all_candidates = Vec::new();
        let mut all_states = Vec::new();
        loop {
            match self.receive()? {
                Response::Done => return Ok(Reply::Done),
                Response::Rows { mut rows, last, stats } => {
                    all_rows.append(&mut rows);
                    if last {
                        return Ok(Reply::Rows(all_rows, stats));
                    }
                }
                Response::Flushed(result) => return Ok(Reply::Flushed(result)),
                Response::Matches(matches) => return Ok(Reply::Matches(matches)),
                Response::ScorerOpened { scorer } => return Ok(Reply::ScorerOpened(scorer)),
                Response::Corpus(stats) => return Ok(Reply::Corpus(stats)),
                Response::Aggregated { count, facets, stats } => {
                    return Ok(Reply::Aggregated { count, facets, stats });
                }
                Response::Warmed { objects, bytes } => return Ok(Reply::Warmed { objects, bytes }),
                Response::Scores(scores) => return Ok(Reply::Scores(scores)),
                Response::Analysis(json) => return Ok(Reply::Analysis(json)),
                Response::CompactStarted { compaction } => return Ok(Reply::CompactStarted(compaction)),
                Response::Compacting(state) => return Ok(Reply::Compacting(state)),
                Response::Carried(bytes) => return Ok(Reply::Carried(bytes)),
                Response::Objects(objects) => return Ok(Reply::Objects(objects)),
                Response::Metrics(text) => return Ok(Reply::Metrics(text)),
                Response::Activity(running) => return Ok(Reply::Activity(running)),
                Response::Stats(json) => return Ok(Reply::Stats(json)),
                Response::Error(error) => return Err(Failure::Refused(error)),
                Response::Need { entries, delete_vectors, tombstones } => {
                    let provided = needs.provide(&entries, &delete_vectors)?;
                    let tombstones = if tombstones { needs.tombstones()? } else { Vec::new() };
                    self.provide(provided, tombstones)?;
                }
                Response::ScanRows { scan, mut rows, exhausted, last, stats } => {
                    scan_rows.append(&mut rows);
                    if last {
                        return Ok(Reply::ScanRows { scan, rows: scan_rows, exhausted, stats });
                    }
                }
                Response::Keys { mut keys, last } => {
                    all_keys.append(&mut keys);
                    if last {
                        return Ok(Reply::Keys(all_keys));
                    }
                }
                Response::Candidates { mut rows, last, stats } => {
                    all_candidates.append(&mut rows);
                    if last {
                        return Ok(Reply::Candidates(all_candidates, stats));
                    }
                }
                Response::Checked { mut states, last } => {
                    all_states.append(&mut states);
                    if last {
                        return Ok(Reply::Checked(all_states));
                    }
                }
                Response::Hello { .. } => {
                    return Err(Failure::Broken(Error::internal(
                        "the elacsym engine said hello in the middle of a request",
                    )));
                }
            }
        }
    }

    /// Sends the answer to a `Need` in parts of bounded size.
    fn provide(&mut self, provided: Provided, mut tombstones: Vec<Tombstone>) -> std::result::Result<(), Failure> {
        let mut entries = provided.entries.into_iter().peekable();
        let mut delete_vectors = provided.delete_vectors.into_iter().peekable();
        loop {
            let mut part_entries = Vec::new();
            let mut part_vectors = Vec::new();
            let mut bytes = 0;
            while bytes < PROVIDE_PART_BYTES
                && let Some(entry) = entries.next()
            {
                bytes += entry.payload.len() + size_of::<ProvidedEntry>();
                part_entries.push(entry);
            }
            while bytes < PROVIDE_PART_BYTES
                && let Some(vector) = delete_vectors.next()
            {
                bytes += vector.0.len() + vector.1.len() + size_of::<ProvidedEntry>();
                part_vectors.push(vector);
            }
            let last = entries.peek().is_none() && delete_vectors.peek().is_none();
            let part = Request::Provide {
                entries: part_entries,
                delete_vectors: part_vectors,
                tombstones: if last { std::mem::take(&mut tombstones) } else { Vec::new() },
                last,
            };
            self.send(&encode(Kind::Request, &part)?)?;
            if last {
                return Ok(());
            }
        }
    }

    fn send(&mut self, mut bytes: &[u8]) -> std::result::Result<(), Failure> {
        while !bytes.is_empty() {
            pg_sys::check_for_interrupts!();
            // SAFETY: the slice is valid for reading its own length; the descriptor is open.
            let sent = unsafe {
                libc::send(
                    self.fd.as_raw_fd(),
                    bytes.as_ptr().cast(),
                    bytes.len(),
                    libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT,
                )
            };
            match usize::try_from(sent) {
                Ok(count) => bytes = &bytes[count..],
                Err(_) => self.pause_or_fail(pg_sys::WL_SOCKET_WRITEABLE)?,
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> std::result::Result<Response, Failure> {
        loop {
            if let Some(response) = self.decoder.take()? {
                return Ok(response);
            }
            pg_sys::check_for_interrupts!();
            let fd = self.fd.as_raw_fd();
            let space = self.decoder.space();
            // SAFETY: the slice is valid for writing its own length; the descriptor is open.
            let received = unsafe { libc::recv(fd, space.as_mut_ptr().cast(), space.len(), libc::MSG_DONTWAIT) };
            match usize::try_from(received) {
                Ok(0) => {
                    return Err(Failure::Lost(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the engine closed the connection",
                    )));
                }
                Ok(count) => self.decoder.advance(count),
                Err(_) => self.pause_or_fail(pg_sys::WL_SOCKET_READABLE)?,
            }
        }
    }

    /// After a system call that failed: waits if the socket is only not ready, else the connection is lost.
    fn pause_or_fail(&self, event: u32) -> std::result::Result<(), Failure> {
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::WouldBlock => wait(Some(self.fd.as_raw_fd()), event, None),
            io::ErrorKind::Interrupted => {}
            _ => return Err(Failure::Lost(error)),
        }
        Ok(())
    }
}

/// Waits for the process latch, `event` on `socket`, or `timeout`, and then acts on interrupts. Ends the process when the
/// postmaster is gone.
fn wait(socket: Option<i32>, event: u32, timeout: Option<Duration>) {
    let mut events = pg_sys::WL_LATCH_SET | pg_sys::WL_EXIT_ON_PM_DEATH | event;
    let mut milliseconds = -1;
    if let Some(timeout) = timeout {
        events |= pg_sys::WL_TIMEOUT;
        milliseconds = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX);
    }
    // SAFETY: the process latch of the running process; the descriptor, if any, is open.
    let happened = unsafe {
        pg_sys::WaitLatchOrSocket(
            pg_sys::MyLatch,
            events.cast_signed(),
            socket.unwrap_or(pg_sys::PGINVALID_SOCKET),
            milliseconds,
            wait_event(),
        )
    };
    if happened.cast_unsigned() & pg_sys::WL_LATCH_SET != 0 {
        // SAFETY: our own latch; everything that sets it is looked at again after this.
        unsafe { pg_sys::ResetLatch(pg_sys::MyLatch) };
    }
    pg_sys::check_for_interrupts!();
}

/// What `pg_stat_activity` shows while a session waits for the engine.
fn wait_event() -> u32 {
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    {
        use std::sync::atomic::AtomicU32;
        static EVENT: AtomicU32 = AtomicU32::new(0);
        let mut event = EVENT.load(Ordering::Relaxed);
        if event == 0 {
            // SAFETY: a C string literal, which PostgreSQL copies.
            event = unsafe { pg_sys::WaitEventExtensionNew(c"ElacsymEngine".as_ptr()) };
            EVENT.store(event, Ordering::Relaxed);
        }
        event
    }
    #[cfg(not(any(feature = "pg17", feature = "pg18")))]
    pg_sys::PG_WAIT_EXTENSION
}

/// Connects to the engine's socket without ever blocking: a full backlog is `EAGAIN`.
fn connect() -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all-zero bytes are a valid address structure.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    // The constant is shorter than `sun_path`, so a terminating zero remains.
    for (to, from) in address.sun_path.iter_mut().zip(SOCKET_PATH.bytes()) {
        *to = from as libc::c_char;
    }
    let length = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    // SAFETY: a complete address of the length given; the descriptor is open.
    let result = unsafe { libc::connect(fd.as_raw_fd(), (&raw const address).cast(), length) };
    if result == 0 { Ok(fd) } else { Err(io::Error::last_os_error()) }
}

fn version_mismatch(engine: &str, protocol: u32) -> Error {
    Error::unavailable(format!(
        "the elacsym engine has version {engine} (protocol {protocol}), the library has version {} (protocol {PROTOCOL_VERSION})",
        env!("CARGO_PKG_VERSION")
    ))
    .with_hint("Restart the server, so that both are of the same installation.")
}
