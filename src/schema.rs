//! The schema of a namespace: what its documents may hold and how each attribute is indexed.
//!
//! Two JSON forms: the *user form* (`{"vector_dim": 3, "attributes": {"title": {"type": "string"}}}`, parsed and checked by
//! [`NamespaceSchema::parse`]) and the *stored form* (serde of the struct, with stable attribute ids), kept in
//! `elacsym.namespace.schema` and in every segment.

mod change;

use crate::error::{Error, ErrorKind, Result};
use crate::ids::IdType;
use crate::limits::{
    DEFAULT_BM25_B, DEFAULT_BM25_K1, DEFAULT_MAX_TOKEN_LENGTH, MAX_ATTRIBUTES, MAX_BM25_K1, MAX_DIMENSIONS,
    MAX_FIELD_WEIGHT, MAX_NAME_BYTES, MAX_TOKEN_LENGTH,
};
use crate::vector::Metric;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

mod tokenizer;

pub use tokenizer::{NgramLengths, Tokenizer};

/// Stable number of an attribute inside its namespace; never reused.
pub type AttributeId = u16;

/// The hidden bool attribute of an index with the cosine metric: true for a row whose vector is all zeros. Such a vector
/// has no direction and is not stored, but its distance is not a number, which sorts before NULL.
pub const ZERO_VECTOR: AttributeId = AttributeId::MAX;

/// The hidden string attribute of a namespace whose ids are texts: the id, of which the key is only a hash. Every document has it.
/// Filters, orders and facets may name it [`TEXT_ID_NAME`]; its dictionary is what pages by ascending id are read from.
pub const TEXT_ID: AttributeId = AttributeId::MAX - 1;

/// Name of [`TEXT_ID`], which no other attribute of a namespace can have.
pub const TEXT_ID_NAME: &str = "id";

/// Attributes from this id on are ours: documents do not name them. Room for some more than there are.
const FIRST_HIDDEN: AttributeId = AttributeId::MAX - 15;

/// The type of an attribute's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttributeType {
    /// UTF-8 text.
    String,
    /// 64-bit signed integer.
    Int,
    /// 64-bit float, finite.
    Float,
    /// true or false.
    Bool,
    /// Array of strings, no nulls inside.
    ArrayString,
    /// Point in time, in microseconds: see [`crate::timestamp`].
    Timestamp,
    /// UUID.
    Uuid,
    /// Array of 64-bit signed integers, no nulls inside.
    ArrayInt,
}

/// Names of the types, for hints.
const TYPES: &str = "string, int, float, bool, timestamp, uuid, array_string, array_int";

impl AttributeType {
    /// The name used in schemas and error messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Int => "int",
            Self::Float => "float",
            Self::Bool => "bool",
            Self::ArrayString => "array_string",
            Self::Timestamp => "timestamp",
            Self::Uuid => "uuid",
            Self::ArrayInt => "array_int",
        }
    }

    /// The type of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::String,
            Self::Int,
            Self::Float,
            Self::Bool,
            Self::ArrayString,
            Self::Timestamp,
            Self::Uuid,
            Self::ArrayInt,
        ]
        .into_iter()
        .find(|kind| kind.name() == name)
    }

    /// Whether its values are arrays.
    pub fn is_array(self) -> bool {
        matches!(self, Self::ArrayString | Self::ArrayInt)
    }
}

/// The 18 languages of tantivy's stemmers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Language {
    Arabic,
    Danish,
    Dutch,
    English,
    Finnish,
    French,
    German,
    Greek,
    Hungarian,
    Italian,
    Norwegian,
    Portuguese,
    Romanian,
    Russian,
    Spanish,
    Swedish,
    Tamil,
    Turkish,
}

impl Language {
    /// All languages, in the order they are listed in messages.
    pub const ALL: [Language; 18] = [
        Self::Arabic,
        Self::Danish,
        Self::Dutch,
        Self::English,
        Self::Finnish,
        Self::French,
        Self::German,
        Self::Greek,
        Self::Hungarian,
        Self::Italian,
        Self::Norwegian,
        Self::Portuguese,
        Self::Romanian,
        Self::Russian,
        Self::Spanish,
        Self::Swedish,
        Self::Tamil,
        Self::Turkish,
    ];

