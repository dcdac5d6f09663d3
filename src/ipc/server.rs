//! The engine's end of the socket: accepts connections, checks versions, runs one request at a time for each, and drops the
//! work the moment the peer goes away.
//!
//! It knows nothing of searching: [`Handler`] does the work, and asks for what only the database has through [`Provider`].

use super::frame::{Decoder, Kind, encode};
use super::message::{CandidateRow, PROTOCOL_VERSION, Provided, Request, Response, ResultRow};
pub use super::reply::Reply;
use crate::document::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::EntryId;
use async_trait::async_trait;
use futures::FutureExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Bytes of rows in one frame: large enough that framing costs nothing, small enough that the first rows leave early.
const ROWS_FRAME_BYTES: usize = 1 << 20;
/// A peer that has connected says hello within this, or it is none of ours.
const HELLO_LIMIT: Duration = Duration::from_secs(10);
/// Pause after a failed accept (no descriptor left): it would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Does the work.
pub trait Handler: Send + Sync {
    /// The state of a new connection of the process `pid`, where the system tells it.
    fn connect(&self, pid: Option<i32>) -> Box<dyn Session>;
}

/// What works for one connection, and what it keeps from one request to the next; dropped with the connection. A panic in
/// it becomes `Internal` for its caller and nothing else.
#[async_trait]
pub trait Session: Send {
    /// Answers one request (never `Hello` or `Provide`). Dropping the future cancels the work.
    async fn handle(&mut self, request: Request, provider: &mut dyn Provider) -> Result<Reply>;
}

/// Fetches bytes that only the database has from the caller of the running request.
#[async_trait]
pub trait Provider: Send {
    /// The payloads of `entries`, the encoded delete vectors of the segments named and, if wanted, the tombstones of the
    /// view, in no particular order.
    ///
    /// # Errors
    /// `Cancelled` when the caller has gone away.
    async fn need(&mut self, entries: Vec<EntryId>, delete_vectors: Vec<String>, tombstones: bool) -> Result<Provided>;
}

/// A bound socket.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    owner: u32,
}

impl Server {
    /// Binds `path` (mode 0600, in a directory of mode 0700 that is made if it is missing), replacing the socket a dead
    /// engine left there. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// `Unavailable`, naming the path.
    pub fn bind(path: &Path) -> Result<Self> {
        bind(path).map_err(|e| Error::unavailable(format!("cannot listen on socket \"{}\": {e}", path.display())))
    }

    /// Serves until `stop` is ready, then removes the socket and drops every connection with what runs for it.
    pub async fn serve(self, handler: Arc<dyn Handler>, stop: impl Future<Output = ()> + Send) {
        let mut connections = JoinSet::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                // Collects the ends of connections, so that they do not pile up.
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(connection(stream, Arc::clone(&handler), self.owner));
                    }
                    Err(error) => {
                        tracing::warn!("cannot accept a connection: {error}");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        // Nobody can connect any more; whoever is connected notices the end of the stream.
        let _ = std::fs::remove_file(&self.path);
        connections.shutdown().await;
    }
}

fn bind(path: &Path) -> std::io::Result<Server> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))?;
    }
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => return Err(std::io::Error::new(std::io::ErrorKind::AlreadyExists, "something else is there")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    // The file was made by this process, so its owner is our effective user.
    let owner = std::fs::symlink_metadata(path)?.uid();
    Ok(Server { listener, path: path.to_owned(), owner })
}

/// The frames of one connection. Reading can be dropped and taken up again at any point.
struct Frames {
    stream: UnixStream,
    decoder: Decoder,
}

/// Why a connection ends.
enum End {
    /// The peer closed it, or it broke: the normal end.
    Gone,
    /// The peer does not speak our protocol.
    Violation(Error),
}

impl From<std::io::Error> for End {
    fn from(_: std::io::Error) -> Self {
        Self::Gone
    }
}

impl Frames {
    async fn read(&mut self) -> std::result::Result<Request, End> {
        loop {
            if let Some(request) = self.decoder.take().map_err(End::Violation)? {
                return Ok(request);
            }
            match self.stream.read(self.decoder.space()).await? {
                0 if self.decoder.is_empty() => return Err(End::Gone),
                0 => return Err(End::Violation(Error::invalid("the stream ends inside a frame"))),
                count => self.decoder.advance(count),
            }
        }
    }

    async fn write(&mut self, response: &Response) -> std::result::Result<(), End> {
        let frame = match encode(Kind::Response, response) {
            Ok(frame) => frame,
            Err(error) => encode(Kind::Response, &Response::Error(error)).map_err(End::Violation)?,
        };
        self.stream.write_all(&frame).await?;
        Ok(())
    }

