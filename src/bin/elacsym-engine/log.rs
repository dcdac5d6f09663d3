//! The engine's log: one `LEVEL message` line on stderr for each event, which the supervisor writes into PostgreSQL's log.

use elacsym::config::LogLevel;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

/// Longest message in bytes; the supervisor cuts lines a little above.
const MAX_MESSAGE_BYTES: usize = 4_000;

static LEVEL: AtomicU8 = AtomicU8::new(LogLevel::Info as u8);

/// Makes every event and panic of this process one line on stderr.
pub fn install() {
    // It fails only if it was called before.
    let _ = tracing::subscriber::set_global_default(Lines { next_span: AtomicU64::new(1) });
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, |at| format!(" at {}:{}", at.file(), at.line()));
        let text = panic
            .payload()
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.payload().downcast_ref::<String>().cloned())
            .unwrap_or_default();
        write_line("ERROR", &format!("panic{place}: {text}"));
    }));
}

/// Changes how much is logged.
pub fn set_level(level: LogLevel) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

fn rank(level: &Level) -> u8 {
    let level = match *level {
        Level::ERROR => LogLevel::Error,
        Level::WARN => LogLevel::Warn,
        Level::INFO => LogLevel::Info,
        Level::DEBUG => LogLevel::Debug,
        Level::TRACE => LogLevel::Trace,
    };
    level as u8
}

struct Lines {
    next_span: AtomicU64,
}

impl Subscriber for Lines {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // The level can change at any time.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let wanted = LEVEL.load(Ordering::Relaxed);
        // Libraries tell what is information to them and noise to an operator.
        let ours = metadata.target().starts_with("elacsym");
        let limit = if ours || wanted >= LogLevel::Trace as u8 { wanted } else { wanted.min(LogLevel::Warn as u8) };
        metadata.is_event() && rank(metadata.level()) <= limit
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(self.next_span.fetch_add(1, Ordering::Relaxed).max(1))
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let level = match *event.metadata().level() {
            Level::ERROR => "ERROR",
            Level::WARN => "WARNING",
            Level::INFO => "LOG",
            Level::DEBUG | Level::TRACE => "DEBUG",
        };
        write_line(level, &(text.message + &text.fields));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The message and the other fields of an event.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing into a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

/// One line in one write, so that lines of several threads do not mix. A closed stderr is no reason to stop.
fn write_line(level: &str, message: &str) {
    let mut line = String::with_capacity(level.len() + message.len() + 2);
    line.push_str(level);
    line.push(' ');
    for c in message.chars() {
        if line.len() > MAX_MESSAGE_BYTES {
            line.push_str(" [cut]");
            break;
        }
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line.push('\n');
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}