    /// Lower-case English name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Arabic => "arabic",
            Self::Danish => "danish",
            Self::Dutch => "dutch",
            Self::English => "english",
            Self::Finnish => "finnish",
            Self::French => "french",
            Self::German => "german",
            Self::Greek => "greek",
            Self::Hungarian => "hungarian",
            Self::Italian => "italian",
            Self::Norwegian => "norwegian",
            Self::Portuguese => "portuguese",
            Self::Romanian => "romanian",
            Self::Russian => "russian",
            Self::Spanish => "spanish",
            Self::Swedish => "swedish",
            Self::Tamil => "tamil",
            Self::Turkish => "turkish",
        }
    }

    /// The language of that (lower-case) name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.name() == name)
    }
}

/// How a full-text attribute is analysed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FullTextOptions {
    /// Language of stemmer and stop words.
    pub language: Language,
    /// Reduce words to their stem (Snowball).
    pub stemming: bool,
    /// Drop the language's stop words.
    pub remove_stopwords: bool,
    /// Keep the case of letters.
    pub case_sensitive: bool,
    /// BM25's k1: how soon a repeated term stops counting.
    #[serde(default = "default_k1")]
    pub k1: Parameter,
    /// BM25's b: how much long texts are held back, from 0 to 1.
    #[serde(default = "default_b")]
    pub b: Parameter,
    /// What the attribute's scores are multiplied with when a query names no weights.
    #[serde(default = "default_weight")]
    pub weight: Parameter,
    /// How text is split.
    #[serde(default)]
    pub tokenizer: Tokenizer,
    /// Letters with accents are the letters without them.
    #[serde(default)]
    pub ascii_folding: bool,
    /// Tokens of more bytes than this are dropped.
    #[serde(default = "default_max_token_length")]
    pub max_token_length: u32,
}

impl FullTextOptions {
    /// Whether texts are analysed and scored the same: all but the weight, which a query applies.
    pub fn scores_alike(&self, other: &Self) -> bool {
        *self == Self { weight: self.weight, ..other.clone() }
    }
}

/// A finite number in a schema. Equal when the bits are, so that schemas can be compared and hashed.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Parameter(pub f32);

impl PartialEq for Parameter {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Parameter {}

impl std::hash::Hash for Parameter {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

fn default_k1() -> Parameter {
    Parameter(DEFAULT_BM25_K1)
}

fn default_b() -> Parameter {
    Parameter(DEFAULT_BM25_B)
}

fn default_weight() -> Parameter {
    Parameter(1.0)
}

fn default_max_token_length() -> u32 {
    DEFAULT_MAX_TOKEN_LENGTH
}

impl Default for FullTextOptions {
    fn default() -> Self {
        Self {
            language: Language::English,
            stemming: true,
            remove_stopwords: true,
            case_sensitive: false,
            k1: default_k1(),
            b: default_b(),
            weight: default_weight(),
            tokenizer: Tokenizer::Default,
            ascii_folding: false,
            max_token_length: default_max_token_length(),
        }
    }
}

/// One attribute.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Attribute {
    /// Stable number.
    pub id: AttributeId,
    /// Name in documents, filters and results.
    pub name: String,
    /// Type of its values.
    pub kind: AttributeType,
    /// Usable in filters.
    pub indexed: bool,
    /// Searchable by BM25, and how it is analysed; strings only.
    pub full_text: Option<FullTextOptions>,
}

impl Attribute {
    /// Whether it is ours: no document names it, and none is returned with it unless it is asked for.
    pub fn is_hidden(&self) -> bool {
        self.id >= FIRST_HIDDEN
    }

    fn text_id() -> Self {
        let name = TEXT_ID_NAME.to_string();
        Self { id: TEXT_ID, name, kind: AttributeType::String, indexed: true, full_text: None }
    }
}

/// Dimension and metric of a namespace's vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VectorSchema {
    /// Number of dimensions of every vector.
    pub dim: usize,
    /// How distance is measured.
    pub metric: Metric,
    /// About how many lists a segment gets; None: as its size asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lists: Option<u32>,
}

/// The schema of one namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NamespaceSchema {
    /// None: documents have no vectors.
    pub vector: Option<VectorSchema>,
    /// Attributes, sorted by id.
    pub attributes: Vec<Attribute>,
    /// The id of the next new attribute where that is not one above the highest: ids of dropped ones are not used again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub next_attribute: AttributeId,
    /// What ids of documents are.
    #[serde(default, skip_serializing_if = "IdType::is_int")]
    pub id: IdType,
}