    async fn write_reply(&mut self, reply: Result<Reply>) -> std::result::Result<(), End> {
        match reply {
            Ok(Reply::Done) => self.write(&Response::Done).await,
            Ok(Reply::Flushed(result)) => self.write(&Response::Flushed(result)).await,
            Ok(Reply::Stats(json)) => self.write(&Response::Stats(json)).await,
            Err(error) => self.write(&Response::Error(error)).await,
            Ok(Reply::Matches(matches)) => self.write(&Response::Matches(matches)).await,
            Ok(Reply::ScorerOpened(scorer)) => self.write(&Response::ScorerOpened { scorer }).await,
            Ok(Reply::Corpus(stats)) => self.write(&Response::Corpus(stats)).await,
            Ok(Reply::Aggregated { count, facets, stats }) => {
                self.write(&Response::Aggregated { count, facets, stats }).await
            }
            Ok(Reply::Warmed { objects, bytes }) => self.write(&Response::Warmed { objects, bytes }).await,
            Ok(Reply::Scores(scores)) => self.write(&Response::Scores(scores)).await,
            Ok(Reply::Analysis(json)) => self.write(&Response::Analysis(json)).await,
            Ok(Reply::CompactStarted(compaction)) => self.write(&Response::CompactStarted { compaction }).await,
            Ok(Reply::Compacting(state)) => self.write(&Response::Compacting(state)).await,
            Ok(Reply::Carried(bytes)) => self.write(&Response::Carried(bytes)).await,
            Ok(Reply::Objects(objects)) => self.write(&Response::Objects(objects)).await,
            Ok(Reply::Metrics(text)) => self.write(&Response::Metrics(text)).await,
            Ok(Reply::Activity(running)) => self.write(&Response::Activity(running)).await,
            Ok(Reply::Rows(rows, stats)) => {
                self.write_parts(rows, row_bytes, |rows, last| {
                    let stats = if last { stats } else { Default::default() };
                    Response::Rows { rows, last, stats }
                })
                .await
            }
            Ok(Reply::ScanRows { scan, rows, exhausted, stats }) => {
                self.write_parts(rows, size_of_val, |rows, last| {
                    let stats = if last { stats } else { Default::default() };
                    Response::ScanRows { scan, rows, exhausted, last, stats }
                })
                .await
            }
            Ok(Reply::Candidates(rows, stats)) => {
                self.write_parts(rows, candidate_bytes, |rows, last| {
                    let stats = if last { stats } else { Default::default() };
                    Response::Candidates { rows, last, stats }
                })
                .await
            }
            Ok(Reply::Checked(states)) => {
                self.write_parts(states, size_of_val, |states, last| Response::Checked { states, last }).await
            }
            Ok(Reply::Keys(keys)) => {
                self.write_parts(keys, size_of_val, |keys, last| Response::Keys { keys, last }).await
            }
        }
    }

    /// Items in frames of about [`ROWS_FRAME_BYTES`], at least one frame.
    async fn write_parts<T>(
        &mut self,
        items: Vec<T>,
        bytes_of: impl Fn(&T) -> usize,
        frame: impl Fn(Vec<T>, bool) -> Response,
    ) -> std::result::Result<(), End> {
        let mut rest = items.into_iter().peekable();
        loop {
            let mut part = Vec::new();
            let mut bytes = 0;
            while bytes < ROWS_FRAME_BYTES
                && let Some(item) = rest.next()
            {
                bytes += bytes_of(&item);
                part.push(item);
            }
            let last = rest.peek().is_none();
            self.write(&frame(part, last)).await?;
            if last {
                return Ok(());
            }
        }
    }
}

/// About what a row takes in a frame.
fn row_bytes(row: &ResultRow) -> usize {
    size_of::<ResultRow>()
        + row.vector.as_ref().map_or(0, |vector| vector.len() * size_of::<f32>())
        + row.attributes.as_ref().map_or(0, String::len)
        + size_of_val(row.arms.as_slice())
}

/// About what a candidate takes in a frame.
fn candidate_bytes(row: &CandidateRow) -> usize {
    let text = |value: &Value| if let Value::String(text) = value { text.len() } else { 0 };
    let texts: usize = row.group.iter().chain(row.sort.iter().flatten()).map(text).sum();
    size_of::<CandidateRow>() + size_of_val(row.values.as_slice()) + size_of_val(row.sort.as_slice()) + texts
}

