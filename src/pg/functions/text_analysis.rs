//! `analyze`, `parse_query`, `highlight`: how texts and queries are understood. The engine analyses; no rows are searched.

use super::arguments::required;
use super::search::operator;
use super::{Jsonb, Text};
use crate::error::{Error, ErrorKind, Result};
use crate::ipc::message::{Operator, Request, TextAnalysis, TextQuery};
use crate::limits::MAX_TOKEN_LENGTH;
use crate::pg::am::access::OpenIndex;
use crate::pg::am::columns::{Columns, attribute_id};
use crate::pg::am::view::qualified_name;
use crate::pg::engine_call::analysis;
use crate::pg::error::OrRaise;
use crate::pg::locks::Mode;
use crate::pg::{namespace, preload};
use crate::schema::{Attribute, AttributeId, FullTextOptions, Language, NamespaceSchema, Tokenizer};
use pgrx::iter::TableIterator;
use pgrx::{name, pg_extern, pg_sys};

/// Most fragments of one text: a page shows a few.
const MAX_FRAGMENTS: i32 = 1_000;
/// Longest fragment in characters; `max_fragments => 0` gives the whole text.
const MAX_FRAGMENT_SIZE: i32 = 100_000;
/// Longest tag in bytes: it is repeated for every word that is marked.
const MAX_TAG_BYTES: usize = 100;

/// One token: position, text, first character and the one after the last.
type Token = (i32, String, i32, i32);

/// \[backend\] `elacsym.analyze(text text, language text, …)`. Its third argument is no text: three texts are the other form.
#[allow(clippy::type_complexity, clippy::too_many_arguments)] // the shape of the SQL function
#[pg_extern(sql = "")]
fn elacsym_analyze(
    text: Option<Text>,
    language: Option<Text>,
    stemming: Option<bool>,
    stopwords: Option<bool>,
    case_sensitive: Option<bool>,
    ascii_folding: Option<bool>,
    tokenizer: Option<Text>,
    max_token_length: Option<i32>,
) -> TableIterator<
    'static,
    (name!(position, i32), name!(token, String), name!(start_offset, i32), name!(end_offset, i32)),
> {
    preload::require();
    let text = required(text, "text").to_string();
    let options = || {
        let tokenizer = match &tokenizer {
            Some(name) => Tokenizer::parse(&name.to_lowercase())?,
            None => Tokenizer::default(),
        };
        Ok(FullTextOptions {
            language: language_of(language.as_deref())?,
            stemming: of_words("stemming", stemming, tokenizer)?,
            remove_stopwords: of_words("stopwords", stopwords, tokenizer)?,
            case_sensitive: case_sensitive.unwrap_or(false),
            ascii_folding: ascii_folding.unwrap_or(false),
            max_token_length: token_length(max_token_length, tokenizer)?,
            tokenizer,
            ..FullTextOptions::default()
        })
    };
    let tokens = options().and_then(|options| tokens(options, text)).or_raise();
    TableIterator::new(tokens)
}

/// \[backend\] `elacsym.analyze(target text, field text, text text)`
#[allow(clippy::type_complexity)] // the shape of the SQL function
#[pg_extern(sql = "")]
fn elacsym_analyze_field(
    target: Option<Text>,
    field: Option<Text>,
    text: Option<Text>,
) -> TableIterator<
    'static,
    (name!(position, i32), name!(token, String), name!(start_offset, i32), name!(end_offset, i32)),
> {
    preload::require();
    let (target, text) = (required(target, "target"), required(text, "text").to_string());
    let of_field = || {
        let target = Target::resolve(&target)?;
        let attribute = target.field(field.as_deref())?;
        tokens(target.schema.require_full_text(attribute)?.clone(), text)
    };
    TableIterator::new(of_field().or_raise())
}

