//! A query as it was written.

pub use crate::ipc::message::Operator;
use std::fmt::{self, Display, Formatter, Write as _};

/// A query: clauses and how those without a sign are joined.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// Joins clauses without a sign, in groups too.
    pub operator: Operator,
    /// In the order they were written.
    pub clauses: Vec<Clause>,
}

/// What the sign of a clause says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occur {
    /// No sign: as the query's operator says.
    Should,
    /// `+`
    Must,
    /// `-`
    MustNot,
}

/// A part of a query with its sign.
#[derive(Debug, Clone, PartialEq)]
pub struct Clause {
    /// The sign.
    pub occur: Occur,
    /// The part.
    pub node: Node,
}

/// A part of a query.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// A word.
    Term(String),
    /// Words in quotes.
    Phrase {
        /// What is between the quotes.
        text: String,
        /// How far the words may be moved against each other.
        slop: u32,
    },
    /// The beginning of a word.
    Prefix(String),
    /// A word with typing errors.
    Fuzzy {
        /// The word.
        text: String,
        /// 1 or 2.
        distance: u8,
    },
    /// Parentheses.
    Group(Vec<Clause>),
    /// A part with the factor of its score.
    Boost(Box<Node>, f32),
    /// A part in one field.
    Field(String, Box<Node>),
}

impl Node {
    /// Whether a `)` behind it would become a part of its last word.
    fn swallows_parenthesis(&self) -> bool {
        match self {
            Self::Term(text) | Self::Prefix(text) | Self::Fuzzy { text, .. } => text.contains('('),
            Self::Phrase { .. } | Self::Group(_) => false,
            Self::Boost(node, _) | Self::Field(_, node) => node.swallows_parenthesis(),
        }
    }
}

/// In the language itself: [`super::parse`] reads the same query from it.
impl Display for Query {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        clauses(f, &self.clauses)
    }
}

impl Display for Node {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Term(text) => f.write_str(text),
            Self::Phrase { text, slop: 0 } => write!(f, "\"{text}\""),
            Self::Phrase { text, slop } => write!(f, "\"{text}\"~{slop}"),
            Self::Prefix(text) => write!(f, "{text}*"),
            Self::Fuzzy { text, distance } => write!(f, "{text}~{distance}"),
            Self::Group(inside) => {
                f.write_char('(')?;
                clauses(f, inside)?;
                let space = inside.last().is_some_and(|clause| clause.node.swallows_parenthesis());
                f.write_str(if space { " )" } else { ")" })
            }
            Self::Boost(node, boost) => write!(f, "{node}^{boost}"),
            Self::Field(name, node) => write!(f, "{name}:{node}"),
        }
    }
}

fn clauses(f: &mut Formatter<'_>, clauses: &[Clause]) -> fmt::Result {
    for (i, clause) in clauses.iter().enumerate() {
        if i > 0 {
            f.write_char(' ')?;
        }
        match clause.occur {
            Occur::Should => {}
            Occur::Must => f.write_char('+')?,
            Occur::MustNot => f.write_char('-')?,
        }
        write!(f, "{}", clause.node)?;
    }
    Ok(())
}
