//! The type `elacsym.bm25query`: a full-text query and the index column it goes by.
//!
//! In memory: varlena header, oid of the index (`u32`), number of the column (`i32`), the query in UTF-8. As text: a JSON
//! object `{"query": "words", "index": "docs_search", "column": 2}`, where `column` may be left out on input if the index
//! has one `bm25_ops` column.

use super::resolve::TextIndex;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_QUERY_TEXT_BYTES;
use crate::pg::acl::current_role;
use crate::pg::c_function::{self, Call, Returned, c_functions};
use crate::pg::heap_table;
use pgrx::pg_sys;
use serde_json::{Map, Value as Json};

/// Bytes before the query: varlena header, oid, column.
const HEADER_BYTES: usize = 12;

/// A value of the type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bm25Query {
    /// The index.
    pub index: pg_sys::Oid,
    /// Its key column, counted from 1.
    pub column: i16,
    /// The words.
    pub query: String,
}

impl Bm25Query {
    /// Reads a value.
    ///
    /// # Errors
    /// `Corrupt` for bytes that are none.
    ///
    /// # Safety
    /// `datum` must be a non-null value of the type.
    pub unsafe fn read(datum: pg_sys::Datum) -> Result<Self> {
        // SAFETY: the caller's contract.
        let value = unsafe { pg_sys::pg_detoast_datum(datum.cast_mut_ptr()) };
        // SAFETY: a detoasted varlena.
        let bytes = unsafe { pgrx::varlena_to_byte_slice(value) };
        let corrupt = || Error::new(ErrorKind::Corrupt, "a value of type elacsym.bm25query is damaged");
        let (index, rest) = bytes.split_first_chunk::<4>().ok_or_else(corrupt)?;
        let (column, query) = rest.split_first_chunk::<4>().ok_or_else(corrupt)?;
        Ok(Self {
            index: pg_sys::Oid::from(u32::from_ne_bytes(*index)),
            column: i16::try_from(i32::from_ne_bytes(*column)).map_err(|_| corrupt())?,
            query: std::str::from_utf8(query).map_err(|_| corrupt())?.to_owned(),
        })
    }

    /// A value in the current memory context.
    ///
    /// # Errors
    /// `OutOfRange` for a query that is too long.
    pub fn datum(&self) -> Result<pg_sys::Datum> {
        if self.query.len() > MAX_QUERY_TEXT_BYTES {
            let message =
                format!("full-text query of {} bytes is longer than {MAX_QUERY_TEXT_BYTES}", self.query.len());
            return Err(Error::new(ErrorKind::OutOfRange, message));
        }
        let size = HEADER_BYTES + self.query.len();
        let mut bytes = Vec::with_capacity(size - size_of::<i32>());
        bytes.extend_from_slice(&self.index.to_u32().to_ne_bytes());
        bytes.extend_from_slice(&i32::from(self.column).to_ne_bytes());
        bytes.extend_from_slice(self.query.as_bytes());
        let length = i32::try_from(bytes.len()).map_err(|_| Error::internal("a bounded length"))?;
        // SAFETY: the bytes are readable for that length; every varlena without an inner structure is made like a text.
        let value = unsafe { pg_sys::cstring_to_text_with_len(bytes.as_ptr().cast(), length) };
        Ok(pg_sys::Datum::from(value))
    }

    /// Whether it goes by column `column` (from 1) of this index, or of the partitioned index that this one is part of.
    /// An index scan may answer only such a query.
    ///
    /// # Errors
    /// As [`super::resolve::answers_for`].
    pub fn goes_by(&self, index: pg_sys::Oid, column: i16) -> Result<bool> {
        Ok(self.column == column && super::resolve::answers_for(index, self.index, column)?)
    }

    /// The text form.
    fn to_json(&self) -> String {
        // SAFETY: regclassout takes an oid and returns a C string: the name, qualified if need be, or the number.
        let name = unsafe { pgrx::direct_function_call_as_datum(pg_sys::regclassout, &[Some(self.index.into())]) };
        let name = name.map_or_else(String::new, |name| {
            // SAFETY: a C string.
            unsafe { std::ffi::CStr::from_ptr(name.cast_mut_ptr()) }.to_string_lossy().into_owned()
        });
        // Not through a map, which would sort the keys: the query is what people look for.
        let query = Json::from(self.query.as_str());
        format!("{{\"query\": {query}, \"index\": {}, \"column\": {}}}", Json::from(name), self.column)
    }
}

/// Oid of the type in this database.
///
/// # Errors
/// `NotFound` when the extension is not installed.
pub fn type_oid() -> Result<pg_sys::Oid> {
    // SAFETY: a C string; a missing schema is no error.
    let schema = unsafe { pg_sys::get_namespace_oid(heap_table::SCHEMA.as_ptr(), true) };
    // SAFETY: the keys are those of this cache: a type's name and its schema.
    let oid = unsafe {
        pg_sys::GetSysCacheOid(
            pg_sys::SysCacheIdentifier::TYPENAMENSP as _,
            pg_sys::Anum_pg_type_oid as _,
            pg_sys::Datum::from(c"bm25query".as_ptr()),
            pg_sys::Datum::from(schema),
            pg_sys::Datum::null(),
            pg_sys::Datum::null(),
        )
    };
    if oid == pg_sys::InvalidOid {
        return Err(Error::new(ErrorKind::NotFound, "type elacsym.bm25query does not exist")
            .with_hint("Run CREATE EXTENSION elacsym in this database."));
    }
    Ok(oid)
}

