//! Evaluates a filter to the bitmap of the ordinals it matches, with the meaning of `Filter::matches`.
//!
//! Leaves are posting lists (terms), column ranges (numbers) or runs of the dictionary (string order); the tree above them is
//! bitmap algebra. Two-valued logic needs nothing special: a row without the attribute is in no leaf, `Not` is the complement.

use super::builder::one_zero;
use super::directory::{self, from_io, from_tantivy};
use super::schema::{attribute_fields, filter_field_name};
use super::segment::TextSegment;
use crate::document::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::{Comparison, Filter};
use crate::ids::Uuid;
use crate::schema::{Attribute, AttributeId, AttributeType};
use roaring::RoaringBitmap;
use std::collections::{BTreeSet, HashSet};
use std::ops::{Bound, RangeInclusive};
use std::sync::Arc;
use tantivy::columnar::Column;
use tantivy::index::InvertedIndexReader;
use tantivy::postings::{BlockSegmentPostings, TermInfo};
use tantivy::schema::{Field, IndexRecordOption, Term};

mod text_query;
mod text_score;

/// More values of an `in` list than this are looked up in the column row by row instead of list by list.
const MAX_LIST_LOOKUPS: usize = 256;
/// A posting list of this many rows is decoded into a bitmap of its own, which unions faster than single rows.
const LONG_LIST_ROWS: u32 = 1024;

/// Evaluates filters on one segment. While planning (see [`directory::plan`]) every leaf is touched, failed reads are ignored
/// and the bitmaps mean nothing.
pub(super) struct Evaluator<'a> {
    pub segment: &'a TextSegment,
}

