//! The arguments that decide a ranking, which `query`, `search`, `search_keys` and `evaluate` have in common.

use super::arguments::not_negative;
use super::search::operator;
use super::times::SqlTimes;
use super::{Jsonb, Text};
use crate::document::{Document, parse_vector};
use crate::error::{Error, ErrorKind, Result};
use crate::filter::{ExactFilter, Filter, Widened, with_digits};
use crate::ipc::message::{ArmQuery, ArmRequest, NamespaceView, Operator, QueryRequest, TextQuery};
use crate::limits::{
    DEFAULT_CANDIDATES, DEFAULT_RRF_K, MAX_ARMS, MAX_OFFSET, MAX_QUERY_TEXT_BYTES, MAX_REPLY_ROWS, MAX_TOP_K,
};
use crate::pg::gucs;
use crate::rank::{Fusion, Method, Modifier, Per, Place, Unit, parse_modifiers, parse_order_by};
use crate::schema::{Attribute, AttributeId, NamespaceSchema, json_type, reject_unknown_keys};
use serde_json::{Map, Value as Json};

/// Rows of one answer when the caller gives no number.
pub const DEFAULT_TOP_K: i32 = 10;
/// Most candidates an arm may be asked for: ten for each of the most rows an answer may have.
const MAX_CANDIDATES: usize = 10 * MAX_TOP_K;
/// Largest k of RRF: beyond this all ranks score alike.
const MAX_RRF_K: i32 = 1_000_000;

const QUERIES_HINT: &str =
    "Example: [{\"vector\": [0.1, 0.2], \"weight\": 2}, {\"text\": \"words\", \"fields\": {\"title\": 2.0}}]";

/// The arguments as SQL gives them.
#[derive(Debug, Default)]
pub struct Options {
    pub rrf_k: Option<i32>,
    pub vector_weight: Option<f32>,
    pub text_weight: Option<f32>,
    pub candidates: Option<i32>,
    pub effort: Option<f32>,
    pub fusion: Option<Text>,
    pub queries: Option<Jsonb>,
    pub modifiers: Option<Jsonb>,
    pub per: Option<Jsonb>,
    pub offset: Option<i32>,
    pub order_by: Option<Jsonb>,
}

/// A full-text attribute that queries may search.
pub struct FullTextField {
    pub id: AttributeId,
    pub name: String,
    /// When a query names no fields.
    pub weight: f32,
}

/// What is searched.
pub struct Target<'a> {
    pub schema: &'a NamespaceSchema,
    pub full_text: Vec<FullTextField>,
    /// What an attribute's numbers count.
    pub unit: &'a dyn Fn(&Attribute) -> Unit,
    /// Checks that are not the schema's.
    pub check_vector: &'a dyn Fn(&[f32]) -> Result<()>,
    /// Its name for the number of rows.
    pub rows_argument: &'static str,
    /// Of an index: which attributes are columns of type `numeric`. None for a namespace, which holds all values in full.
    pub is_numeric: Option<&'a dyn Fn(AttributeId) -> bool>,
}

/// A boost by a filter that must be asked of rows of a table.
pub struct RowBoost {
    pub modifier: Modifier,
    pub filter: ExactFilter,
}

/// A checked ranking, not yet of any state of what is searched.
pub struct Prepared {
    /// Without view and statistics; `effort` is the argument's or else the setting's.
    pub request: QueryRequest,
    /// Whether the argument `effort` was given.
    pub effort_given: bool,
    /// Whether the caller gave `queries` and is told of each arm.
    pub by_arm: bool,
    /// What must hold for rows of a table besides the request's filter.
    pub exact: Option<ExactFilter>,
    /// Modifiers that the request lacks.
    pub boosts: Vec<RowBoost>,
}

impl Prepared {
    /// Whether scores are modified.
    pub fn is_modified(&self) -> bool {
        !self.request.modifiers.is_empty() || !self.boosts.is_empty()
    }
}

