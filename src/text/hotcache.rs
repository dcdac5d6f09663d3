//! What opening a bundle reads, kept beside it, so that opening reads nothing.
//!
//! Layout, little-endian: magic `EHC1`, CRC32 of the rest; u16 number of files, each: u16 length of its name, name, u64 length of
//! the file, u32 number of slices, each u64 start and u64 length; then the bytes of all slices in that order.

use super::builder::BundleSource;
use super::directory::PlannedRead;
use crate::error::{Error, Result};
use tantivy::directory::OwnedBytes;

const MAGIC: [u8; 4] = *b"EHC1";

/// Longest slice that is kept beyond what opening needs: a dictionary, field lengths or a column of up to about 10,000 rows
/// (one flush). Longer ones are read when they are first used; keeping them would make every opening pay for them.
pub(super) const MAX_SLICE_BYTES: u64 = 256 << 10;
/// All slices together beyond what opening needs: namespaces may have a thousand attributes.
const MAX_TOTAL_BYTES: u64 = 4 << 20;

/// The hot slices of one file.
#[derive(Debug, Clone)]
pub(super) struct HotFile {
    /// Name in the bundle.
    pub name: String,
    /// Length of the file.
    pub len: u64,
    /// Start and bytes, sorted, apart from each other.
    pub slices: Vec<(u64, OwnedBytes)>,
}

/// Picks the slices to keep (all of `needed`, of `useful` what the limits allow) and writes them down.
///
/// # Errors
/// Of reading the files.
pub(super) fn encode(
    files: &[BundleSource],
    needed: Vec<PlannedRead>,
    mut useful: Vec<PlannedRead>,
) -> Result<Vec<u8>> {
    let len = |read: &PlannedRead| read.range.end - read.range.start;
    useful.retain(|read| len(read) <= MAX_SLICE_BYTES);
    useful.sort_by_key(len);
    useful.dedup();
    let mut total = 0;
    useful.retain(|read| {
        total += len(read);
        total <= MAX_TOTAL_BYTES
    });
    let mut reads = needed;
    reads.append(&mut useful);
    reads.sort_unstable_by_key(|read| (read.file, read.range.start, read.range.end));

    let mut head = Vec::new();
    let mut body = Vec::new();
    head.extend_from_slice(&(files.len() as u16).to_le_bytes());
    for (index, (name, len, source)) in files.iter().enumerate() {
        let mut slices: Vec<std::ops::Range<u64>> = Vec::new();
        for read in reads.iter().filter(|read| read.file == index) {
            match slices.last_mut() {
                Some(last) if read.range.start <= last.end => last.end = last.end.max(read.range.end),
                _ => slices.push(read.range.clone()),
            }
        }
        head.extend_from_slice(&(name.len() as u16).to_le_bytes());
        head.extend_from_slice(name.as_bytes());
        head.extend_from_slice(&len.to_le_bytes());
        head.extend_from_slice(&(slices.len() as u32).to_le_bytes());
        for slice in slices {
            head.extend_from_slice(&slice.start.to_le_bytes());
            head.extend_from_slice(&(slice.end - slice.start).to_le_bytes());
            body.extend_from_slice(&source.read(slice)?);
        }
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head);
    hasher.update(&body);
    let mut out = Vec::with_capacity(8 + head.len() + body.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&hasher.finalize().to_le_bytes());
    out.append(&mut head);
    out.append(&mut body);
    Ok(out)
}

/// Reads what [`encode`] wrote; `object` names it in errors.
pub(super) fn decode(bytes: &[u8], object: &str) -> Result<Vec<HotFile>> {
    let mut reader = Reader { bytes: OwnedBytes::new(bytes.to_vec()), at: 0, object };
    if reader.take(4)?.as_slice() != MAGIC {
        return Err(Error::corrupt(object, 0, "hotcache has a bad magic or an unknown version"));
    }
    let crc = reader.u32()?;
    if crc32fast::hash(&bytes[8..]) != crc {
        return Err(Error::corrupt(object, 4, "checksum mismatch of the hotcache"));
    }
    let count = reader.u16()?;
    let mut files = Vec::new();
    for _ in 0..count {
        let name_len = usize::from(reader.u16()?);
        let at = reader.at;
        let name = std::str::from_utf8(&reader.take(name_len)?)
            .map_err(|_| Error::corrupt(object, at as u64, "file name in the hotcache is not UTF-8"))?
            .to_string();
        let len = reader.u64()?;
        let count = reader.u32()?;
        let mut slices = Vec::new();
        for _ in 0..count {
            slices.push((reader.u64()?, reader.u64()?));
        }
        files.push((name, len, slices));
    }
    let mut hot = Vec::with_capacity(files.len());
    for (name, len, ranges) in files {
        let mut slices = Vec::with_capacity(ranges.len());
        let mut last_end = 0;
        for (start, slice_len) in ranges {
            let end = start.checked_add(slice_len).filter(|end| *end <= len && start >= last_end);
            last_end = end.ok_or_else(|| reader.bad("slice of the hotcache is outside of its file"))?;
            let slice_len = usize::try_from(slice_len).map_err(|_| reader.bad("slice of the hotcache is too long"))?;
            slices.push((start, reader.take(slice_len)?));
        }
        hot.push(HotFile { name, len, slices });
    }
    if reader.at != bytes.len() {
        return Err(reader.bad("hotcache has trailing bytes"));
    }
    Ok(hot)
}

struct Reader<'a> {
    bytes: OwnedBytes,
    at: usize,
    object: &'a str,
}

impl Reader<'_> {
    fn bad(&self, what: &str) -> Error {
        Error::corrupt(self.object, self.at as u64, what)
    }

    fn take(&mut self, len: usize) -> Result<OwnedBytes> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| self.bad("hotcache ends early"))?;
        let slice = self.bytes.slice(self.at..end);
        self.at = end;
        Ok(slice)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(&self.take(N)?);
        Ok(out)
    }

    fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }
}

#[cfg(test)]
mod tests;
