//! The engine's stderr into PostgreSQL's log: `LEVEL message` lines, bounded in length and rate.

use pgrx::pg_sys::elog::PgLogLevel;
use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::pg_sys::panic::ErrorReport;
use std::io::Read;
use std::time::{Duration, Instant};

/// Longest line that is logged whole: a message of ours is a tenth of it; more is somebody's runaway output.
const MAX_LINE_BYTES: usize = 4_096;
/// Most lines in one [`WINDOW`]: an engine that fails in a loop must not fill the log's disk.
const MAX_LINES: u32 = 200;
/// Over which the lines are counted.
const WINDOW: Duration = Duration::from_secs(1);
/// Most bytes read before the supervisor looks at its other duties again.
const MAX_BYTES_AT_ONCE: usize = 256 << 10;

/// Whether more can come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// The engine can write more.
    Open,
    /// The other end is closed: the engine has ended or is about to.
    Closed,
}

/// The state between two reads of one engine's stderr.
#[derive(Debug)]
pub struct LogPump {
    line: Vec<u8>,
    /// The rest of a line that was too long is skipped.
    skipping: bool,
    window_began: Instant,
    lines: u32,
    dropped: u64,
}

impl LogPump {
    /// For a new engine.
    pub fn new() -> Self {
        Self { line: Vec::new(), skipping: false, window_began: Instant::now(), lines: 0, dropped: 0 }
    }

    /// \[supervisor\] Reads what is there, without waiting, and logs every complete line. `source` must not block.
    pub fn pump(&mut self, source: &mut impl Read) -> Stream {
        let mut chunk = [0; 8_192];
        let mut total = 0;
        while total < MAX_BYTES_AT_ONCE {
            match source.read(&mut chunk) {
                Ok(0) => {
                    self.end();
                    return Stream::Closed;
                }
                Ok(count) => {
                    total += count;
                    chunk[..count].iter().for_each(|&byte| self.push(byte));
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.end();
                    return Stream::Closed;
                }
            }
        }
        self.turn_window();
        Stream::Open
    }

    /// When [`Self::pump`] should be called again even if nothing is readable.
    pub fn wants_call_in(&self) -> Option<Duration> {
        (self.dropped > 0).then(|| WINDOW.saturating_sub(self.window_began.elapsed()))
    }

    /// The stream is over: what is left is logged too.
    fn end(&mut self) {
        self.finish_line();
        self.report_dropped();
    }

    fn push(&mut self, byte: u8) {
        if byte == b'\n' {
            self.finish_line();
        } else if self.line.len() >= MAX_LINE_BYTES {
            self.skipping = true;
        } else {
            self.line.push(byte);
        }
    }

    fn finish_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let cut = std::mem::take(&mut self.skipping);
        if line.is_empty() {
            return;
        }
        self.turn_window();
        if self.lines >= MAX_LINES {
            self.dropped += 1;
            return;
        }
        self.lines += 1;
        let (level, mut text) = parse(&line);
        if cut {
            text.push_str(" [cut]");
        }
        log(level, format!("elacsym engine: {text}"));
    }

    fn turn_window(&mut self) {
        if self.window_began.elapsed() >= WINDOW {
            self.report_dropped();
            self.window_began = Instant::now();
            self.lines = 0;
        }
    }

    fn report_dropped(&mut self) {
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            log(
                PgLogLevel::WARNING,
                format!("elacsym engine: {dropped} more messages were dropped, it writes too many"),
            );
        }
    }
}

impl Default for LogPump {
    fn default() -> Self {
        Self::new()
    }
}

/// Level and text of one line. What has no level (a panic's own output, a library's) is a warning.
fn parse(line: &[u8]) -> (PgLogLevel, String) {
    let text = String::from_utf8_lossy(line);
    let (level, rest) = match text.split_once(' ') {
        Some(("DEBUG", rest)) => (PgLogLevel::DEBUG1, rest),
        Some(("LOG", rest)) => (PgLogLevel::LOG, rest),
        Some(("WARNING" | "ERROR", rest)) => (PgLogLevel::WARNING, rest),
        _ => (PgLogLevel::WARNING, text.as_ref()),
    };
    // One event is one line of the log, whatever it contains: nobody writes lines that look like PostgreSQL's.
    let mut clean = String::with_capacity(rest.len());
    for c in rest.chars() {
        if c.is_control() {
            clean.extend(c.escape_default());
        } else {
            clean.push(c);
        }
    }
    (level, clean)
}

/// \[supervisor\] Writes one message to the server log.
pub fn log(level: PgLogLevel, message: String) {
    let code = match level {
        PgLogLevel::WARNING => PgSqlErrorCode::ERRCODE_WARNING,
        _ => PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION,
    };
    ErrorReport::new(code, message, "elacsym").report(level);
}
