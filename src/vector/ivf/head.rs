//! The head of an index: decoded once, immutable, shared by all searches.

use std::ops::Range;

use super::layout::{
    ALIGN, CentroidRow, HEADER_CRC_AT, HEADER_LEN, MAGIC, SECTION_ENTRY_LEN, SECTIONS, SECTIONS_AT, VERSION,
    centroid_row_len, section_lengths, u32_at, u64_at,
};
use crate::error::{Error, Result};
use crate::vector::rabitq::{block_len, row_len};
use crate::vector::rotate::{Rotation, padded};
use crate::vector::simd::BLOCK;
use crate::vector::{Metric, validate_dimension};

#[cfg(test)]
mod tests;

/// A decoded head. Immutable, `Send + Sync`; share it in an `Arc`.
#[derive(Debug)]
pub struct Head {
    object_name: String,
    metric: Metric,
    dim: usize,
    rows: u32,
    exponent: i32,
    rotation: Rotation,
    mean: Vec<f32>,
    centroid_blocks: Vec<u8>,
    centroid_rows: Vec<u8>,
    /// First ordinal of every list, then the number of rows.
    first_rows: Vec<u32>,
    /// First block of every list, then the number of blocks.
    first_blocks: Vec<u32>,
}

impl Head {
    /// Decodes `bytes` as [`super::build`](super::build()) wrote them. `object_name` is named in errors, now and by
    /// searches.
    ///
    /// Errors: `Corrupt` with the offset for anything that is not a head of a supported version with matching checksums
    /// and consistent lengths. No input makes it panic.
    pub fn decode(bytes: &[u8], object_name: &str) -> Result<Self> {
        let corrupt = |offset: usize, what: &str| Error::corrupt(object_name, offset as u64, what);
        let short = || corrupt(bytes.len(), "the head of the vector index ends early");
        let header = bytes.get(..HEADER_LEN).ok_or_else(short)?;
        if header[..MAGIC.len()] != MAGIC {
            return Err(corrupt(0, "not the head of a vector index"));
        }
        let stored = u32_at(header, HEADER_CRC_AT).ok_or_else(short)?;
        if crc32fast::hash(&header[..HEADER_CRC_AT]) != stored {
            return Err(corrupt(0, "wrong checksum of the vector index's header"));
        }
        let version = u32_at(header, 4).ok_or_else(short)?;
        if version != VERSION {
            return Err(corrupt(4, &format!("vector index format {version} is not known to this version of elacsym")));
        }
        let metric = Metric::from_code(header[8]).ok_or_else(|| corrupt(8, "unknown vector metric"))?;
        let dim = u32_at(header, 16).ok_or_else(short)? as usize;
        let padded_dim = u32_at(header, 20).ok_or_else(short)? as usize;
        if validate_dimension(dim).is_err() || padded_dim != padded(dim) {
            return Err(corrupt(16, "impossible number of dimensions"));
        }
        let rows = u64_at(header, 24).ok_or_else(short)?;
        let rows = u32::try_from(rows).map_err(|_| corrupt(24, "impossible number of rows"))?;
        let lists = u32_at(header, 32).ok_or_else(short)?;
        if lists > rows || (lists == 0) != (rows == 0) {
            return Err(corrupt(32, "impossible number of lists"));
        }
        let exponent = u32_at(header, 36).ok_or_else(short)?.cast_signed();
        if exponent.unsigned_abs() > super::query::MAX_EXPONENT {
            return Err(corrupt(36, "impossible scale"));
        }
        let [signs, mean, centroid_blocks, centroid_rows, directory] =
            sections(bytes, object_name, section_lengths(dim, padded_dim, lists as usize))?;

        let mean: Vec<f32> = mean.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
        if mean.iter().any(|value| !value.is_finite()) {
            return Err(corrupt(SECTIONS_AT, "the mean vector is not finite"));
        }
        for row in centroid_rows.chunks_exact(centroid_row_len(padded_dim)) {
            if !CentroidRow::read(row, padded_dim).is_some_and(|row| row.is_sound()) {
                return Err(corrupt(SECTIONS_AT, "a centroid is not finite"));
            }
        }
        let counts = directory.as_chunks::<4>().0.iter().map(|count| u32::from_le_bytes(*count));
        let (first_rows, first_blocks) = accumulate(counts, rows)
            .ok_or_else(|| corrupt(SECTIONS_AT, "the lists do not add up to the number of rows"))?;
        Ok(Self {
            object_name: object_name.to_owned(),
            metric,
            dim,
            rows,
            exponent,
            rotation: Rotation::from_signs(padded_dim, signs.to_vec()),
            mean,
            centroid_blocks: centroid_blocks.to_vec(),
            centroid_rows: centroid_rows.to_vec(),
            first_rows,
            first_blocks,
        })
    }

