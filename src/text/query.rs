//! A text query as the text arm scores it.
//!
//! Words that are all alternatives are the common case and have a form of their own ([`QueryShape::Words`]): segments find
//! their best rows without looking at all of them. Everything else of the language is a tree ([`QueryShape::Parts`]): the rows
//! that match are found first and then scored. Which of the two a query is follows from the query alone, so that all parts of a
//! corpus add up its scores in the same order.

use super::bm25::Bm25Parameters;
use super::query_language::{AnalyzedQuery, Part, QueryPart, SearchField};
use crate::error::{Error, ErrorKind, Result};
use crate::ipc::message::TextQuery;
use crate::limits::MAX_FIELD_WEIGHT;
use crate::schema::{AttributeId, NamespaceSchema};
use std::collections::HashMap;

/// A word with a smaller factor is not searched with pruning, whose bounds are exact for ordinary numbers only.
const MIN_PRUNED_BOOST: f32 = 1e-6;

/// What to look for, and the terms whose statistics the scores need.
///
/// No terms at all (only stop words, no words) matches nothing and is not an error.
#[derive(Debug, Clone, PartialEq)]
pub struct ParsedTextQuery {
    /// Fields with at least one scored term and a weight above zero, in the order of the request. The order is the order in
    /// which scores of words are added.
    pub fields: Vec<QueryField>,
    /// What matches, and how scores add up.
    pub shape: QueryShape,
}

/// What matches a query.
#[derive(Debug, Clone, PartialEq)]
pub enum QueryShape {
    /// Rows that hold any of the terms; their scores add up.
    Words,
    /// Rows that the tree matches. Boosts hold the weights of the fields.
    Parts(QueryPart),
}

/// One field of a query.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryField {
    /// The full-text attribute.
    pub attribute: AttributeId,
    /// k1 and b of the attribute.
    pub parameters: Bm25Parameters,
    /// Terms in the order of their first appearance; each appears once.
    pub terms: Vec<QueryTerm>,
}

/// One distinct term of a field.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryTerm {
    /// The analysed term.
    pub text: String,
    /// Of [`QueryShape::Words`]: what its BM25 score is multiplied with, the field's weight times the boosts of all its
    /// appearances (a repeated word counts as often as it is repeated, as in tantivy's own query parser).
    pub boost: f32,
}

impl ParsedTextQuery {
    /// Reads and analyses the query for its fields. A field named twice has the sum of its weights; one with weight 0 is left
    /// out. The query can name the fields if there are at least two.
    ///
    /// # Errors
    /// As [`AnalyzedQuery::parse`], and: no field, an attribute that does not exist or has no full text, a weight that is
    /// negative, not finite or above [`MAX_FIELD_WEIGHT`].
    pub fn parse(schema: &NamespaceSchema, query: &TextQuery) -> Result<Self> {
        let weights = weights(schema, query)?;
        let fields = searched_fields(schema, weights.iter().map(|(attribute, _)| *attribute))?;
        let (_, analyzed) = AnalyzedQuery::parse(&query.query, query.operator, &fields)?;
        let mut found = Vec::with_capacity(fields.len());
        for field in &fields {
            let parameters = Bm25Parameters::of(field.options);
            found.push(QueryField { attribute: field.attribute, parameters, terms: Vec::new() });
        }
        let mut terms = Terms { fields: found, places: HashMap::new() };
        let Some(mut root) = analyzed.root else { return Ok(Self { fields: Vec::new(), shape: QueryShape::Words }) };
        apply(&mut root, &weights);
        terms.collect(&root);
        terms.fields.retain(|field| !field.terms.is_empty());
        let shape = if is_words(&root) { QueryShape::Words } else { QueryShape::Parts(root) };
        Ok(Self { fields: terms.fields, shape })
    }

    /// Whether the query matches nothing.
    pub fn is_empty(&self) -> bool {
        self.shape == QueryShape::Words && self.fields.is_empty()
    }

    /// Number of (field, term) pairs.
    pub fn term_count(&self) -> usize {
        self.fields.iter().map(|field| field.terms.len()).sum()
    }
}