/// The checked value that a person asked for: the index is one of ours, the column is full text, and the role may read the
/// table, because scores tell something about the words in it.
#[allow(clippy::useless_conversion)] // privileges have 64 bits from PostgreSQL 16 on
fn checked(query: String, index: pg_sys::Oid, column: Option<i32>) -> Result<Bm25Query> {
    let index = TextIndex::open(index)?;
    let column = match column {
        Some(column) => index.require_text_column(column)?,
        None => index.only_text_column()?,
    };
    let table = index.table();
    // SAFETY: two oids and a privilege.
    let whole = unsafe { pg_sys::pg_class_aclcheck(table, current_role(), pg_sys::ACL_SELECT.into()) };
    if whole != pg_sys::AclResult::ACLCHECK_OK {
        // SAFETY: as above; SELECT on one column suffices.
        let any = unsafe {
            pg_sys::pg_attribute_aclcheck_all(
                table,
                current_role(),
                pg_sys::ACL_SELECT.into(),
                pg_sys::AclMaskHow::ACLMASK_ANY,
            )
        };
        if any != pg_sys::AclResult::ACLCHECK_OK {
            return Err(Error::new(ErrorKind::Denied, format!("permission denied for index \"{}\"", index.name()))
                .with_hint("A query can go by an index if the role may read its table."));
        }
    }
    Ok(Bm25Query { index: index.oid(), column, query })
}

fn input(call: &mut Call) -> Returned {
    let text = call.cstring(0)?;
    let shape = "Example: {\"query\": \"words\", \"index\": \"docs_search\", \"column\": 2}";
    let wrong = |what: String| Error::invalid(format!("invalid elacsym.bm25query: {what}")).with_hint(shape);
    let mut map: Map<String, Json> = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let (query, index, column) = (map.remove("query"), map.remove("index"), map.remove("column"));
    if let Some(key) = map.keys().next() {
        return Err(wrong(format!("unknown key \"{key}\"")));
    }
    let Some(Json::String(query)) = query else { return Err(wrong("\"query\" must be a string".to_owned())) };
    let Some(Json::String(index)) = index else { return Err(wrong("\"index\" must be a string".to_owned())) };
    let column = match column {
        None | Some(Json::Null) => None,
        Some(number) => {
            let number = number.as_i64().and_then(|number| i32::try_from(number).ok());
            Some(number.ok_or_else(|| wrong("\"column\" must be an integer".to_owned()))?)
        }
    };
    let name = c_function::to_cstring(&index)?;
    // SAFETY: regclassin takes a C string and returns an oid, or raises that there is no such relation.
    let oid = unsafe { pgrx::direct_function_call_as_datum(pg_sys::regclassin, &[Some(name)]) };
    let oid = oid.map_or(pg_sys::InvalidOid, |oid| pg_sys::Oid::from(oid.value() as u32));
    checked(query, oid, column)?.datum().map(Some)
}

fn output(call: &mut Call) -> Returned {
    let datum = call.datum(0)?;
    // SAFETY: declared as the type.
    let value = unsafe { Bm25Query::read(datum) }?;
    c_function::to_cstring(&value.to_json()).map(Some)
}

/// `elacsym.bm25query(query, index, column)`. The planner writes calls of it too, for tables it has checked itself: those
/// have the form of an implicit cast, which no statement can ask for.
fn make(call: &mut Call) -> Returned {
    let (Some(query), Some(index)) = (call.nullable(0)?, call.nullable(1)?) else { return Ok(None) };
    // SAFETY: declared as `text`.
    let query = unsafe { c_function::text(query) }?;
    let index = pg_sys::Oid::from(index.value() as u32);
    let column = call.nullable(2)?.map(|column| column.value() as i32);
    let value = match column {
        Some(column) if from_planner(call) => {
            let column = i16::try_from(column).map_err(|_| Error::internal("the planner named a wrong column"))?;
            Bm25Query { index, column, query }
        }
        _ => checked(query, index, column)?,
    };
    value.datum().map(Some)
}

/// Whether this call was written by [`super::support`].
fn from_planner(call: &Call) -> bool {
    let flinfo = call.flinfo();
    if flinfo.is_null() {
        return false;
    }
    // SAFETY: valid for the call.
    let expression = unsafe { (*flinfo).fn_expr };
    if expression.is_null() {
        return false;
    }
    // SAFETY: every node starts with its tag.
    if unsafe { (*expression).type_ } != pg_sys::NodeTag::T_FuncExpr {
        return false;
    }
    // SAFETY: the tag says so.
    let format = unsafe { (*expression.cast::<pg_sys::FuncExpr>()).funcformat };
    format == pg_sys::CoercionForm::COERCE_IMPLICIT_CAST
}

c_functions! {
    /// Input function of the type.
    elacsym_bm25query_in = input;
    /// Output function of the type.
    elacsym_bm25query_out = output;
    /// `elacsym.bm25query(text, regclass, integer)`.
    elacsym_bm25query = make;
}
