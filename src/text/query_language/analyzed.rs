//! What a query means for certain fields: terms instead of words.

use super::ast::{Clause, Node, Occur, Operator, Query};
use super::parser::parse;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{MAX_FIELD_WEIGHT, MAX_FUZZY_CHARACTERS, MAX_FUZZY_TERMS, MAX_SLOPPY_PHRASE_TERMS};
use crate::schema::{AttributeId, FullTextOptions, NamespaceSchema, Tokenizer};
use crate::text::analyzer::Analyzer;

/// A field that a query looks into.
#[derive(Debug, Clone, Copy)]
pub struct SearchField<'a> {
    /// Its attribute.
    pub attribute: AttributeId,
    /// What queries call it; None: they cannot.
    pub name: Option<&'a str>,
    /// How it is analysed.
    pub options: &'a FullTextOptions,
}

/// The full-text attributes with these ids, by their names.
///
/// # Errors
/// `NotFound` or `Invalid` for an attribute that does not exist or has no full text.
pub fn search_fields<'a>(schema: &'a NamespaceSchema, attributes: &[AttributeId]) -> Result<Vec<SearchField<'a>>> {
    let field = |attribute: &AttributeId| {
        let options = schema.require_full_text(*attribute)?;
        let name = schema.by_id(*attribute).map(|attribute| attribute.name.as_str());
        Ok(SearchField { attribute: *attribute, name, options })
    };
    attributes.iter().map(field).collect()
}

/// A query after analysis.
#[derive(Debug, Clone, PartialEq)]
pub struct AnalyzedQuery {
    /// None: the analyser left nothing, and nothing matches.
    pub root: Option<QueryPart>,
}

/// A part of an analysed query.
#[derive(Debug, Clone, PartialEq)]
pub enum QueryPart {
    /// Parts that are joined.
    Boolean(BooleanPart),
    /// Something to look up in one field.
    Leaf {
        /// The field.
        attribute: AttributeId,
        /// The product of all boosts around it.
        boost: f32,
        /// What to look up.
        part: Part,
    },
}

/// Parts that are joined; at least one of the three lists is not empty.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BooleanPart {
    /// All of these must match.
    pub required: Vec<QueryPart>,
    /// Of these at least one must match, unless something is required.
    pub any: Vec<QueryPart>,
    /// None of these may match.
    pub excluded: Vec<QueryPart>,
    /// If nothing is required and there are no alternatives: one of these fields must be there.
    pub fields: Vec<AttributeId>,
}

/// What one field must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// This term.
    Term(String),
    /// These terms (at least two) near each other.
    Phrase {
        /// By distance, each once.
        terms: Vec<PhraseTerm>,
        /// The largest difference of how far the terms are from their places.
        slop: u32,
    },
    /// A term that starts with this, or the word's term.
    Prefix {
        /// Not empty.
        prefix: String,
        /// What the prefix is as a word; None if the analyser drops it.
        word: Option<String>,
    },
    /// A term close to this, or to the word's term.
    Fuzzy {
        /// Not empty.
        text: String,
        /// What the text is as a word, if that is something else.
        word: Option<String>,
        /// Most edits.
        distance: u8,
    },
}

/// A term of a phrase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhraseTerm {
    /// Positions after the first term, whose own is 0.
    pub distance: u32,
    /// The term.
    pub text: String,
}

