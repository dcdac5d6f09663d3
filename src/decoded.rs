//! Decoded values, kept by the bytes they were decoded from: a query reads the same few catalog rows as the one before, and turning `jsonb`
//! into text and that into structs was a third of its instructions in the backend. Equal bytes have equal meanings, so nothing can be stale.

use crate::error::Result;

/// A few decoded values.
#[derive(Debug)]
pub struct Decoded<T> {
    most: usize,
    kept: Vec<(Box<[u8]>, T)>,
    /// Which is replaced next.
    next: usize,
}

impl<T: Clone> Decoded<T> {
    /// Longest form that is kept: together with `most` it bounds the memory of a session.
    const MAX_BYTES: usize = 2 << 10;

    /// Keeps at most that many.
    pub const fn new(most: usize) -> Self {
        Self { most, kept: Vec::new(), next: 0 }
    }

    /// The value that `bytes` stand for: remembered, or decoded now.
    ///
    /// # Errors
    /// Those of `decode`.
    pub fn get(&mut self, bytes: &[u8], decode: impl FnOnce() -> Result<T>) -> Result<T> {
        if let Some((_, value)) = self.kept.iter().find(|(kept, _)| **kept == *bytes) {
            return Ok(value.clone());
        }
        let value = decode()?;
        if bytes.len() <= Self::MAX_BYTES {
            let entry = (bytes.into(), value.clone());
            if self.kept.len() < self.most {
                self.kept.push(entry);
            } else {
                self.kept[self.next] = entry;
                self.next = (self.next + 1) % self.most;
            }
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests;
