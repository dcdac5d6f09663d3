//! Builds the text part of a segment: one tantivy segment whose document ids are the segment's ordinals.

use super::directory::{self, BundleDirectory, PlannedRead, RangeRead};
use super::hotcache;
use super::schema::{AttributeFields, PRESENT_FIELD, attribute_fields, tantivy_schema, tokenizers};
use super::{sparse, terms};
use crate::document::{Document, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::schema::{Attribute, AttributeType, NamespaceSchema};
use std::sync::Arc;
use tantivy::directory::{CompositeFile, RamDirectory};
use tantivy::index::{IndexSettings, SegmentComponent, SegmentMeta, SegmentReader};
use tantivy::schema::{Field, FieldType};
use tantivy::{Directory, Index, IndexReader, ReloadPolicy, Searcher, SingleSegmentIndexWriter, TantivyDocument};

/// Decides the first size of tantivy's term table only (it grows): 2^16 entries, so that flushing a few rows stays cheap.
const WRITER_BUDGET_BYTES: usize = 4 << 20;
/// Longest term tantivy keeps (u16 minus its field prefix); it drops longer ones without a word.
const MAX_TERM_BYTES: usize = 65_530;
/// Most rows of a segment: tantivy's document ids end there.
const MAX_ROWS: u32 = (1 << 31) - 2;
/// Stands for the random id that tantivy gives a segment, so that equal input gives equal bytes.
const SEGMENT_UUID: &str = "00000000-0000-0000-0000-000000000000";

/// The files of one tantivy segment, to be stored in `search.idx`, and what opening them reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextBundle {
    /// Name (`meta.json`, `term`, `idx`, `pos`, `fieldnorm`, `fast`, `store`) and bytes, sorted by name. The same schema and
    /// documents give the same bytes.
    pub files: Vec<(String, Vec<u8>)>,
    /// The bytes of the files that opening a segment reads; goes into the tail of `search.idx`.
    pub hotcache: Vec<u8>,
}

/// Collects documents in ordinal order.
pub struct TextBuilder {
    schema: NamespaceSchema,
    present: Field,
    /// In the order of the schema's attributes.
    fields: Vec<AttributeFields>,
    directory: Box<dyn Directory>,
    writer: SingleSegmentIndexWriter,
    rows: u32,
}

impl TextBuilder {
    /// A builder for that schema. Starts no thread; everything is in memory until [`Self::finish`].
    pub fn new(schema: &NamespaceSchema) -> Result<Self> {
        Self::in_directory(schema, Box::new(RamDirectory::create()))
    }

    /// As [`Self::new`]; the files go into that directory, which is empty.
    pub(super) fn in_directory(schema: &NamespaceSchema, directory: Box<dyn Directory>) -> Result<Self> {
        let tantivy_schema = tantivy_schema(schema);
        let present = tantivy_schema.get_field(PRESENT_FIELD).map_err(build_error)?;
        let fields = schema.attributes.iter().map(|a| attribute_fields(&tantivy_schema, a.id)).collect();
        let writer = Index::builder()
            .schema(tantivy_schema)
            .settings(settings())
            .tokenizers(tokenizers(schema))
            .single_segment_index_writer(directory.clone(), WRITER_BUDGET_BYTES)
            .map_err(build_error)?;
        Ok(Self { schema: schema.clone(), present, fields, directory, writer, rows: 0 })
    }

    /// Adds the document of the next ordinal (0, 1, …). Attributes that the schema does not know are ignored.
    ///
    /// Errors: a value of another type than its attribute, a filterable string too long for a term, too many rows.
    pub fn add(&mut self, document: &Document) -> Result<()> {
        if self.rows == MAX_ROWS {
            return Err(Error::new(ErrorKind::OutOfRange, format!("a segment cannot hold more than {MAX_ROWS} rows")));
        }
        let mut row = TantivyDocument::default();
        for (id, value) in &document.attributes {
            let Ok(place) = self.schema.attributes.binary_search_by_key(id, |a| a.id) else { continue };
            let attribute = &self.schema.attributes[place];
            if value.kind() != attribute.kind {
                return Err(Error::new(
                    ErrorKind::TypeMismatch,
                    format!(
                        "attribute \"{}\" of type {} has a value of type {}",
                        attribute.name,
                        attribute.kind.name(),
                        value.kind().name()
                    ),
                ));
            }
            let fields = self.fields[place];
            if let (Some(field), Value::String(text)) = (fields.text, value) {
                row.add_text(field, text);
            }
            if fields.text.is_some() || fields.filter.is_some() {
                row.add_u64(self.present, u64::from(*id));
            }
            if let Some(field) = fields.filter {
                add_filter_value(&mut row, field, attribute, value)?;
            }
        }
        self.writer.add_document(row).map_err(build_error)?;
        self.rows += 1;
        Ok(())
    }

