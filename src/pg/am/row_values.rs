//! Values of some columns of an index, computed from rows of its table as `aminsert` gets them, for aggregates over visible rows and
//! for filters on what an index does not hold in full.

use super::access::OpenIndex;
use super::columns::{Columns, Kind, attribute_id};
use super::values::text;
use super::verify::AsOwner;
use crate::document::{Document, Value};
use crate::error::Result;
use crate::filter::Row;
use crate::schema::AttributeId;
use pgrx::pg_sys;

/// A value that is not null: its attribute, what its column is, and itself.
type Present<'a> = (AttributeId, &'a Kind, pg_sys::Datum);

/// Computes index values of rows of one table.
pub struct RowValues<'a> {
    open: &'a OpenIndex,
    columns: Columns,
    /// Places of the columns that are wanted.
    wanted: Vec<usize>,
    info: *mut pg_sys::IndexInfo,
    estate: *mut pg_sys::EState,
    memory: pgrx::PgMemoryContexts,
    /// The last column of the table that a plain column among the wanted ones is; `None` if one of them is an expression.
    last_plain: Option<i32>,
}

impl Drop for RowValues<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: created by us, used by nobody else.
            unsafe { pg_sys::FreeExecutorState(self.estate) };
        }
    }
}

impl<'a> RowValues<'a> {
    /// Of these attributes of an index with these columns.
    pub fn new(open: &'a OpenIndex, columns: Columns, attributes: &[AttributeId]) -> Self {
        // SAFETY: an open index; the result is of the current memory context.
        let info = unsafe { pg_sys::BuildIndexInfo(open.index.ptr()) };
        let wanted: Vec<usize> =
            (0..columns.columns.len()).filter(|place| attributes.contains(&attribute_id(*place))).collect();
        let table_column = |place: &usize| {
            // SAFETY: one number for each column of the index; 0 is an expression.
            i32::from(unsafe { (*info).ii_IndexAttrNumbers[*place] })
        };
        let numbers: Vec<i32> = wanted.iter().map(table_column).collect();
        let last_plain = if numbers.contains(&0) { None } else { Some(numbers.into_iter().max().unwrap_or(0)) };
        Self {
            open,
            columns,
            wanted,
            info,
            // SAFETY: no arguments; a child of the current memory context.
            estate: unsafe { pg_sys::CreateExecutorState() },
            memory: pgrx::PgMemoryContexts::new("elacsym row values"),
            last_plain,
        }
    }

    /// The wanted values of the row in a slot, as aggregates take them.
    ///
    /// # Errors
    /// As [`Columns::document`]; errors of index expressions are raised.
    ///
    /// # Safety
    /// `slot` must hold a row of the index's table.
    pub unsafe fn document(&mut self, slot: *mut pg_sys::TupleTableSlot) -> Result<Document> {
        let make = |present: &[Present<'_>]| -> Result<Document> {
            let mut document = Document::default();
            for (id, kind, datum) in present {
                let value = match kind {
                    Kind::Vector { .. } => continue,
                    // SAFETY: a value of a text column.
                    Kind::Text(_) => Value::String(unsafe { text(*datum) }?),
                    // SAFETY: a value of the column's type.
                    Kind::Attribute(sql) => unsafe { sql.whole(*datum) }?,
                };
                document.attributes.push((*id, value));
            }
            Ok(document)
        };
        // SAFETY: as the caller says.
        unsafe { self.with_values(slot, make) }
    }

    /// The wanted values of the row in a slot as a filter takes them: the attributes `held` as the index holds them, and those
    /// `in_full`.
    ///
    /// # Errors
    /// As [`Columns::document`]; errors of index expressions are raised.
    ///
    /// # Safety
    /// As [`Self::document`].
    pub unsafe fn row(
        &mut self,
        slot: *mut pg_sys::TupleTableSlot,
        held: &[AttributeId],
        in_full: &[AttributeId],
    ) -> Result<Row> {
        let make = |present: &[Present<'_>]| -> Result<Row> {
            let mut row = Row::default();
            for (id, kind, datum) in present {
                let is_held = held.contains(id);
                match kind {
                    Kind::Vector { .. } => {}
                    // SAFETY: a value of a text column.
                    Kind::Text(_) => row.held.attributes.push((*id, Value::String(unsafe { text(*datum) }?))),
                    Kind::Attribute(sql) => {
                        if is_held {
                            // SAFETY: a value of the column's type.
                            row.held.attributes.push((*id, unsafe { sql.translate(*datum) }?.value));
                        }
                        if in_full.contains(id) {
                            // SAFETY: as above.
                            row.in_full.push((*id, unsafe { sql.in_full(*datum) }?));
                        }
                    }
                }
            }
            Ok(row)
        };
        // SAFETY: as the caller says.
        unsafe { self.with_values(slot, make) }
    }

