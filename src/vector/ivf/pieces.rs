//! Bytes that lie in several pieces.

use bytes::Bytes;

/// Consecutive bytes, in pieces as they lie in a cache: putting a list of postings together took twice as long as scanning it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pieces(Vec<Bytes>);

impl From<Bytes> for Pieces {
    fn from(bytes: Bytes) -> Self {
        Self(vec![bytes])
    }
}

impl From<Vec<Bytes>> for Pieces {
    fn from(pieces: Vec<Bytes>) -> Self {
        Self(pieces)
    }
}

impl Pieces {
    /// Bytes of all pieces.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Bytes::is_empty)
    }

    /// Calls `visit` with the number and the bytes of each part of that length (above 0), one after the other, until it gives `None`. A
    /// part that lies in several pieces is put together; what is left at the end is no part.
    pub fn each_part(&self, length: usize, mut visit: impl FnMut(usize, &[u8]) -> Option<()>) -> Option<()> {
        let mut next = 0;
        let mut begun: Vec<u8> = Vec::new();
        for piece in &self.0 {
            let mut rest: &[u8] = piece;
            if !begun.is_empty() {
                let (missing, others) = rest.split_at((length - begun.len()).min(rest.len()));
                begun.extend_from_slice(missing);
                rest = others;
                if begun.len() < length {
                    continue;
                }
                visit(next, &begun)?;
                begun.clear();
                next += 1;
            }
            let parts = rest.chunks_exact(length);
            begun.extend_from_slice(parts.remainder());
            for part in parts {
                visit(next, part)?;
                next += 1;
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests;