    /// Rows indexed.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows as usize
    }

    /// Dimensions of a vector.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// How vectors are compared.
    #[must_use]
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// Number of lists.
    #[must_use]
    pub fn lists(&self) -> usize {
        self.first_rows.len() - 1
    }

    /// The ordinals of a list's rows.
    ///
    /// # Panics
    /// If there is no such list.
    #[must_use]
    pub fn list_rows(&self, list: usize) -> Range<u32> {
        self.first_rows[list]..self.first_rows[list + 1]
    }

    /// Length of the postings section in bytes.
    #[must_use]
    pub fn postings_len(&self) -> u64 {
        self.block_offset(self.lists())
    }

    /// Length of the row-code section in bytes.
    #[must_use]
    pub fn row_codes_len(&self) -> u64 {
        u64::from(self.rows) * self.row_code_len()
    }

    /// Memory held, in bytes (for cache accounting).
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.object_name.len()
            + self.rotation.signs().len()
            + self.centroid_blocks.len()
            + self.centroid_rows.len()
            + 4 * (self.mean.len() + self.first_rows.len() + self.first_blocks.len())
    }

    /// The object that errors name.
    pub(super) fn object_name(&self) -> &str {
        &self.object_name
    }

    /// Dimensions after rotation.
    pub(super) fn padded(&self) -> usize {
        self.rotation.padded()
    }

    pub(super) fn rotation(&self) -> &Rotation {
        &self.rotation
    }

    pub(super) fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// Rows less the mean are multiplied by two to the power of this.
    pub(super) fn exponent(&self) -> i32 {
        self.exponent
    }

    /// One-bit blocks of the centroids, in list order.
    pub(super) fn centroid_blocks(&self) -> impl Iterator<Item = &[u8]> {
        self.centroid_blocks.chunks_exact(block_len(self.padded()))
    }

    pub(super) fn centroid(&self, list: usize) -> CentroidRow<'_> {
        let length = centroid_row_len(self.padded());
        CentroidRow::read(&self.centroid_rows[list * length..(list + 1) * length], self.padded())
            .expect("invariant: decode checked every centroid row")
    }

    /// The list of a row.
    pub(super) fn list_of(&self, ordinal: u32) -> usize {
        self.first_rows.partition_point(|first| *first <= ordinal) - 1
    }

    /// The bytes of a list within the postings section.
    pub(super) fn list_bytes(&self, list: usize) -> Range<u64> {
        self.block_offset(list)..self.block_offset(list + 1)
    }

    /// The bytes of consecutive rows within the row-code section.
    pub(super) fn row_code_bytes(&self, rows: Range<u32>) -> Range<u64> {
        u64::from(rows.start) * self.row_code_len()..u64::from(rows.end) * self.row_code_len()
    }

    fn block_offset(&self, list: usize) -> u64 {
        u64::from(self.first_blocks[list]) * (block_len(self.padded()) as u64)
    }

    fn row_code_len(&self) -> u64 {
        row_len(self.padded()) as u64
    }
}

/// The sections, whose lengths must be `lengths`, each found where the previous one ends and with its checksum.
fn sections<'a>(bytes: &'a [u8], object_name: &str, lengths: [u64; SECTIONS]) -> Result<[&'a [u8]; SECTIONS]> {
    let mut found: [&[u8]; SECTIONS] = [&[]; SECTIONS];
    let mut end = HEADER_LEN;
    for (i, (found, length)) in found.iter_mut().zip(lengths).enumerate() {
        let entry = SECTIONS_AT + i * SECTION_ENTRY_LEN;
        let corrupt = |what: &str| Error::corrupt(object_name, entry as u64, what);
        let stored = (u64_at(bytes, entry), u64_at(bytes, entry + 8), u32_at(bytes, entry + 16));
        let (Some(offset), Some(stored_length), Some(crc)) = stored else {
            return Err(corrupt("the head of the vector index ends early"));
        };
        let start = end.next_multiple_of(ALIGN);
        if offset != start as u64 || stored_length != length {
            return Err(corrupt("a section of the vector index has an impossible place or length"));
        }
        // Not a sum in usize: the length is only known to fit its type, not the memory.
        let section = usize::try_from(length)
            .ok()
            .and_then(|length| start.checked_add(length))
            .and_then(|section_end| Some((bytes.get(start..section_end)?, section_end)));
        let Some((section, section_end)) = section else {
            return Err(Error::corrupt(object_name, bytes.len() as u64, "the head of the vector index ends early"));
        };
        if crc32fast::hash(section) != crc || bytes[end..start].iter().any(|byte| *byte != 0) {
            return Err(Error::corrupt(object_name, start as u64, "wrong checksum of a section of the vector index"));
        }
        *found = section;
        end = section_end;
    }
    if bytes.len() != end {
        return Err(Error::corrupt(object_name, end as u64, "bytes behind the end of the head of the vector index"));
    }
    Ok(found)
}

/// First row and first block of every list, with the totals at the end; `None` unless the lists have `rows` rows.
fn accumulate(counts: impl Iterator<Item = u32>, rows: u32) -> Option<(Vec<u32>, Vec<u32>)> {
    let (mut first_rows, mut first_blocks) = (vec![0], vec![0]);
    let (mut row, mut block) = (0u32, 0u32);
    for count in counts {
        row = row.checked_add(count)?;
        block = block.checked_add(count.div_ceil(BLOCK as u32))?;
        first_rows.push(row);
        first_blocks.push(block);
    }
    (row == rows).then_some((first_rows, first_blocks))
}