impl NamespaceSchema {
    /// Parses and checks the user form. Errors name the offending key.
    pub fn parse(json: &Json) -> Result<Self> {
        let top = json.as_object().ok_or_else(|| {
            Error::invalid(format!("schema must be a JSON object, not {}", json_type(json)))
                .with_hint("Example: {\"vector_dim\": 384, \"attributes\": {\"title\": {\"type\": \"string\", \"full_text\": true}}}")
        })?;
        reject_unknown_keys(top, &["id", "vector_dim", "vector_metric", "attributes"], "schema")?;
        let id = match top.get("id") {
            None | Some(Json::Null) => IdType::Int,
            Some(Json::String(name)) => IdType::from_name(name).ok_or_else(|| {
                Error::invalid(format!("\"id\" of the schema \"{name}\" is not known"))
                    .with_hint("Types of ids: int, uuid, text.")
            })?,
            Some(other) => {
                return Err(Error::invalid(format!("\"id\" of the schema must be a string, not {}", json_type(other)))
                    .with_hint("Types of ids: int, uuid, text."));
            }
        };
        let vector = match top.get("vector_dim") {
            None | Some(Json::Null) => {
                if top.contains_key("vector_metric") {
                    return Err(Error::invalid("schema has \"vector_metric\" but no \"vector_dim\""));
                }
                None
            }
            Some(value) => Some(parse_vector(value, top.get("vector_metric"))?),
        };
        let mut attributes = match top.get("attributes") {
            None | Some(Json::Null) => Vec::new(),
            Some(Json::Object(map)) => parse_attributes(map)?,
            Some(other) => {
                return Err(Error::invalid(format!("\"attributes\" must be a JSON object, not {}", json_type(other))));
            }
        };
        if vector.is_none() && attributes.is_empty() {
            return Err(Error::invalid("schema has neither \"vector_dim\" nor \"attributes\"")
                .with_hint("A namespace needs vectors, attributes, or both."));
        }
        if id == IdType::Text {
            attributes.push(Attribute::text_id());
        }
        Ok(Self { vector, attributes, next_attribute: 0, id })
    }

    /// Reads the stored form.
    pub fn from_stored(json: &str) -> Result<Self> {
        serde_json::from_str(json)
            .map_err(|error| Error::new(ErrorKind::Corrupt, format!("stored schema is not readable: {error}")))
    }

    /// Writes the stored form.
    pub fn to_stored(&self) -> String {
        serde_json::to_string(self).expect("invariant: a schema has string keys only")
    }

    /// The attribute of that name.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }

    /// The attribute of that name, or an error that lists the ones there are.
    pub fn require(&self, name: &str) -> Result<&Attribute> {
        self.attribute(name).ok_or_else(|| self.no_attribute(name))
    }

    /// As [`Self::require`], for the values of documents, which name no hidden attribute.
    pub fn require_own(&self, name: &str) -> Result<&Attribute> {
        self.attribute(name).filter(|attribute| !attribute.is_hidden()).ok_or_else(|| self.no_attribute(name))
    }

    /// Attributes that documents name, in id order.
    pub fn own_attributes(&self) -> impl Iterator<Item = &Attribute> {
        self.attributes.iter().filter(|attribute| !attribute.is_hidden())
    }

    fn no_attribute(&self, name: &str) -> Error {
        let names: Vec<&str> = self.own_attributes().map(|a| a.name.as_str()).collect();
        let hint = if names.is_empty() {
            "This namespace has no attributes.".to_string()
        } else {
            format!("Attributes of this namespace: {}.", names.join(", "))
        };
        Error::new(ErrorKind::NotFound, format!("attribute \"{name}\" does not exist")).with_hint(hint)
    }

    /// The attribute with that id.
    pub fn by_id(&self, id: AttributeId) -> Option<&Attribute> {
        self.attributes.binary_search_by_key(&id, |a| a.id).ok().map(|i| &self.attributes[i])
    }

    /// How a full-text attribute is analysed.
    pub fn require_full_text(&self, id: AttributeId) -> Result<&FullTextOptions> {
        let attribute = self
            .by_id(id)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("attribute with id {id} does not exist")))?;
        attribute.full_text.as_ref().ok_or_else(|| {
            Error::invalid(format!("attribute \"{}\" has no full text", attribute.name))
                .with_hint("Declare it with \"full_text\": true in the schema of the namespace.")
        })
    }

    /// Attributes with full text, in id order.
    pub fn full_text_attributes(&self) -> impl Iterator<Item = (&Attribute, &FullTextOptions)> {
        self.attributes.iter().filter_map(|a| a.full_text.as_ref().map(|options| (a, options)))
    }
}

