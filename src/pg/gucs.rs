//! Every setting (`elacsym.*`): definition, range, and the reading side for the rest of the glue.
//!
//! None is `PGC_POSTMASTER`: such a setting cannot be defined by a backend that loads the library late, and `CREATE
//! EXTENSION` must work without preloading. What reaches outside the database (storage, paths, memory) can be changed
//! only in the configuration files, that is by whoever administers the server.

use crate::back_pressure::Limits;
use crate::config::{EngineSettings, LogLevel, StorageConfig, StorageTimeouts, StorageUrl};
use crate::error::{Error, Result};
use crate::pg::prices::{self, Prices};
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};
use pgrx::pg_sys;
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::PathBuf;
use std::time::Duration;

/// Directory of the socket and, unless `elacsym.cache_path` says otherwise, of the disk cache; below the data
/// directory. Base backups and `pg_rewind` skip every name that starts with `pgsql_tmp`.
pub const RUNTIME_DIRECTORY: &str = "pgsql_tmp_elacsym";
/// The engine's socket, relative to the data directory: the working directory of every server process. A relative path
/// stays below the 107 bytes of `sun_path` however long the data directory's name is.
pub const SOCKET_PATH: &str = "pgsql_tmp_elacsym/engine.sock";
/// Where objects go when `elacsym.storage_url` is empty, below the data directory: so a base backup holds everything, wherever it is restored to.
const DEFAULT_STORAGE: &str = "pgdata:elacsym";

const DEFAULT_CACHE_MEMORY_MB: i32 = 512;
const DEFAULT_CACHE_DISK_MB: i32 = 4_096;
const DEFAULT_BUILD_MEMORY_MB: i32 = 256;
/// 16 MiB, in the unit of the setting: some thousand pages of ten rows.
const DEFAULT_RESULT_CACHE_KB: i32 = 16 << 10;
/// 16 MiB, in the unit of the setting.
const DEFAULT_FLUSH_BYTES_KB: i32 = 16 << 10;
const DEFAULT_FLUSH_INTERVAL_MS: i32 = 1_000;
/// A week: must exceed the window of point-in-time recovery and the lag of any standby, and a week is what both usually are at most.
const DEFAULT_OBJECT_RETENTION_S: i32 = 7 * 86_400;

/// A day: a listing of everything costs a request for 1,000 objects, and what it finds stays for the retention time anyway.
const DEFAULT_ORPHAN_SWEEP_INTERVAL_S: i32 = 86_400;

static STORAGE_URL: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static S3_ENDPOINT: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static S3_REGION: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static S3_CREDENTIALS_FILE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static S3_PATH_STYLE: GucSetting<bool> = GucSetting::<bool>::new(false);
static CACHE_MEMORY: GucSetting<i32> = GucSetting::<i32>::new(DEFAULT_CACHE_MEMORY_MB);
static CACHE_DISK: GucSetting<i32> = GucSetting::<i32>::new(DEFAULT_CACHE_DISK_MB);
static CACHE_PATH: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static FLUSH_ROWS: GucSetting<i32> = GucSetting::<i32>::new(crate::limits::DEFAULT_FLUSH_ROWS);
static FLUSH_BYTES: GucSetting<i32> = GucSetting::<i32>::new(DEFAULT_FLUSH_BYTES_KB);
static FLUSH_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(DEFAULT_FLUSH_INTERVAL_MS);
static BUILD_MEMORY: GucSetting<i32> = GucSetting::<i32>::new(DEFAULT_BUILD_MEMORY_MB);
static OBJECT_RETENTION: GucSetting<i32> = GucSetting::<i32>::new(DEFAULT_OBJECT_RETENTION_S);
static EFFORT: GucSetting<f64> = GucSetting::<f64>::new(DEFAULT_EFFORT as f64);
static REPLACE_HNSW: GucSetting<bool> = GucSetting::<bool>::new(false);
static ENGINE_PATH: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static ENGINE_THREADS: GucSetting<i32> = GucSetting::<i32>::new(0);
static ENGINE_LOG_LEVEL: GucSetting<EngineLogLevel> = GucSetting::<EngineLogLevel>::new(EngineLogLevel::Info);
static RESULT_CACHE: GucSetting<i32> = GucSetting::<i32>::new(DEFAULT_RESULT_CACHE_KB);
static COMPACTION: GucSetting<bool> = GucSetting::<bool>::new(true);
static ORPHAN_SWEEP_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(DEFAULT_ORPHAN_SWEEP_INTERVAL_S);
static METRICS_PORT: GucSetting<i32> = GucSetting::<i32>::new(0);
static LOG_MIN_DURATION: GucSetting<i32> = GucSetting::<i32>::new(-1);
static PRICE_GET: GucSetting<f64> = GucSetting::<f64>::new(prices::DEFAULT_GET_PER_MILLION);
static PRICE_PUT: GucSetting<f64> = GucSetting::<f64>::new(prices::DEFAULT_PUT_PER_MILLION);
static PRICE_GB_MONTH: GucSetting<f64> = GucSetting::<f64>::new(prices::DEFAULT_GB_MONTH);
static FAULT_POINT: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));