/// \[backend\] `elacsym.parse_query(target text, query text, operator text, field text) RETURNS jsonb`
#[pg_extern(sql = "")]
fn elacsym_parse_query(
    target: Option<Text>,
    query: Option<Text>,
    operator: Option<Text>,
    field: Option<Text>,
) -> Jsonb {
    preload::require();
    let (target, query) = (required(target, "target"), required(query, "query"));
    parsed(&target, &query, operator.as_deref(), field.as_deref()).or_raise()
}

/// \[backend\] `elacsym.highlight(target text, body text, query text, …) RETURNS text[]`
#[allow(clippy::too_many_arguments)] // the shape of the SQL function
#[pg_extern(sql = "")]
fn elacsym_highlight(
    target: Option<Text>,
    body: Option<Text>,
    query: Option<Text>,
    field: Option<Text>,
    start_tag: Option<Text>,
    end_tag: Option<Text>,
    max_fragments: Option<i32>,
    fragment_size: Option<i32>,
) -> Option<Vec<String>> {
    preload::require();
    let (target, query) = (required(target, "target"), required(query, "query"));
    let tags = Tags::new(start_tag, end_tag, max_fragments, fragment_size);
    let fragments = || {
        let target = Target::resolve(&target)?;
        let attribute = target.field(field.as_deref())?;
        let tags = tags.check()?;
        body.map(|body| target.highlight(attribute, body.to_string(), &query, tags)).transpose()
    };
    fragments().or_raise()
}

/// \[backend\] `elacsym.highlight(target text, ctid tid, query text, …) RETURNS text[]`
#[allow(clippy::too_many_arguments)] // the shape of the SQL function
#[pg_extern(sql = "")]
fn elacsym_highlight_row(
    target: Option<Text>,
    ctid: Option<pg_sys::ItemPointerData>,
    query: Option<Text>,
    field: Option<Text>,
    start_tag: Option<Text>,
    end_tag: Option<Text>,
    max_fragments: Option<i32>,
    fragment_size: Option<i32>,
) -> Option<Vec<String>> {
    preload::require();
    let (target, query) = (required(target, "target"), required(query, "query"));
    let tags = Tags::new(start_tag, end_tag, max_fragments, fragment_size);
    let fragments = || {
        let target = Target::resolve(&target)?;
        let attribute = target.field(field.as_deref())?;
        let tags = tags.check()?;
        let Some(ctid) = ctid else { return Ok(None) };
        let text = target.text_of_row(attribute, ctid)?;
        text.map(|text| target.highlight(attribute, text, &query, tags)).transpose()
    };
    fragments().or_raise()
}

fn language_of(name: Option<&str>) -> Result<Language> {
    let Some(name) = name else { return Ok(Language::English) };
    Language::from_name(&name.to_lowercase()).ok_or_else(|| {
        let known = Language::ALL.map(Language::name).join(", ");
        Error::invalid(format!("language \"{name}\" is not known")).with_hint(format!("Languages: {known}."))
    })
}

fn of_words(option: &str, value: Option<bool>, tokenizer: Tokenizer) -> Result<bool> {
    match value {
        Some(true) if !tokenizer.makes_words() => Err(Error::invalid(format!(
            "\"{option}\" cannot be true with tokenizer \"{tokenizer}\", whose tokens are no words"
        ))),
        value => Ok(value.unwrap_or(tokenizer.makes_words())),
    }
}

fn token_length(bytes: Option<i32>, tokenizer: Tokenizer) -> Result<u32> {
    let Some(bytes) = bytes else { return Ok(tokenizer.default_max_token_length()) };
    u32::try_from(bytes).ok().filter(|bytes| (1..=MAX_TOKEN_LENGTH).contains(bytes)).ok_or_else(|| {
        let message = format!("\"max_token_length\" must be from 1 to {MAX_TOKEN_LENGTH}, not {bytes}");
        Error::new(ErrorKind::OutOfRange, message)
    })
}

fn tokens(options: FullTextOptions, text: String) -> Result<Vec<Token>> {
    let json = ask(TextAnalysis::Tokens { options, text })?;
    serde_json::from_str(&json).map_err(unreadable)
}

