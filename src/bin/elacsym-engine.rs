//! The engine executable: settings, lifeline, socket; nothing else.
//!
//! PostgreSQL's supervisor worker starts it in the data directory. stdin is settings and lifeline in one: each line is a JSON
//! object (`config::EngineSettings`, or `config::ServerMetrics`), its end means stop. stderr is the log, one `LEVEL message` line for each event.

#[path = "elacsym-engine/handler.rs"]
mod handler;
#[path = "elacsym-engine/log.rs"]
mod log;

use elacsym::config::{EngineSettings, ServerMetrics};
use elacsym::engine::{Engine, MetricsListener};
use elacsym::env::Env;
use elacsym::error::{Error, Result};
use elacsym::ipc::message::PROTOCOL_VERSION;
use elacsym::ipc::server::Server;
use std::io::BufRead;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// How long the orderly part of a stop (cache to disk, answers on their way) may take; the supervisor waits half a second
/// longer before it kills.
const STOP_LIMIT: Duration = Duration::from_millis(800);
/// What the runtime's threads get on top to end.
const RUNTIME_LIMIT: Duration = Duration::from_millis(150);
/// Time between two looks at what memory is used for.
const MEMORY_INTERVAL: Duration = Duration::from_secs(1);
/// Most settings lines that wait to be applied: each replaces the one before.
const WAITING_SETTINGS: usize = 16;

const HELP: &str = "elacsym-engine: the search engine behind the PostgreSQL extension elacsym.

PostgreSQL's elacsym supervisor starts it; there is nothing to run by hand.
It reads settings (one JSON object a line) from stdin, stops at the end of
stdin, and logs to stderr.

  --version   version and protocol version
  --help      this text
";

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        None => {}
        Some("--version") => {
            println!("elacsym-engine {} (protocol {PROTOCOL_VERSION})", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Some("--help") => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Some(other) => {
            eprintln!("elacsym-engine: unknown argument \"{other}\" (--help tells more)");
            return ExitCode::from(2);
        }
    }
    log::install();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let hint = error.hint.as_ref().map_or_else(String::new, |hint| format!(" ({hint})"));
            tracing::error!("cannot run: {error}{hint}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut first = String::new();
    let read = std::io::stdin().lock().read_line(&mut first);
    if read.map_err(|e| Error::invalid(format!("settings cannot be read from stdin: {e}")))? == 0 {
        return Err(Error::invalid("no settings on stdin")
            .with_hint("PostgreSQL starts elacsym-engine: add elacsym to shared_preload_libraries."));
    }
    let settings = EngineSettings::from_json(&first)?;
    log::set_level(settings.log_level);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().thread_name("elacsym-io");
    if let Ok(threads @ 1..) = usize::try_from(settings.engine_threads) {
        builder.worker_threads(threads);
    }
    let runtime = builder.build().map_err(|e| Error::unavailable(format!("threads cannot be started: {e}")))?;
    let result = runtime.block_on(serve(settings));
    runtime.shutdown_timeout(RUNTIME_LIMIT);
    result
}

async fn serve(settings: EngineSettings) -> Result<()> {
    let mut terminate =
        signal(SignalKind::terminate()).map_err(|e| Error::internal(format!("no handler for SIGTERM: {e}")))?;
    let mut lines = read_settings();
    // The socket comes last: whoever can connect is served.
    let socket = settings.socket_path.clone();
    let metrics_port = settings.metrics_port;
    let engine = Arc::new(Engine::new(settings, Env::system()).await?);
    let server = Server::bind(&socket)?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let stop_wanted = async {
        // An error means that the sender is gone, which is a stop too.
        let _ = stopped.await;
    };
    let serving = tokio::spawn(server.serve(Arc::new(handler::Search(engine.clone())), stop_wanted));
    let mut listener = MetricsListener::default();
    listener.set_port(metrics_port, &engine);
    tracing::info!("elacsym-engine {} is ready", env!("CARGO_PKG_VERSION"));
    let mut second = tokio::time::interval(MEMORY_INTERVAL);
    second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = second.tick() => engine.share_memory().await,
            _ = terminate.recv() => break,
            line = lines.recv() => match line {
                Some(line) => apply(&engine, &mut listener, &line).await,
                None => break,
            },
        }
    }
    drop(stop);
    drop(listener);
    let orderly = async {
        let _ = serving.await;
        engine.close().await;
    };
    if tokio::time::timeout(STOP_LIMIT, orderly).await.is_err() {
        tracing::warn!("stopping took longer than {} ms and was cut short", STOP_LIMIT.as_millis());
    }
    tracing::info!("elacsym-engine is stopping");
    Ok(())
}

async fn apply(engine: &Arc<Engine>, listener: &mut MetricsListener, line: &str) {
    if let Some(told) = ServerMetrics::from_json(line) {
        engine.set_server_metrics(told.server_metrics);
        return;
    }
    let result = match EngineSettings::from_json(line) {
        Ok(settings) => {
            let (level, port) = (settings.log_level, settings.metrics_port);
            engine.reload(settings).await.map(|()| {
                log::set_level(level);
                listener.set_port(port, engine);
            })
        }
        Err(error) => Err(error),
    };
    match result {
        Ok(()) => tracing::info!("new settings are in force"),
        Err(error) => tracing::warn!("new settings were not applied: {error}"),
    }
}

/// Further lines of stdin. The channel closes at its end: the lifeline is cut.
fn read_settings() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(WAITING_SETTINGS);
    // A thread of its own: reading stdin blocks, and must not hold up the end of the runtime.
    let reader = std::thread::Builder::new().name("elacsym-lifeline".into()).spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    if let Err(error) = reader {
        // The sender is dropped with the closure, so the engine stops at once instead of running without a lifeline.
        tracing::error!("the lifeline cannot be watched: {error}");
    }
    receiver
}