impl Evaluator<'_> {
    /// The attributes whose dictionary the filter needs.
    pub fn dictionaries(&self, filter: &Filter, fields: &mut BTreeSet<Field>) {
        match filter {
            Filter::And(filters) | Filter::Or(filters) => {
                filters.iter().for_each(|filter| self.dictionaries(filter, fields));
            }
            Filter::Not(filter) => self.dictionaries(filter, fields),
            Filter::IsNull { .. } => {
                fields.insert(self.segment.present);
            }
            Filter::Match { attribute, .. } => {
                let schema = self.segment.reader().schema();
                fields.insert(self.segment.present);
                fields.extend(attribute_fields(schema, *attribute).text);
            }
            Filter::Search { attributes, .. } => {
                let schema = self.segment.reader().schema();
                fields.insert(self.segment.present);
                fields.extend(attributes.iter().filter_map(|attribute| attribute_fields(schema, *attribute).text));
            }
            Filter::In { attribute, .. }
            | Filter::Compare { attribute, .. }
            | Filter::ContainsAny { attribute, .. }
            | Filter::Prefix { attribute, .. } => {
                let schema = self.segment.reader().schema();
                let field = attribute_fields(schema, *attribute).filter;
                fields.extend(field.filter(|field| schema.get_field_entry(*field).is_indexed()));
            }
        }
    }

    pub fn evaluate(&self, filter: &Filter) -> Result<RoaringBitmap> {
        match filter {
            Filter::And(filters) => {
                let mut all = self.all();
                for filter in filters {
                    all &= self.evaluate(filter)?;
                    if all.is_empty() && !directory::planning() {
                        break;
                    }
                }
                Ok(all)
            }
            Filter::Or(filters) => {
                let mut any = RoaringBitmap::new();
                for filter in filters {
                    any |= self.evaluate(filter)?;
                }
                Ok(any)
            }
            Filter::Not(filter) => Ok(self.all() - self.evaluate(filter)?),
            Filter::IsNull { attribute } => Ok(self.all() - self.present(*attribute)?),
            Filter::In { attribute, values } => self.is_in(self.attribute(*attribute)?, values),
            Filter::Compare { attribute, comparison, value } => {
                self.compare(self.attribute(*attribute)?, *comparison, value)
            }
            Filter::ContainsAny { attribute, values } => {
                let attribute = self.attribute(*attribute)?;
                match (attribute.kind, self.field(attribute)) {
                    (AttributeType::ArrayString, Some(field)) => {
                        let values: BTreeSet<&str> = values.iter().filter_map(as_string).collect();
                        self.any_term(values.into_iter().map(|value| Term::from_field_text(field, value)))
                    }
                    (AttributeType::ArrayInt, Some(field)) => {
                        let values: BTreeSet<i64> = values.iter().filter_map(as_int).collect();
                        self.any_term(values.into_iter().map(|value| Term::from_field_i64(field, value)))
                    }
                    _ => Ok(RoaringBitmap::new()),
                }
            }
            Filter::Match { attribute, query } => self.match_text(*attribute, query),
            Filter::Search { attributes, query, all } => self.search(attributes, query, *all),
            Filter::Prefix { attribute, prefix } => {
                let attribute = self.attribute(*attribute)?;
                match (attribute.kind, self.field(attribute)) {
                    (AttributeType::String, Some(field)) => {
                        let from = Bound::Included(prefix.as_bytes());
                        self.term_run(field, from, |term| term.starts_with(prefix.as_bytes()))
                    }
                    _ => Ok(RoaringBitmap::new()),
                }
            }
        }
    }

    fn all(&self) -> RoaringBitmap {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.segment.rows());
        all
    }

    fn attribute(&self, id: AttributeId) -> Result<&Attribute> {
        let attribute = self.segment.schema.by_id(id);
        let attribute = attribute
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("attribute with id {id} does not exist")))?;
        if attribute.indexed {
            Ok(attribute)
        } else {
            Err(Error::invalid(format!("attribute \"{}\" is not indexed for filters", attribute.name)))
        }
    }

    /// Rows that have the attribute, which is indexed for filters or full text.
    pub fn present(&self, id: AttributeId) -> Result<RoaringBitmap> {
        if self.segment.schema.by_id(id).is_none_or(|attribute| attribute.full_text.is_none()) {
            self.attribute(id)?;
        }
        let rows = self.any_term([Term::from_field_u64(self.segment.present, u64::from(id))])?;
        let text = attribute_fields(self.segment.reader().schema(), id).text;
        if let (true, Some(field)) = (rows.is_empty() && !directory::planning(), text) {
            // Segments once did not say it of full text: all but empty texts have a length.
            let norms = self.segment.reader().get_fieldnorms_reader(field);
            let norms = norms.map_err(|error| from_tantivy(&self.segment.object, error))?;
            let with_tokens = (0..self.segment.rows()).filter(|row| norms.fieldnorm_id(*row) > 0);
            return Ok(RoaringBitmap::from_sorted_iter(with_tokens).expect("invariant: a range ascends"));
        }
        Ok(rows)
    }

    /// None if the attribute is younger than the segment: then it is null everywhere.
    fn field(&self, attribute: &Attribute) -> Option<Field> {
        attribute_fields(self.segment.reader().schema(), attribute.id).filter
    }

    fn is_in(&self, attribute: &Attribute, values: &[Value]) -> Result<RoaringBitmap> {
        let Some(field) = self.field(attribute) else { return Ok(RoaringBitmap::new()) };
        match attribute.kind {
            AttributeType::Int => {
                let ints: BTreeSet<i64> = values.iter().filter_map(as_int).collect();
                if ints.len() <= MAX_LIST_LOOKUPS {
                    self.any_term(ints.into_iter().map(|value| Term::from_field_i64(field, value)))
                } else {
                    let ints: HashSet<i64> = ints.into_iter().collect();
                    Ok(self
                        .column(attribute)?
                        .map_or_else(RoaringBitmap::new, |column| self.scan(&column, |v| ints.contains(&v))))
                }
            }
            AttributeType::Float => {
                // NaN equals nothing, and two zeros are one.
                let floats = values.iter().filter_map(as_float).filter(|v| !v.is_nan()).map(one_zero);
                let floats: HashSet<u64> = floats.map(f64::to_bits).collect();
                let Some(column) = self.column::<f64>(attribute)? else { return Ok(RoaringBitmap::new()) };
                match (floats.len(), floats.iter().next()) {
                    (1, Some(bits)) => {
                        Ok(range(&column, f64::from_bits(*bits)..=f64::from_bits(*bits), self.segment.rows()))
                    }
                    _ => Ok(self.scan(&column, |v| floats.contains(&v.to_bits()))),
                }
            }
            AttributeType::Bool => {
                let bools: BTreeSet<bool> = values.iter().filter_map(as_bool).collect();
                self.any_term(bools.into_iter().map(|value| Term::from_field_bool(field, value)))
            }
            AttributeType::String => {
                let strings: BTreeSet<&str> = values.iter().filter_map(as_string).collect();
                self.any_term(strings.into_iter().map(|value| Term::from_field_text(field, value)))
            }
            AttributeType::Timestamp => {
                let points: HashSet<i64> = values.iter().filter_map(as_timestamp).collect();
                let Some(column) = self.column::<i64>(attribute)? else { return Ok(RoaringBitmap::new()) };
                match (points.len(), points.iter().next()) {
                    (1, Some(point)) => Ok(range(&column, *point..=*point, self.segment.rows())),
                    _ => Ok(self.scan(&column, |v| points.contains(&v))),
                }
            }
            AttributeType::Uuid => {
                let uuids: BTreeSet<Uuid> = values.iter().filter_map(as_uuid).collect();
                self.any_term(uuids.into_iter().map(|value| Term::from_field_text(field, &value.to_string())))
            }
            AttributeType::ArrayString | AttributeType::ArrayInt => Err(Error::invalid(format!(
                "attribute \"{}\" of type {} cannot be compared as a whole",
                attribute.name,
                attribute.kind.name()
            ))
            .with_hint("Use contains or contains_any for arrays.")),
        }
    }

    fn compare(&self, attribute: &Attribute, comparison: Comparison, value: &Value) -> Result<RoaringBitmap> {
        let Some(field) = self.field(attribute) else { return Ok(RoaringBitmap::new()) };
        match (attribute.kind, value) {
            (AttributeType::Int, Value::Int(value)) | (AttributeType::Timestamp, Value::Timestamp(value)) => {
                let bounds = match comparison {
                    Comparison::Gte => Some(*value..=i64::MAX),
                    Comparison::Gt => value.checked_add(1).map(|from| from..=i64::MAX),
                    Comparison::Lte => Some(i64::MIN..=*value),
                    Comparison::Lt => value.checked_sub(1).map(|to| i64::MIN..=to),
                };
                let Some(bounds) = bounds else { return Ok(RoaringBitmap::new()) };
                let column = self.column::<i64>(attribute)?;
                Ok(column.map_or_else(RoaringBitmap::new, |column| range(&column, bounds, self.segment.rows())))
            }
            (AttributeType::Float, Value::Float(value)) => {
                let Some(bounds) = float_bounds(comparison, *value) else { return Ok(RoaringBitmap::new()) };
                let column = self.column::<f64>(attribute)?;
                Ok(column.map_or_else(RoaringBitmap::new, |column| range(&column, bounds, self.segment.rows())))
            }
            (AttributeType::Bool, Value::Bool(value)) => {
                let holds = |held: &bool| match comparison {
                    Comparison::Gt => held > value,
                    Comparison::Gte => held >= value,
                    Comparison::Lt => held < value,
                    Comparison::Lte => held <= value,
                };
                let bools = [false, true].into_iter().filter(holds);
                self.any_term(bools.map(|value| Term::from_field_bool(field, value)))
            }
            (AttributeType::String, Value::String(value)) => self.compare_terms(field, comparison, value.as_bytes()),
            // Its text form is ordered as its bytes are.
            (AttributeType::Uuid, Value::Uuid(value)) => {
                self.compare_terms(field, comparison, value.to_string().as_bytes())
            }
            _ => Ok(RoaringBitmap::new()),
        }
    }

    fn compare_terms(&self, field: Field, comparison: Comparison, value: &[u8]) -> Result<RoaringBitmap> {
        match comparison {
            Comparison::Gt => self.term_run(field, Bound::Excluded(value), |_| true),
            Comparison::Gte => self.term_run(field, Bound::Included(value), |_| true),
            Comparison::Lt => self.term_run(field, Bound::Unbounded, |term| term < value),
            Comparison::Lte => self.term_run(field, Bound::Unbounded, |term| term <= value),
        }
    }

    fn inverted(&self, field: Field) -> Result<Arc<InvertedIndexReader>> {
        self.segment.reader().inverted_index(field).map_err(|error| from_tantivy(&self.segment.object, error))
    }

    /// Rows that hold at least one of these terms of one field.
    fn any_term(&self, terms: impl IntoIterator<Item = Term>) -> Result<RoaringBitmap> {
        let mut rows = RoaringBitmap::new();
        let mut lists: Option<Lists> = None;
        for term in terms {
            let lists = match &mut lists {
                Some(lists) => lists,
                None => lists.insert(Lists { inverted: self.inverted(term.field())?, block: None }),
            };
            let info = lists.inverted.get_term_info(&term).map_err(|error| from_io(&self.segment.object, &error))?;
            if let Some(info) = info {
                self.add_list(lists, &info, &mut rows)?;
            }
        }
        Ok(rows)
    }

    /// Rows that hold a term of the run of the dictionary that starts at `from` and goes on while `holds`.
    fn term_run(&self, field: Field, from: Bound<&[u8]>, holds: impl Fn(&[u8]) -> bool) -> Result<RoaringBitmap> {
        let failed = |error: std::io::Error| from_io(&self.segment.object, &error);
        let mut lists = Lists { inverted: self.inverted(field)?, block: None };
        let inverted = lists.inverted.clone();
        let builder = inverted.terms().range();
        let mut stream = match from {
            Bound::Included(from) => builder.ge(from),
            Bound::Excluded(from) => builder.gt(from),
            Bound::Unbounded => builder,
        }
        .into_stream()
        .map_err(failed)?;
        let mut rows = RoaringBitmap::new();
        let mut span: Option<TermInfo> = None;
        while let Some((term, info)) = stream.next() {
            if !holds(term) {
                break;
            }
            if !directory::planning() {
                self.add_list(&mut lists, info, &mut rows)?;
                continue;
            }
            // The lists of neighbouring terms are neighbours: one read covers them all.
            match &mut span {
                Some(span) => span.postings_range.end = info.postings_range.end,
                None => span = Some(info.clone()),
            }
        }
        if let Some(span) = span {
            self.add_list(&mut lists, &span, &mut rows)?;
        }
        Ok(rows)
    }

    fn add_list(&self, lists: &mut Lists, info: &TermInfo, rows: &mut RoaringBitmap) -> Result<()> {
        if directory::planning() {
            let _ = lists.inverted.read_block_postings_from_terminfo(info, IndexRecordOption::Basic);
            return Ok(());
        }
        lists.add(info, rows).map_err(|error| from_io(&self.segment.object, &error))
    }

    /// The column of a number attribute; None if no row of the segment has a value, and while planning.
    fn column<T>(&self, attribute: &Attribute) -> Result<Option<Column<T>>>
    where
        T: tantivy::columnar::HasAssociatedColumnType,
        tantivy::columnar::DynamicColumn: Into<Option<Column<T>>>,
    {
        let column = self.segment.reader().fast_fields().column_opt::<T>(&filter_field_name(attribute.id));
        if directory::planning() {
            return Ok(None);
        }
        column.map_err(|error| from_tantivy(&self.segment.object, error))
    }

    fn scan<T: Copy + PartialOrd + std::fmt::Debug + Send + Sync + 'static>(
        &self,
        column: &Column<T>,
        holds: impl Fn(T) -> bool,
    ) -> RoaringBitmap {
        let rows = (0..self.segment.rows()).filter(|row| column.first(*row).is_some_and(&holds));
        RoaringBitmap::from_sorted_iter(rows).expect("invariant: a range ascends")
    }
}

