//! Order by attributes, where nothing is searched for.
//!
//! Ties go by ascending id. Strings compare by their bytes, as in filters. Nulls are last in ascending and first in descending
//! order, as in SQL, unless `nulls` says otherwise.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::group::Group;
use super::ranked_attribute;
use crate::document::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::compare;
use crate::limits::{MAX_ORDER_BY, MAX_ORDERED_GROUPS};
use crate::schema::{AttributeId, NamespaceSchema, json_type, reject_unknown_keys};

const EXAMPLE: &str =
    "Example: [{\"field\": \"year\", \"direction\": \"desc\", \"nulls\": \"last\"}, {\"field\": \"title\"}]";

/// One attribute of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderBy {
    /// The attribute.
    pub attribute: AttributeId,
    /// Greatest first.
    pub descending: bool,
    /// Rows without a value come first.
    pub nulls_first: bool,
}

/// Reads an array of `{"field", "direction", "nulls"}`, or a single one; a string is a field in ascending order.
///
/// # Errors
/// `Invalid`, `TypeMismatch`, `OutOfRange`; `NotFound` for an unknown attribute.
pub fn parse_order_by(schema: &NamespaceSchema, json: &Json) -> Result<Vec<OrderBy>> {
    let one;
    let list = match json {
        Json::Array(list) => list,
        Json::Object(_) | Json::String(_) => {
            one = vec![json.clone()];
            &one
        }
        other => {
            let message = format!("\"order_by\" must be an array, not {}", json_type(other));
            return Err(Error::invalid(message).with_hint(EXAMPLE));
        }
    };
    if list.is_empty() {
        return Err(Error::invalid("\"order_by\" is empty").with_hint(EXAMPLE));
    }
    if list.len() > MAX_ORDER_BY {
        return Err(Error::new(
            ErrorKind::OutOfRange,
            format!("\"order_by\" has {} attributes, more than {MAX_ORDER_BY}", list.len()),
        ));
    }
    list.iter().map(|json| parse_one(schema, json)).collect()
}

fn parse_one(schema: &NamespaceSchema, json: &Json) -> Result<OrderBy> {
    let empty = serde_json::Map::new();
    let (field, map) = match json {
        Json::String(field) => (field.as_str(), &empty),
        Json::Object(map) => {
            reject_unknown_keys(map, &["field", "direction", "nulls"], "order_by")?;
            match map.get("field") {
                Some(Json::String(field)) => (field.as_str(), map),
                Some(other) => {
                    let message = format!("\"field\" of order_by must be a string, not {}", json_type(other));
                    return Err(Error::invalid(message));
                }
                None => return Err(Error::invalid("order_by has no \"field\"").with_hint(EXAMPLE)),
            }
        }
        other => {
            let message = format!("order_by holds objects, not {}", json_type(other));
            return Err(Error::invalid(message).with_hint(EXAMPLE));
        }
    };
    let attribute = ranked_attribute(schema, field)?;
    if attribute.kind.is_array() {
        return Err(Error::new(
            ErrorKind::TypeMismatch,
            format!("order_by does not apply to attribute \"{field}\", which holds arrays"),
        ));
    }
    let word = |key: &str, yes: &str, no: &str| match map.get(key) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(word)) if word == yes => Ok(Some(true)),
        Some(Json::String(word)) if word == no => Ok(Some(false)),
        Some(other) => Err(Error::invalid(format!("\"{key}\" of order_by must be \"{no}\" or \"{yes}\", not {other}"))),
    };
    let descending = word("direction", "desc", "asc")?.unwrap_or(false);
    let nulls_first = word("nulls", "first", "last")?.unwrap_or(descending);
    Ok(OrderBy { attribute: attribute.id, descending, nulls_first })
}

/// Where a row stands in an order: the least is first.
#[derive(Debug, Clone)]
pub struct SortKey<I> {
    parts: Vec<Part>,
    id: I,
}

#[derive(Debug, Clone)]
struct Part {
    value: Option<Value>,
    descending: bool,
    nulls_first: bool,
}

impl Part {
    fn order(&self, other: &Self) -> Ordering {
        let nulls = if self.nulls_first { Ordering::Less } else { Ordering::Greater };
        match (&self.value, &other.value) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => nulls,
            (Some(_), None) => nulls.reverse(),
            (Some(a), Some(b)) => {
                let order = compare(a, b).unwrap_or(Ordering::Equal);
                if self.descending { order.reverse() } else { order }
            }
        }
    }
}