    /// About how much memory the documents so far take, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.writer.mem_usage()
    }

    /// Documents so far.
    pub(super) fn rows(&self) -> u32 {
        self.rows
    }

    /// Writes the files into the directory.
    pub(super) fn finalize(self) -> Result<Index> {
        let rows = self.rows;
        let index = self.writer.finalize().map_err(build_error)?;
        check_rows(&index, rows)?;
        Ok(index)
    }

    /// Writes the files and the hotcache.
    pub fn finish(self) -> Result<TextBundle> {
        let directory = self.directory.clone();
        let index = self.finalize()?;
        let uuid = only_segment(&index)?.id().uuid_string();
        let mut files = Vec::new();
        for path in index.directory().list_managed_files() {
            let name = path.to_str().unwrap_or_default();
            let bytes = if name == "meta.json" {
                let bytes = directory.atomic_read(&path).map_err(|error| build_error(error.into()))?;
                fixed_meta(bytes, &uuid)?
            } else {
                let slice = directory.open_read(&path).map_err(|error| build_error(error.into()))?;
                slice.read_bytes().map_err(|error| build_error(error.into()))?.to_vec()
            };
            files.push((name_in_bundle(name, &uuid)?, bytes));
        }
        files.sort();
        bundle(files)
    }
}

/// How tantivy writes: nothing is stored, so the document store is a run of empty documents; by default a thread would compress it.
pub(super) fn settings() -> IndexSettings {
    IndexSettings { docstore_compress_dedicated_thread: false, ..IndexSettings::default() }
}

/// The one segment of an index.
pub(super) fn only_segment(index: &Index) -> Result<SegmentMeta> {
    let metas = index.searchable_segment_metas().map_err(build_error)?;
    match metas.as_slice() {
        [meta] => Ok(meta.clone()),
        _ => Err(Error::internal(format!("text index has {} tantivy segments instead of one", metas.len()))),
    }
}

/// Whether tantivy has all documents.
pub(super) fn check_rows(index: &Index, rows: u32) -> Result<()> {
    match only_segment(index)?.max_doc() {
        found if found == rows => Ok(()),
        found => Err(Error::internal(format!("text index has {found} rows instead of {rows}"))),
    }
}

/// What a bundle calls a file of tantivy's.
pub(super) fn name_in_bundle(name: &str, uuid: &str) -> Result<String> {
    let extension = name.strip_prefix(uuid).and_then(|rest| rest.strip_prefix('.'));
    let name_in_bundle = extension.or_else(|| (name == "meta.json").then_some(name));
    name_in_bundle
        .map(str::to_string)
        .ok_or_else(|| Error::internal(format!("text index has an unexpected file \"{name}\"")))
}

/// Builds a bundle of documents in ordinal order.
pub fn build<'a>(schema: &NamespaceSchema, documents: impl IntoIterator<Item = &'a Document>) -> Result<TextBundle> {
    let mut builder = TextBuilder::new(schema)?;
    for document in documents {
        builder.add(document)?;
    }
    builder.finish()
}

fn add_filter_value(row: &mut TantivyDocument, field: Field, attribute: &Attribute, value: &Value) -> Result<()> {
    let mut add_term = |text: &str| {
        if text.len() > MAX_TERM_BYTES {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                format!(
                    "value of {} bytes of attribute \"{}\" is longer than {MAX_TERM_BYTES}",
                    text.len(),
                    attribute.name
                ),
            ));
        }
        row.add_text(field, text);
        Ok(())
    };
    match value {
        Value::String(text) => add_term(text)?,
        Value::ArrayString(texts) => texts.iter().try_for_each(|text| add_term(text))?,
        Value::Int(value) => row.add_i64(field, *value),
        Value::Float(value) => row.add_f64(field, one_zero(*value)),
        Value::Bool(value) => row.add_bool(field, *value),
        Value::Timestamp(value) => row.add_i64(field, *value),
        Value::Uuid(value) => row.add_text(field, value.to_string()),
        Value::ArrayInt(values) => values.iter().for_each(|value| row.add_i64(field, *value)),
    }
    debug_assert!(attribute.kind != AttributeType::Bool || matches!(value, Value::Bool(_)));
    Ok(())
}

/// Columns order -0.0 before 0.0, comparisons say they are equal: columns and bounds know only 0.0.
pub(super) fn one_zero(value: f64) -> f64 {
    if value == 0.0 { 0.0 } else { value }
}

/// `meta.json` with [`SEGMENT_UUID`] for the random id.
pub(super) fn fixed_meta(bytes: Vec<u8>, uuid: &str) -> Result<Vec<u8>> {
    let text = String::from_utf8(bytes).map_err(|_| Error::internal("meta.json of the text index is not UTF-8"))?;
    let [a, b, c, d, e] = [&uuid[..8], &uuid[8..12], &uuid[12..16], &uuid[16..20], &uuid[20..]];
    let hyphenated = format!("{a}-{b}-{c}-{d}-{e}");
    if text.matches(&hyphenated).count() != 1 {
        return Err(Error::internal("meta.json of the text index does not name its segment once"));
    }
    Ok(text.replace(&hyphenated, SEGMENT_UUID).into_bytes())
}