/// Rows whose value is in the range.
fn range<T: Copy + PartialOrd + std::fmt::Debug + Send + Sync + 'static>(
    column: &Column<T>,
    bounds: RangeInclusive<T>,
    rows: u32,
) -> RoaringBitmap {
    let mut matching = Vec::new();
    // A range below the smallest value would be moved up to it by tantivy's bit-packed columns.
    let outside = *bounds.end() < column.min_value() || *bounds.start() > column.max_value();
    if !bounds.is_empty() && !outside {
        column.get_docids_for_value_range(bounds, 0..rows, &mut matching);
    }
    RoaringBitmap::from_sorted_iter(matching).expect("invariant: tantivy gives rows in order")
}

/// The values that compare so with `value`, as an inclusive range; None if there are none. Zeros are [`one_zero`].
fn float_bounds(comparison: Comparison, value: f64) -> Option<RangeInclusive<f64>> {
    if value.is_nan() {
        return None;
    }
    let value = one_zero(value);
    match comparison {
        Comparison::Gte => Some(value..=f64::INFINITY),
        Comparison::Gt => (value < f64::INFINITY).then(|| value.next_up()..=f64::INFINITY),
        Comparison::Lte => Some(f64::NEG_INFINITY..=value),
        Comparison::Lt => (value > f64::NEG_INFINITY).then(|| f64::NEG_INFINITY..=value.next_down()),
    }
}

