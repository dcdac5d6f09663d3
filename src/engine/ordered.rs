//! Rows in the order of attributes: every row that the filter leaves is looked at, the first are kept.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::arms::{CHUNK, Hit, Run};
use super::results::attributes;
use crate::document::{Document, Value};
use crate::error::Result;
use crate::ids::Key;
use crate::rank::{Group, OrderBy, Selection, SortKey};
use crate::schema::AttributeId;

/// Rows of one segment whose values are read at once: a few megabytes of them.
const ROWS_AT_ONCE: usize = 65_536;

/// One row of an order.
#[derive(Debug)]
pub struct OrderedRow {
    /// Its key.
    pub key: Key,
    /// Where it is.
    pub hit: Hit,
    /// Its value of the attribute that rows are grouped by.
    pub group: Option<Value>,
    /// Its values of the attributes of the order.
    pub sort: Vec<Option<Value>>,
}

/// Which rows are wanted.
#[derive(Debug, Clone)]
pub struct Ordering {
    /// The order; ties go by key.
    pub by: Vec<OrderBy>,
    /// Rows from the first on.
    pub count: usize,
    /// The attribute that rows are grouped by.
    pub group: Option<AttributeId>,
    /// Most rows of one group.
    pub per: Option<u32>,
}

#[derive(Debug)]
struct Item {
    hit: Hit,
    group: Option<Value>,
}

impl Ordering {
    /// The first rows among those that the filter of `run` leaves.
    ///
    /// # Errors
    /// Of the segments; `Exhausted` for too many groups.
    pub async fn rows(&self, run: &Run) -> Result<Vec<OrderedRow>> {
        let choice = run.choice().await?;
        let mut first = self.of_buffer(run, choice.buffered).await?;
        let mut wanted: Vec<AttributeId> = self.by.iter().map(|by| by.attribute).chain(self.group).collect();
        wanted.sort_unstable();
        wanted.dedup();
        for (place, live) in run.view.segments.iter().enumerate() {
            let ordinals: Vec<u32> = match &choice.segments[place] {
                Some(rows) => rows.iter().collect(),
                None => (0..live.segment.rows()).collect(),
            };
            for chunk in ordinals.chunks(ROWS_AT_ONCE) {
                let documents = attributes(&run.cpu, &run.reads, &live.segment, chunk, &wanted).await?;
                // Keys are read only of rows that their values do not rule out.
                let ordering = self.clone();
                let (selected, documents) = run
                    .cpu
                    .run(move |_| {
                        let may_stay =
                            |document: &Document| first.has_place_for(&ordering.sort_key(document, Key::MIN));
                        let rows: Vec<(u32, Document)> =
                            documents.into_iter().filter(|(_, document)| may_stay(document)).collect();
                        Ok((first, rows))
                    })
                    .await?;
                let ordinals: Vec<u32> = documents.iter().map(|(ordinal, _)| *ordinal).collect();
                let ids = live.segment.identities(&ordinals, &run.reads).await?;
                let ordering = self.clone();
                first = run
                    .cpu
                    .run(move |_| {
                        let mut first = selected;
                        for ((ordinal, document), id) in documents.iter().zip(ids) {
                            ordering.offer(&mut first, id.key, Hit::Row(place, *ordinal), document)?;
                        }
                        Ok(first)
                    })
                    .await?;
            }
        }
        let rows = first.into_sorted().into_iter().map(|(key, item)| OrderedRow {
            key: *key.id(),
            hit: item.hit,
            group: item.group,
            sort: key.into_values(),
        });
        Ok(rows.collect())
    }

    async fn of_buffer(&self, run: &Run, places: Option<Arc<RoaringBitmap>>) -> Result<Selection<Key, Item>> {
        let (ordering, view) = (self.clone(), run.view.clone());
        run.cpu
            .run(move |cancel| {
                let mut first = Selection::new(ordering.count, ordering.per);
                for (at, entry) in view.buffered.iter().enumerate() {
                    if at % CHUNK == 0 {
                        cancel.check()?;
                    }
                    if places.as_ref().is_none_or(|places| places.contains(at as u32)) {
                        ordering.offer(&mut first, entry.id.key, Hit::Buffered(at), &entry.document)?;
                    }
                }
                Ok(first)
            })
            .await
    }

    fn sort_key(&self, document: &Document, key: Key) -> SortKey<Key> {
        let values = self.by.iter().map(|by| document.get(by.attribute).cloned());
        SortKey::new(&self.by, values.collect(), key)
    }

    fn offer(&self, first: &mut Selection<Key, Item>, key: Key, hit: Hit, document: &Document) -> Result<()> {
        let key = self.sort_key(document, key);
        if !first.has_place_for(&key) {
            return Ok(());
        }
        let group = self.group.and_then(|attribute| document.get(attribute)).cloned();
        first.push(key, group.as_ref().map(Group::of), Item { hit, group })
    }
}
