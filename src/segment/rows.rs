//! Attribute values of a few rows, out of `rows.parquet`: a state machine without I/O, so that reads run on the reactor and
//! decoding on the CPU pool.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use bytes::Bytes;
use parquet::DecodeResult;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use parquet::arrow::push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder};

use super::columns::value_at;
use super::reader::Segment;
use crate::document::{Document, Value};
use crate::error::{Error, Result};
use crate::schema::{Attribute, AttributeId};

/// Reads some attributes of some rows of one segment: answer [`RowRead::need`] with [`RowRead::supply`] until it is empty.
pub struct RowRead {
    segment: Arc<Segment>,
    /// Attributes to read and the place of each in the projection, in column order.
    attributes: Vec<Attribute>,
    groups: Vec<GroupRead>,
    need: Vec<Range<u64>>,
    values: BTreeMap<u32, Vec<(AttributeId, Value)>>,
}

/// The part of one row group.
struct GroupRead {
    decoder: Option<ParquetPushDecoder>,
    /// Rows still to come, ascending, as ordinals.
    ordinals: std::vec::IntoIter<u32>,
    need: Vec<Range<u64>>,
}

impl RowRead {
    /// Prepares reading `columns` of `ordinals` (any order). Attributes that the segment was written without are null.
    ///
    /// # Errors
    /// `Corrupt` for unreadable metadata, `Internal` for an ordinal that is no row.
    pub fn new(segment: &Arc<Segment>, ordinals: &[u32], columns: &[AttributeId]) -> Result<Self> {
        let mut ordinals = ordinals.to_vec();
        ordinals.sort_unstable();
        ordinals.dedup();
        if ordinals.last().is_some_and(|last| *last >= segment.rows()) {
            return Err(Error::internal(format!("a row of segment {} is out of range", segment.info().id)));
        }
        let attributes: Vec<Attribute> =
            segment.schema.attributes.iter().filter(|a| columns.contains(&a.id)).cloned().collect();
        let mut read = Self {
            segment: segment.clone(),
            attributes,
            groups: Vec::new(),
            need: Vec::new(),
            values: ordinals.iter().map(|ordinal| (*ordinal, Vec::new())).collect(),
        };
        if !read.attributes.is_empty() && !ordinals.is_empty() {
            read.start(&ordinals)?;
            read.advance()?;
        }
        Ok(read)
    }

    fn start(&mut self, ordinals: &[u32]) -> Result<()> {
        let segment = self.segment.clone();
        let metadata = segment
            .parquet_metadata
            .as_ref()
            .ok_or_else(|| Error::internal(format!("segment {} has no rows to read", segment.info().id)))?;
        let indices: Vec<usize> =
            self.attributes.iter().filter_map(|a| segment.columns.attribute(&segment.schema, a.id)).collect();
        let mut group_start = 0_u64;
        let mut rest = ordinals;
        for (index, group) in metadata.metadata().row_groups().iter().enumerate() {
            let group_end = group_start + group.num_rows() as u64;
            let (mine, others) = rest.split_at(rest.partition_point(|ordinal| u64::from(*ordinal) < group_end));
            rest = others;
            if !mine.is_empty() {
                let mask = ProjectionMask::roots(metadata.parquet_schema(), indices.iter().copied());
                let decoder = ParquetPushDecoderBuilder::new_with_metadata(metadata.clone())
                    .with_row_groups(vec![index])
                    .with_projection(mask)
                    .with_row_selection(selection(mine, group_start))
                    .build()
                    .map_err(|e| self.corrupt(e))?;
                let ordinals = Vec::from(mine).into_iter();
                self.groups.push(GroupRead { decoder: Some(decoder), ordinals, need: Vec::new() });
            }
            group_start = group_end;
        }
        Ok(())
    }

    /// Ranges of `rows.parquet` that are needed next; empty: finished.
    pub fn need(&self) -> &[Range<u64>] {
        &self.need
    }

    /// Takes the bytes of [`Self::need`], in that order, and decodes as far as they go.
    ///
    /// # Errors
    /// `Corrupt` if they cannot be decoded.
    pub fn supply(&mut self, bytes: Vec<Bytes>) -> Result<()> {
        let mut bytes = bytes.into_iter();
        for group in &mut self.groups {
            let ranges = std::mem::take(&mut group.need);
            if let Some(decoder) = &mut group.decoder
                && !ranges.is_empty()
            {
                let mine: Vec<Bytes> = bytes.by_ref().take(ranges.len()).collect();
                let pushed = decoder.push_ranges(ranges, mine);
                pushed.map_err(|e| corrupt(&self.segment, e))?;
            }
        }
        self.advance()
    }

    fn advance(&mut self) -> Result<()> {
        self.need.clear();
        for group in &mut self.groups {
            while let Some(decoder) = &mut group.decoder {
                match decoder.try_decode().map_err(|e| corrupt(&self.segment, e))? {
                    DecodeResult::NeedsData(ranges) => {
                        self.need.extend(ranges.iter().cloned());
                        group.need = ranges;
                        break;
                    }
                    DecodeResult::Data(batch) => {
                        collect(&self.segment, &self.attributes, &batch, &mut group.ordinals, &mut self.values)?;
                    }
                    DecodeResult::Finished => group.decoder = None,
                }
            }
        }
        Ok(())
    }

    /// The rows by ordinal, with their attributes and without vectors.
    ///
    /// # Errors
    /// `Corrupt` if the file had fewer rows than it says.
    pub fn finish(self) -> Result<BTreeMap<u32, Document>> {
        if self.groups.iter().any(|group| group.ordinals.len() > 0) {
            return Err(corrupt(&self.segment, "it has fewer rows than it says"));
        }
        let document = |attributes| Document { vector: None, attributes };
        Ok(self.values.into_iter().map(|(ordinal, values)| (ordinal, document(values))).collect())
    }

    fn corrupt(&self, what: impl std::fmt::Display) -> Error {
        corrupt(&self.segment, what)
    }
}

/// Appends the values of a batch; its columns are `attributes` in order.
fn collect(
    segment: &Segment,
    attributes: &[Attribute],
    batch: &RecordBatch,
    ordinals: &mut std::vec::IntoIter<u32>,
    values: &mut BTreeMap<u32, Vec<(AttributeId, Value)>>,
) -> Result<()> {
    for row in 0..batch.num_rows() {
        let ordinal = ordinals.next().ok_or_else(|| corrupt(segment, "it has more rows than it says"))?;
        let row_values = values.entry(ordinal).or_default();
        for (attribute, column) in attributes.iter().zip(batch.columns()) {
            row_values.extend(value_at(column, attribute.kind, row).map(|value| (attribute.id, value)));
        }
    }
    Ok(())
}

fn corrupt(segment: &Segment, what: impl std::fmt::Display) -> Error {
    let info = segment.info();
    Error::corrupt(&format!("{}/{}", info.root, info.parquet_key()), 0, what)
}

/// The selection of these ordinals (ascending, distinct) of a row group that starts at `start`.
fn selection(ordinals: &[u32], start: u64) -> RowSelection {
    let mut selectors: Vec<RowSelector> = Vec::new();
    let mut next = start;
    for ordinal in ordinals {
        let ordinal = u64::from(*ordinal);
        if ordinal > next {
            selectors.push(RowSelector::skip((ordinal - next) as usize));
        }
        selectors.push(RowSelector::select(1));
        next = ordinal + 1;
    }
    RowSelection::from(selectors)
}
