//! Exact filters on rows of a table: what an index does not hold in full (`numeric`, long strings, the outermost floats and times)
//! is looked up in the row once the engine has found it.

use super::access::OpenIndex;
use super::columns::Columns;
use super::heap_rows::VisibleRow;
use super::row_values::RowValues;
use crate::document::{Document, Value};
use crate::error::{Error, Result};
use crate::filter::{ExactFilter, Filter};
use crate::ipc::message::Request;
use crate::pg::client::{self, NoNeeds, Reply};
use crate::schema::{AttributeId, NamespaceSchema};

/// An exact filter, ready to be asked of rows of one table.
pub struct Recheck<'a> {
    filter: &'a ExactFilter,
    held: Vec<AttributeId>,
    in_full: Vec<AttributeId>,
    schema: NamespaceSchema,
    values: RowValues<'a>,
}

impl<'a> Recheck<'a> {
    /// Of the rows of an open index.
    ///
    /// # Errors
    /// As [`Columns::of`].
    pub fn new(open: &'a OpenIndex, filter: &'a ExactFilter) -> Result<Self> {
        let columns = Columns::of(open.index)?;
        let (held, in_full) = (filter.attributes(), filter.in_full());
        let wanted: Vec<AttributeId> = held.iter().chain(&in_full).copied().collect();
        Ok(Self { filter, held, in_full, schema: columns.schema(), values: RowValues::new(open, columns, &wanted) })
    }

    /// Whether a row matches, which must be one of the index's table.
    ///
    /// # Errors
    /// As [`RowValues::row`]; the engine's, which is asked for texts where the outcome depends on them.
    pub fn matches(&mut self, row: &VisibleRow<'_>) -> Result<bool> {
        // SAFETY: the slot holds the row until the next one is fetched.
        let row = unsafe { self.values.row(row.slot(), &self.held, &self.in_full) }?;
        let mut failed = Ok(());
        let schema = &self.schema;
        let matches = self.filter.matches(row, &mut |node, document| {
            failed.is_ok()
                && matches_text(schema, node, document).unwrap_or_else(|error| {
                    failed = Err(error);
                    false
                })
        });
        failed.map(|()| matches)
    }
}

/// Whether a document matches a text query.
fn matches_text(schema: &NamespaceSchema, node: &Filter, document: &Document) -> Result<bool> {
    let Filter::Match { attribute, query } = node else {
        return Err(Error::internal("a filter has a text query that users cannot write"));
    };
    let Some(Value::String(text)) = document.get(*attribute) else { return Ok(false) };
    let options = schema.require_full_text(*attribute)?.clone();
    let request = Request::TextMatch { options, query: query.clone(), texts: vec![text.clone()] };
    match client::call(&request, &mut NoNeeds)? {
        Reply::Matches(matches) if matches.len() == 1 => Ok(matches[0]),
        other => Err(Error::internal(format!("the engine answered \"{}\" instead of a match", other.name()))),
    }
}
