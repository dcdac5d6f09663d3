//! `rows.parquet`: the columns, how they are written, and how attribute values are read out of decoded batches.

use std::io::Write;
use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, FixedSizeBinaryBuilder, Float32Builder, Float64Builder, Int64Builder, ListBuilder, StringBuilder,
    TimestampMicrosecondBuilder, UInt64Builder,
};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use bytes::Bytes;
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions, PageStoreFactory};
use parquet::basic::{Compression, Encoding, LogicalType, Repetition, Type as PhysicalType, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::{ColumnPath, SchemaDescriptor, Type};

use crate::document::{Document, Value};
use crate::error::{Error, Result};
use crate::ids::{EntryId, IdType, Key, Uuid};
use crate::schema::{AttributeId, AttributeType, NamespaceSchema};

/// Rows of one row group: bounds what a reader of the whole file holds at once.
pub const ROW_GROUP_ROWS: usize = 64 << 10;
/// Bytes of vectors in one row group: high dimensions would make groups of gigabytes otherwise.
pub const ROW_GROUP_BYTES: usize = 256 << 20;
/// Bytes of one data page of the vector column. Vectors are read one by one, so this only bounds the page map.
const VECTOR_PAGE_BYTES: usize = 1 << 20;
/// Bytes of one data page of an attribute, before compression: what fetching one row reads and decodes.
const ATTRIBUTE_PAGE_BYTES: usize = 64 << 10;
/// Bytes of a dictionary: it is read whole for every fetch.
const DICTIONARY_BYTES: usize = 16 << 10;
/// Most rows built into one batch: bounds the writer's working memory.
pub const BATCH_ROWS: usize = 4 << 10;
/// Bytes of vectors, texts and arrays that complete a batch. Parquet's writer holds about five times as much for a moment: the
/// batch in columns, two levels for each number of a vector, and where it is.
const BATCH_BYTES: usize = 2 << 20;
/// Bytes of a UUID.
const UUID_BYTES: i32 = 16;
/// Timestamps are points in time, not local times.
const TIME_ZONE: &str = "UTC";
/// Field ids below this are the system columns; an attribute's field id is its id plus this.
pub const FIRST_ATTRIBUTE_FIELD_ID: u32 = 16;

/// Where a schema's values are in `rows.parquet`.
#[derive(Debug, Clone)]
pub struct ColumnMap {
    /// Name of each top-level column.
    names: Vec<String>,
    /// Index of the vector column, if there is one.
    pub vector: Option<usize>,
    /// Index of the first attribute's column; the others follow in id order.
    first_attribute: usize,
}

impl ColumnMap {
    /// The columns of a schema: `id`, `seq`, `xid`, `vector` if it has vectors, attributes in id order by their name. A
    /// name that is taken, compared without case because SQL engines do, gets underscores. Where ids are texts the first
    /// column is `key`, and `id` is the hidden attribute.
    pub fn new(schema: &NamespaceSchema) -> Self {
        let first = if schema.id == IdType::Text { "key" } else { "id" };
        let mut names: Vec<String> = [first, "seq", "xid"].map(String::from).to_vec();
        let vector = schema.vector.map(|_| names.len());
        if vector.is_some() {
            names.push("vector".to_string());
        }
        let first_attribute = names.len();
        let mut taken: std::collections::HashSet<String> = names.iter().cloned().collect();
        for attribute in &schema.attributes {
            let mut name = attribute.name.clone();
            while !taken.insert(name.to_lowercase()) {
                name.push('_');
            }
            names.push(name);
        }
        Self { names, vector, first_attribute }
    }

    /// Index of the column of an attribute of the schema this map was made of.
    pub fn attribute(&self, schema: &NamespaceSchema, id: AttributeId) -> Option<usize> {
        schema.attributes.binary_search_by_key(&id, |a| a.id).ok().map(|i| self.first_attribute + i)
    }

    /// Number of columns.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    fn arrow_schema(&self, schema: &NamespaceSchema) -> Schema {
        let field = |index: usize, kind: DataType, nullable: bool, id: u32| {
            Field::new(&self.names[index], kind, nullable).with_metadata(std::collections::HashMap::from([(
                parquet::arrow::PARQUET_FIELD_ID_META_KEY.to_string(),
                id.to_string(),
            )]))
        };
        let key = match schema.id {
            IdType::Int => DataType::Int64,
            IdType::Uuid | IdType::Text => DataType::FixedSizeBinary(UUID_BYTES),
        };
        let mut fields =
            vec![field(0, key, false, 0), field(1, DataType::UInt64, false, 1), field(2, DataType::UInt64, false, 2)];
        if let Some(index) = self.vector {
            fields.push(field(index, DataType::List(element(DataType::Float32)), true, 3));
        }
        for (i, attribute) in schema.attributes.iter().enumerate() {
            let kind = match attribute.kind {
                AttributeType::String => DataType::Utf8,
                AttributeType::Int => DataType::Int64,
                AttributeType::Float => DataType::Float64,
                AttributeType::Bool => DataType::Boolean,
                AttributeType::ArrayString => DataType::List(element(DataType::Utf8)),
                AttributeType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some(TIME_ZONE.into())),
                AttributeType::Uuid => DataType::FixedSizeBinary(UUID_BYTES),
                AttributeType::ArrayInt => DataType::List(element(DataType::Int64)),
            };
            fields.push(field(
                self.first_attribute + i,
                kind,
                true,
                FIRST_ATTRIBUTE_FIELD_ID + u32::from(attribute.id),
            ));
        }
        Schema::new(fields)
    }

    /// The Parquet schema of an Arrow schema of ours: what the converter makes of it, and UUIDs say that they are some.
    fn parquet_schema(&self, schema: &NamespaceSchema, arrow: &Schema) -> parquet::errors::Result<SchemaDescriptor> {
        let converted = ArrowSchemaConverter::new().convert(arrow)?;
        let mut fields = converted.root_schema().get_fields().to_vec();
        let uuid = |index: usize, repetition: Repetition, id: u32| {
            Type::primitive_type_builder(&self.names[index], PhysicalType::FIXED_LEN_BYTE_ARRAY)
                .with_length(UUID_BYTES)
                .with_logical_type(Some(LogicalType::Uuid))
                .with_repetition(repetition)
                .with_id(Some(id as i32))
                .build()
        };
        if schema.id == IdType::Uuid {
            fields[0] = Arc::new(uuid(0, Repetition::REQUIRED, 0)?);
        }
        for (place, attribute) in schema.attributes.iter().enumerate().filter(|(_, a)| a.kind == AttributeType::Uuid) {
            let index = self.first_attribute + place;
            let id = FIRST_ATTRIBUTE_FIELD_ID + u32::from(attribute.id);
            fields[index] = Arc::new(uuid(index, Repetition::OPTIONAL, id)?);
        }
        let root = Type::group_type_builder(converted.root_schema().name()).with_fields(fields).build()?;
        Ok(SchemaDescriptor::new(Arc::new(root)))
    }

    fn properties(&self, schema: &NamespaceSchema) -> Result<WriterProperties> {
        let zstd = ZstdLevel::try_new(3).map_err(|e| Error::internal(format!("zstd level: {e}")))?;
        let row_group_rows =
            schema.vector.map_or(ROW_GROUP_ROWS, |v| (ROW_GROUP_BYTES / (v.dim * 4)).clamp(BATCH_ROWS, ROW_GROUP_ROWS));
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(zstd))
            .set_max_row_group_row_count(Some(row_group_rows))
            .set_data_page_size_limit(ATTRIBUTE_PAGE_BYTES)
            .set_dictionary_page_size_limit(DICTIONARY_BYTES)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_key_value_metadata(Some(vec![KeyValue::new(
                "elacsym.format".to_string(),
                super::FORMAT_VERSION.to_string(),
            )]));
        for attribute in schema.attributes.iter().filter(|a| a.full_text.is_some()) {
            // Prose does not repeat: a dictionary of it would only be one more read.
            if let Some(index) = self.attribute(schema, attribute.id) {
                properties =
                    properties.set_column_dictionary_enabled(ColumnPath::new(vec![self.names[index].clone()]), false);
            }
        }
        if let Some(index) = self.vector {
            let path = ColumnPath::new(vec![self.names[index].clone(), "list".to_string(), "element".to_string()]);
            properties = properties
                .set_column_compression(path.clone(), Compression::UNCOMPRESSED)
                .set_column_encoding(path.clone(), Encoding::PLAIN)
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_data_page_size_limit(path.clone(), VECTOR_PAGE_BYTES)
                .set_column_statistics_enabled(path, EnabledStatistics::None);
        }
        Ok(properties.build())
    }
}

