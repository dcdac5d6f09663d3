//! \[worker\] The supervisor: parent of the engine, starter of the maintenance workers. It has no database and holds no lock.
//!
//! The engine's death costs nothing but a restart. The supervisor's own death by an error is exit code 1: the postmaster
//! starts it again a second later, and the engine, which has lost its lifeline, is gone by then. It never exits with code 0:
//! the postmaster would not start it again, and a server that stops is content with 1.

use super::engine_process::{EngineProcess, describe, executable};
use super::log_pump::{LogPump, Stream, log};
use super::registration::{LIBRARY, Registered, register as register_worker};
use super::{signals, wait};
use crate::config::{EngineSettings, ServerMetrics};
use crate::pg::shmem::{self, EngineProblem};
use crate::pg::{error, gucs, metrics};
use pgrx::bgworkers::{BackgroundWorkerBuilder, BgWorkerStartTime};
use pgrx::pg_sys;
use pgrx::pg_sys::elog::PgLogLevel;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Pauses before a restart of the engine: none the first time, then from the first to the second value, doubling. The second
/// is well below the time a backend waits for an engine, so that calls outlast even an engine that is killed again and again.
const RESTART_PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// An engine that has run this long is healthy: the next restart is a first one again.
const HEALTHY_AFTER: Duration = Duration::from_secs(30);
/// An engine that has run this long has at least started: nobody needs to be told that it crashes.
const STARTED_AFTER: Duration = Duration::from_secs(2);
/// How long the engine may take to stop when it is asked to; together with the rest of a fast shutdown below 5 s.
const STOP_LIMIT: Duration = Duration::from_millis(1_500);
/// The same complaint is logged again after this.
const REPEAT_COMPLAINT: Duration = Duration::from_secs(60);
/// Pause before another attempt when `max_worker_processes` are in use, or the launcher failed.
const WORKER_PAUSE: Duration = Duration::from_secs(5);
/// Maintenance workers at once: half of PostgreSQL's default `max_worker_processes` (8), which parallel queries and
/// replication share.
const MAX_MAINTENANCE_WORKERS: usize = 4;
/// Longest wait without a reason to wake: notices what nobody signals.
const IDLE: Duration = Duration::from_secs(10);
/// Time between two lines that tell the engine the server's figures, while it serves them.
const METRICS_EVERY: Duration = Duration::from_secs(5);
/// Wait while something is about to happen that nobody signals: the end of a child whose pipe is closed, room in its pipe.
const SOON: Duration = Duration::from_millis(20);

/// \[postmaster\] Registers the supervisor; called once, from `_PG_init`. It starts at the consistent state, so hot
/// standbys have it too.
pub fn register() {
    BackgroundWorkerBuilder::new("elacsym supervisor")
        .set_type("elacsym supervisor")
        .set_library(LIBRARY)
        .set_function("elacsym_supervisor_main")
        .set_start_time(BgWorkerStartTime::ConsistentState)
        .set_restart_time(Some(Duration::from_secs(1)))
        .load();
}

/// Entry point of the process.
#[pgrx::pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn elacsym_supervisor_main(_argument: pg_sys::Datum) {
    signals::for_main_loop();
    shmem::become_supervisor();
    let mut supervisor = Supervisor::new();
    supervisor.run();
    supervisor.stop_engine();
    drop(supervisor);
    // SAFETY: ends the process the way PostgreSQL expects.
    unsafe { pg_sys::proc_exit(1) };
}

struct Supervisor {
    engine: Option<EngineProcess>,
    /// What the running engine was given.
    settings: Option<EngineSettings>,
    path: PathBuf,
    pump: LogPump,
    /// The engine's stderr is closed: its end must be polled for.
    silent: bool,
    restart_at: Instant,
    failures: u32,
    complaint: Option<(String, Instant)>,
    launcher: Option<Registered>,
    launcher_at: Instant,
    workers: Vec<(usize, u32, Registered)>,
    last_registration: u32,
    workers_at: Instant,
    metrics_at: Instant,
}

