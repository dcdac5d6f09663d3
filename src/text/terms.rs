//! The term table: where the words of a large dictionary are, so that a search for a few words reads a few kilobytes instead of all
//! of it, and the postings in the same round trip.
//!
//! A file of the bundle beside tantivy's, `terms`, for the full-text fields whose dictionary is too long for the hotcache. It repeats
//! the dictionary, sorted, in blocks, and ends with the *fences*, which the hotcache holds: for each block its first term, its place,
//! and the place of the postings of its terms. A block ends before the postings of its terms would be more than
//! [`BLOCK_POSTINGS`], so whoever knows the fences can fetch block and postings together. With its terms a block repeats, compressed,
//! the lengths of the rows that hold them: a search needs those of the rows that it finds only, not of all.
//!
//! Layout: the blocks of each field; fences, u32 length of the fences, magic `ETT2`; blocks and fences in postcard's encoding.

use super::directory::from_io;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::ops::Range;
use tantivy::DocId;
use tantivy::directory::{CompositeFile, CompositeWrite};
use tantivy::index::{InvertedIndexReader, SegmentComponent, SegmentReader};
use tantivy::postings::TermInfo;
use tantivy::schema::{Field, FieldType, IndexRecordOption};
use tantivy::termdict::TermDictionaryBuilder;

/// Name of the file in the bundle.
pub(super) const FILE: &str = "terms";
const MAGIC: [u8; 4] = *b"ETT2";
/// Bytes behind the fences.
pub(super) const TRAILER_BYTES: usize = 8;
/// A block ends when its terms have this many bytes: less than a page, as it rarely begins with one.
const BLOCK_BYTES: usize = 4 << 10;
/// Postings of the terms of one block: read in vain but for those of one term. A term with more has a block of its own. Less would save
/// little, as pages are read, and each block is a fence in the head.
const BLOCK_POSTINGS: u64 = 8 << 10;

/// Where blocks and their postings are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fences(Vec<FieldFences>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FieldFences {
    field: u32,
    fences: Vec<Fence>,
    /// Ends of the last block and of its postings.
    end: (u64, u64),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Fence {
    /// Not above the block's first term, and above the last one before.
    from: Vec<u8>,
    /// Offset of the block in the file.
    block: u64,
    /// Offset of its postings among those of the field.
    postings: u64,
}

/// Level of zstd: what it gains is in the frequency of bytes, which every level finds.
const COMPRESSION: i32 = 3;

/// What a search for one term reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TermPlace {
    /// In the file of the term table.
    pub block: Range<u64>,
    /// Among the postings of the field: those of all terms of the block.
    pub postings: Range<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Block {
    /// Offsets of the first term.
    postings: u64,
    positions: u64,
    terms: Vec<Entry>,
    /// Of each row of each term, in their order: what `fieldnorm` has of it, a byte. A zstd frame.
    lengths: Vec<u8>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    /// Bytes that it shares with the term before it.
    shared: u32,
    rest: Vec<u8>,
    doc_freq: u32,
    /// Lengths; terms follow each other without gaps.
    postings: u64,
    positions: u64,
}

/// The fields whose dictionary is longer than `at_least`.
pub(super) fn long_dictionaries(reader: &SegmentReader, at_least: u64) -> tantivy::Result<Vec<Field>> {
    let dictionaries = CompositeFile::open(&reader.open_read(SegmentComponent::Terms)?)?;
    let length = |field| dictionaries.open_read(field).map_or(0, |part| tantivy::HasLen::len(&part) as u64);
    Ok(reader.schema().fields().map(|(field, _)| field).filter(|field| length(*field) > at_least).collect())
}

/// Writes the file for the full-text fields among these; returns where its fences are, None if there is no such field.
pub(super) fn encode(
    reader: &SegmentReader,
    among: &[Field],
    to: &mut dyn Write,
) -> tantivy::Result<Option<Range<u64>>> {
    let mut file = Output { to, len: 0 };
    let mut fields = Vec::new();
    for field in among {
        let entry = reader.schema().get_field_entry(*field);
        if matches!(entry.field_type(), FieldType::Str(_)) && entry.has_fieldnorms() {
            fields.push(encode_field(reader, *field, &mut file)?);
        }
    }
    if fields.is_empty() {
        return Ok(None);
    }
    let start = file.len;
    let fences = postcard::to_stdvec(&Fences(fields)).expect("invariant: writing to memory does not fail");
    file.put(&fences)?;
    file.put(&(fences.len() as u32).to_le_bytes())?;
    file.put(&MAGIC)?;
    Ok(Some(start..file.len))
}

