//! Locks that keep conditional writes and other writes of the same document apart.
//!
//! Document ids fall into [`BUCKETS`] buckets, each a lock to the end of the transaction. Whoever writes without looking takes
//! those of its ids beside others of its kind; whoever looks before it writes takes them alone. So a conditional write sees
//! every write that could come before its own in the order of entries, and locks per transaction are few, whatever it writes.

use crate::error::Result;
use crate::ids::Key;
use crate::pg::locks::{self, Mode, Target};
use crate::pg::namespace::Namespace;

/// A power of two, at most 64 (bits of a word). More would make less wait that need not; with this many, a hundred sessions
/// that hold all of them fill half of the lock table of PostgreSQL's default settings.
const BUCKETS: u32 = 64;

/// The bucket of a document id: neighbouring ids fall into different ones.
fn bucket(key: Key) -> u32 {
    let halves = (key >> 64) as u64 ^ key as u64;
    // Multiplication by 2^64 / golden ratio, of which the upper bits are well mixed.
    let mixed = halves.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> (64 - BUCKETS.ilog2())) as u32
}

/// Before writing these documents without looking at them.
///
/// # Errors
/// Of the catalog.
pub fn lock_to_write(namespace: &Namespace, keys: impl Iterator<Item = Key>) -> Result<()> {
    lock(namespace, keys, Mode::RowExclusive)
}

/// Before looking at these documents in order to write them.
///
/// # Errors
/// Of the catalog.
pub fn lock_to_look(namespace: &Namespace, keys: impl Iterator<Item = Key>) -> Result<()> {
    lock(namespace, keys, Mode::Exclusive)
}

/// Before looking at documents that are not all known yet: taking all locks in their order at once avoids deadlocks.
///
/// # Errors
/// Of the catalog.
pub fn lock_all_to_look(namespace: &Namespace) -> Result<()> {
    take(namespace, u64::MAX >> (64 - BUCKETS), Mode::Exclusive)
}

fn lock(namespace: &Namespace, keys: impl Iterator<Item = Key>, mode: Mode) -> Result<()> {
    take(namespace, keys.fold(0, |wanted, key| wanted | 1 << bucket(key)), mode)
}

/// `wanted`: a bit for each bucket. Always in ascending order.
fn take(namespace: &Namespace, wanted: u64, mode: Mode) -> Result<()> {
    let held = if mode == Mode::Exclusive { &namespace.held_alone } else { &namespace.held_beside };
    let missing = wanted & !held.get();
    for bucket in (0..BUCKETS).filter(|bucket| missing & (1 << bucket) != 0) {
        locks::lock(Target::Bucket(namespace.id, bucket as u16), mode)?;
        held.set(held.get() | 1 << bucket);
    }
    Ok(())
}
