//! The columns of an index: what each is, and the schema of the namespace that holds its entries.

use super::relation::Rel;
use super::values::{SqlType, Translated, text};
use crate::document::{Document, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::IdType;
use crate::pg::vector_type::PgVector;
use crate::schema::{
    Attribute, AttributeId, AttributeType, FullTextOptions, NamespaceSchema, VectorSchema, ZERO_VECTOR,
};
use crate::vector::Metric;
use pgrx::pg_sys;

/// Number of the support function that says what an operator class is for.
pub const KIND_SUPPORT: u16 = 1;
/// Number of the support function that describes an operator class's options.
pub const OPTIONS_SUPPORT: u16 = 2;
const KIND_COSINE: i32 = 1;
const KIND_L2: i32 = 2;
const KIND_DOT: i32 = 3;
const KIND_BM25: i32 = 10;

/// What a key column is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// The vector column.
    Vector {
        /// Operator class.
        metric: Metric,
        /// Stored as `halfvec`.
        half: bool,
    },
    /// A full-text column.
    Text(FullTextOptions),
    /// A column for filters.
    Attribute(SqlType),
}

/// A key column. Column `i` (from 0) is attribute `i` of the schema, except for the vector.
#[derive(Debug, Clone)]
pub struct Column {
    /// What it is.
    pub kind: Kind,
    /// Name: the table's column, or `expr` for an expression.
    pub name: String,
    /// Collation of the column.
    pub collation: pg_sys::Oid,
}

/// The key columns of one index.
#[derive(Debug, Clone)]
pub struct Columns {
    /// The index.
    pub index: pg_sys::Oid,
    /// In the order of the index.
    pub columns: Vec<Column>,
    /// Dimension and metric, if there is a vector column.
    pub vector: Option<VectorSchema>,
}

impl Columns {
    /// Reads them from an open index.
    ///
    /// # Errors
    /// `Invalid` for more than one vector column, a vector without dimensions, or a type that cannot be indexed.
    pub fn of(index: Rel) -> Result<Self> {
        // SAFETY: an open index.
        let form = unsafe { &*(*index.ptr()).rd_index };
        // SAFETY: an open relation.
        let descriptor = unsafe { (*index.ptr()).rd_att };
        let mut columns = Vec::new();
        let mut vector = None;
        for i in 0..usize::try_from(form.indnkeyatts).unwrap_or(0) {
            // SAFETY: a key column of the index.
            let attribute = unsafe { tuple_attribute(descriptor, i) };
            let name = attribute_name(attribute);
            // SAFETY: arrays with one element for each key column.
            let collation = unsafe { *(*index.ptr()).rd_indcollation.add(i) };
            // SAFETY: as above.
            let input_type = unsafe { *(*index.ptr()).rd_opcintype.add(i) };
            let kind = match opclass_kind(index, i)? {
                None => Kind::Attribute(SqlType::from_oid(input_type).ok_or_else(|| {
                    Error::internal(format!("operator class of column \"{name}\" is for an unknown type"))
                })?),
                Some(KIND_BM25) => Kind::Text(text_options(index, i)?),
                Some(code) => {
                    let metric = match code {
                        KIND_COSINE => Metric::Cosine,
                        KIND_L2 => Metric::L2,
                        KIND_DOT => Metric::Dot,
                        other => return Err(Error::internal(format!("unknown kind {other} of an operator class"))),
                    };
                    if vector.is_some() {
                        return Err(Error::new(ErrorKind::Invalid, "an elacsym index has at most one vector column")
                            .with_hint("Create one index for each vector column."));
                    }
                    let dim = usize::try_from(attribute.atttypmod).ok().filter(|dim| *dim > 0).ok_or_else(|| {
                        Error::invalid(format!("column \"{name}\" does not have dimensions"))
                            .with_hint("Declare it as vector(n), or index the expression (column::vector(n)).")
                    })?;
                    vector = Some(VectorSchema { dim, metric, lists: None });
                    Kind::Vector { metric, half: is_half(input_type) }
                }
            };
            columns.push(Column { kind, name, collation });
        }
        Ok(Self { index: index.oid(), columns, vector })
    }

    /// The schema of the index's namespace.
    pub fn schema(&self) -> NamespaceSchema {
        let mut attributes: Vec<Attribute> = Vec::with_capacity(self.columns.len() + 1);
        for (i, column) in self.columns.iter().enumerate() {
            let id = attribute_id(i);
            let (kind, indexed, full_text) = match &column.kind {
                Kind::Vector { .. } => continue,
                Kind::Text(options) => (AttributeType::String, false, Some(options.clone())),
                Kind::Attribute(sql) => (sql.attribute(), true, None),
            };
            let taken = attributes.iter().any(|other| other.name == column.name);
            let name = if taken { format!("{}#{}", column.name, i + 1) } else { column.name.clone() };
            attributes.push(Attribute { id, name, kind, indexed, full_text });
        }
        if self.vector.is_some_and(|vector| vector.metric == Metric::Cosine) {
            attributes.push(Attribute {
                id: ZERO_VECTOR,
                name: "#zero_vector".to_string(),
                kind: AttributeType::Bool,
                indexed: true,
                full_text: None,
            });
        }
        NamespaceSchema { vector: self.vector, attributes, next_attribute: 0, id: IdType::Int }
    }

    /// Whether an attribute is a column of type `numeric`, which the index holds as floats.
    pub fn is_numeric(&self, attribute: AttributeId) -> bool {
        let column = self.columns.get(usize::from(attribute));
        column.is_some_and(|column| column.kind == Kind::Attribute(SqlType::Numeric))
    }