/// The values of `elacsym.engine_log_level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PostgresGucEnum)]
pub enum EngineLogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// \[postmaster, backend\] Defines every setting. Called once for each process that loads the library itself.
pub fn define() {
    define_storage();
    define_engine();
    define_flush_and_search();
    define_result_cache();
    define_garbage();
    define_back_pressure();
    define_figures();
    // From here on `elacsym.misspelt` is an error, not a silent placeholder.
    reserve_prefix();
}

fn define_storage() {
    // SAFETY: every hook below is `#[pg_guard]`ed, so no Rust panic leaves it.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"elacsym.storage_url",
            c"Where segments are written: file:///directory or s3://bucket/prefix.",
            c"Empty means pgdata:elacsym, a directory inside the data directory. Segments written earlier are read from where they are.",
            &STORAGE_URL,
            GucContext::Sighup,
            GucFlags::default(),
            Some(check_storage_url),
            None,
            None,
        );
    }
    // SAFETY: as above.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"elacsym.s3_endpoint",
            c"Endpoint of an S3-compatible store, with http:// or https://.",
            c"Empty means AWS.",
            &S3_ENDPOINT,
            GucContext::Sighup,
            GucFlags::default(),
            Some(check_s3_endpoint),
            None,
            None,
        );
    }
    string(
        c"elacsym.s3_region",
        c"Region of the bucket.",
        c"Empty means what the environment says, else us-east-1.",
        &S3_REGION,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"elacsym.s3_path_style",
        c"Address buckets as endpoint/bucket instead of bucket.endpoint.",
        c"Most S3-compatible servers need it.",
        &S3_PATH_STYLE,
        GucContext::Sighup,
        GucFlags::default(),
    );
    string(
        c"elacsym.s3_credentials_file",
        c"AWS credentials file (INI), profile \"default\".",
        c"Empty means the server's environment, then the instance role. Credentials are never a setting.",
        &S3_CREDENTIALS_FILE,
        GucFlags::SUPERUSER_ONLY,
    );
}