fn element(kind: DataType) -> Arc<Field> {
    Arc::new(Field::new("element", kind, false))
}

/// Writes `rows` (in ordinal order) as one Parquet file.
///
/// # Errors
/// `Internal`, with what the Parquet writer says.
pub fn write_parquet(schema: &NamespaceSchema, rows: &[(EntryId, &Document)]) -> Result<Bytes> {
    let mut file = ParquetFile::new(schema, Vec::new(), None)?;
    let mut rest = rows;
    while !rest.is_empty() {
        let mut size = BatchSize::new(schema);
        let len = rest.iter().position(|(_, document)| size.add(document)).map_or(rest.len(), |last| last + 1);
        file.write(&rest[..len])?;
        rest = &rest[len..];
    }
    file.finish().map(Bytes::from)
}

/// How large a batch is. Where batches end decides where pages end, so it depends on nothing but the rows.
#[derive(Debug)]
pub struct BatchSize {
    rows: usize,
    bytes: usize,
    vector_bytes: usize,
}

impl BatchSize {
    /// An empty batch.
    pub fn new(schema: &NamespaceSchema) -> Self {
        Self { rows: 0, bytes: 0, vector_bytes: schema.vector.map_or(0, |vector| vector.dim * size_of::<f32>()) }
    }

    /// Counts a row; true if it is the batch's last one.
    pub fn add(&mut self, document: &Document) -> bool {
        self.rows += 1;
        // Also for a row without one: rows with and without are not mixed.
        self.bytes += self.vector_bytes;
        for (_, value) in &document.attributes {
            self.bytes += match value {
                Value::String(text) => text.len(),
                Value::ArrayString(texts) => texts.iter().map(String::len).sum(),
                Value::ArrayInt(values) => size_of_val(values.as_slice()),
                _ => 0,
            };
        }
        self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }
}