/// The file while it is written: the lengths in it are as many as postings.
struct Output<'a> {
    to: &'a mut dyn Write,
    len: u64,
}

impl Output<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes)?;
        self.len += bytes.len() as u64;
        Ok(())
    }
}

fn encode_field(reader: &SegmentReader, field: Field, file: &mut Output<'_>) -> tantivy::Result<FieldFences> {
    let inverted = reader.inverted_index(field)?;
    let norms = reader.get_fieldnorms_reader(field)?;
    let mut terms = inverted.terms().stream()?;
    let mut fences: Vec<Fence> = Vec::new();
    let mut block = Block { postings: 0, positions: 0, terms: Vec::new(), lengths: Vec::new() };
    let (mut bytes, mut before, mut end) = (0, Vec::new(), 0);
    while terms.advance() {
        let (term, info) = (terms.key(), terms.value());
        let postings = (info.postings_range.end - info.postings_range.start) as u64;
        let begun = info.postings_range.start as u64 - block.postings;
        if !block.terms.is_empty() && (bytes >= BLOCK_BYTES || begun + postings > BLOCK_POSTINGS) {
            write_block(&mut block, file)?;
        }
        let shared = before.iter().zip(term).take_while(|(a, b)| a == b).count();
        if block.terms.is_empty() {
            (block.postings, block.positions) = (info.postings_range.start as u64, info.positions_range.start as u64);
            bytes = 0;
            // The shortest that tells it from the term before it.
            let from = term[..term.len().min(shared + 1)].to_vec();
            fences.push(Fence { from, block: file.len, postings: block.postings });
        }
        let shared = if block.terms.is_empty() { 0 } else { shared };
        bytes += term.len() - shared + 8;
        block.terms.push(Entry {
            shared: shared as u32,
            rest: term[shared..].to_vec(),
            doc_freq: info.doc_freq,
            postings,
            positions: (info.positions_range.end - info.positions_range.start) as u64,
        });
        each_row(&inverted, info, |row| block.lengths.push(norms.fieldnorm_id(row)))?;
        before.clear();
        before.extend_from_slice(term);
        end = info.postings_range.end as u64;
    }
    if !block.terms.is_empty() {
        write_block(&mut block, file)?;
    }
    Ok(FieldFences { field: field.field_id(), fences, end: (file.len, end) })
}

/// Writes a block, whose lengths are not compressed yet, and leaves none of its terms.
fn write_block(block: &mut Block, file: &mut Output<'_>) -> io::Result<()> {
    block.lengths = zstd::bulk::compress(&block.lengths, COMPRESSION)?;
    let encoded = postcard::to_stdvec(block).expect("invariant: writing to memory does not fail");
    file.put(&encoded)?;
    block.terms.clear();
    block.lengths.clear();
    Ok(())
}

/// Shows every row of a posting list, ascending.
pub(super) fn each_row(inverted: &InvertedIndexReader, info: &TermInfo, mut see: impl FnMut(DocId)) -> io::Result<()> {
    let mut postings = inverted.read_block_postings_from_terminfo(info, IndexRecordOption::Basic)?;
    while postings.block_len() > 0 {
        postings.docs().iter().for_each(|row| see(*row));
        postings.advance();
    }
    Ok(())
}

/// Length of the fences, out of the last [`TRAILER_BYTES`] bytes of the file.
pub(super) fn decode_trailer(trailer: &[u8], object: &str) -> Result<usize> {
    match trailer {
        [a, b, c, d, magic @ ..] if *magic == MAGIC => Ok(u32::from_le_bytes([*a, *b, *c, *d]) as usize),
        _ => Err(Error::corrupt(object, 0, "the term table has a bad magic or an unknown version")),
    }
}

impl Fences {
    /// Reads what [`encode`] wrote.
    pub fn decode(bytes: &[u8], object: &str) -> Result<Self> {
        let fences: Self = postcard::from_bytes(bytes).map_err(|error| Error::corrupt(object, 0, error))?;
        for field in &fences.0 {
            let order = |fences: &[Fence]| {
                let [a, b] = fences else { return true };
                a.from < b.from && a.block < b.block && a.postings <= b.postings
            };
            let last = field.fences.last().is_none_or(|last| last.block <= field.end.0 && last.postings <= field.end.1);
            if !field.fences.windows(2).all(order) || !last {
                return Err(Error::corrupt(object, 0, "the fences of the term table are not in order"));
            }
        }
        Ok(fences)
    }

    /// Whether the terms of that field are in the table.
    pub fn knows(&self, field: Field) -> bool {
        self.of(field).is_some()
    }

    fn of(&self, field: Field) -> Option<&FieldFences> {
        self.0.iter().find(|known| known.field == field.field_id())
    }