fn define_engine() {
    string(
        c"elacsym.engine_path",
        c"The elacsym-engine executable.",
        c"Empty means elacsym-engine in PostgreSQL's package library directory.",
        &ENGINE_PATH,
        GucFlags::SUPERUSER_ONLY,
    );
    int(
        c"elacsym.engine_threads",
        c"Threads of the engine's CPU pool.",
        c"0 means one for each core.",
        &ENGINE_THREADS,
        0,
        1_024,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_enum_guc(
        c"elacsym.engine_log_level",
        c"How much the engine writes to the server log.",
        c"PostgreSQL's log_min_messages still applies.",
        &ENGINE_LOG_LEVEL,
        GucContext::Sighup,
        GucFlags::default(),
    );
    int(
        c"elacsym.cache_memory",
        c"Memory for what the engine keeps: the block cache, open segments, the decoded write buffer, records of deletes.",
        c"One engine serves all connections; builds and merges of segments come on top (elacsym.build_memory).",
        &CACHE_MEMORY,
        1,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_MB,
    );
    int(
        c"elacsym.cache_disk",
        c"Disk tier of the block cache.",
        c"0 switches it off; it is always off while elacsym.storage_url is a local directory.",
        &CACHE_DISK,
        0,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_MB,
    );
    string(
        c"elacsym.cache_path",
        c"Directory of the disk tier of the block cache.",
        c"Empty means a directory inside the data directory that base backups skip.",
        &CACHE_PATH,
        GucFlags::SUPERUSER_ONLY,
    );
    int(
        c"elacsym.build_memory",
        c"Memory one segment build may hold.",
        c"",
        &BUILD_MEMORY,
        32,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_MB,
    );
}

fn define_flush_and_search() {
    let no_flags = GucFlags::default();
    int(
        c"elacsym.flush_rows",
        c"Rows in a namespace's write buffer that start a flush.",
        c"",
        &FLUSH_ROWS,
        1,
        10_000_000,
        GucContext::Sighup,
        no_flags,
    );
    int(
        c"elacsym.flush_bytes",
        c"Bytes in a namespace's write buffer that start a flush.",
        c"",
        &FLUSH_BYTES,
        64,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_KB,
    );
    int(
        c"elacsym.flush_interval",
        c"Age of the oldest buffered row that starts a flush.",
        c"",
        &FLUSH_INTERVAL,
        10,
        3_600_000,
        GucContext::Sighup,
        GucFlags::UNIT_MS,
    );
    int(
        c"elacsym.object_retention",
        c"How long an object stays after the last reference to it is gone.",
        c"Set it above the window of point-in-time recovery and the lag of any standby.",
        &OBJECT_RETENTION,
        0,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_float_guc(
        c"elacsym.effort",
        c"How much of the vector index a search visits: 1 is the default, more finds more, infinity is exact.",
        c"",
        &EFFORT,
        0.1,
        f64::INFINITY,
        GucContext::Userset,
        GucFlags::EXPLAIN,
    );
    GucRegistry::define_bool_guc(
        c"elacsym.replace_hnsw",
        c"CREATE INDEX ... USING hnsw or ivfflat creates an elacsym index.",
        c"For programs whose index statements cannot be changed.",
        &REPLACE_HNSW,
        GucContext::Userset,
        no_flags,
    );
    GucRegistry::define_bool_guc(
        c"elacsym.compaction",
        c"Merge segments in the background.",
        c"While it is off, segments pile up and searches get slower; elacsym.compact() still works.",
        &COMPACTION,
        GucContext::Sighup,
        no_flags,
    );
    GucRegistry::define_string_guc(
        c"elacsym.fault_point",
        c"Developer option: kills the server at the named step.",
        c"Used by the crash tests.",
        &FAULT_POINT,
        GucContext::Suset,
        GucFlags::NO_SHOW_ALL | GucFlags::SUPERUSER_ONLY,
    );
}

fn define_result_cache() {
    int(
        c"elacsym.result_cache",
        c"Memory for the answers of repeated queries.",
        c"An answer is given again only to the same query of the same state. 0 switches it off.",
        &RESULT_CACHE,
        0,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_KB,
    );
}

fn define_garbage() {
    int(
        c"elacsym.orphan_sweep_interval",
        c"How often object storage is searched for objects that nothing refers to.",
        c"0 switches the search off.",
        &ORPHAN_SWEEP_INTERVAL,
        0,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_S,
    );
}

fn define_figures() {
    int(
        c"elacsym.metrics_port",
        c"Port of 127.0.0.1 on which the engine serves figures to Prometheus, at /metrics.",
        c"0 switches it off.",
        &METRICS_PORT,
        0,
        u16::MAX.into(),
        GucContext::Sighup,
        GucFlags::default(),
    );
    int(
        c"elacsym.log_min_duration",
        c"Searches that take at least this long are logged with their figures.",
        c"0 logs all of them, -1 none.",
        &LOG_MIN_DURATION,
        -1,
        i32::MAX,
        GucContext::Suset,
        GucFlags::UNIT_MS,
    );
    let price = |name, short, setting: &'static GucSetting<f64>| {
        let long = c"For the estimates in EXPLAIN and elacsym.stat_namespaces.";
        GucRegistry::define_float_guc(name, short, long, setting, 0.0, 1e9, GucContext::Userset, GucFlags::default());
    };
    price(c"elacsym.price_get_per_million", c"Price of a million requests that read from object storage.", &PRICE_GET);
    price(c"elacsym.price_put_per_million", c"Price of a million requests that write to object storage.", &PRICE_PUT);
    price(c"elacsym.price_gb_month", c"Price of keeping a gigabyte in object storage for a month.", &PRICE_GB_MONTH);
}

fn string(
    name: &'static CStr,
    short: &'static CStr,
    long: &'static CStr,
    setting: &'static GucSetting<Option<CString>>,
    flags: GucFlags,
) {
    GucRegistry::define_string_guc(name, short, long, setting, GucContext::Sighup, flags);
}

#[allow(clippy::too_many_arguments)] // the shape of the function it shortens
fn int(
    name: &'static CStr,
    short: &'static CStr,
    long: &'static CStr,
    setting: &'static GucSetting<i32>,
    min: i32,
    max: i32,
    context: GucContext,
    flags: GucFlags,
) {
    GucRegistry::define_int_guc(name, short, long, setting, min, max, context, flags);
}

fn reserve_prefix() {
    #[cfg(feature = "pg14")]
    // SAFETY: a C string literal; PostgreSQL only reads it.
    unsafe {
        pg_sys::EmitWarningsOnPlaceholders(c"elacsym".as_ptr());
    }
    #[cfg(not(feature = "pg14"))]
    // SAFETY: a C string literal; PostgreSQL copies it.
    unsafe {
        pg_sys::MarkGUCPrefixReserved(c"elacsym".as_ptr());
    }
}

/// Tells PostgreSQL why a check hook refuses a value.
fn refuse(error: Error) -> bool {
    let detail = CString::new(error.message).unwrap_or_default();
    // SAFETY: ErrorContext outlives the report of the refusal, as `format_elog_string` relies on.
    let detail = unsafe { pg_sys::MemoryContextStrdup(pg_sys::ErrorContext, detail.as_ptr()) };
    // SAFETY: the variable exists for check hooks to set; PostgreSQL is single-threaded.
    unsafe { pg_sys::GUC_check_errdetail_string = detail };
    if let Some(hint) = error.hint {
        let hint = CString::new(hint).unwrap_or_default();
        // SAFETY: as above.
        let hint = unsafe { pg_sys::MemoryContextStrdup(pg_sys::ErrorContext, hint.as_ptr()) };
        // SAFETY: as above.
        unsafe { pg_sys::GUC_check_errhint_string = hint };
    }
    false
}

/// The proposed value of a string setting, or none when it is empty.
///
/// # Safety
/// `newval` must be what PostgreSQL hands to a string check hook.
unsafe fn proposed(newval: *mut *mut c_char) -> Result<Option<String>> {
    // SAFETY: the caller's contract: a valid pointer to a possibly null C string.
    let value = unsafe { *newval };
    if value.is_null() {
        return Ok(None);
    }
    // SAFETY: not null, and PostgreSQL's strings end with a zero byte.
    let value = unsafe { CStr::from_ptr(value) };
    let value = value.to_str().map_err(|_| Error::invalid("the value is not UTF-8"))?;
    Ok(Some(value.to_owned()).filter(|value| !value.is_empty()))
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn check_storage_url(
    newval: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL calls this hook with its own pointers.
    let value = unsafe { proposed(newval) };
    match value.and_then(|url| url.map_or(Ok(()), |url| StorageUrl::parse(&url).map(|_| ()))) {
        Ok(()) => true,
        Err(error) => refuse(error),
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn check_s3_endpoint(
    newval: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL calls this hook with its own pointers.
    let value = unsafe { proposed(newval) };
    let check = |endpoint: Option<String>| {
        // Any valid URL: only the endpoint is being checked here.
        StorageConfig { url: "s3://bucket".to_owned(), s3_endpoint: endpoint, ..StorageConfig::default() }.validate()
    };
    match value.and_then(check) {
        Ok(()) => true,
        Err(error) => refuse(error),
    }
}

/// The value of a string setting; none when it is empty.
fn text(setting: &GucSetting<Option<CString>>, name: &str) -> Result<Option<String>> {
    let Some(value) = setting.get() else { return Ok(None) };
    let value = value.into_string().map_err(|_| Error::invalid(format!("{name} is not UTF-8")))?;
    Ok(Some(value).filter(|value| !value.is_empty()))
}

/// \[backend, worker\] The storage root new segments are written to, in canonical form (`StorageUrl`'s `Display`).
///
/// # Errors
/// `Invalid` for a URL that is not UTF-8.
pub fn storage_root() -> Result<String> {
    let url = match text(&STORAGE_URL, "elacsym.storage_url")? {
        Some(url) => url,
        None => DEFAULT_STORAGE.to_owned(),
    };
    Ok(StorageUrl::parse(&url)?.to_string())
}

/// \[backend, worker\] Rows in the write buffer of a namespace that start a flush.
pub fn flush_rows() -> u64 {
    u64::try_from(FLUSH_ROWS.get()).unwrap_or(1)
}

/// \[backend, worker\] Bytes in the write buffer of a namespace that start a flush.
pub fn flush_bytes() -> u64 {
    unit(FLUSH_BYTES.get(), 10)
}

/// \[backend\] Memory of one index build, in bytes.
pub fn build_memory() -> usize {
    usize::try_from(unit(BUILD_MEMORY.get(), 20)).unwrap_or(usize::MAX)
}

/// \[backend, worker\] Age of the oldest buffered row that starts a flush.
pub fn flush_interval() -> Duration {
    Duration::from_millis(u64::try_from(FLUSH_INTERVAL.get()).unwrap_or(0))
}

/// \[worker\] How long a released object is kept.
pub fn object_retention() -> Duration {
    Duration::from_secs(u64::try_from(OBJECT_RETENTION.get()).unwrap_or(0))
}

/// What `elacsym.effort` is when nobody sets it.
pub const DEFAULT_EFFORT: f32 = 1.0;

/// \[backend\] `elacsym.effort`; infinity means exact.
#[allow(clippy::cast_possible_truncation)] // an f32 is what the request carries; larger values become infinity
pub fn effort() -> f32 {
    EFFORT.get() as f32
}

/// \[backend\] `elacsym.replace_hnsw`: pgvector's index methods become ours.
pub fn replace_hnsw() -> bool {
    REPLACE_HNSW.get()
}

/// \[supervisor\] `elacsym.engine_path`, if it is set.
pub fn engine_path() -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let bytes = ENGINE_PATH.get()?.into_bytes();
    (!bytes.is_empty()).then(|| PathBuf::from(std::ffi::OsString::from_vec(bytes)))
}

/// A value in units of 2^`shift` bytes, in bytes.
fn unit(value: i32, shift: u32) -> u64 {
    u64::try_from(value).unwrap_or(0) << shift
}

/// \[supervisor, backend\] What the engine is started with, validated.
///
/// # Errors
/// `Invalid` or `OutOfRange`, naming the setting.
pub fn engine_settings() -> Result<EngineSettings> {
    let url = storage_root()?;
    let local = StorageUrl::parse(&url)?.is_file();
    let settings = EngineSettings {
        storage: StorageConfig {
            url,
            s3_endpoint: text(&S3_ENDPOINT, "elacsym.s3_endpoint")?,
            s3_region: text(&S3_REGION, "elacsym.s3_region")?,
            s3_path_style: S3_PATH_STYLE.get(),
            s3_credentials_file: text(&S3_CREDENTIALS_FILE, "elacsym.s3_credentials_file")?.map(PathBuf::from),
            timeouts: StorageTimeouts::default(),
        },
        cache_memory: unit(CACHE_MEMORY.get(), 20),
        // A disk tier over a local directory would copy the disk onto itself.
        cache_disk: if local { 0 } else { unit(CACHE_DISK.get(), 20) },
        result_cache: unit(RESULT_CACHE.get(), 10),
        cache_path: text(&CACHE_PATH, "elacsym.cache_path")?
            .map_or_else(|| PathBuf::from(RUNTIME_DIRECTORY).join("cache"), PathBuf::from),
        engine_threads: u32::try_from(ENGINE_THREADS.get()).unwrap_or(0),
        build_memory: unit(BUILD_MEMORY.get(), 20),
        socket_path: PathBuf::from(SOCKET_PATH),
        log_level: match ENGINE_LOG_LEVEL.get() {
            EngineLogLevel::Error => LogLevel::Error,
            EngineLogLevel::Warn => LogLevel::Warn,
            EngineLogLevel::Info => LogLevel::Info,
            EngineLogLevel::Debug => LogLevel::Debug,
            EngineLogLevel::Trace => LogLevel::Trace,
        },
        metrics_port: metrics_port(),
    };
    settings.validate()?;
    Ok(settings)
}

/// \[worker\] Whether segments are merged in the background.
pub fn compaction() -> bool {
    COMPACTION.get()
}

/// \[supervisor\] `elacsym.metrics_port`; 0: none.
pub fn metrics_port() -> u16 {
    u16::try_from(METRICS_PORT.get()).unwrap_or(0)
}

/// \[backend\] `elacsym.log_min_duration`, if searches are logged at all.
pub fn log_min_duration() -> Option<Duration> {
    u64::try_from(LOG_MIN_DURATION.get()).ok().map(Duration::from_millis)
}

/// \[backend\] The prices of object storage.
pub fn prices() -> Prices {
    Prices { get_per_million: PRICE_GET.get(), put_per_million: PRICE_PUT.get(), gb_month: PRICE_GB_MONTH.get() }
}

/// \[backend, worker\] If `elacsym.fault_point` is `name`, the whole server dies here as if the machine had: the
/// postmaster and this process by SIGKILL. For the crash tests; only a superuser can set it.
pub fn fault_point(name: &str) {
    let armed = FAULT_POINT.get().is_some_and(|value| value.as_bytes() == name.as_bytes());
    if !armed {
        return;
    }
    // SAFETY: set once by the postmaster, inherited by every process.
    let postmaster = unsafe { pg_sys::PostmasterPid };
    // SAFETY: kill(2) touches no memory of ours.
    unsafe { libc::kill(postmaster, libc::SIGKILL) };
    // SAFETY: getpid(2) cannot fail.
    let own = unsafe { libc::getpid() };
    // SAFETY: as above; this process ends here.
    unsafe { libc::kill(own, libc::SIGKILL) };
}

/// Most time between two announcements of this server in object storage.
const ANNOUNCE_PERIOD: Duration = Duration::from_secs(3_600);

/// \[worker\] How often to search for orphans; none: never.
pub fn orphan_sweep_interval() -> Option<Duration> {
    u64::try_from(ORPHAN_SWEEP_INTERVAL.get()).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

/// \[supervisor, worker\] How often every database is looked after though nothing was written, and the server announces itself in
/// object storage.
pub fn announce_period() -> Duration {
    orphan_sweep_interval().map_or(ANNOUNCE_PERIOD, |interval| interval.min(ANNOUNCE_PERIOD))
}

// ---- back-pressure ----

/// 1 GiB, in the unit of the setting: half an hour without a flush at 300 rows a second of 2 KB.
const DEFAULT_BUFFER_LIMIT_KB: i32 = 1 << 20;
/// 16 GiB: far above what a load in one transaction puts into an indexed table, far below what fills a server's disk.
const DEFAULT_BUFFER_HARD_LIMIT_KB: i32 = 16 << 20;

static BUFFER_LIMIT: GucSetting<i32> = GucSetting::<i32>::new(DEFAULT_BUFFER_LIMIT_KB);
static BUFFER_HARD_LIMIT: GucSetting<i32> = GucSetting::<i32>::new(DEFAULT_BUFFER_HARD_LIMIT_KB);

fn define_back_pressure() {
    int(
        c"elacsym.buffer_limit",
        c"Bytes in the write buffer of a database beyond which writers are delayed.",
        c"The delay grows with the excess, up to 0.1 s for each entry at twice the limit. 0 means no delay.",
        &BUFFER_LIMIT,
        0,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_KB,
    );
    int(
        c"elacsym.buffer_hard_limit",
        c"Bytes in the write buffer of a database, uncommitted ones included, beyond which writers get an error.",
        c"Deletions are never refused. It counts as elacsym.buffer_limit where it is less. 0 means no limit.",
        &BUFFER_HARD_LIMIT,
        0,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_KB,
    );
}

/// \[backend, worker\] `elacsym.buffer_limit` and `elacsym.buffer_hard_limit`.
pub fn buffer_limits() -> Limits {
    Limits { delay: unit(BUFFER_LIMIT.get(), 10), stop: unit(BUFFER_HARD_LIMIT.get(), 10) }
}