impl Supervisor {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            engine: None,
            settings: None,
            path: PathBuf::new(),
            pump: LogPump::new(),
            silent: false,
            restart_at: now,
            failures: 0,
            complaint: None,
            launcher: None,
            launcher_at: now,
            workers: Vec::new(),
            last_registration: 0,
            workers_at: now,
            metrics_at: now,
        }
    }

    fn run(&mut self) {
        loop {
            // SAFETY: a flag that only our signal handler and this loop write.
            if unsafe { (&raw const pg_sys::ShutdownRequestPending).read_volatile() } != 0 {
                return;
            }
            // SAFETY: as above.
            if unsafe { (&raw const pg_sys::ConfigReloadPending).read_volatile() } != 0 {
                // SAFETY: as above.
                unsafe { (&raw mut pg_sys::ConfigReloadPending).write_volatile(0) };
                // SAFETY: at the top of the main loop, outside a transaction, as PostgreSQL's own workers do.
                unsafe { pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP) };
                self.reload();
            }
            self.tend_engine();
            self.tell_metrics();
            self.tend_workers();
            let readable = self.engine.as_ref().filter(|_| !self.silent).map(EngineProcess::stderr_fd);
            wait(readable, self.pause());
            pg_sys::check_for_interrupts!();
        }
    }

    /// How long nothing needs to be done unless somebody wakes us.
    fn pause(&self) -> Duration {
        let now = Instant::now();
        let mut pause = IDLE;
        match &self.engine {
            None => pause = pause.min(self.restart_at.saturating_duration_since(now)),
            Some(engine) if self.silent || engine.has_unsent() => pause = pause.min(SOON),
            Some(engine) if engine.age() < STARTED_AFTER => pause = pause.min(STARTED_AFTER),
            Some(_) => {}
        }
        if self.tells_metrics() {
            pause = pause.min(self.metrics_at.saturating_duration_since(now));
        }
        if let Some(wanted) = self.pump.wants_call_in() {
            pause = pause.min(wanted);
        }
        if let Some(retry) = shmem::next_retry() {
            pause = pause.min(retry.max(self.workers_at.saturating_duration_since(now)));
        }
        if let Some(due_in) = shmem::launcher_due_in(gucs::announce_period())
            && self.launcher.is_none()
        {
            pause = pause.min(due_in.max(self.launcher_at.saturating_duration_since(now)));
        }
        // Less than a millisecond would be a busy loop in the unit WaitLatch takes.
        pause.max(Duration::from_millis(1))
    }

    // ---- the engine ----

    fn tend_engine(&mut self) {
        let Some(engine) = &mut self.engine else {
            if Instant::now() >= self.restart_at {
                self.start_engine();
            }
            return;
        };
        if !self.silent && self.pump.pump(engine.stderr()) == Stream::Closed {
            self.silent = true;
        }
        engine.flush();
        if engine.age() >= STARTED_AFTER && shmem::engine_problem() == EngineProblem::Crashing {
            shmem::set_engine_problem(EngineProblem::None);
        }
        if let Some(status) = engine.has_ended() {
            let (pid, age) = (engine.pid(), engine.age());
            self.pump.pump(engine.stderr());
            self.engine = None;
            shmem::set_engine(None);
            log(PgLogLevel::LOG, format!("elacsym engine (PID {pid}) {}", describe(status)));
            if age >= HEALTHY_AFTER {
                self.failures = 0;
            }
            if self.failures >= 2 && age < STARTED_AFTER {
                shmem::set_engine_problem(EngineProblem::Crashing);
            }
            self.schedule_restart();
            if Instant::now() >= self.restart_at {
                self.start_engine();
            }
        }
    }

    /// Whether the engine serves figures, and so wants to know those of the server.
    fn tells_metrics(&self) -> bool {
        self.engine.is_some() && self.settings.as_ref().is_some_and(|settings| settings.metrics_port != 0)
    }

    fn tell_metrics(&mut self) {
        if !self.tells_metrics() || Instant::now() < self.metrics_at {
            return;
        }
        self.metrics_at = Instant::now() + METRICS_EVERY;
        let line = ServerMetrics { server_metrics: metrics::server_text() }.to_json();
        if let (Some(engine), Ok(line)) = (&mut self.engine, line) {
            engine.tell(&line);
        }
    }

    fn schedule_restart(&mut self) {
        let pause = match self.failures {
            0 => Duration::ZERO,
            n => RESTART_PAUSE.0.saturating_mul(1 << (n - 1).min(16)).min(RESTART_PAUSE.1),
        };
        self.failures = self.failures.saturating_add(1);
        self.restart_at = Instant::now() + pause;
    }

    fn start_engine(&mut self) {
        let settings = match gucs::engine_settings().and_then(|settings| Ok((settings.to_json()?, settings))) {
            Ok(settings) => settings,
            Err(error) => {
                self.give_up(
                    EngineProblem::Settings,
                    error.with_hint("Correct the setting and reload the configuration."),
                );
                return;
            }
        };
        let path = executable();
        match EngineProcess::spawn(&path, &settings.0) {
            Ok(engine) => {
                log(PgLogLevel::LOG, format!("elacsym engine started (PID {})", engine.pid()));
                shmem::set_engine(Some(engine.pid()));
                if shmem::engine_problem().is_lasting() {
                    shmem::set_engine_problem(EngineProblem::None);
                }
                self.complaint = None;
                self.engine = Some(engine);
                self.settings = Some(settings.1);
                self.metrics_at = Instant::now();
                self.path = path;
                self.pump = LogPump::new();
                self.silent = false;
            }
            Err(cause) => {
                use std::io::ErrorKind::{NotFound, PermissionDenied};
                // Anything else (no memory, no process slot) may pass.
                let lasting = matches!(cause.kind(), NotFound | PermissionDenied)
                    || cause.raw_os_error() == Some(libc::ENOEXEC)
                    || cause.raw_os_error() == Some(libc::ENOTDIR);
                let problem = if lasting { EngineProblem::Executable } else { EngineProblem::Crashing };
                let error = crate::error::Error::unavailable(format!(
                    "could not start the elacsym engine \"{}\": {cause}",
                    path.display()
                ));
                self.give_up(
                    problem,
                    error.with_hint(
                        "Install elacsym-engine there, or set elacsym.engine_path, and reload the configuration.",
                    ),
                );
            }
        }
    }

    /// No engine for now: says why, in the log (not at every attempt) and to whoever waits.
    fn give_up(&mut self, problem: EngineProblem, error: crate::error::Error) {
        shmem::set_engine_problem(problem);
        let repeated = self
            .complaint
            .as_ref()
            .is_some_and(|(message, when)| *message == error.message && when.elapsed() < REPEAT_COMPLAINT);
        if !repeated {
            self.complaint = Some((error.message.clone(), Instant::now()));
            error::report(error, PgLogLevel::LOG);
        }
        self.schedule_restart();
        self.restart_at = self.restart_at.max(Instant::now() + RESTART_PAUSE.0);
    }

    /// The configuration was read again.
    fn reload(&mut self) {
        let Some(engine) = &mut self.engine else {
            // Somebody may have mended what kept it from starting.
            self.restart_at = Instant::now();
            self.failures = 0;
            self.complaint = None;
            return;
        };
        let new = match gucs::engine_settings().and_then(|settings| Ok((settings.to_json()?, settings))) {
            Ok(new) => new,
            Err(error) => {
                error::report(error.with_detail("The engine keeps its settings."), PgLogLevel::LOG);
                return;
            }
        };
        let path_changed = executable() != self.path;
        if self.settings.as_ref() == Some(&new.1) && !path_changed {
            return;
        }
        if path_changed || self.settings.as_ref().is_none_or(|old| needs_restart(old, &new.1)) {
            log(PgLogLevel::LOG, "elacsym engine is restarted because of changed settings".to_owned());
            self.stop_engine();
            self.failures = 0;
            self.restart_at = Instant::now();
        } else {
            engine.send_settings(&new.0);
            self.settings = Some(new.1);
        }
    }

    /// Asks the engine to stop, waits for it a bounded time, ends it. Its last messages are logged.
    fn stop_engine(&mut self) {
        let Some(mut engine) = self.engine.take() else { return };
        engine.let_go();
        let limit = Instant::now() + STOP_LIMIT;
        loop {
            if !self.silent && self.pump.pump(engine.stderr()) == Stream::Closed {
                self.silent = true;
            }
            if engine.has_ended().is_some() {
                break;
            }
            if Instant::now() >= limit {
                log(
                    PgLogLevel::LOG,
                    format!("elacsym engine (PID {}) did not stop in time and is killed", engine.pid()),
                );
                engine.kill();
                break;
            }
            let readable = (!self.silent).then(|| engine.stderr_fd());
            wait(readable, SOON);
        }
        self.pump.pump(engine.stderr());
        shmem::set_engine(None);
    }

    // ---- the other workers ----

    fn tend_workers(&mut self) {
        self.tend_launcher();
        self.reap_workers();
        // SAFETY: reads shared memory.
        if Instant::now() < self.workers_at || unsafe { pg_sys::RecoveryInProgress() } {
            return;
        }
        for (slot, database) in shmem::launchable(MAX_MAINTENANCE_WORKERS, self.workers.len()) {
            self.last_registration = self.last_registration.wrapping_add(1).max(1);
            let number = self.last_registration;
            shmem::set_registration(slot, number);
            let name = format!("elacsym maintenance of database {}", database.to_u32());
            let worker = register_worker(
                &name,
                "elacsym maintenance",
                "elacsym_maintenance_main",
                pg_sys::Datum::from(database),
            );
            match worker {
                Some(worker) => self.workers.push((slot, number, worker)),
                None => {
                    shmem::set_registration(slot, 0);
                    self.no_worker_free();
                    return;
                }
            }
        }
    }

    fn reap_workers(&mut self) {
        let mut index = 0;
        while let Some((slot, number, worker)) = self.workers.get(index) {
            if worker.has_stopped() {
                shmem::worker_stopped(*slot, *number);
                self.workers.swap_remove(index).2.release();
            } else {
                index += 1;
            }
        }
    }

    /// On a standby the launcher waits, registered, until the promotion.
    fn tend_launcher(&mut self) {
        if let Some(launcher) = &self.launcher {
            if !launcher.has_stopped() {
                return;
            }
            if let Some(launcher) = self.launcher.take() {
                launcher.release();
            }
            let failed = shmem::launcher_due_in(gucs::announce_period()).is_some_and(|due_in| due_in.is_zero());
            self.launcher_at = Instant::now() + if failed { WORKER_PAUSE } else { Duration::ZERO };
        }
        let due = shmem::launcher_due_in(gucs::announce_period()).is_some_and(|due_in| due_in.is_zero());
        if !due || Instant::now() < self.launcher_at {
            return;
        }
        let name = "elacsym launcher";
        self.launcher = register_worker(name, name, "elacsym_launcher_main", pg_sys::Datum::from(0));
        if self.launcher.is_none() {
            self.launcher_at = Instant::now() + WORKER_PAUSE;
            self.no_worker_free();
        }
    }

    fn no_worker_free(&mut self) {
        self.workers_at = Instant::now() + WORKER_PAUSE;
        let error = crate::error::Error::new(
            crate::error::ErrorKind::Exhausted,
            "no background worker is free for the maintenance of elacsym's write buffers",
        );
        let error = error.with_hint("Raise max_worker_processes. It is tried again every few seconds.");
        let repeated = self
            .complaint
            .as_ref()
            .is_some_and(|(message, when)| *message == error.message && when.elapsed() < REPEAT_COMPLAINT);
        if !repeated {
            self.complaint = Some((error.message.clone(), Instant::now()));
            error::report(error, PgLogLevel::LOG);
        }
    }
}

/// Settings the engine fixes when it starts: pools, tiers and the socket.
fn needs_restart(old: &EngineSettings, new: &EngineSettings) -> bool {
    old.engine_threads != new.engine_threads
        || old.cache_memory != new.cache_memory
        || old.cache_disk != new.cache_disk
        || old.cache_path != new.cache_path
        || old.socket_path != new.socket_path
}