impl AnalyzedQuery {
    /// Analyses a query. Parts without a field may match in any of the `fields`; those of a field that is not among them are
    /// dropped.
    ///
    /// # Errors
    /// `OutOfRange` for too many fuzzy terms and for too long a phrase with slop.
    pub fn new(query: &Query, fields: &[SearchField<'_>]) -> Result<Self> {
        let analyzers = fields.iter().map(FieldAnalyzers::new).collect();
        let mut analysis = Analysis { operator: query.operator, fields: analyzers, fuzzy: 0, longest_sloppy: 0 };
        let all: Vec<usize> = (0..fields.len()).collect();
        let root = analysis.group(&query.clauses, &all, 1.0);
        if analysis.fuzzy > MAX_FUZZY_TERMS {
            let message = format!("query has {} fuzzy terms, more than {MAX_FUZZY_TERMS}", analysis.fuzzy);
            return Err(Error::new(ErrorKind::OutOfRange, message).with_hint("Each field counts its own."));
        }
        if analysis.longest_sloppy > MAX_SLOPPY_PHRASE_TERMS {
            let terms = analysis.longest_sloppy;
            let message = format!("phrase with slop has {terms} terms, more than {MAX_SLOPPY_PHRASE_TERMS}");
            return Err(Error::new(ErrorKind::OutOfRange, message));
        }
        Ok(Self { root })
    }

    /// Parses and analyses a query for several fields, which it may name.
    ///
    /// # Errors
    /// `OutOfRange` for a text that is too long, and as [`Self::new`].
    pub fn parse(text: &str, operator: Operator, fields: &[SearchField<'_>]) -> Result<(Query, Self)> {
        let names: Vec<&str> = fields.iter().filter_map(|field| field.name).collect();
        let query = parse(text, operator, &names)?;
        let analyzed = Self::new(&query, fields)?;
        Ok((query, analyzed))
    }

    /// Parses and analyses a query for one field, which it cannot name.
    ///
    /// # Errors
    /// `OutOfRange` for a text that is too long, and as [`Self::new`].
    pub fn of_field(attribute: AttributeId, options: &FullTextOptions, text: &str) -> Result<Self> {
        let query = parse(text, Operator::Or, &[])?;
        Self::new(&query, &[SearchField { attribute, name: None, options }])
    }
}

struct FieldAnalyzers {
    attribute: AttributeId,
    name: Option<String>,
    phrases: Analyzer,
    unstemmed: Analyzer,
    /// What the tokenizer makes of one word are words that mean something alone, unlike pairs of characters and n-grams.
    splits_into_words: bool,
}

impl FieldAnalyzers {
    fn new(field: &SearchField<'_>) -> Self {
        Self {
            attribute: field.attribute,
            name: field.name.map(str::to_string),
            phrases: Analyzer::for_phrases(field.options),
            unstemmed: Analyzer::unstemmed(field.options),
            splits_into_words: field.options.tokenizer == Tokenizer::Default,
        }
    }

    fn phrase(&mut self, text: &str, slop: u32) -> Option<Part> {
        let mut terms: Vec<PhraseTerm> = Vec::new();
        self.phrases
            .for_each_positioned(text, |distance, text| terms.push(PhraseTerm { distance, text: text.to_string() }));
        let first = terms.first()?.distance;
        terms.iter_mut().for_each(|term| term.distance -= first);
        terms.dedup();
        if terms.len() == 1 {
            return terms.pop().map(|term| Part::Term(term.text));
        }
        Some(Part::Phrase { terms, slop })
    }

    fn prefix(&mut self, text: &str) -> Option<Part> {
        match self.single(text) {
            Some((prefix, word)) => Some(Part::Prefix { prefix, word }),
            None => self.phrase(text, 0),
        }
    }

    fn fuzzy(&mut self, text: &str, distance: u8) -> Option<Part> {
        match self.single(text) {
            Some((text, word)) if text.chars().count() <= MAX_FUZZY_CHARACTERS => {
                let word = word.filter(|word| *word != text);
                Some(Part::Fuzzy { text, word, distance })
            }
            _ => self.phrase(text, 0),
        }
    }

    /// A text that is one token, without and with stop words and stemmer.
    fn single(&mut self, text: &str) -> Option<(String, Option<String>)> {
        let only = |mut terms: Vec<String>| (terms.len() == 1).then(|| terms.pop()).flatten();
        let plain = only(self.unstemmed.terms(text))?;
        Some((plain, only(self.phrases.terms(text))))
    }
}

struct Analysis {
    operator: Operator,
    fields: Vec<FieldAnalyzers>,
    /// Fuzzy terms so far, in each field.
    fuzzy: usize,
    /// Terms of the longest phrase with slop so far.
    longest_sloppy: usize,
}

impl Analysis {
    fn group(&mut self, clauses: &[Clause], scope: &[usize], boost: f32) -> Option<QueryPart> {
        let mut group = BooleanPart::default();
        for clause in clauses {
            let alternative = (clause.occur, self.operator) == (Occur::Should, Operator::Or);
            let Some(part) = self.node(&clause.node, scope, boost, alternative) else { continue };
            match (clause.occur, self.operator) {
                (Occur::Should, Operator::Or) => group.any.push(part),
                (Occur::Must, _) | (Occur::Should, Operator::And) => group.required.push(part),
                (Occur::MustNot, _) => group.excluded.push(part),
            }
        }
        match (group.required.len(), group.any.len(), group.excluded.len()) {
            (0, 0, 0) => return None,
            (1, 0, 0) => return group.required.pop(),
            (0, 1, 0) => return group.any.pop(),
            (0, 0, _) => group.fields = scope.iter().map(|field| self.fields[*field].attribute).collect(),
            _ => {}
        }
        Some(QueryPart::Boolean(group))
    }

    /// `alternative`: the node is one of several of which any may match.
    fn node(&mut self, node: &Node, scope: &[usize], boost: f32, alternative: bool) -> Option<QueryPart> {
        match node {
            Node::Group(clauses) => self.group(clauses, scope, boost),
            Node::Boost(node, factor) => self.node(node, scope, (boost * factor).min(MAX_FIELD_WEIGHT), alternative),
            Node::Field(name, node) => {
                let field = self.fields.iter().position(|field| field.name.as_ref() == Some(name))?;
                self.node(node, &[field], boost, alternative)
            }
            Node::Term(text) if alternative => self.alternatives(text, scope, boost),
            Node::Term(text) => self.leaves(scope, boost, |field| field.phrase(text, 0)),
            Node::Phrase { text, slop } => self.leaves(scope, boost, |field| field.phrase(text, *slop)),
            Node::Prefix(text) => self.leaves(scope, boost, |field| field.prefix(text)),
            Node::Fuzzy { text, distance } => {
                self.fuzzy += scope.len();
                if self.fuzzy > MAX_FUZZY_TERMS {
                    return None; // the caller reports it
                }
                self.leaves(scope, boost, |field| field.fuzzy(text, *distance))
            }
        }
    }

    /// A word, or the words it is split into where these are words of their own.
    fn alternatives(&mut self, text: &str, scope: &[usize], boost: f32) -> Option<QueryPart> {
        let mut any = Vec::new();
        for field in scope {
            let field = &mut self.fields[*field];
            let attribute = field.attribute;
            let parts = if field.splits_into_words {
                field.phrases.terms(text).into_iter().map(Part::Term).collect()
            } else {
                Vec::from_iter(field.phrase(text, 0))
            };
            any.extend(parts.into_iter().map(|part| QueryPart::Leaf { attribute, boost, part }));
        }
        alternatives_of(any)
    }

    fn leaves(
        &mut self,
        scope: &[usize],
        boost: f32,
        mut part: impl FnMut(&mut FieldAnalyzers) -> Option<Part>,
    ) -> Option<QueryPart> {
        let mut any = Vec::new();
        for field in scope {
            let field = &mut self.fields[*field];
            let attribute = field.attribute;
            let Some(part) = part(field) else { continue };
            if let Part::Phrase { terms, slop: 1.. } = &part {
                self.longest_sloppy = self.longest_sloppy.max(terms.len());
            }
            any.push(QueryPart::Leaf { attribute, boost, part });
        }
        alternatives_of(any)
    }
}

fn alternatives_of(mut any: Vec<QueryPart>) -> Option<QueryPart> {
    match any.len() {
        0 | 1 => any.pop(),
        _ => Some(QueryPart::Boolean(BooleanPart { any, ..BooleanPart::default() })),
    }
}