    /// What `make` makes of the wanted values that are not null, which are gone afterwards.
    ///
    /// # Safety
    /// As [`Self::document`].
    unsafe fn with_values<T>(
        &mut self,
        slot: *mut pg_sys::TupleTableSlot,
        make: impl FnOnce(&[Present<'_>]) -> Result<T>,
    ) -> Result<T> {
        // SAFETY: nothing outlives a call in that context.
        unsafe { self.memory.reset() };
        // SAFETY: a context of ours, which outlives the switch; put back below, or by the end of the transaction.
        let before = unsafe { pg_sys::MemoryContextSwitchTo(self.memory.value()) };
        // SAFETY: as the caller says.
        let made = make(&unsafe { self.read(slot) });
        // SAFETY: what was there before.
        unsafe { pg_sys::MemoryContextSwitchTo(before) };
        made
    }

    /// # Safety
    /// As [`Self::document`].
    unsafe fn read(&self, slot: *mut pg_sys::TupleTableSlot) -> Vec<Present<'_>> {
        let mut values = [pg_sys::Datum::from(0_usize); pg_sys::INDEX_MAX_KEYS as usize];
        let mut nulls = [true; pg_sys::INDEX_MAX_KEYS as usize];
        match self.last_plain {
            // SAFETY: as the caller says.
            Some(last) => unsafe { self.read_columns(slot, last, &mut values, &mut nulls) },
            // SAFETY: as the caller says.
            None => unsafe { self.evaluate(slot, &mut values, &mut nulls) },
        }
        let present = self.wanted.iter().filter(|place| !nulls[**place]);
        present.map(|place| (attribute_id(*place), &self.columns.columns[*place].kind, values[*place])).collect()
    }

    /// # Safety
    /// As [`Self::document`]; `last` must be the last of the wanted columns' numbers in the table.
    unsafe fn read_columns(
        &self,
        slot: *mut pg_sys::TupleTableSlot,
        last: i32,
        values: &mut [pg_sys::Datum],
        nulls: &mut [bool],
    ) {
        // SAFETY: a filled slot.
        if i32::from(unsafe { (*slot).tts_nvalid }) < last {
            // SAFETY: brings the columns up to this one into the slot's arrays.
            unsafe { pg_sys::slot_getsomeattrs_int(slot, last) };
        }
        for place in &self.wanted {
            // SAFETY: one number for each column of the index; none of the wanted ones is an expression.
            let column = unsafe { (*self.info).ii_IndexAttrNumbers[*place] } - 1;
            let column = column.cast_unsigned() as usize;
            // SAFETY: filled above.
            nulls[*place] = unsafe { *(*slot).tts_isnull.add(column) };
            // SAFETY: filled above.
            values[*place] = unsafe { *(*slot).tts_values.add(column) };
        }
    }

    /// # Safety
    /// As [`Self::document`].
    unsafe fn evaluate(&self, slot: *mut pg_sys::TupleTableSlot, values: &mut [pg_sys::Datum], nulls: &mut [bool]) {
        let _owner = AsOwner::of(self.open.heap);
        // SAFETY: an executor state of ours, which may have a context for a row already.
        let known = unsafe { (*self.estate).es_per_tuple_exprcontext };
        let context = if known.is_null() {
            // SAFETY: as above.
            unsafe { pg_sys::MakePerTupleExprContext(self.estate) }
        } else {
            known
        };
        // SAFETY: what the expressions of the row before have left is used no more.
        unsafe { pg_sys::MemoryContextReset((*context).ecxt_per_tuple_memory) };
        // SAFETY: a context of ours; the slot outlives the call below.
        unsafe { (*context).ecxt_scantuple = slot };
        // SAFETY: room for as many columns as an index may have, and the row it asks the slot for.
        unsafe { pg_sys::FormIndexDatum(self.info, slot, self.estate, values.as_mut_ptr(), nulls.as_mut_ptr()) };
    }
}