/// The fields a query looks into. It can name them if there are at least two: with one, a name says nothing, and the operators
/// `@@@` and `<@>`, which know one column, mean the same.
///
/// # Errors
/// `NotFound` or `Invalid` for an attribute that does not exist or has no full text.
pub fn searched_fields(
    schema: &NamespaceSchema,
    attributes: impl IntoIterator<Item = AttributeId>,
) -> Result<Vec<SearchField<'_>>> {
    let attributes: Vec<AttributeId> = attributes.into_iter().collect();
    let mut fields = super::query_language::search_fields(schema, &attributes)?;
    if let [only] = fields.as_mut_slice() {
        only.name = None;
    }
    Ok(fields)
}

/// The fields of a query with weights above zero, each once.
fn weights(schema: &NamespaceSchema, query: &TextQuery) -> Result<Vec<(AttributeId, f32)>> {
    if query.fields.is_empty() {
        return Err(Error::invalid("a text query needs at least one field"));
    }
    let mut weights: Vec<(AttributeId, f32)> = Vec::with_capacity(query.fields.len());
    for (id, weight) in &query.fields {
        schema.require_full_text(*id)?;
        if !(0.0..=MAX_FIELD_WEIGHT).contains(weight) {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                format!("weight {weight} of a field is not between 0 and {MAX_FIELD_WEIGHT}"),
            ));
        }
        match weights.iter_mut().find(|(known, _)| known == id) {
            Some((_, sum)) => *sum += weight,
            None => weights.push((*id, *weight)),
        }
    }
    weights.retain(|(_, weight)| *weight > 0.0);
    Ok(weights)
}

/// Multiplies the boosts of a tree with the weights of their fields.
fn apply(part: &mut QueryPart, weights: &[(AttributeId, f32)]) {
    match part {
        QueryPart::Leaf { attribute, boost, .. } => {
            let weight = weights.iter().find(|(known, _)| known == attribute);
            *boost *= weight.map_or(1.0, |(_, weight)| *weight);
        }
        QueryPart::Boolean(group) => {
            for parts in [&mut group.required, &mut group.any, &mut group.excluded] {
                parts.iter_mut().for_each(|part| apply(part, weights));
            }
        }
    }
}

/// Whether a tree is alternatives of words all the way down.
fn is_words(part: &QueryPart) -> bool {
    match part {
        QueryPart::Leaf { boost, part, .. } => matches!(part, Part::Term(_)) && *boost >= MIN_PRUNED_BOOST,
        QueryPart::Boolean(group) => {
            group.required.is_empty() && group.excluded.is_empty() && group.any.iter().all(is_words)
        }
    }
}

/// Collects terms whose statistics count.
struct Terms {
    fields: Vec<QueryField>,
    /// Where a term of a field is.
    places: HashMap<(AttributeId, String), usize>,
}

impl Terms {
    /// Excluded parts have no score.
    fn collect(&mut self, part: &QueryPart) {
        match part {
            QueryPart::Boolean(group) => group.required.iter().chain(&group.any).for_each(|part| self.collect(part)),
            QueryPart::Leaf { attribute, boost, part: Part::Term(term) } => self.add(*attribute, term, *boost),
            QueryPart::Leaf { attribute, boost, part: Part::Phrase { terms, .. } } => {
                terms.iter().for_each(|term| self.add(*attribute, &term.text, *boost));
            }
            QueryPart::Leaf { part: Part::Prefix { .. } | Part::Fuzzy { .. }, .. } => {}
        }
    }

    fn add(&mut self, attribute: AttributeId, term: &str, boost: f32) {
        let Some(field) = self.fields.iter_mut().find(|field| field.attribute == attribute) else { return };
        let next = field.terms.len();
        let place = *self.places.entry((attribute, term.to_string())).or_insert(next);
        match field.terms.get_mut(place) {
            Some(known) => known.boost += boost,
            None => field.terms.push(QueryTerm { text: term.to_string(), boost }),
        }
    }
}

#[cfg(test)]
mod tests;