fn parsed(target: &str, query: &str, name: Option<&str>, field: Option<&str>) -> Result<Jsonb> {
    let operator = operator(name)?;
    let target = Target::resolve(target)?;
    let fields = match field {
        Some(_) => vec![target.field(field)?],
        None => target.fields()?.iter().map(|attribute| attribute.id).collect(),
    };
    ask(TextAnalysis::Query { schema: target.schema.to_stored(), query: text_query(query, operator, fields) })
        .map(Jsonb)
}

fn text_query(query: &str, operator: Operator, fields: Vec<AttributeId>) -> TextQuery {
    let fields = fields.into_iter().map(|attribute| (attribute, 1.0)).collect();
    TextQuery { query: query.to_string(), fields, operator }
}

fn ask(question: TextAnalysis) -> Result<String> {
    analysis(&Request::TextAnalysis(Box::new(question)))
}

fn unreadable(error: serde_json::Error) -> Error {
    Error::internal(format!("the engine's answer about a text cannot be read: {error}"))
}

/// What is put around and how much is shown, checked.
struct Tags {
    start: Option<Text>,
    end: Option<Text>,
    max_fragments: i32,
    fragment_size: i32,
}

impl Tags {
    /// Null is the default.
    fn new(start: Option<Text>, end: Option<Text>, max_fragments: Option<i32>, fragment_size: Option<i32>) -> Self {
        let (max_fragments, fragment_size) = (max_fragments.unwrap_or(3), fragment_size.unwrap_or(150));
        Self { start, end, max_fragments, fragment_size }
    }

    fn check(self) -> Result<Self> {
        let within = |argument: &str, value: i32, most: i32| match (0..=most).contains(&value) {
            true => Ok(()),
            false => {
                let message = format!("{argument} must be from 0 to {most}, not {value}");
                Err(Error::new(ErrorKind::OutOfRange, message))
            }
        };
        within("max_fragments", self.max_fragments, MAX_FRAGMENTS)?;
        within("fragment_size", self.fragment_size, MAX_FRAGMENT_SIZE)?;
        for (argument, tag) in [("start_tag", &self.start), ("end_tag", &self.end)] {
            let bytes = tag.as_ref().map_or(0, |tag| tag.len());
            if bytes > MAX_TAG_BYTES {
                let message = format!("{argument} of {bytes} bytes is longer than {MAX_TAG_BYTES}");
                return Err(Error::new(ErrorKind::OutOfRange, message));
            }
        }
        Ok(self)
    }
}

/// A namespace or an index, for what it says about analysis.
struct Target {
    name: String,
    schema: NamespaceSchema,
    /// Of an index.
    index: Option<OpenIndex>,
}

impl Target {
    /// Looks it up and checks that the current role may read it.
    fn resolve(name: &str) -> Result<Self> {
        match namespace::resolve(name, Mode::AccessShare) {
            Ok(namespace) => Ok(Self { name: name.to_string(), schema: namespace.schema.clone(), index: None }),
            Err(error) if error.kind == ErrorKind::NotFound => {
                let missing = || {
                    Error::new(ErrorKind::NotFound, format!("\"{name}\" is neither a namespace nor an index"))
                        .with_hint("elacsym.namespaces and elacsym.indexes list those you may use.")
                };
                let open = OpenIndex::named_by_name(name, pg_sys::AccessShareLock)?.ok_or_else(missing)?;
                open.check_may_select()?;
                let schema = Columns::of(open.index)?.schema();
                Ok(Self { name: name.to_string(), schema, index: Some(open) })
            }
            Err(error) => Err(error),
        }
    }

    /// Everything with full text, at least one.
    fn fields(&self) -> Result<Vec<&Attribute>> {
        let fields: Vec<&Attribute> = self.schema.full_text_attributes().map(|(attribute, _)| attribute).collect();
        if !fields.is_empty() {
            return Ok(fields);
        }
        let hint = match &self.index {
            Some(_) => "Create the index with a text column and operator class bm25_ops.",
            None => "Declare an attribute of type string with \"full_text\": true.",
        };
        Err(Error::invalid(format!("\"{}\" has no full-text field", self.name)).with_hint(hint))
    }