/// A Parquet file while it is written.
pub struct ParquetFile<'a, W: Write + Send> {
    schema: &'a NamespaceSchema,
    arrow: Arc<Schema>,
    writer: ArrowWriter<W>,
}

fn not_written(error: parquet::errors::ParquetError) -> Error {
    Error::internal(format!("cannot write Parquet: {error}"))
}

impl<'a, W: Write + Send> ParquetFile<'a, W> {
    /// An empty one. `pages`: where the pages of a row group wait until it is complete; None: in memory.
    ///
    /// # Errors
    /// As [`write_parquet`].
    pub fn new(schema: &'a NamespaceSchema, to: W, pages: Option<Arc<dyn PageStoreFactory>>) -> Result<Self> {
        let map = ColumnMap::new(schema);
        let arrow = Arc::new(map.arrow_schema(schema));
        let mut options = ArrowWriterOptions::new()
            .with_properties(map.properties(schema)?)
            .with_parquet_schema(map.parquet_schema(schema, &arrow).map_err(not_written)?)
            .with_skip_arrow_metadata(true);
        if let Some(pages) = pages {
            options = options.with_page_store_factory(pages);
        }
        let writer = ArrowWriter::try_new_with_options(to, arrow.clone(), options).map_err(not_written)?;
        Ok(Self { schema, arrow, writer })
    }

    /// Appends the next rows: a batch ([`BatchSize`]).
    ///
    /// # Errors
    /// As [`write_parquet`].
    pub fn write(&mut self, rows: &[(EntryId, &Document)]) -> Result<()> {
        let columns = build_columns(self.schema, rows);
        let batch = RecordBatch::try_new(self.arrow.clone(), columns)
            .map_err(|error| Error::internal(format!("cannot build a batch of rows: {error}")))?;
        self.writer.write(&batch).map_err(not_written)
    }

    /// Where all of it has been written.
    ///
    /// # Errors
    /// As [`write_parquet`].
    pub fn finish(self) -> Result<W> {
        self.writer.into_inner().map_err(not_written)
    }
}