fn parse_vector(dim: &Json, metric: Option<&Json>) -> Result<VectorSchema> {
    let dim = dim.as_u64().filter(|d| (1..=MAX_DIMENSIONS as u64).contains(d)).ok_or_else(|| {
        Error::new(
            ErrorKind::OutOfRange,
            format!("\"vector_dim\" must be an integer from 1 to {MAX_DIMENSIONS}, not {dim}"),
        )
    })?;
    let metric = match metric {
        None | Some(Json::Null) => Metric::Cosine,
        Some(Json::String(name)) => Metric::from_name(name).ok_or_else(|| {
            Error::invalid(format!("\"vector_metric\" \"{name}\" is not known")).with_hint("Metrics: cosine, l2, dot.")
        })?,
        Some(other) => {
            return Err(Error::invalid(format!("\"vector_metric\" must be a string, not {}", json_type(other))));
        }
    };
    Ok(VectorSchema { dim: dim as usize, metric, lists: None })
}

fn parse_attributes(map: &Map<String, Json>) -> Result<Vec<Attribute>> {
    if map.len() > MAX_ATTRIBUTES {
        return Err(Error::new(
            ErrorKind::OutOfRange,
            format!("schema has {} attributes, more than {MAX_ATTRIBUTES}", map.len()),
        ));
    }
    map.iter().enumerate().map(|(id, (name, json))| parse_attribute(id as AttributeId, name, json)).collect()
}

fn parse_attribute(id: AttributeId, name: &str, json: &Json) -> Result<Attribute> {
    check_attribute_name(name)?;
    let short;
    let map = match json {
        Json::Object(map) => map,
        Json::String(_) => {
            short = Map::from_iter([("type".to_string(), json.clone())]);
            &short
        }
        other => {
            return Err(Error::invalid(format!(
                "attribute \"{name}\" must be a JSON object, not {}",
                json_type(other)
            ))
            .with_hint("Example: {\"type\": \"string\", \"full_text\": true}"));
        }
    };
    reject_unknown_keys(map, &["type", "indexed", "full_text"], &format!("attribute \"{name}\""))?;
    let kind = match map.get("type") {
        Some(Json::String(kind)) => AttributeType::from_name(kind).ok_or_else(|| {
            Error::invalid(format!("attribute \"{name}\" has unknown type \"{kind}\""))
                .with_hint(format!("Types: {TYPES}."))
        })?,
        Some(other) => {
            return Err(Error::invalid(format!(
                "\"type\" of attribute \"{name}\" must be a string, not {}",
                json_type(other)
            )));
        }
        None => {
            return Err(
                Error::invalid(format!("attribute \"{name}\" has no \"type\"")).with_hint(format!("Types: {TYPES}."))
            );
        }
    };
    let full_text = match map.get("full_text") {
        None => None,
        Some(json) => parse_full_text_of(name, kind, json)?,
    };
    let indexed = match map.get("indexed") {
        None | Some(Json::Null) => full_text.is_none(),
        Some(Json::Bool(indexed)) => *indexed,
        Some(other) => {
            return Err(Error::invalid(format!(
                "\"indexed\" of attribute \"{name}\" must be true or false, not {}",
                json_type(other)
            )));
        }
    };
    Ok(Attribute { id, name: name.to_string(), kind, indexed, full_text })
}

fn check_attribute_name(name: &str) -> Result<()> {
    check_name("attribute", name)?;
    if matches!(name, "id" | "vector" | "attributes") {
        return Err(Error::invalid(format!("attribute name \"{name}\" is reserved")));
    }
    Ok(())
}

/// The value of `full_text` in the definition of an attribute.
fn parse_full_text_of(name: &str, kind: AttributeType, json: &Json) -> Result<Option<FullTextOptions>> {
    let full_text = match json {
        Json::Null | Json::Bool(false) => None,
        Json::Bool(true) => Some(FullTextOptions::default()),
        Json::Object(options) => Some(parse_full_text(name, options)?),
        other => {
            return Err(Error::invalid(format!(
                "\"full_text\" of attribute \"{name}\" must be true, false or an object, not {}",
                json_type(other)
            )));
        }
    };
    if full_text.is_some() && kind != AttributeType::String {
        return Err(Error::invalid(format!("attribute \"{name}\" of type {} cannot have full text", kind.name()))
            .with_hint("Full text is for attributes of type string."));
    }
    Ok(full_text)
}

fn is_zero(id: &AttributeId) -> bool {
    *id == 0
}

