//! The block cache of the engine and reads through it: [`BlockCache`] (memory and disk tiers), [`PagedObject`] (verified
//! random reads of one immutable object, INV-8) and [`ReadStats`] (what one query cost).

mod block;
mod evictions;
mod flight;
mod page_table;
mod paged;
mod stats;

pub use block::{BlockCache, BlockKey, CacheSettings, MAX_PARALLEL_FETCHES, object_id};
pub use paged::{MERGE_GAP, MERGE_GAP_MAX, PAGE_BYTES, PagedObject, page_crcs};
pub use stats::{CacheStats, ReadSnapshot, ReadStats};