fn build_columns(schema: &NamespaceSchema, rows: &[(EntryId, &Document)]) -> Vec<ArrayRef> {
    let (mut seq, mut xid) = (UInt64Builder::with_capacity(rows.len()), UInt64Builder::with_capacity(rows.len()));
    for (entry, _) in rows {
        seq.append_value(entry.order.seq);
        xid.append_value(entry.order.xid);
    }
    let mut columns: Vec<ArrayRef> = vec![key_column(schema.id, rows), Arc::new(seq.finish()), Arc::new(xid.finish())];
    if let Some(vector) = schema.vector {
        let values = Float32Builder::with_capacity(rows.len() * vector.dim);
        let mut list = ListBuilder::new(values).with_field(element(DataType::Float32));
        for (_, document) in rows {
            if let Some(vector) = &document.vector {
                list.values().append_slice(vector);
            }
            list.append(document.vector.is_some());
        }
        columns.push(Arc::new(list.finish()));
    }
    for attribute in &schema.attributes {
        let values = rows.iter().map(|(_, document)| document.get(attribute.id));
        columns.push(match attribute.kind {
            AttributeType::String => {
                let mut out = StringBuilder::new();
                values.for_each(|v| out.append_option(v.and_then(as_str)));
                Arc::new(out.finish())
            }
            AttributeType::Int => {
                let mut out = Int64Builder::new();
                values.for_each(|v| out.append_option(if let Some(Value::Int(v)) = v { Some(*v) } else { None }));
                Arc::new(out.finish())
            }
            AttributeType::Float => {
                let mut out = Float64Builder::new();
                values.for_each(|v| out.append_option(if let Some(Value::Float(v)) = v { Some(*v) } else { None }));
                Arc::new(out.finish())
            }
            AttributeType::Bool => {
                let mut out = BooleanBuilder::new();
                values.for_each(|v| out.append_option(if let Some(Value::Bool(v)) = v { Some(*v) } else { None }));
                Arc::new(out.finish())
            }
            AttributeType::ArrayString => {
                let mut out = ListBuilder::new(StringBuilder::new()).with_field(element(DataType::Utf8));
                for value in values {
                    let strings = if let Some(Value::ArrayString(strings)) = value { Some(strings) } else { None };
                    for text in strings.into_iter().flatten() {
                        out.values().append_value(text);
                    }
                    out.append(strings.is_some());
                }
                Arc::new(out.finish())
            }
            AttributeType::Timestamp => {
                let mut out = TimestampMicrosecondBuilder::new().with_timezone(TIME_ZONE);
                values.for_each(|v| out.append_option(if let Some(Value::Timestamp(v)) = v { Some(*v) } else { None }));
                Arc::new(out.finish())
            }
            AttributeType::Uuid => {
                let mut out = FixedSizeBinaryBuilder::with_capacity(rows.len(), UUID_BYTES);
                for value in values {
                    match value {
                        Some(Value::Uuid(uuid)) => {
                            out.append_value(uuid.0).expect("invariant: a UUID has the width of its column");
                        }
                        _ => out.append_null(),
                    }
                }
                Arc::new(out.finish())
            }
            AttributeType::ArrayInt => {
                let mut out = ListBuilder::new(Int64Builder::new()).with_field(element(DataType::Int64));
                for value in values {
                    let ints = if let Some(Value::ArrayInt(ints)) = value { Some(ints) } else { None };
                    if let Some(ints) = ints {
                        out.values().append_slice(ints);
                    }
                    out.append(ints.is_some());
                }
                Arc::new(out.finish())
            }
        });
    }
    columns
}

/// The keys: as numbers, as UUIDs, or as the bytes of a hash.
fn key_column(kind: IdType, rows: &[(EntryId, &Document)]) -> ArrayRef {
    let keys = rows.iter().map(|(entry, _)| entry.key);
    let bytes = |key: Key| match kind {
        IdType::Uuid => Uuid::of_key(key).0,
        IdType::Int | IdType::Text => key.to_be_bytes(),
    };
    if kind.is_int() {
        let int = |key: Key| i64::try_from(key).expect("invariant: keys of a narrow segment were checked");
        let mut out = Int64Builder::with_capacity(rows.len());
        keys.for_each(|key| out.append_value(int(key)));
        return Arc::new(out.finish());
    }
    let mut out = FixedSizeBinaryBuilder::with_capacity(rows.len(), UUID_BYTES);
    keys.for_each(|key| out.append_value(bytes(key)).expect("invariant: a key has the width of its column"));
    Arc::new(out.finish())
}

fn as_str(value: &Value) -> Option<&str> {
    if let Value::String(text) = value { Some(text) } else { None }
}

/// The value of row `row` of a decoded attribute column; None if it is null or the column has another type.
pub fn value_at(column: &ArrayRef, kind: AttributeType, row: usize) -> Option<Value> {
    if column.is_null(row) {
        return None;
    }
    match kind {
        AttributeType::String => column.as_string_opt::<i32>().map(|c| Value::String(c.value(row).to_string())),
        AttributeType::Int => column.as_primitive_opt::<Int64Type>().map(|c| Value::Int(c.value(row))),
        AttributeType::Float => column.as_primitive_opt::<Float64Type>().map(|c| Value::Float(c.value(row))),
        AttributeType::Bool => column.as_boolean_opt().map(|c| Value::Bool(c.value(row))),
        AttributeType::ArrayString => {
            let values = column.as_list_opt::<i32>()?.value(row);
            let strings = values.as_string_opt::<i32>()?;
            Some(Value::ArrayString(strings.iter().flatten().map(str::to_string).collect()))
        }
        AttributeType::Timestamp => {
            column.as_primitive_opt::<TimestampMicrosecondType>().map(|c| Value::Timestamp(c.value(row)))
        }
        AttributeType::Uuid => {
            let bytes = column.as_fixed_size_binary_opt()?.value(row);
            bytes.try_into().ok().map(|bytes| Value::Uuid(Uuid(bytes)))
        }
        AttributeType::ArrayInt => {
            let values = column.as_list_opt::<i32>()?.value(row);
            let ints = values.as_primitive_opt::<Int64Type>()?;
            Some(Value::ArrayInt(ints.values().to_vec()))
        }
    }
}

#[cfg(test)]
mod tests;
