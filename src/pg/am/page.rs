//! Pages of an index relation, written through generic WAL: crash-safe, replicated, and free of transaction ids, so that
//! VACUUM may write them (pitfalls 3.5).

use super::relation::Rel;
use crate::error::{Error, ErrorKind, Result};
use pgrx::pg_sys;

/// Bytes of a page that hold our content.
pub const CONTENT_BYTES: usize = pg_sys::BLCKSZ as usize - HEADER_BYTES;
/// PostgreSQL's page header, aligned as `PageGetContents` does.
const HEADER_BYTES: usize = size_of::<pg_sys::PageHeaderData>().next_multiple_of(8);

/// A pinned and locked buffer. Dropping it unlocks and unpins; while an error unwinds, the resource owner does it.
struct Locked(pg_sys::Buffer);

impl Drop for Locked {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: pinned and locked by us, released once.
            unsafe { pg_sys::UnlockReleaseBuffer(self.0) };
        }
    }
}

impl Locked {
    fn new(index: Rel, block: u32, mode: u32) -> Self {
        // SAFETY: an open relation; reading beyond its end raises an error.
        let buffer = unsafe {
            pg_sys::ReadBufferExtended(
                index.ptr(),
                pg_sys::ForkNumber::MAIN_FORKNUM,
                block,
                pg_sys::ReadBufferMode::RBM_NORMAL,
                std::ptr::null_mut(),
            )
        };
        // SAFETY: just pinned.
        unsafe { pg_sys::LockBuffer(buffer, mode as i32) };
        Self(buffer)
    }
}

/// Number of blocks of the index's main fork.
pub fn blocks(index: Rel) -> u32 {
    // SAFETY: an open relation.
    unsafe { pg_sys::RelationGetNumberOfBlocksInFork(index.ptr(), pg_sys::ForkNumber::MAIN_FORKNUM) }
}

/// The content of a page: the bytes between its header and `pd_lower`.
///
/// # Errors
/// `Corrupt` when the page is not one of ours.
pub fn read(index: Rel, block: u32) -> Result<Vec<u8>> {
    let locked = Locked::new(index, block, pg_sys::BUFFER_LOCK_SHARE);
    // SAFETY: pinned and locked until `locked` is dropped.
    let page = unsafe { pg_sys::BufferGetPage(locked.0) };
    // SAFETY: every page starts with a header.
    let lower = usize::from(unsafe { (*page.cast::<pg_sys::PageHeaderData>()).pd_lower });
    if !(HEADER_BYTES..=pg_sys::BLCKSZ as usize).contains(&lower) {
        return Err(corrupt(block, "it is not initialised"));
    }
    // SAFETY: `lower` is within the page.
    let start = unsafe { page.add(HEADER_BYTES) }.cast::<u8>();
    // SAFETY: as above; the bytes are copied while the lock is held.
    Ok(unsafe { std::slice::from_raw_parts(start, lower - HEADER_BYTES) }.to_vec())
}

/// What is at a place in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The table has no such block.
    Beyond,
    /// Nothing.
    Unused,
    /// A row version that no index entry may lead to.
    HeapOnly,
    /// A row version, dead or alive, or the beginning of a chain of them.
    Used,
}

/// What is at `tid` in a heap of `blocks` blocks.
pub fn place(heap: Rel, tid: pg_sys::ItemPointerData, blocks: u32) -> Place {
    let (block, offset) = pgrx::itemptr::item_pointer_get_both(tid);
    if block >= blocks {
        return Place::Beyond;
    }
    let locked = Locked::new(heap, block, pg_sys::BUFFER_LOCK_SHARE);
    // SAFETY: pinned and locked until `locked` is dropped.
    let page = unsafe { pg_sys::BufferGetPage(locked.0) };
    // SAFETY: every page starts with a header; line pointers follow it.
    let header = unsafe { &*page.cast::<pg_sys::PageHeaderData>() };
    let start = std::mem::offset_of!(pg_sys::PageHeaderData, pd_linp);
    let lines = usize::from(header.pd_lower).saturating_sub(start) / size_of::<pg_sys::ItemIdData>();
    let number = usize::from(offset);
    if number == 0 || number > lines {
        return Place::Unused;
    }
    // SAFETY: one of the page's line pointers.
    let line = unsafe { *page.add(start).cast::<pg_sys::ItemIdData>().add(number - 1) };
    match line.lp_flags() {
        pg_sys::LP_UNUSED => Place::Unused,
        pg_sys::LP_NORMAL => {
            // SAFETY: a normal line pointer leads to a tuple on the page.
            let tuple = unsafe { &*page.add(line.lp_off() as usize).cast::<pg_sys::HeapTupleHeaderData>() };
            let heap_only = u32::from(tuple.t_infomask2) & pg_sys::HEAP_ONLY_TUPLE != 0;
            if heap_only { Place::HeapOnly } else { Place::Used }
        }
        _ => Place::Used,
    }
}

/// An error that names a block of the index.
pub fn corrupt(block: u32, what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("page {block} of the index is corrupt: {what}"))
        .with_hint("Run REINDEX on the index.")
}

/// Replaces the content of pages, all or none of them: at most four (generic WAL's limit). A block one past the end
/// extends the relation.
pub fn write(index: Rel, pages: &[(u32, &[u8])]) {
    let locked: Vec<Locked> = pages.iter().map(|(block, _)| open_for_writing(index, *block)).collect();
    // SAFETY: an open relation; the state ends with `GenericXLogFinish`, or with the transaction.
    let state = unsafe { pg_sys::GenericXLogStart(index.ptr()) };
    for (buffer, (_, content)) in locked.iter().zip(pages) {
        assert!(content.len() <= CONTENT_BYTES, "invariant: the content fits into a page");
        // SAFETY: the buffer is pinned and locked exclusively.
        let page =
            unsafe { pg_sys::GenericXLogRegisterBuffer(state, buffer.0, pg_sys::GENERIC_XLOG_FULL_IMAGE as i32) };
        // SAFETY: a private copy of a whole page.
        unsafe { pg_sys::PageInit(page, pg_sys::BLCKSZ as usize, 0) };
        // SAFETY: within the page, as the content fits.
        let start = unsafe { page.add(HEADER_BYTES) }.cast::<u8>();
        // SAFETY: as above; source and destination are different memory.
        unsafe { std::ptr::copy_nonoverlapping(content.as_ptr(), start, content.len()) };
        let lower = u16::try_from(HEADER_BYTES + content.len()).expect("invariant: a page has less than 64 KiB");
        // SAFETY: the header of that page. Generic WAL keeps only what is outside pd_lower to pd_upper.
        unsafe { (*page.cast::<pg_sys::PageHeaderData>()).pd_lower = lower };
    }
    // SAFETY: the state of above, ended once.
    unsafe { pg_sys::GenericXLogFinish(state) };
}

fn open_for_writing(index: Rel, block: u32) -> Locked {
    if block < blocks(index) {
        return Locked::new(index, block, pg_sys::BUFFER_LOCK_EXCLUSIVE);
    }
    // SAFETY: an open relation. Only one process writes tombstones of an index at a time, the lock is for PostgreSQL's sake.
    unsafe { pg_sys::LockRelationForExtension(index.ptr(), pg_sys::ExclusiveLock as i32) };
    let locked = Locked::new(index, pg_sys::InvalidBlockNumber, pg_sys::BUFFER_LOCK_EXCLUSIVE);
    // SAFETY: taken above.
    unsafe { pg_sys::UnlockRelationForExtension(index.ptr(), pg_sys::ExclusiveLock as i32) };
    locked
}