/// Adds the term table, if there are large dictionaries, and the hotcache.
fn bundle(files: Vec<(String, Vec<u8>)>) -> Result<TextBundle> {
    let mut shared: Vec<(String, Arc<Vec<u8>>)> =
        files.into_iter().map(|(name, bytes)| (name, Arc::new(bytes))).collect();
    let source = |(name, bytes): &(String, Arc<Vec<u8>>)| -> BundleSource {
        (name.clone(), bytes.len() as u64, bytes.clone() as Arc<dyn RangeRead>)
    };
    let mut table = Vec::new();
    let (long, fences) = long_dictionaries(shared.iter().map(source).collect(), &mut table)?;
    if fences.is_some() {
        shared.push((terms::FILE.to_string(), Arc::new(table)));
        shared.sort();
    }
    let hotcache = hotcache_of(shared.iter().map(source).collect(), &long, fences)?;
    let files = shared
        .into_iter()
        .map(|(name, bytes)| (name, Arc::try_unwrap(bytes).unwrap_or_else(|bytes| bytes.to_vec())))
        .collect::<Vec<_>>();
    Ok(TextBundle { files, hotcache })
}

/// Name, length and bytes of a file of a bundle.
pub(super) type BundleSource = (String, u64, Arc<dyn RangeRead>);

/// Opens the files once and keeps what that reads. `long` and `fences`: of [`long_dictionaries`].
pub(super) fn hotcache_of(
    files: Vec<BundleSource>,
    long: &[Field],
    fences: Option<std::ops::Range<u64>>,
) -> Result<Vec<u8>> {
    let directory = BundleDirectory::new("new segment", files.clone(), &[])?;
    let (searcher, mut needed) = directory::record(|| open_searcher(directory.clone()));
    let searcher = searcher.map_err(build_error)?;
    let (read, useful) = directory::record(|| read_heads(searcher.segment_reader(0), long));
    read.map_err(build_error)?;
    let file = files.iter().position(|(name, ..)| name == terms::FILE);
    needed.extend(file.zip(fences).map(|(file, range)| PlannedRead { file, range }));
    drop((searcher, directory));
    hotcache::encode(&files, needed, useful)
}

/// The fields of a segment whose dictionary is too long for the hotcache. Of the full-text fields among them, if there are some, the
/// [term table](super::terms) is written to `to`: also the range of its fences.
pub(super) fn long_dictionaries(
    files: Vec<BundleSource>,
    to: &mut dyn std::io::Write,
) -> Result<(Vec<Field>, Option<std::ops::Range<u64>>)> {
    if files.iter().all(|(name, len, _)| name != "term" || *len <= hotcache::MAX_SLICE_BYTES) {
        return Ok((Vec::new(), None));
    }
    let searcher = open_searcher(BundleDirectory::new("new segment", files, &[])?).map_err(build_error)?;
    let reader = searcher.segment_reader(0);
    let long = terms::long_dictionaries(reader, hotcache::MAX_SLICE_BYTES).map_err(build_error)?;
    let fences = terms::encode(reader, &long, to).map_err(build_error)?;
    Ok((long, fences))
}

/// Opens a bundle as tantivy does. No thread is started: nothing is watched, nothing is warmed.
pub(super) fn open_searcher(directory: BundleDirectory) -> tantivy::Result<Searcher> {
    let index = Index::open(directory)?;
    let reader: IndexReader =
        index.reader_builder().reload_policy(ReloadPolicy::Manual).doc_store_cache_num_blocks(0).try_into()?;
    Ok(reader.searcher())
}

/// Reads what the first use of each field reads: dictionaries (but `long` ones: parts of them open nothing), field lengths, columns.
fn read_heads(reader: &SegmentReader, long: &[Field]) -> tantivy::Result<()> {
    for (field, entry) in reader.schema().fields() {
        if long.contains(&field) {
            let postings = CompositeFile::open(&reader.open_read(SegmentComponent::Postings)?)?;
            if let Some(postings) = postings.open_read(field) {
                postings.read_bytes_slice(0..sparse::POSTINGS_HEADER)?;
            }
        } else if entry.is_indexed() {
            reader.inverted_index(field)?;
        }
        if entry.has_fieldnorms() {
            reader.fieldnorms_readers().get_field(field)?;
        }
        match entry.field_type() {
            FieldType::I64(options) if options.is_fast() => {
                reader.fast_fields().column_opt::<i64>(entry.name())?;
            }
            FieldType::F64(options) if options.is_fast() => {
                reader.fast_fields().column_opt::<f64>(entry.name())?;
            }
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn build_error(error: tantivy::TantivyError) -> Error {
    Error::internal(format!("building a text index: {error}"))
}

#[cfg(test)]
mod tests;