    /// The entry's values of one row.
    ///
    /// # Errors
    /// `TypeMismatch` for another dimension, `OutOfRange` for too large a row, array or vector element.
    ///
    /// # Safety
    /// `values` and `nulls` must be those of a row of this index.
    pub unsafe fn document(&self, values: *const pg_sys::Datum, nulls: *const bool) -> Result<Document> {
        let mut document = Document::default();
        for (i, column) in self.columns.iter().enumerate() {
            // SAFETY: one flag for each key column.
            if unsafe { *nulls.add(i) } {
                continue;
            }
            // SAFETY: one value for each key column.
            let datum = unsafe { *values.add(i) };
            match &column.kind {
                Kind::Vector { metric, half } => {
                    // SAFETY: a value of the column's type.
                    let vector = unsafe { vector_of(datum, *half) }?;
                    self.check_vector(&vector)?;
                    if *metric == Metric::Cosine && vector.iter().all(|x| *x == 0.0) {
                        document.attributes.push((ZERO_VECTOR, Value::Bool(true)));
                    } else {
                        document.vector = Some(vector);
                    }
                }
                Kind::Text(_) => {
                    // SAFETY: a value of a text column.
                    document.attributes.push((attribute_id(i), Value::String(unsafe { text(datum) }?)));
                }
                Kind::Attribute(sql) => {
                    // SAFETY: a value of the column's type.
                    let Translated { value, .. } = unsafe { sql.translate(datum) }
                        .map_err(|error| error.with_detail(format!("Column \"{}\".", column.name)))?;
                    document.attributes.push((attribute_id(i), value));
                }
            }
        }
        document.attributes.sort_unstable_by_key(|(id, _)| *id);
        document.check_size()?;
        Ok(document)
    }

    /// Checks the number of dimensions.
    ///
    /// # Errors
    /// `TypeMismatch`.
    pub fn check_vector(&self, vector: &[f32]) -> Result<()> {
        match self.vector {
            Some(schema) if schema.dim == vector.len() => Ok(()),
            Some(schema) => Err(Error::new(
                ErrorKind::TypeMismatch,
                format!("expected {} dimensions, not {}", schema.dim, vector.len()),
            )),
            None => Err(Error::new(ErrorKind::TypeMismatch, "the index has no vector column")),
        }
    }
}

/// The attribute of a key column, counted from 0.
pub fn attribute_id(column: usize) -> AttributeId {
    AttributeId::try_from(column).expect("invariant: an index has at most 32 columns")
}

/// The elements of a `vector` or `halfvec` value.
///
/// # Errors
/// `Corrupt`.
///
/// # Safety
/// `datum` must be a non-null value of that type.
pub unsafe fn vector_of(datum: pg_sys::Datum, half: bool) -> Result<Vec<f32>> {
    if half {
        // SAFETY: as the caller says.
        return unsafe { super::halfvec::elements(datum) };
    }
    // SAFETY: as the caller says.
    unsafe { PgVector::from_vector_datum(datum) }.map(PgVector::into_elements)
}

fn is_half(input_type: pg_sys::Oid) -> bool {
    // SAFETY: the oid of an existing type; the string is freed with the context.
    let name = unsafe { pg_sys::format_type_be(input_type) };
    // SAFETY: a C string.
    let name = unsafe { std::ffi::CStr::from_ptr(name) }.to_bytes();
    name == b"halfvec" || name.ends_with(b".halfvec")
}

/// What the operator class of a column (from 0) says it is for.
fn opclass_kind(index: Rel, column: usize) -> Result<Option<i32>> {
    let number = i16::try_from(column + 1).map_err(|_| Error::internal("too many columns"))?;
    // SAFETY: an open index and one of its key columns.
    let procedure = unsafe { pg_sys::index_getprocid(index.ptr(), number, KIND_SUPPORT) };
    if procedure == pg_sys::InvalidOid {
        return Ok(None);
    }
    // SAFETY: the support function takes one argument, which it ignores, and returns an integer.
    let code = unsafe { pg_sys::OidFunctionCall1Coll(procedure, pg_sys::InvalidOid, pg_sys::Datum::from(0_usize)) };
    Ok(Some(code.value() as i32))
}

fn text_options(index: Rel, column: usize) -> Result<FullTextOptions> {
    let number = i16::try_from(column + 1).map_err(|_| Error::internal("too many columns"))?;
    // SAFETY: an open index and one of its bm25_ops columns.
    unsafe { crate::pg::opclass::bm25_options(index.ptr(), number) }
}

/// Column `i` of a descriptor.
///
/// # Safety
/// `i` must be less than its number of columns.
pub unsafe fn tuple_attribute<'a>(descriptor: pg_sys::TupleDesc, i: usize) -> &'a pg_sys::FormData_pg_attribute {
    #[cfg(feature = "pg18")]
    // SAFETY: as the caller says.
    return unsafe { &*pg_sys::TupleDescAttr(descriptor, i as i32) };
    #[cfg(not(feature = "pg18"))]
    // SAFETY: as the caller says.
    return unsafe { (*descriptor).attrs.as_slice((*descriptor).natts as usize) }.get(i).expect("invariant: a column");
}

fn attribute_name(attribute: &pg_sys::FormData_pg_attribute) -> String {
    pgrx::name_data_to_str(&attribute.attname).to_string()
}