    /// The field of that name; without a name, the only one.
    fn field(&self, name: Option<&str>) -> Result<AttributeId> {
        let fields = self.fields()?;
        let names = || fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>().join(", ");
        match (name, fields.as_slice()) {
            (Some(name), fields) => {
                let found = fields.iter().find(|field| field.name == name).map(|field| field.id);
                found.ok_or_else(|| {
                    let message = format!("full-text field \"{name}\" of \"{}\" does not exist", self.name);
                    Error::new(ErrorKind::NotFound, message).with_hint(format!("Full-text fields: {}.", names()))
                })
            }
            (None, [only]) => Ok(only.id),
            (None, _) => Err(Error::invalid(format!("\"{}\" has several full-text fields", self.name))
                .with_hint(format!("Give argument \"field\": one of {}.", names()))),
        }
    }

    fn highlight(&self, attribute: AttributeId, text: String, query: &str, tags: Tags) -> Result<Vec<String>> {
        let fields = self.fields()?.iter().map(|attribute| attribute.id).collect();
        let tag = |tag: Option<Text>, default: &str| tag.map_or_else(|| default.to_string(), |tag| tag.to_string());
        let json = ask(TextAnalysis::Highlight {
            schema: self.schema.to_stored(),
            query: text_query(query, Operator::Or, fields),
            attribute,
            text,
            start_tag: tag(tags.start, "<b>"),
            end_tag: tag(tags.end, "</b>"),
            max_fragments: tags.max_fragments.unsigned_abs(),
            fragment_size: tags.fragment_size.unsigned_abs(),
        })?;
        serde_json::from_str(&json).map_err(unreadable)
    }

    /// What the index has indexed of a row that this statement sees and that privileges and policies show to the current
    /// role; None for any other and for null. The executor reads it: that is what applies all of these.
    fn text_of_row(&self, attribute: AttributeId, ctid: pg_sys::ItemPointerData) -> Result<Option<String>> {
        let Some(open) = &self.index else {
            return Err(Error::invalid(format!("namespace \"{}\" has no rows with a ctid", self.name))
                .with_hint("Pass the text itself, from the attributes that elacsym.query() returns."));
        };
        if open.is_partitioned() {
            return Err(Error::invalid(format!("index \"{}\" is partitioned: a ctid names no row of it", self.name))
                .with_hint("Name the index of the partition, or pass the text itself."));
        }
        let count = Columns::of(open.index)?.columns.len();
        let column = (0..count).find(|column| attribute_id(*column) == attribute);
        let column = column.and_then(|column| i32::try_from(column + 1).ok());
        let column = column.ok_or_else(|| Error::internal("a full-text field is no column of its index"))?;
        let table = qualified_name(open.heap.oid())?;
        pgrx::Spi::connect(|client| {
            let definition = client
                .select(
                    "SELECT pg_catalog.pg_get_indexdef($1, $2, false)",
                    None,
                    &[open.index.oid().into(), column.into()],
                )
                .and_then(|found| found.first().get_one::<String>())
                .map_err(spi_error)?
                .ok_or_else(|| Error::internal("a column of an index has no definition"))?;
            // As bytes: a text of another encoding would not be one of ours.
            let query = format!(
                "SELECT pg_catalog.convert_to(({definition})::pg_catalog.text, 'UTF8') FROM ONLY {table} WHERE ctid = $1"
            );
            let mut rows = client.select(&query, None, &[ctid.into()]).map_err(spi_error)?;
            let Some(row) = rows.next() else { return Ok(None) };
            let Some(bytes) = row.get::<Vec<u8>>(1).map_err(spi_error)? else { return Ok(None) };
            String::from_utf8(bytes).map(Some).map_err(|_| Error::internal("converted text is not UTF-8"))
        })
    }
}

fn spi_error(error: pgrx::spi::Error) -> Error {
    Error::internal(format!("the row could not be read: {error}"))
}