async fn connection(stream: UnixStream, handler: Arc<dyn Handler>, owner: u32) {
    let pid = match stream.peer_cred() {
        Ok(peer) if peer.uid() == owner => peer.pid(),
        Ok(peer) => {
            tracing::warn!("refused a connection of user id {}", peer.uid());
            return;
        }
        Err(error) => {
            tracing::warn!("refused a connection of an unknown user: {error}");
            return;
        }
    };
    let mut frames = Frames { stream, decoder: Decoder::new(Kind::Request) };
    if let Err(End::Violation(error)) = converse(&mut frames, handler.as_ref(), pid).await {
        tracing::warn!("closed a connection: {error}");
        // The peer may still be there to read why.
        let _ = frames.write(&Response::Error(error)).await;
    }
}

async fn converse(frames: &mut Frames, handler: &dyn Handler, pid: Option<i32>) -> std::result::Result<(), End> {
    hello(frames).await?;
    let mut session = handler.connect(pid);
    loop {
        let request = frames.read().await?;
        if matches!(request, Request::Hello { .. } | Request::Provide { .. }) {
            return Err(End::Violation(Error::invalid("this message is not the start of a request")));
        }
        let reply = run(frames, session.as_mut(), request).await?;
        frames.write_reply(reply).await?;
    }
}

async fn hello(frames: &mut Frames) -> std::result::Result<(), End> {
    let first = tokio::time::timeout(HELLO_LIMIT, frames.read()).await.map_err(|_| End::Gone)??;
    let Request::Hello { protocol, version } = first else {
        return Err(End::Violation(Error::invalid("the first message is not a hello")));
    };
    let own = env!("CARGO_PKG_VERSION").to_owned();
    // Also to a peer of another version: it has to name both in its error, and `Hello` never changes its form.
    frames
        .write(&Response::Hello { protocol: PROTOCOL_VERSION, version: own.clone(), pid: std::process::id() })
        .await?;
    if protocol == PROTOCOL_VERSION {
        return Ok(());
    }
    Err(End::Violation(
        Error::unavailable(format!(
            "the elacsym engine has version {own} (protocol {PROTOCOL_VERSION}), the library has version {version} (protocol {protocol})"
        ))
        .with_hint("Restart the server, so that both are of the same installation."),
    ))
}

/// Runs one request; ends early, dropping the work, when the peer goes away.
async fn run(
    frames: &mut Frames,
    session: &mut dyn Session,
    request: Request,
) -> std::result::Result<Result<Reply>, End> {
    let (sender, mut questions) = mpsc::channel(1);
    let mut provider = Asker { sender };
    let mut work = std::pin::pin!(AssertUnwindSafe(session.handle(request, &mut provider)).catch_unwind());
    let mut open: Option<Question> = None;
    loop {
        tokio::select! {
            biased;
            result = &mut work => return Ok(result.unwrap_or_else(|panic| Err(panicked(panic.as_ref())))),
            Some(question) = questions.recv(), if open.is_none() => {
                let Question { entries, delete_vectors, tombstones, .. } = &question;
                let (entries, delete_vectors) = (entries.clone(), delete_vectors.clone());
                frames.write(&Response::Need { entries, delete_vectors, tombstones: *tombstones }).await?;
                open = Some(question);
            }
            message = frames.read() => match (message?, open.take()) {
                (Request::Provide { entries, delete_vectors, tombstones, last }, Some(mut question)) => {
                    question.answer.entries.extend(entries);
                    question.answer.delete_vectors.extend(delete_vectors);
                    question.answer.tombstones.extend(tombstones);
                    if last {
                        // It fails only if the handler no longer waits.
                        let _ = question.reply_to.send(question.answer);
                    } else {
                        open = Some(question);
                    }
                }
                _ => return Err(End::Violation(Error::invalid("a message came while a request was running"))),
            },
        }
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    Error::new(ErrorKind::Internal, "the elacsym engine failed in this request")
        .with_detail(text)
        .with_hint("This is a bug in elacsym; the server log has more.")
}

/// A `need` that waits for its answer.
struct Question {
    entries: Vec<EntryId>,
    delete_vectors: Vec<String>,
    tombstones: bool,
    answer: Provided,
    reply_to: oneshot::Sender<Provided>,
}

/// The [`Provider`] of one request: hands its questions to the task that owns the socket.
struct Asker {
    sender: mpsc::Sender<Question>,
}

#[async_trait]
impl Provider for Asker {
    async fn need(&mut self, entries: Vec<EntryId>, delete_vectors: Vec<String>, tombstones: bool) -> Result<Provided> {
        if entries.is_empty() && delete_vectors.is_empty() && !tombstones {
            return Ok(Provided::default());
        }
        let gone = || Error::new(ErrorKind::Cancelled, "the caller has gone away");
        let (reply_to, answer) = oneshot::channel();
        let question = Question { entries, delete_vectors, tombstones, answer: Provided::default(), reply_to };
        self.sender.send(question).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }
}

#[cfg(test)]
mod tests;
