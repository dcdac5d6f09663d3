//! Scan keys to filters. What a filter cannot say exactly it says too widely, and the executor looks again; what it cannot
//! say at all is left out.

use super::columns::{Column, Columns, Kind, attribute_id};
use super::values::{SqlType, Translated, text};
use crate::document::Value;
use crate::error::Result;
use crate::filter::{Comparison, Filter, order_of_long_strings};
use crate::limits::MAX_QUERY_TEXT_BYTES;
use crate::pg::text_operators::bm25query::{self, Bm25Query};
use crate::schema::AttributeId;
use pgrx::pg_sys;

/// Strategy numbers of the operator classes.
pub mod strategy {
    /// `<`
    pub const LESS: u16 = 1;
    /// `<=`
    pub const LESS_EQUAL: u16 = 2;
    /// `=`
    pub const EQUAL: u16 = 3;
    /// `>=`
    pub const GREATER_EQUAL: u16 = 4;
    /// `>`
    pub const GREATER: u16 = 5;
    /// `<>`
    pub const NOT_EQUAL: u16 = 6;
    /// `&&`
    pub const OVERLAP: u16 = 7;
    /// `@>`
    pub const CONTAINS: u16 = 8;
    /// `@@@`
    pub const MATCH: u16 = 9;
}

/// What the keys of a scan come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Quals {
    /// `None`: everything.
    pub filter: Option<Filter>,
    /// The executor must test the conditions again.
    pub recheck: bool,
}

/// Translates the keys, which all must hold.
///
/// # Errors
/// `Invalid` for text that is not UTF-8, `OutOfRange` for too long a list or query.
///
/// # Safety
/// `keys` must be those of a scan of an index with these columns.
pub unsafe fn translate(columns: &Columns, keys: &[pg_sys::ScanKeyData]) -> Result<Quals> {
    let mut filters = Vec::new();
    let mut recheck = false;
    for key in keys {
        let place = usize::try_from(key.sk_attno - 1).unwrap_or(usize::MAX);
        if place >= columns.columns.len() {
            recheck = true;
            continue;
        }
        // SAFETY: a key of that column.
        match unsafe { condition(columns, place, key) }? {
            Some((filter, exact)) => {
                filters.push(filter);
                recheck |= !exact;
            }
            None => recheck = true,
        }
    }
    let filter = match filters.len() {
        0 => None,
        1 => filters.pop(),
        _ => Some(Filter::And(filters)),
    };
    Ok(Quals { filter, recheck })
}

/// A filter and whether it is exact; `None` when nothing can be said.
type Condition = Option<(Filter, bool)>;

/// # Safety
/// `key` must be a scan key of that column.
unsafe fn condition(columns: &Columns, place: usize, key: &pg_sys::ScanKeyData) -> Result<Condition> {
    let (column, attribute) = (&columns.columns[place], attribute_id(place));
    let flag = |bit: u32| key.sk_flags.cast_unsigned() & bit != 0;
    let is_null = Filter::IsNull { attribute };
    if flag(pg_sys::SK_SEARCHNULL) || flag(pg_sys::SK_SEARCHNOTNULL) {
        if matches!(column.kind, Kind::Vector { .. }) {
            // No attribute tells; rows without a vector come last anyway.
            return Ok(None);
        }
        let filter = if flag(pg_sys::SK_SEARCHNULL) { is_null } else { Filter::Not(Box::new(is_null)) };
        return Ok(Some((filter, true)));
    }
    if flag(pg_sys::SK_ISNULL) {
        // No operator is true of NULL.
        return Ok(Some((Filter::Or(Vec::new()), true)));
    }
    match &column.kind {
        Kind::Vector { .. } => Ok(None),
        // PostgreSQL 18 makes one array of alternatives; the executor looks at them.
        Kind::Text(_) if key.sk_strategy == strategy::MATCH && !flag(pg_sys::SK_SEARCHARRAY) => {
            // SAFETY: the operators of the text class take text or bm25query.
            let query = unsafe { query_text(columns.index, key) }?;
            Ok(query
                .map(|(query, _)| query)
                .filter(|query| query.len() <= MAX_QUERY_TEXT_BYTES)
                .map(|query| (Filter::Match { attribute, query }, true)))
        }
        Kind::Text(_) => Ok(None),
        // SAFETY: as the caller says.
        Kind::Attribute(sql) => unsafe { comparison(column, *sql, attribute, key) },
    }
}

/// The words of a text query and the index it goes by: this one, or the one that this is part of. `None` when it goes by
/// another, whose analysis may differ.
///
/// # Errors
/// `Corrupt`; `Invalid` for text that is not UTF-8.
///
/// # Safety
/// The key's argument must be of type text or bm25query.
pub unsafe fn query_text(index: pg_sys::Oid, key: &pg_sys::ScanKeyData) -> Result<Option<(String, pg_sys::Oid)>> {
    if key.sk_subtype != bm25query::type_oid()? {
        // SAFETY: as the caller says.
        return unsafe { text(key.sk_argument) }.map(|words| Some((words, index)));
    }
    // SAFETY: as the caller says.
    let query = unsafe { Bm25Query::read(key.sk_argument) }?;
    Ok(query.goes_by(index, key.sk_attno)?.then_some((query.query, query.index)))
}