impl<I: Ord> SortKey<I> {
    /// Of a row with these values, one for each attribute of the order.
    pub fn new(order: &[OrderBy], values: Vec<Option<Value>>, id: I) -> Self {
        let part = |(by, value): (&OrderBy, _)| Part { value, descending: by.descending, nulls_first: by.nulls_first };
        Self { parts: order.iter().zip(values).map(part).collect(), id }
    }

    /// The row.
    pub fn id(&self) -> &I {
        &self.id
    }

    /// The values.
    pub fn into_values(self) -> Vec<Option<Value>> {
        self.parts.into_iter().map(|part| part.value).collect()
    }

    /// By the values alone.
    pub fn order_of_values(&self, other: &Self) -> Ordering {
        let orders = self.parts.iter().zip(&other.parts).map(|(a, b)| a.order(b));
        orders.fold(Ordering::Equal, Ordering::then)
    }
}

impl<I: Ord> PartialEq for SortKey<I> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<I: Ord> Eq for SortKey<I> {}

impl<I: Ord> PartialOrd for SortKey<I> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<I: Ord> Ord for SortKey<I> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order_of_values(other).then_with(|| self.id.cmp(&other.id))
    }
}

/// The first rows of an order, with a limit per group if there is one.
#[derive(Debug)]
pub struct Selection<I, T> {
    count: usize,
    per: Option<u32>,
    all: First<I, T>,
    /// The first `per` of each group: no other row of the group is ever kept.
    groups: HashMap<Option<Group>, First<I, T>>,
}

/// A heap whose top is the last one kept.
type First<I, T> = BinaryHeap<Kept<I, T>>;

#[derive(Debug)]
struct Kept<I, T> {
    key: SortKey<I>,
    item: T,
}

impl<I: Ord, T> PartialEq for Kept<I, T> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<I: Ord, T> Eq for Kept<I, T> {}

impl<I: Ord, T> PartialOrd for Kept<I, T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<I: Ord, T> Ord for Kept<I, T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

impl<I: Ord, T> Selection<I, T> {
    /// The first `count` rows, at most `per` of one group.
    pub fn new(count: usize, per: Option<u32>) -> Self {
        Self { count, per, all: BinaryHeap::new(), groups: HashMap::new() }
    }

    /// Whether a row with the values of `key` might be kept, whatever its id and group.
    pub fn has_place_for(&self, key: &SortKey<I>) -> bool {
        if self.per.is_some() || self.all.len() < self.count {
            return self.count > 0;
        }
        self.all.peek().is_some_and(|last| key.order_of_values(&last.key) != Ordering::Greater)
    }

    /// Offers a row.
    ///
    /// # Errors
    /// `Exhausted` for more than [`MAX_ORDERED_GROUPS`] groups.
    pub fn push(&mut self, key: SortKey<I>, group: Option<Group>, item: T) -> Result<()> {
        let kept = Kept { key, item };
        let Some(limit) = self.per else {
            keep(&mut self.all, self.count, kept);
            return Ok(());
        };
        let groups = self.groups.len();
        let first = match self.groups.entry(group) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) if groups < MAX_ORDERED_GROUPS => {
                new.insert(BinaryHeap::new())
            }
            std::collections::hash_map::Entry::Vacant(_) => {
                return Err(Error::new(
                    ErrorKind::Exhausted,
                    format!("the attribute of per has more than {MAX_ORDERED_GROUPS} values"),
                )
                .with_hint("Use a filter."));
            }
        };
        keep(first, limit as usize, kept);
        Ok(())
    }

    /// The rows kept, in order.
    pub fn into_sorted(mut self) -> Vec<(SortKey<I>, T)> {
        for first in self.groups.into_values() {
            first.into_iter().for_each(|kept| keep(&mut self.all, self.count, kept));
        }
        self.all.into_sorted_vec().into_iter().map(|kept| (kept.key, kept.item)).collect()
    }
}

fn keep<I: Ord, T>(first: &mut First<I, T>, count: usize, kept: Kept<I, T>) {
    if first.len() < count {
        first.push(kept);
    } else if let Some(mut last) = first.peek_mut()
        && kept < *last
    {
        *last = kept;
    }
}

#[cfg(test)]
mod tests;