    /// Where that term would be; None: the field has no such term, or is not in the table.
    pub fn place(&self, field: Field, term: &[u8]) -> Option<TermPlace> {
        let known = self.of(field)?;
        let next = known.fences.partition_point(|fence| fence.from.as_slice() <= term);
        let fence = &known.fences[next.checked_sub(1)?];
        let (block_end, postings_end) = known.fences.get(next).map_or(known.end, |next| (next.block, next.postings));
        Some(TermPlace { block: fence.block..block_end, postings: fence.postings..postings_end })
    }
}

/// What the block at that place says of a term, and the lengths of its rows, in their order. `rows`: of the segment.
pub(super) fn find(block: &[u8], term: &[u8], rows: u32, object: &str) -> Result<Option<(TermInfo, Vec<u8>)>> {
    let corrupt = |what: &str| Error::corrupt(object, 0, what);
    let block: Block = postcard::from_bytes(block).map_err(|error| corrupt(&error.to_string()))?;
    let at = |offset: u64| usize::try_from(offset).map_err(|_| corrupt("an offset in the term table is too large"));
    let (mut postings, mut positions) = (block.postings, block.positions);
    let mut key: Vec<u8> = Vec::new();
    let mut found = None;
    // Rows of all terms so far.
    let mut count = 0_usize;
    for entry in &block.terms {
        if entry.shared as usize > key.len() {
            return Err(corrupt("a term of the term table is cut"));
        }
        if entry.doc_freq > rows {
            return Err(corrupt("a term of the term table has more rows than the segment"));
        }
        key.truncate(entry.shared as usize);
        key.extend_from_slice(&entry.rest);
        let ends = postings.checked_add(entry.postings).zip(positions.checked_add(entry.positions));
        let (postings_end, positions_end) = ends.ok_or_else(|| corrupt("an offset in the term table is too large"))?;
        let count_end = count + entry.doc_freq as usize;
        if key == term {
            let info = TermInfo {
                doc_freq: entry.doc_freq,
                postings_range: at(postings)?..at(postings_end)?,
                positions_range: at(positions)?..at(positions_end)?,
            };
            found = Some((info, count..count_end));
        }
        (postings, positions, count) = (postings_end, positions_end, count_end);
    }
    let Some((info, range)) = found else { return Ok(None) };
    let lengths = zstd::bulk::decompress(&block.lengths, count).map_err(|error| Error::corrupt(object, 0, error))?;
    if lengths.len() != count {
        return Err(corrupt("the term table has another number of lengths than of rows"));
    }
    Ok(Some((info, lengths[range].to_vec())))
}

/// A file of the lengths of these fields. `footer` as for [`dictionaries`].
pub(super) fn file_of_lengths(fields: &[(Field, Vec<u8>)], footer: &[u8], object: &str) -> Result<Vec<u8>> {
    let failed = |error: io::Error| from_io(object, &error);
    let mut file = Vec::new();
    let mut parts = CompositeWrite::wrap(&mut file);
    for (field, lengths) in fields {
        parts.for_field(*field).write_all(lengths).map_err(failed)?;
    }
    parts.close().map_err(failed)?;
    file.extend_from_slice(footer);
    Ok(file)
}

/// A file of dictionaries that know these terms only, sorted in each field. `footer` is the end of the real file, which says what
/// tantivy wrote it.
pub(super) fn dictionaries(fields: &[(Field, Vec<(&str, TermInfo)>)], footer: &[u8], object: &str) -> Result<Vec<u8>> {
    let failed = |error: io::Error| from_io(object, &error);
    let mut file = Vec::new();
    let mut parts = CompositeWrite::wrap(&mut file);
    for (field, terms) in fields {
        let mut builder = TermDictionaryBuilder::create(parts.for_field(*field)).map_err(failed)?;
        for (place, (term, info)) in terms.iter().enumerate() {
            builder.insert(term, info).map_err(failed)?;
            // Where a term ends, a dictionary reads from where the next one begins.
            let guard = format!("{term}\0");
            if terms.get(place + 1).is_none_or(|(next, _)| *next > guard.as_str()) {
                let end = |range: &Range<usize>| range.end..range.end;
                let (postings_range, positions_range) = (end(&info.postings_range), end(&info.positions_range));
                builder.insert(guard, &TermInfo { doc_freq: 0, postings_range, positions_range }).map_err(failed)?;
            }
        }
        builder.finish().map_err(failed)?;
    }
    parts.close().map_err(failed)?;
    file.extend_from_slice(footer);
    Ok(file)
}

#[cfg(test)]
mod tests;
