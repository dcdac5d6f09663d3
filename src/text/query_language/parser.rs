//! From text to [`Query`]. Every text is a query; what is no syntax is words.

use super::ast::{Clause, Node, Occur, Operator, Query};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{
    MAX_FIELD_WEIGHT, MAX_FUZZY_CHARACTERS, MAX_FUZZY_DISTANCE, MAX_PHRASE_SLOP, MAX_QUERY_TEXT_BYTES,
    MAX_TEXT_QUERY_DEPTH,
};

/// Reads a query. `fields` are the names that may stand before a colon; names that have white space, quotes, parentheses or
/// colons in them or begin with a sign cannot be used in a query and are ignored.
///
/// # Errors
/// `OutOfRange` for a text that is too long.
pub fn parse(text: &str, operator: Operator, fields: &[&str]) -> Result<Query> {
    if text.len() > MAX_QUERY_TEXT_BYTES {
        let message = format!("query text of {} bytes is longer than {MAX_QUERY_TEXT_BYTES}", text.len());
        return Err(Error::new(ErrorKind::OutOfRange, message));
    }
    let usable = |name: &&&str| {
        let odd = |c: char| c.is_whitespace() || matches!(c, '"' | '(' | ')' | ':');
        !name.is_empty() && !name.contains(odd) && !name.starts_with(['+', '-'])
    };
    let fields = fields.iter().filter(usable).copied().collect();
    let mut parser = Parser { rest: text, depth: 0, fields };
    Ok(Query { operator, clauses: parser.clauses() })
}

struct Parser<'a> {
    rest: &'a str,
    /// Open parentheses.
    depth: usize,
    fields: Vec<&'a str>,
}

impl<'a> Parser<'a> {
    /// Up to the end or the parenthesis that closes the group, which is consumed.
    fn clauses(&mut self) -> Vec<Clause> {
        let mut clauses = Vec::new();
        loop {
            self.rest = self.rest.trim_start();
            if self.rest.is_empty() {
                return clauses;
            }
            if self.depth > 0
                && let Some(rest) = self.rest.strip_prefix(')')
            {
                self.rest = rest;
                return clauses;
            }
            clauses.push(self.clause());
        }
    }

    fn clause(&mut self) -> Clause {
        let (occur, sign) = match self.rest.as_bytes().first() {
            Some(b'+') => (Occur::Must, 1),
            Some(b'-') => (Occur::MustNot, 1),
            _ => (Occur::Should, 0),
        };
        if sign > 0 && self.ends(&self.rest[sign..]) {
            return Clause { occur: Occur::Should, node: Node::Term(self.take(sign).to_string()) };
        }
        // `--link` is the name of an option, which questions hold; nobody excludes what begins with a sign.
        if sign > 0 && self.rest[sign..].starts_with(['+', '-']) {
            return Clause { occur: Occur::Should, node: self.word() };
        }
        self.take(sign);
        let name = self.fields.iter().copied().find(|name| {
            let rest = self.rest.strip_prefix(name).and_then(|rest| rest.strip_prefix(':'));
            rest.is_some_and(|rest| !self.ends(rest))
        });
        let node = match name {
            Some(name) => {
                self.take(name.len() + 1);
                Node::Field(name.to_string(), Box::new(self.operand()))
            }
            None => self.operand(),
        };
        Clause { occur, node }
    }

    fn operand(&mut self) -> Node {
        if let Some(quoted) = self.rest.strip_prefix('"') {
            let (text, rest) = quoted.split_once('"').unwrap_or((quoted, ""));
            self.rest = rest;
            let slop = self.suffix('~', |digits| {
                let slop: u32 = digits.parse().ok()?;
                (slop <= MAX_PHRASE_SLOP).then_some(slop)
            });
            let phrase = Node::Phrase { text: text.to_string(), slop: slop.unwrap_or(0) };
            return self.boosted(phrase);
        }
        match self.rest.strip_prefix('(') {
            Some(rest) if self.depth < MAX_TEXT_QUERY_DEPTH => {
                self.rest = rest;
                self.depth += 1;
                let clauses = self.clauses();
                self.depth -= 1;
                self.boosted(Node::Group(clauses))
            }
            _ => self.word(),
        }
    }

    fn word(&mut self) -> Node {
        let mut open = 0_u32;
        let ends = |(_, c): &(usize, char)| match c {
            '(' => {
                open += 1;
                false
            }
            ')' if self.depth > 0 && open == 0 => true,
            ')' => {
                open = open.saturating_sub(1);
                false
            }
            c => c.is_whitespace(),
        };
        let end = self.rest.char_indices().find(ends).map_or(self.rest.len(), |(at, _)| at);
        let text = self.take(end);
        match text.rsplit_once('^') {
            Some((body, factor)) if !body.is_empty() => match boost(factor) {
                Some(boost) => Node::Boost(Box::new(unboosted(body)), boost),
                None => unboosted(text),
            },
            _ => unboosted(text),
        }
    }

    fn boosted(&mut self, node: Node) -> Node {
        match self.suffix('^', boost) {
            Some(boost) => Node::Boost(Box::new(node), boost),
            None => node,
        }
    }

    /// What `read` makes of the number behind `marker`, if it goes to the end of the clause or to a boost.
    fn suffix<T>(&mut self, marker: char, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let rest = self.rest.strip_prefix(marker)?;
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, rest) = rest.split_at(end);
        if !self.ends(rest) && !rest.starts_with('^') {
            return None;
        }
        let value = read(number)?;
        self.rest = rest;
        Some(value)
    }

    /// Whether a clause is over where `rest` begins.
    fn ends(&self, rest: &str) -> bool {
        rest.chars().next().is_none_or(|c| c.is_whitespace() || (c == ')' && self.depth > 0))
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        taken
    }
}

fn unboosted(text: &str) -> Node {
    if let Some(start) = text.strip_suffix('*') {
        return Node::Prefix(start.to_string());
    }
    let fuzzy = text.rsplit_once('~').and_then(|(word, digits)| {
        let distance = digits.parse().ok().filter(|distance| (1..=MAX_FUZZY_DISTANCE).contains(distance))?;
        let short = !word.is_empty() && word.chars().count() <= MAX_FUZZY_CHARACTERS;
        (short && digits.len() == 1).then(|| Node::Fuzzy { text: word.to_string(), distance })
    });
    fuzzy.unwrap_or_else(|| Node::Term(text.to_string()))
}

fn boost(text: &str) -> Option<f32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let boost: f32 = if digits(whole) && digits(fraction) { text.parse().ok()? } else { return None };
    (boost <= MAX_FIELD_WEIGHT).then_some(boost)
}