fn as_int(value: &Value) -> Option<i64> {
    if let Value::Int(value) = value { Some(*value) } else { None }
}

fn as_float(value: &Value) -> Option<f64> {
    if let Value::Float(value) = value { Some(*value) } else { None }
}

fn as_timestamp(value: &Value) -> Option<i64> {
    if let Value::Timestamp(value) = value { Some(*value) } else { None }
}

fn as_uuid(value: &Value) -> Option<Uuid> {
    if let Value::Uuid(value) = value { Some(*value) } else { None }
}

fn as_bool(value: &Value) -> Option<bool> {
    if let Value::Bool(value) = value { Some(*value) } else { None }
}

fn as_string(value: &Value) -> Option<&str> {
    if let Value::String(value) = value { Some(value) } else { None }
}

/// Rows that are in at least one of these lists.
pub(super) fn rows_of_lists<'a>(
    inverted: &Arc<InvertedIndexReader>,
    infos: impl IntoIterator<Item = &'a TermInfo>,
) -> std::io::Result<RoaringBitmap> {
    let mut lists = Lists { inverted: inverted.clone(), block: None };
    let mut rows = RoaringBitmap::new();
    infos.into_iter().try_for_each(|info| lists.add(info, &mut rows))?;
    Ok(rows)
}

/// Reads posting lists of one field, with one decoder for all.
struct Lists {
    inverted: Arc<InvertedIndexReader>,
    block: Option<BlockSegmentPostings>,
}

impl Lists {
    fn add(&mut self, info: &TermInfo, rows: &mut RoaringBitmap) -> std::io::Result<()> {
        let block = match &mut self.block {
            Some(block) => {
                self.inverted.reset_block_postings_from_terminfo(info, block)?;
                block
            }
            None => {
                let block = self.inverted.read_block_postings_from_terminfo(info, IndexRecordOption::Basic)?;
                self.block.insert(block)
            }
        };
        if info.doc_freq < LONG_LIST_ROWS {
            add_blocks(block, rows);
        } else {
            let mut list = RoaringBitmap::new();
            add_blocks(block, &mut list);
            *rows |= list;
        }
        Ok(())
    }
}

fn add_blocks(block: &mut BlockSegmentPostings, rows: &mut RoaringBitmap) {
    while let Some(first) = block.docs().first() {
        if rows.max().is_none_or(|last| last < *first) {
            let appended = rows.append(block.docs().iter().copied());
            debug_assert!(appended.is_ok(), "invariant: a posting list ascends");
        } else {
            rows.extend(block.docs().iter().copied());
        }
        block.advance();
    }
}