impl Options {
    /// Checks the arguments. `vector` and `text` are the plain ones.
    ///
    /// # Errors
    /// Architecture 6.4: of each argument, and of those that do not go together.
    pub fn prepare(
        self,
        target: &Target<'_>,
        vector: Option<Vec<f32>>,
        text: Option<TextQuery>,
        rows: Option<i32>,
        filter: Option<Jsonb>,
    ) -> Result<Prepared> {
        let name = target.rows_argument;
        let rows = rows.unwrap_or(DEFAULT_TOP_K);
        let top_k = usize::try_from(rows).ok().filter(|k| (1..=MAX_TOP_K).contains(k)).ok_or_else(|| {
            Error::new(ErrorKind::OutOfRange, format!("{name} must be from 1 to {MAX_TOP_K}, not {rows}"))
        })?;
        let offset = self.offset.unwrap_or(0);
        let offset = usize::try_from(offset).ok().filter(|offset| *offset <= MAX_OFFSET).ok_or_else(|| {
            Error::new(ErrorKind::OutOfRange, format!("offset must be from 0 to {MAX_OFFSET}, not {offset}"))
        })?;
        let schema = target.schema;
        let vector_weight = not_negative(self.vector_weight.unwrap_or(1.0), "vector_weight")?;
        let text_weight = not_negative(self.text_weight.unwrap_or(1.0), "text_weight")?;
        if vector_weight == 0.0 && text_weight == 0.0 && self.queries.is_none() {
            return Err(Error::invalid("vector_weight and text_weight are both 0"));
        }
        let mut arms = Vec::new();
        if let Some(vector) = vector {
            target.check(&vector)?;
            arms.push(ArmRequest { query: ArmQuery::Vector(vector), weight: vector_weight });
        }
        if let Some(text) = text {
            arms.push(ArmRequest { query: ArmQuery::Text { text, corpus: None }, weight: text_weight });
        }
        let by_arm = self.queries.is_some();
        if let Some(queries) = self.queries {
            target.add_queries(&queries.parse("queries")?, &mut arms)?;
        }
        let order_by = match self.order_by {
            Some(json) => parse_order_by(schema, &json.parse("order_by")?)?,
            None => Vec::new(),
        };
        if !arms.is_empty() && !order_by.is_empty() {
            return Err(Error::invalid("\"order_by\" does not go together with a query")
                .with_hint("What is searched for is ordered by its score; to order by an attribute search for nothing, or use \"modifiers\"."));
        }
        if arms.iter().all(|arm| arm.weight == 0.0) && arms.len() > 1 {
            return Err(Error::invalid("the weights of all queries are 0"));
        }
        let (modifiers, boosts) = match self.modifiers {
            Some(json) => target.modifiers(&json)?,
            None => Default::default(),
        };
        let is_modified = !modifiers.is_empty() || !boosts.is_empty();
        if is_modified && !order_by.is_empty() {
            return Err(Error::invalid("\"modifiers\" do not go together with \"order_by\", which has no score"));
        }
        let per = self.per.map(|json| Per::parse(schema, &json.parse("per")?)).transpose()?;
        let (filter, exact) = match filter {
            Some(json) => {
                let Widened { wide, exact } = target.filter(&json)?;
                (Some(wide), exact)
            }
            None => (None, None),
        };
        let fused = arms.len() > 1 || is_modified;
        let request = QueryRequest {
            namespace: NamespaceView::nothing(),
            candidates: candidates(self.candidates, top_k, arms.len(), fused)?,
            fusion: fusion(self.fusion.as_deref(), self.rrf_k)?,
            effort: effort(self.effort)?,
            include_vector: false,
            include_attributes: Vec::new(),
            arms,
            order_by,
            filter,
            top_k,
            offset,
            modifiers,
            per,
        };
        Ok(Prepared { request, effort_given: self.effort.is_some(), by_arm, exact, boosts })
    }
}

