//! The page map: where in `rows.parquet` each vector's bytes are, so that one vector is one small range read.
//!
//! A data page (version 1, PLAIN, uncompressed) is a header, the levels, then the values without gaps up to the end of the
//! page. Neither header nor levels have a fixed length, but the end of a page is known from the offset index, so values are
//! located backwards from there. What this finds is compared byte by byte with what was written before it is believed.

use std::ops::Range;

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};

use super::format::{Blob, ParquetTail, VectorPage};
use crate::error::{Error, Result};
use crate::scratch::ScratchFile;

/// Bytes at the end of a Parquet file that are read first for its metadata; more if that is not all.
const METADATA_GUESS: u64 = 64 << 10;

/// Parses the metadata at the end of a Parquet file: `tail` is its last bytes, from the page indexes on.
///
/// # Errors
/// `Corrupt`, naming the object.
pub fn parse_metadata(tail: &Bytes, file_len: u64, object: &str) -> Result<ParquetMetaData> {
    let corrupt = |error: parquet::errors::ParquetError| Error::corrupt(object, file_len - tail.len() as u64, error);
    let mut reader = ParquetMetaDataReader::new()
        .with_column_index_policy(PageIndexPolicy::Skip)
        .with_offset_index_policy(PageIndexPolicy::Required);
    reader.try_parse_sized(tail, file_len).map_err(corrupt)?;
    reader.finish().map_err(corrupt)
}

/// A file that was written a moment ago, in memory or not.
pub trait WrittenFile {
    /// Its length.
    fn length(&self) -> u64;

    /// Some of its bytes.
    ///
    /// # Errors
    /// Those of reading; `Internal` for a range outside of it.
    fn bytes(&self, range: Range<u64>) -> Result<Bytes>;
}

impl WrittenFile for Bytes {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn bytes(&self, range: Range<u64>) -> Result<Bytes> {
        if range.start > range.end || range.end > self.length() {
            return Err(Error::internal(format!("a file in memory has no range {range:?}")));
        }
        Ok(self.slice(range.start as usize..range.end as usize))
    }
}

impl WrittenFile for ScratchFile {
    fn length(&self) -> u64 {
        self.len()
    }

    fn bytes(&self, range: Range<u64>) -> Result<Bytes> {
        self.read(range).map(Bytes::from)
    }
}

/// Metadata and page indexes of a Parquet file.
fn metadata_of(file: &dyn WrittenFile) -> Result<ParquetMetaData> {
    let len = file.length();
    let mut wanted = METADATA_GUESS.min(len);
    loop {
        let tail = file.bytes(len - wanted..len)?;
        let mut reader = ParquetMetaDataReader::new()
            .with_column_index_policy(PageIndexPolicy::Skip)
            .with_offset_index_policy(PageIndexPolicy::Required);
        let read = reader.try_parse_sized(&tail, len).and_then(|()| reader.finish());
        match read {
            Err(ParquetError::NeedMoreData(more)) if more as u64 > wanted && wanted < len => {
                wanted = len.min(more as u64);
            }
            read => {
                return read.map_err(|error| Error::internal(format!("a new Parquet file is not readable: {error}")));
            }
        }
    }
}

/// The end of a Parquet file that [`parse_metadata`] needs.
///
/// # Errors
/// `Internal`: the file was written a moment ago; those of reading it.
pub fn parquet_tail(file: &dyn WrittenFile) -> Result<ParquetTail> {
    let len = file.length();
    let metadata = metadata_of(file)?;
    let chunks = metadata.row_groups().iter().flat_map(|group| group.columns());
    let no_footer = || Error::internal("the Parquet file has no footer");
    let trailer = file.bytes(len.checked_sub(8).ok_or_else(no_footer)?..len)?;
    let footer_len = u64::from(u32::from_le_bytes([trailer[0], trailer[1], trailer[2], trailer[3]]));
    let mut offset = len.checked_sub(footer_len + 8).ok_or_else(no_footer)?;
    for chunk in chunks {
        for range in [chunk.offset_index_range(), chunk.column_index_range()].into_iter().flatten() {
            offset = offset.min(range.start);
        }
    }
    Ok(ParquetTail { len, offset, bytes: Blob(file.bytes(offset..len)?) })
}

/// Locates the vectors of a file in which the first `vectors` rows have a vector and the others have none, and checks the
/// result against the vectors themselves: `is_vector(ordinal, bytes)`.
///
/// # Errors
/// `Internal` if the file is not laid out as expected; those of `is_vector`.
pub fn vector_pages(
    file: &dyn WrittenFile,
    leaf: usize,
    dim: usize,
    vectors: usize,
    mut is_vector: impl FnMut(usize, &[u8]) -> Result<bool>,
) -> Result<Vec<VectorPage>> {
    let unexpected = |what: &str| Error::internal(format!("cannot locate vectors in the Parquet file: {what}"));
    let metadata = metadata_of(file)?;
    let mut pages = Vec::new();
    let mut group_start = 0_usize;
    for (index, group) in metadata.row_groups().iter().enumerate() {
        let group_rows = usize::try_from(group.num_rows()).map_err(|_| unexpected("negative number of rows"))?;
        let page_index = metadata.page_index_for_row_group(index);
        let locations = page_index.page_locations(leaf).ok_or_else(|| unexpected("no offset index"))?;
        for (i, location) in locations.iter().enumerate() {
            let first = group_start + location.first_row_index as usize;
            let end = group_start + locations.get(i + 1).map_or(group_rows, |next| next.first_row_index as usize);
            let count = end.min(vectors).saturating_sub(first);
            if count == 0 {
                continue;
            }
            let page_end = location.offset as u64 + location.compressed_page_size as u64;
            let width = dim as u64 * 4;
            let start = page_end.checked_sub(count as u64 * width).ok_or_else(|| unexpected("a page is too short"))?;
            if page_end > file.length() {
                return Err(unexpected("a page ends after the file"));
            }
            let values = file.bytes(start..page_end)?;
            for (ordinal, bytes) in (first..).zip(values.chunks_exact(dim * 4)) {
                if !is_vector(ordinal, bytes)? {
                    return Err(unexpected(&format!("row {ordinal} is not where it should be")));
                }
            }
            pages.push(VectorPage { first: first as u32, count: count as u32, offset: start });
        }
        group_start += group_rows;
    }
    Ok(pages)
}

/// Whether these bytes are the values of this vector.
pub fn is_same(bytes: &[u8], vector: &[f32]) -> bool {
    bytes.len() == size_of_val(vector) && bytes.chunks_exact(4).zip(vector).all(|(b, v)| *b == v.to_le_bytes())
}

/// The byte range of one vector in `rows.parquet`; None if no page has it.
pub fn vector_range(pages: &[VectorPage], dim: usize, ordinal: u32) -> Option<Range<u64>> {
    let page = pages[..pages.partition_point(|page| page.first <= ordinal)].last()?;
    let index = ordinal - page.first;
    if index >= page.count {
        return None;
    }
    let bytes = dim as u64 * 4;
    let start = page.offset.checked_add(u64::from(index) * bytes)?;
    Some(start..start.checked_add(bytes)?)
}

#[cfg(test)]
mod tests;
