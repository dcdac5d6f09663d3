//! A text query after analysis.

use super::analyzer::Analyzer;
use super::bm25::Bm25Parameters;
use crate::error::{Error, ErrorKind, Result};
use crate::ipc::message::TextQuery;
use crate::limits::{MAX_FIELD_WEIGHT, MAX_QUERY_TEXT_BYTES};
use crate::schema::{AttributeId, NamespaceSchema};
use std::collections::HashMap;

/// The terms to look for, by field. A document matches if it holds any of them (OR); scores add up over fields and terms.
///
/// No terms at all (only stop words, no words) matches nothing and is not an error.
#[derive(Debug, Clone, PartialEq)]
pub struct ParsedTextQuery {
    /// Fields with at least one term and a weight above zero, in the order of the request. The order is the order in which
    /// scores are added.
    pub fields: Vec<QueryField>,
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
    /// What its BM25 score is multiplied with: the field's weight times how often the query has the term (a repeated word
    /// counts as often as it is repeated, as in tantivy's own query parser).
    pub boost: f32,
}

impl ParsedTextQuery {
    /// Analyses the query for each of its fields. A field named twice has the sum of its weights; one with weight 0 is left
    /// out.
    ///
    /// Errors: text too long, no field, an attribute that does not exist or has no full text, a weight that is negative, not
    /// finite or above [`MAX_FIELD_WEIGHT`].
    pub fn parse(schema: &NamespaceSchema, query: &TextQuery) -> Result<Self> {
        if query.query.len() > MAX_QUERY_TEXT_BYTES {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                format!("query text of {} bytes is longer than {MAX_QUERY_TEXT_BYTES}", query.query.len()),
            ));
        }
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
        let mut fields = Vec::with_capacity(weights.len());
        for (attribute, weight) in weights {
            let options = schema.require_full_text(attribute)?;
            if weight == 0.0 {
                continue;
            }
            let mut order: Vec<(String, u32)> = Vec::new();
            let mut places: HashMap<String, usize> = HashMap::new();
            Analyzer::new(options).for_each(&query.query, |term| match places.get(term) {
                Some(place) => order[*place].1 += 1,
                None => {
                    places.insert(term.to_string(), order.len());
                    order.push((term.to_string(), 1));
                }
            });
            if !order.is_empty() {
                let terms =
                    order.into_iter().map(|(text, count)| QueryTerm { text, boost: weight * count as f32 }).collect();
                fields.push(QueryField { attribute, parameters: Bm25Parameters::of(options), terms });
            }
        }
        Ok(Self { fields })
    }

    /// Whether the query has no terms, and so matches nothing.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Number of (field, term) pairs.
    pub fn term_count(&self) -> usize {
        self.fields.iter().map(|field| field.terms.len()).sum()
    }
}

#[cfg(test)]
mod tests;
