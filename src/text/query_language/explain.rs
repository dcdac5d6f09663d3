//! How a query was understood, as JSON.

use super::analyzed::{AnalyzedQuery, Part, QueryPart, SearchField};
use super::ast::{Operator, Query};
use crate::error::Result;
use crate::schema::AttributeId;
use serde_json::{Value as Json, json};

/// How a text is understood as a query of these fields, as [`AnalyzedQuery::explain`] writes it.
///
/// # Errors
/// As [`AnalyzedQuery::parse`].
pub fn parse_query(text: &str, operator: Operator, fields: &[SearchField<'_>]) -> Result<Json> {
    let (query, analyzed) = AnalyzedQuery::parse(text, operator, fields)?;
    Ok(analyzed.explain(&query, fields))
}

impl AnalyzedQuery {
    /// The query as it was read and what it means: `{"query": …, "operator": "or", "understood": …}`. Fields have their names,
    /// or none if they have none.
    pub fn explain(&self, query: &Query, fields: &[SearchField<'_>]) -> Json {
        let name = |id: AttributeId| fields.iter().find(|field| field.attribute == id).and_then(|field| field.name);
        let understood = match &self.root {
            Some(root) => explain(root, &name),
            None => json!({"match_none": {}}),
        };
        json!({"query": query.to_string(), "operator": query.operator.name(), "understood": understood})
    }
}

fn explain<'a>(part: &QueryPart, name: &impl Fn(AttributeId) -> Option<&'a str>) -> Json {
    match part {
        QueryPart::Boolean(group) => {
            let mut lists = serde_json::Map::new();
            for (key, parts) in [("must", &group.required), ("should", &group.any), ("must_not", &group.excluded)] {
                if !parts.is_empty() {
                    lists.insert(key.to_string(), parts.iter().map(|part| explain(part, name)).collect());
                }
            }
            json!({"bool": lists})
        }
        QueryPart::Leaf { attribute, boost, part } => {
            let (kind, mut leaf) = match part {
                Part::Term(term) => ("term", json!({"value": term})),
                Part::Phrase { terms, slop } => {
                    let term = |term: &super::PhraseTerm| json!({"position": term.distance, "value": term.text});
                    ("phrase", json!({"terms": terms.iter().map(term).collect::<Vec<_>>(), "slop": slop}))
                }
                Part::Prefix { prefix, word } => ("prefix", json!({"value": prefix, "word": word})),
                Part::Fuzzy { text, word, distance } => {
                    ("fuzzy", json!({"value": text, "word": word, "distance": distance}))
                }
            };
            if let Some(leaf) = leaf.as_object_mut() {
                leaf.retain(|_, value| !value.is_null());
                leaf.extend(name(*attribute).map(|name| ("field".to_string(), json!(name))));
                if *boost != 1.0 {
                    leaf.insert("boost".to_string(), json!(boost));
                }
            }
            json!({kind: leaf})
        }
    }
}