impl Target<'_> {
    fn check(&self, vector: &[f32]) -> Result<()> {
        (self.check_vector)(vector)?;
        Document::check_vector(self.schema, vector)
    }

    fn filter(&self, json: &Jsonb) -> Result<Widened> {
        let filter = Filter::parse(self.schema, &json.parse("filter")?)?;
        match self.is_numeric {
            None => Ok(Widened { wide: filter, exact: None }),
            Some(is_numeric) => Widened::new(&filter, &with_digits(&json.0)?, is_numeric),
        }
    }

    /// Those that the engine applies, and those that only rows of the table can tell.
    fn modifiers(&self, json: &Jsonb) -> Result<(Vec<Modifier>, Vec<RowBoost>)> {
        let all = parse_modifiers(self.schema, &json.parse("modifiers")?, self.unit, &SqlTimes)?;
        let Some(is_numeric) = self.is_numeric else { return Ok((all, Vec::new())) };
        let written = with_digits(&json.0)?;
        let (mut modifiers, mut boosts) = (Vec::with_capacity(all.len()), Vec::new());
        for (place, modifier) in all.into_iter().enumerate() {
            let written = if written.is_array() { &written[place] } else { &written };
            let widened = modifier.filter().map(|filter| Widened::new(filter, &written["filter"], is_numeric));
            match widened.transpose()?.and_then(|widened| widened.exact) {
                Some(filter) => boosts.push(RowBoost { modifier, filter }),
                None => modifiers.push(modifier),
            }
        }
        Ok((modifiers, boosts))
    }

    /// The elements of the argument `queries`.
    fn add_queries(&self, json: &Json, arms: &mut Vec<ArmRequest>) -> Result<()> {
        let list = json.as_array().ok_or_else(|| {
            Error::invalid(format!("\"queries\" must be an array, not {}", json_type(json))).with_hint(QUERIES_HINT)
        })?;
        if list.is_empty() && arms.is_empty() {
            return Err(Error::invalid("\"queries\" is empty").with_hint(QUERIES_HINT));
        }
        if arms.len() + list.len() > MAX_ARMS {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                format!("{} queries are more than {MAX_ARMS}", arms.len() + list.len()),
            ));
        }
        for (at, json) in list.iter().enumerate() {
            let arm = self.arm(json).map_err(|error| match error.detail {
                Some(_) => error,
                None => error.with_detail(format!("Element {} of \"queries\".", at + 1)),
            })?;
            arms.push(arm);
        }
        Ok(())
    }

    fn arm(&self, json: &Json) -> Result<ArmRequest> {
        let map = json.as_object().ok_or_else(|| {
            Error::invalid(format!("a query must be an object, not {}", json_type(json))).with_hint(QUERIES_HINT)
        })?;
        let query = match (map.get("vector"), map.get("text")) {
            (Some(_), Some(_)) => {
                return Err(Error::invalid("a query has both \"vector\" and \"text\"")
                    .with_hint("Make two elements of it, each with a weight of its own."));
            }
            (None, None) => {
                return Err(Error::invalid("a query has neither \"vector\" nor \"text\"").with_hint(QUERIES_HINT));
            }
            (Some(json), None) => {
                reject_unknown_keys(map, &["vector", "weight"], "query")?;
                let vector = vector_of(json)?;
                self.check(&vector)?;
                ArmQuery::Vector(vector)
            }
            (None, Some(json)) => {
                reject_unknown_keys(map, &["text", "field", "fields", "operator", "weight"], "query")?;
                let words = json.as_str().ok_or_else(|| {
                    Error::new(
                        ErrorKind::TypeMismatch,
                        format!("\"text\" of a query must be a string, not {}", json_type(json)),
                    )
                })?;
                let fields = match (map.get("field"), map.get("fields")) {
                    (Some(_), Some(_)) => return Err(Error::invalid("a query has both \"field\" and \"fields\"")),
                    (Some(field), None) => Some(Json::Array(vec![field.clone()])),
                    (None, fields) => fields.cloned(),
                };
                let operator = match map.get("operator") {
                    None => Operator::Or,
                    Some(Json::String(name)) => operator(Some(name))?,
                    Some(other) => {
                        return Err(Error::invalid(format!(
                            "\"operator\" of a query must be a string, not {}",
                            json_type(other)
                        )));
                    }
                };
                ArmQuery::Text { text: self.text(words, operator, fields.as_ref())?, corpus: None }
            }
        };
        let weight = match map.get("weight") {
            None => 1.0,
            Some(json) => weight_of(json, "weight of a query")?,
        };
        Ok(ArmRequest { query, weight })
    }

    /// A text query over `fields`: an array of names, or weights by name; all full-text attributes if there are none.
    ///
    /// # Errors
    /// `Invalid`, `TypeMismatch`, `OutOfRange`; `NotFound` for an unknown field.
    pub fn text(&self, words: &str, operator: Operator, fields: Option<&Json>) -> Result<TextQuery> {
        if words.len() > MAX_QUERY_TEXT_BYTES {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                format!("query text of {} bytes is longer than {MAX_QUERY_TEXT_BYTES}", words.len()),
            ));
        }
        if self.full_text.is_empty() {
            return Err(Error::invalid("there is no full-text attribute to search").with_hint(
                "A namespace needs an attribute with \"full_text\": true, an index a column with operator class bm25_ops.",
            ));
        }
        let fields = match fields {
            None | Some(Json::Null) => self.full_text.iter().map(|field| (field.id, field.weight)).collect(),
            Some(Json::Array(names)) => {
                let name = |json: &Json| match json {
                    Json::String(name) => Ok((self.field(name)?.id, 1.0)),
                    other => Err(Error::invalid(format!("\"fields\" holds strings, not {}", json_type(other)))),
                };
                names.iter().map(name).collect::<Result<Vec<_>>>()?
            }
            Some(Json::Object(weights)) => self.weighted(weights)?,
            Some(other) => {
                return Err(Error::invalid(format!(
                    "\"fields\" must be an array of names or an object of weights, not {}",
                    json_type(other)
                )));
            }
        };
        if fields.is_empty() {
            return Err(Error::invalid("\"fields\" is empty").with_hint("Example: {\"title\": 2.0, \"body\": 1.0}"));
        }
        Ok(TextQuery { query: words.to_string(), fields, operator })
    }

    fn weighted(&self, weights: &Map<String, Json>) -> Result<Vec<(AttributeId, f32)>> {
        let field = |(name, json): (&String, &Json)| {
            Ok((self.field(name)?.id, weight_of(json, &format!("weight of \"{name}\""))?))
        };
        weights.iter().map(field).collect()
    }

    fn field(&self, name: &str) -> Result<&FullTextField> {
        self.full_text.iter().find(|field| field.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.full_text.iter().map(|field| field.name.as_str()).collect();
            Error::new(ErrorKind::NotFound, format!("full-text attribute \"{name}\" does not exist"))
                .with_hint(format!("Full-text attributes: {}.", names.join(", ")))
        })
    }
}