fn parse_full_text(name: &str, map: &Map<String, Json>) -> Result<FullTextOptions> {
    reject_unknown_keys(
        map,
        &[
            "language",
            "stemming",
            "remove_stopwords",
            "case_sensitive",
            "k1",
            "b",
            "weight",
            "tokenizer",
            "ascii_folding",
            "max_token_length",
        ],
        &format!("\"full_text\" of attribute \"{name}\""),
    )?;
    let flag = |key: &str, default: bool| match map.get(key) {
        None | Some(Json::Null) => Ok(default),
        Some(Json::Bool(value)) => Ok(*value),
        Some(other) => Err(Error::invalid(format!(
            "\"{key}\" of attribute \"{name}\" must be true or false, not {}",
            json_type(other)
        ))),
    };
    let number = |key: &str, default: Parameter, most: f32| match map.get(key) {
        None | Some(Json::Null) => Ok(default),
        Some(Json::Number(value)) => {
            let value = value.as_f64().unwrap_or(f64::NAN) as f32;
            if (0.0..=most).contains(&value) {
                return Ok(Parameter(value));
            }
            let message = format!("\"{key}\" of attribute \"{name}\" must be between 0 and {most}, not {value}");
            Err(Error::new(ErrorKind::OutOfRange, message))
        }
        Some(other) => {
            Err(Error::invalid(format!("\"{key}\" of attribute \"{name}\" must be a number, not {}", json_type(other))))
        }
    };
    let language = match map.get("language") {
        None | Some(Json::Null) => Language::English,
        Some(Json::String(language)) => Language::from_name(&language.to_lowercase()).ok_or_else(|| {
            let names: Vec<&str> = Language::ALL.iter().map(|l| l.name()).collect();
            Error::invalid(format!("language \"{language}\" of attribute \"{name}\" is not known"))
                .with_hint(format!("Languages: {}.", names.join(", ")))
        })?,
        Some(other) => {
            return Err(Error::invalid(format!(
                "\"language\" of attribute \"{name}\" must be a string, not {}",
                json_type(other)
            )));
        }
    };
    let tokenizer = match map.get("tokenizer") {
        None | Some(Json::Null) => Tokenizer::Default,
        Some(tokenizer) => Tokenizer::from_json(name, tokenizer)?,
    };
    let of_words = |key: &str| match flag(key, tokenizer.makes_words())? {
        true if !tokenizer.makes_words() => Err(Error::invalid(format!(
            "\"{key}\" of attribute \"{name}\" cannot be true with tokenizer \"{tokenizer}\", whose tokens are no words"
        ))),
        value => Ok(value),
    };
    let max_token_length = match map.get("max_token_length") {
        None | Some(Json::Null) => tokenizer.default_max_token_length(),
        Some(value) => {
            let bytes = value.as_u64().and_then(|bytes| u32::try_from(bytes).ok());
            bytes.filter(|bytes| (1..=MAX_TOKEN_LENGTH).contains(bytes)).ok_or_else(|| {
                let message = format!(
                    "\"max_token_length\" of attribute \"{name}\" must be an integer from 1 to {MAX_TOKEN_LENGTH}, not {value}"
                );
                Error::new(ErrorKind::OutOfRange, message)
            })?
        }
    };
    Ok(FullTextOptions {
        language,
        stemming: of_words("stemming")?,
        remove_stopwords: of_words("remove_stopwords")?,
        case_sensitive: flag("case_sensitive", false)?,
        k1: number("k1", default_k1(), MAX_BM25_K1)?,
        b: number("b", default_b(), 1.0)?,
        weight: number("weight", default_weight(), MAX_FIELD_WEIGHT)?,
        tokenizer,
        ascii_folding: flag("ascii_folding", false)?,
        max_token_length,
    })
}

/// Checks the name of a namespace or attribute: not empty, not too long, no control characters.
pub fn check_name(what: &str, name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid(format!("{what} name is empty")));
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(Error::new(
            ErrorKind::OutOfRange,
            format!("{what} name of {} bytes is longer than {MAX_NAME_BYTES}", name.len()),
        ));
    }
    if name.chars().any(char::is_control) {
        return Err(Error::invalid(format!("{what} name \"{}\" contains a control character", name.escape_debug())));
    }
    Ok(())
}

/// "a string", "an array", …: how messages name the type of a JSON value.
pub fn json_type(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    }
}

/// Errors on the first key of `map` that is not `known`.
pub fn reject_unknown_keys(map: &Map<String, Json>, known: &[&str], what: &str) -> Result<()> {
    match map.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(Error::invalid(format!("{what} has unknown key \"{key}\""))
            .with_hint(format!("Known keys: {}.", known.join(", ")))),
    }
}

#[cfg(test)]
mod tests;