/// # Safety
/// `key` must be a scan key with an argument for a column of type `sql`.
unsafe fn comparison(
    column: &Column,
    sql: SqlType,
    attribute: AttributeId,
    key: &pg_sys::ScanKeyData,
) -> Result<Condition> {
    // The other side's type, where an operator class has several.
    // Operators of arrays are those of anyarray.
    let same = key.sk_subtype == pg_sys::InvalidOid || sql.is_array();
    let other = if same { Some(sql) } else { SqlType::from_oid(key.sk_subtype) };
    let Some(other) = other else { return Ok(None) };
    if key.sk_flags.cast_unsigned() & pg_sys::SK_SEARCHARRAY != 0 {
        if sql.is_array() {
            return Ok(None);
        }
        // SAFETY: an array of the other side's type.
        let values = unsafe { other.elements(key.sk_argument) }?;
        return Ok(any_of(column, sql, attribute, key.sk_strategy, values));
    }
    if sql.is_array() {
        // SAFETY: an array of the column's type.
        let values = unsafe { other.elements(key.sk_argument) }?;
        return Ok(of_arrays(attribute, key.sk_strategy, &values));
    }
    // SAFETY: a value of the other side's type.
    let value = unsafe { other.translate(key.sk_argument) }?;
    Ok(of_scalars(column, sql, attribute, key.sk_strategy, value))
}

/// `column op ANY (values)`: null elements are never true.
fn any_of(
    column: &Column,
    sql: SqlType,
    attribute: AttributeId,
    strategy: u16,
    values: Vec<Option<Translated>>,
) -> Condition {
    let mut any = Vec::new();
    let mut all_exact = true;
    for value in values.into_iter().flatten() {
        let (filter, exact) = of_scalars(column, sql, attribute, strategy, value)?;
        all_exact &= exact;
        any.push(filter);
    }
    // Many equalities are one list.
    let mut list = Vec::new();
    any.retain(|filter| match filter {
        Filter::In { values, .. } => {
            list.extend(values.iter().cloned());
            false
        }
        _ => true,
    });
    if !list.is_empty() {
        any.push(Filter::In { attribute, values: list });
    }
    Some((Filter::Or(any), all_exact))
}

fn of_scalars(
    column: &Column,
    sql: SqlType,
    attribute: AttributeId,
    strategy: u16,
    Translated { value, exact }: Translated,
) -> Condition {
    // A numeric column's own values are rounded.
    let exact = exact && sql != SqlType::Numeric;
    // Mixed kinds cannot happen with our classes; a filter must not compare them.
    if value.kind() != sql.attribute() {
        return None;
    }
    let textual = sql == SqlType::Text;
    let compare = |strict: Comparison, wide: Comparison| {
        // Cut before characters of different lengths, long strings are not in their order: the executor compares them.
        if textual && !(exact && is_byte_order(column.collation)) {
            return None;
        }
        let filter = match &value {
            // What is held of long strings is not in their order.
            Value::String(text) if !exact => order_of_long_strings(attribute, strict, text).0,
            value => {
                let comparison = if exact { strict } else { wide };
                Filter::Compare { attribute, comparison, value: value.clone() }
            }
        };
        Some((filter, exact))
    };
    match strategy {
        strategy::EQUAL if textual && !is_deterministic(column.collation) => None,
        strategy::EQUAL => Some((Filter::In { attribute, values: vec![value] }, exact)),
        strategy::NOT_EQUAL if !exact || (textual && !is_deterministic(column.collation)) => None,
        strategy::NOT_EQUAL => {
            let differs = Filter::Not(Box::new(Filter::In { attribute, values: vec![value] }));
            let is_there = Filter::Not(Box::new(Filter::IsNull { attribute }));
            Some((Filter::And(vec![differs, is_there]), true))
        }
        _ if sql == SqlType::Bool => bool_order(attribute, strategy, &value),
        strategy::LESS => compare(Comparison::Lt, Comparison::Lte),
        strategy::LESS_EQUAL => compare(Comparison::Lte, Comparison::Lte),
        strategy::GREATER_EQUAL => compare(Comparison::Gte, Comparison::Gte),
        strategy::GREATER => compare(Comparison::Gt, Comparison::Gte),
        _ => None,
    }
}

/// Order of booleans as lists: there are only two of them.
fn bool_order(attribute: AttributeId, strategy: u16, value: &Value) -> Condition {
    let Value::Bool(value) = value else { return None };
    let holds = |candidate: bool| match strategy {
        strategy::LESS => !candidate & value,
        strategy::LESS_EQUAL => candidate <= *value,
        strategy::GREATER_EQUAL => candidate >= *value,
        strategy::GREATER => candidate & !value,
        _ => true,
    };
    let values = [false, true].into_iter().filter(|candidate| holds(*candidate)).map(Value::Bool).collect();
    Some((Filter::In { attribute, values }, true))
}

fn of_arrays(attribute: AttributeId, strategy: u16, values: &[Option<Translated>]) -> Condition {
    let exact = values.iter().all(|value| value.as_ref().is_some_and(|value| value.exact));
    let elements: Vec<Value> = values.iter().flatten().map(|value| value.value.clone()).collect();
    let is_there = || Filter::Not(Box::new(Filter::IsNull { attribute }));
    match strategy {
        strategy::OVERLAP => Some((Filter::ContainsAny { attribute, values: elements }, exact)),
        strategy::CONTAINS | strategy::EQUAL => {
            let mut all = vec![is_there()];
            all.extend(elements.into_iter().map(|element| Filter::ContainsAny { attribute, values: vec![element] }));
            Some((Filter::And(all), exact && strategy == strategy::CONTAINS))
        }
        _ => None,
    }
}

/// Whether text of this collation is ordered by its bytes.
fn is_byte_order(collation: pg_sys::Oid) -> bool {
    const POSIX_COLLATION: u32 = 951;
    collation == pg_sys::C_COLLATION_OID || u32::from(collation) == POSIX_COLLATION
}

fn is_deterministic(collation: pg_sys::Oid) -> bool {
    // SAFETY: the oid of an existing collation, or none.
    collation == pg_sys::InvalidOid || unsafe { pg_sys::get_collation_isdeterministic(collation) }
}
