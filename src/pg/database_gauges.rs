//! How much there is in each database, as its maintenance worker last counted it; in shared memory, for whoever reports
//! figures without being connected to that database.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// PostgreSQL's `NAMEDATALEN` in words.
const NAME_WORDS: usize = 8;

/// What is in one database.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DatabaseFigures {
    /// The database's name when it was counted.
    pub name: String,
    /// When it was counted, by PostgreSQL's clock.
    pub counted_at: i64,
    /// Namespaces and indexes.
    pub namespaces: u64,
    /// Live segments.
    pub segments: u64,
    /// Rows in them.
    pub rows: u64,
    /// Rows that their delete vectors mark.
    pub dead_rows: u64,
    /// Bytes of their objects.
    pub bytes: u64,
    /// Entries in the write buffer.
    pub buffered_rows: u64,
    /// Bytes of their payloads.
    pub buffered_bytes: u64,
}

/// [`DatabaseFigures`] in shared memory. All-zero bytes: not counted yet. There is one writer.
#[derive(Debug, Default)]
#[repr(C)]
pub struct DatabaseGauges {
    counted_at: AtomicI64,
    name: [AtomicU64; NAME_WORDS],
    counts: [AtomicU64; 7],
}

impl DatabaseGauges {
    /// Replaces what is in it.
    pub fn store(&self, figures: &DatabaseFigures) {
        let mut bytes = figures.name.bytes();
        for word in &self.name {
            let word_bytes: [u8; 8] = std::array::from_fn(|_| bytes.next().unwrap_or(0));
            word.store(u64::from_le_bytes(word_bytes), Ordering::Relaxed);
        }
        let DatabaseFigures { namespaces, segments, rows, dead_rows, bytes, buffered_rows, buffered_bytes, .. } =
            *figures;
        let counts = [namespaces, segments, rows, dead_rows, bytes, buffered_rows, buffered_bytes];
        for (counter, count) in self.counts.iter().zip(counts) {
            counter.store(count, Ordering::Relaxed);
        }
        self.counted_at.store(figures.counted_at, Ordering::Release);
    }

    /// Nothing is known any more.
    pub fn clear(&self) {
        self.counted_at.store(0, Ordering::Release);
    }

    /// What is in it, if it was counted.
    pub fn load(&self) -> Option<DatabaseFigures> {
        let counted_at = self.counted_at.load(Ordering::Acquire);
        if counted_at == 0 {
            return None;
        }
        let name: Vec<u8> = self.name.iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect();
        let length = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        let [namespaces, segments, rows, dead_rows, bytes, buffered_rows, buffered_bytes] =
            std::array::from_fn(|at| self.counts[at].load(Ordering::Relaxed));
        Some(DatabaseFigures {
            name: String::from_utf8_lossy(&name[..length]).into_owned(),
            counted_at,
            namespaces,
            segments,
            rows,
            dead_rows,
            bytes,
            buffered_rows,
            buffered_bytes,
        })
    }
}