/// A vector as a JSON array, or as the text form of the type `vector`, which is what `to_jsonb` makes of one.
///
/// # Errors
/// `TypeMismatch`, `OutOfRange`.
pub fn vector_of(json: &Json) -> Result<Vec<f32>> {
    if let Json::String(text) = json
        && let Ok(array @ Json::Array(_)) = serde_json::from_str(text)
    {
        return parse_vector(&array);
    }
    parse_vector(json)
}

fn weight_of(json: &Json, what: &str) -> Result<f32> {
    let number = json.as_f64().ok_or_else(|| {
        Error::new(ErrorKind::TypeMismatch, format!("{what} must be a number, not {}", json_type(json)))
    })?;
    not_negative(number as f32, what)
}

fn fusion(name: Option<&str>, rrf_k: Option<i32>) -> Result<Fusion> {
    let method = match name {
        None => Method::Rrf,
        Some(name) => Method::from_name(name).ok_or_else(|| {
            Error::invalid(format!("fusion \"{name}\" is not known")).with_hint(format!("Fusions: {}.", Method::NAMES))
        })?,
    };
    let rrf_k = match rrf_k {
        None => DEFAULT_RRF_K,
        Some(k) => u32::try_from(k).ok().filter(|_| (1..=MAX_RRF_K).contains(&k)).ok_or_else(|| {
            Error::new(ErrorKind::OutOfRange, format!("rrf_k must be from 1 to {MAX_RRF_K}, not {k}"))
        })?,
    };
    Ok(Fusion { method, rrf_k })
}

/// How deep the first block of the ranking goes: a single arm that is not fused has nothing to gain from more than the page.
fn candidates(candidates: Option<i32>, top_k: usize, arms: usize, fused: bool) -> Result<usize> {
    let most = MAX_CANDIDATES.min(MAX_REPLY_ROWS / arms.max(1));
    match candidates {
        None if fused => Ok(DEFAULT_CANDIDATES.max(10 * top_k).min(most)),
        None => Ok(top_k),
        Some(n) => usize::try_from(n)
            .ok()
            .filter(|n| (1..=most).contains(n))
            .ok_or_else(|| Error::new(ErrorKind::OutOfRange, format!("candidates must be from 1 to {most}, not {n}"))),
    }
}

fn effort(effort: Option<f32>) -> Result<f32> {
    let effort = effort.unwrap_or_else(gucs::effort);
    if effort > 0.0 {
        return Ok(effort);
    }
    Err(Error::new(ErrorKind::OutOfRange, format!("effort must be greater than 0, not {effort}"))
        .with_hint("1 is the default, larger finds more, 'infinity' is exact."))
}

/// A rank as SQL has it.
pub fn rank(rank: u32) -> i32 {
    i32::try_from(rank).unwrap_or(i32::MAX)
}

/// The column `arms`: the place in each arm, in the order of the arms.
pub fn arms_json(arms: &[ArmRequest], places: &[Option<Place>]) -> Jsonb {
    let place = |(arm, place): (&ArmRequest, &Option<Place>)| match place {
        None => "null".to_string(),
        Some(Place { rank, value }) => {
            let name = if matches!(arm.query, ArmQuery::Vector(_)) { "distance" } else { "score" };
            // The shortest form that is the same f32, as `real` prints.
            let value = if value.is_finite() { value.to_string() } else { "null".to_string() };
            format!("{{\"rank\": {rank}, \"{name}\": {value}}}")
        }
    };
    let places: Vec<String> = arms.iter().zip(places).map(place).collect();
    Jsonb(format!("[{}]", places.join(", ")))
}
