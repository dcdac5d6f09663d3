//! Index options: `WITH (recall_target = 0.98, …)`.

use super::relation::Rel;
use pgrx::pg_sys;
use std::ffi::{CStr, c_int};
use std::mem::offset_of;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The kind of relation options that PostgreSQL gave us, 0 before [`register`].
static KIND: AtomicU32 = AtomicU32::new(0);

/// Recall that an effort of 1 is made for.
pub const DEFAULT_RECALL_TARGET: f64 = 0.95;

/// The options of an index as PostgreSQL stores them.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Options {
    vl_len: i32,
    recall_target: f64,
    effort: f64,
    lists: c_int,
    flush_rows: c_int,
    flush_bytes: c_int,
    flush_interval: c_int,
    m: c_int,
    ef_construction: c_int,
}

/// Options of pgvector that are accepted so that copied DDL works; they have no meaning here.
const IGNORED: [&CStr; 2] = [c"m", c"ef_construction"];
/// An integer option that is not set.
const UNSET: c_int = -1;

/// \[postmaster, backend\] Registers the options; once, when the library is loaded.
pub fn register() {
    // SAFETY: while the library is loaded, by the only thread.
    let kind = unsafe { pg_sys::add_reloption_kind() };
    KIND.store(kind, Ordering::Relaxed);
    let lock = pg_sys::ShareUpdateExclusiveLock as i32;
    let real = |name: &CStr, text: &CStr, default: f64, least: f64, most: f64| {
        // SAFETY: C string literals, which stay; the kind of above.
        unsafe { pg_sys::add_real_reloption(kind, name.as_ptr(), text.as_ptr(), default, least, most, lock) };
    };
    let int = |name: &CStr, text: &CStr, least: c_int, most: c_int| {
        // SAFETY: as above.
        unsafe { pg_sys::add_int_reloption(kind, name.as_ptr(), text.as_ptr(), UNSET, least, most, lock) };
    };
    real(
        c"recall_target",
        c"share of the true nearest neighbours a search should find",
        DEFAULT_RECALL_TARGET,
        0.5,
        1.0,
    );
    real(c"effort", c"multiplies the work of every search of this index", 0.0, 0.0, 1e9);
    int(c"lists", c"number of lists of a segment; chosen by itself when not set", UNSET, 65_536);
    int(c"flush_rows", c"buffered rows that start a flush", UNSET, c_int::MAX);
    int(c"flush_bytes", c"buffered kilobytes that start a flush", UNSET, c_int::MAX);
    int(c"flush_interval", c"milliseconds after which buffered rows are flushed", UNSET, c_int::MAX);
    for name in IGNORED {
        int(name, c"accepted for pgvector's sake, without effect", UNSET, c_int::MAX);
    }
}

/// PostgreSQL's `amoptions`.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn amoptions(reloptions: pg_sys::Datum, validate: bool) -> *mut pg_sys::bytea {
    let element = |name: &CStr, kind, offset: usize| pg_sys::relopt_parse_elt {
        optname: name.as_ptr(),
        opttype: kind,
        offset: offset as c_int,
        #[cfg(feature = "pg18")]
        isset_offset: 0,
    };
    let real = |name, offset| element(name, pg_sys::relopt_type::RELOPT_TYPE_REAL, offset);
    let int = |name, offset| element(name, pg_sys::relopt_type::RELOPT_TYPE_INT, offset);
    let elements = [
        real(c"recall_target", offset_of!(Options, recall_target)),
        real(c"effort", offset_of!(Options, effort)),
        int(c"lists", offset_of!(Options, lists)),
        int(c"flush_rows", offset_of!(Options, flush_rows)),
        int(c"flush_bytes", offset_of!(Options, flush_bytes)),
        int(c"flush_interval", offset_of!(Options, flush_interval)),
        int(IGNORED[0], offset_of!(Options, m)),
        int(IGNORED[1], offset_of!(Options, ef_construction)),
    ];
    // SAFETY: the elements describe `Options`; names live as long as the library.
    let parsed = unsafe {
        pg_sys::build_reloptions(
            reloptions,
            validate,
            KIND.load(Ordering::Relaxed),
            size_of::<Options>(),
            elements.as_ptr(),
            elements.len() as c_int,
        )
    };
    // SAFETY: null, or a filled `Options`.
    if let Some(options) = unsafe { parsed.cast::<Options>().as_ref() }
        && validate
    {
        for (name, value) in IGNORED.iter().zip([options.m, options.ef_construction]) {
            if value != UNSET {
                pgrx::notice!("option \"{}\" has no effect on an elacsym index", name.to_string_lossy());
            }
        }
        if options.lists > 0 {
            pgrx::notice!(
                "option \"lists\" is the number of lists of each segment; an elacsym index chooses it when not told"
            );
        }
    }
    parsed.cast()
}

/// How hard searches of this index look, before the session's setting: 1 is the default.
pub fn effort(index: Rel) -> f32 {
    let Some(options) = of(index) else { return 1.0 };
    if options.effort > 0.0 {
        return options.effort as f32;
    }
    effort_for(options.recall_target)
}

/// How many lists a segment shall have, if the owner has said so.
pub fn lists(index: Rel) -> Option<u32> {
    of(index).and_then(|options| u32::try_from(options.lists).ok()).filter(|lists| *lists > 0)
}

/// When the buffer of an index is flushed, where that differs from the settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Thresholds {
    /// Buffered rows.
    pub rows: Option<u64>,
    /// Their bytes.
    pub bytes: Option<u64>,
    /// Age of the oldest.
    pub interval: Option<Duration>,
}

/// The thresholds of an index.
pub fn thresholds(index: Rel) -> Thresholds {
    let Some(options) = of(index) else { return Thresholds::default() };
    let set = |value: c_int| u64::try_from(value).ok();
    Thresholds {
        rows: set(options.flush_rows).map(|rows| rows.max(1)),
        bytes: set(options.flush_bytes).map(|kilobytes| kilobytes.max(1) << 10),
        interval: set(options.flush_interval).map(Duration::from_millis),
    }
}

/// The options of an index, if it has any.
fn of(index: Rel) -> Option<Options> {
    // SAFETY: an open relation; its options, if any, are ours.
    let options = unsafe { (*index.ptr()).rd_options }.cast::<Options>();
    // SAFETY: null, or a filled `Options`.
    unsafe { options.as_ref() }.copied()
}

/// The effort for a recall: every halving of the misses takes about twice the lists; 1 means exact.
fn effort_for(recall_target: f64) -> f32 {
    if recall_target >= 1.0 {
        return f32::INFINITY;
    }
    ((1.0 - DEFAULT_RECALL_TARGET) / (1.0 - recall_target)) as f32
}
