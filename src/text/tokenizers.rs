//! Tokenizers that tantivy does not have: words and white space of all scripts, source code, CJK pairs, n-grams with positions.

use crate::schema::NgramLengths;
use tantivy::tokenizer::{NgramTokenizer, Token, TokenStream, Tokenizer};

/// What is kept of an identifier in source code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identifiers {
    /// The whole at the position of its first part, and the parts.
    WholeAndParts,
    /// The parts.
    Parts,
    /// The whole.
    Whole,
}

/// Splits a text as a whole, then hands the tokens out.
#[derive(Clone)]
pub(super) struct SpanTokenizer {
    rule: Rule,
    spans: Vec<Span>,
    token: Token,
}

#[derive(Clone, Copy)]
enum Rule {
    Words,
    Whitespace,
    SourceCode(Identifiers),
    Cjk,
}

/// Bytes of the text and the position.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
    position: usize,
}

impl SpanTokenizer {
    /// Runs of letters and digits, with the marks that are written on letters: tantivy's own ends a word at each vowel killer, and
    /// so cuts Tamil into pieces.
    pub fn words() -> Self {
        Self::new(Rule::Words)
    }

    /// What stands between white space, Unicode's (tantivy's own knows ASCII's only, and query words end at any).
    pub fn whitespace() -> Self {
        Self::new(Rule::Whitespace)
    }

    /// Identifiers: runs of letters, digits and `_`, joined by single hyphens (`data-user-id`). Their parts end where `_` and
    /// `-` are, between letters and digits, before a capital after a small letter, and before the last of several capitals
    /// that a small letter follows (`HTTPServer`).
    pub fn source_code(identifiers: Identifiers) -> Self {
        Self::new(Rule::SourceCode(identifiers))
    }

    /// Runs of Han, Hiragana, Katakana and Hangul as overlapping pairs (a single character as itself), other letters and
    /// digits as words. Full-width letters and digits are the ASCII ones.
    pub fn cjk() -> Self {
        Self::new(Rule::Cjk)
    }

    fn new(rule: Rule) -> Self {
        Self { rule, spans: Vec::new(), token: Token::default() }
    }
}

impl Tokenizer for SpanTokenizer {
    type TokenStream<'a> = SpanStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> SpanStream<'a> {
        self.token.reset();
        self.spans.clear();
        match self.rule {
            Rule::Words => word_spans(text, &mut self.spans),
            Rule::Whitespace => whitespace_spans(text, &mut self.spans),
            Rule::SourceCode(identifiers) => source_code_spans(text, identifiers, &mut self.spans),
            Rule::Cjk => cjk_spans(text, &mut self.spans),
        }
        let narrow = matches!(self.rule, Rule::Cjk);
        SpanStream { text, spans: self.spans.iter(), narrow, token: &mut self.token }
    }
}

/// The tokens of one text.
pub(super) struct SpanStream<'a> {
    text: &'a str,
    spans: std::slice::Iter<'a, Span>,
    narrow: bool,
    token: &'a mut Token,
}

impl TokenStream for SpanStream<'_> {
    fn advance(&mut self) -> bool {
        let Some(span) = self.spans.next() else { return false };
        let text = &self.text[span.start..span.end];
        self.token.text.clear();
        if self.narrow && !text.is_ascii() {
            self.token.text.extend(text.chars().map(narrow_character));
        } else {
            self.token.text.push_str(text);
        }
        self.token.offset_from = span.start;
        self.token.offset_to = span.end;
        self.token.position = span.position;
        true
    }

    fn token(&self) -> &Token {
        self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        self.token
    }
}

/// The ASCII form of a full-width one.
fn narrow_character(c: char) -> char {
    match c {
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(u32::from(c) - 0xFEE0).unwrap_or(c),
        _ => c,
    }
}

/// Marks that are no letters of their own but do not end a word: accents written after their letter, and those of Indic and
/// South-East Asian scripts that kill or change a vowel.
fn is_mark(c: char) -> bool {
    matches!(c,
        '\u{0300}'..='\u{036F}' | '\u{0483}'..='\u{0487}' | '\u{0591}'..='\u{05C7}' | '\u{064B}'..='\u{065F}'
        | '\u{093C}' | '\u{094D}' | '\u{09BC}' | '\u{09CD}' | '\u{0A3C}' | '\u{0A4D}' | '\u{0ABC}' | '\u{0ACD}'
        | '\u{0B3C}' | '\u{0B4D}' | '\u{0BCD}' | '\u{0C3C}' | '\u{0C4D}' | '\u{0CBC}' | '\u{0CCD}' | '\u{0D3B}'
        | '\u{0D3C}' | '\u{0D4D}' | '\u{0DCA}' | '\u{0E3A}' | '\u{0E47}'..='\u{0E4E}' | '\u{0EBA}'
        | '\u{0EC8}'..='\u{0ECE}' | '\u{1037}' | '\u{1039}' | '\u{103A}' | '\u{17D2}' | '\u{200C}' | '\u{200D}'
        | '\u{1AB0}'..='\u{1AFF}' | '\u{1DC0}'..='\u{1DFF}' | '\u{20D0}'..='\u{20FF}' | '\u{FE20}'..='\u{FE2F}')
}

fn word_spans(text: &str, spans: &mut Vec<Span>) {
    let mut start = None;
    for (at, c) in text.char_indices() {
        let inside = c.is_alphanumeric() || (start.is_some() && !c.is_ascii() && is_mark(c));
        match (inside, start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                spans.push(Span { start: from, end: at, position: spans.len() });
                start = None;
            }
            _ => {}
        }
    }
    if let Some(start) = start {
        spans.push(Span { start, end: text.len(), position: spans.len() });
    }
}

fn whitespace_spans(text: &str, spans: &mut Vec<Span>) {
    let mut start = None;
    for (at, c) in text.char_indices() {
        match (c.is_whitespace(), start) {
            (false, None) => start = Some(at),
            (true, Some(from)) => {
                spans.push(Span { start: from, end: at, position: spans.len() });
                start = None;
            }
            _ => {}
        }
    }
    if let Some(start) = start {
        spans.push(Span { start, end: text.len(), position: spans.len() });
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `_`, or `-` inside an identifier.
    Joint,
    Digit,
    Upper,
    /// Any other letter.
    Lower,
}

/// What a character is in an identifier that `before` precedes and `after` follows; None ends it.
fn kind(c: char, before: Option<Kind>, after: Option<char>) -> Option<Kind> {
    match c {
        '_' => Some(Kind::Joint),
        '-' if before.is_some_and(|kind| kind != Kind::Joint) && after.is_some_and(char::is_alphanumeric) => {
            Some(Kind::Joint)
        }
        _ if c.is_numeric() => Some(Kind::Digit),
        _ if c.is_uppercase() => Some(Kind::Upper),
        _ if c.is_alphanumeric() => Some(Kind::Lower),
        _ => None,
    }
}

fn source_code_spans(text: &str, identifiers: Identifiers, spans: &mut Vec<Span>) {
    let mut position = 0;
    let mut characters: Vec<(usize, Kind)> = Vec::new();
    let mut stream = text.char_indices().peekable();
    loop {
        let next = stream.next();
        let before = characters.last().map(|(_, kind)| *kind);
        let after = stream.peek().map(|(_, c)| *c);
        match next.and_then(|(at, c)| Some((at, kind(c, before, after)?))) {
            Some(character) => characters.push(character),
            None => {
                let end = next.map_or(text.len(), |(at, _)| at);
                position += identifier(&characters, end, position, identifiers, spans);
                characters.clear();
            }
        }
        if next.is_none() {
            return;
        }
    }
}

/// Adds the tokens of one identifier; returns how many positions it takes.
fn identifier(
    characters: &[(usize, Kind)],
    end: usize,
    position: usize,
    identifiers: Identifiers,
    spans: &mut Vec<Span>,
) -> usize {
    let Some((start, _)) = characters.first() else { return 0 };
    let mut parts: Vec<(usize, usize)> = Vec::new();
    let mut open: Option<usize> = None;
    for (i, (at, kind)) in characters.iter().enumerate() {
        let before = i.checked_sub(1).map(|i| characters[i].1);
        let after = characters.get(i + 1).map(|(_, kind)| *kind);
        let begins = match (before, kind) {
            (_, Kind::Joint) => {
                parts.extend(open.take().map(|from| (from, *at)));
                continue;
            }
            (None | Some(Kind::Joint), _) => true,
            (Some(Kind::Upper), Kind::Upper) => after == Some(Kind::Lower),
            (Some(Kind::Upper), Kind::Lower) => false,
            (Some(before), kind) => before != *kind,
        };
        if begins {
            parts.extend(open.replace(*at).map(|from| (from, *at)));
        }
    }
    parts.extend(open.map(|from| (from, end)));
    if parts.is_empty() {
        return 0;
    }
    let whole = Span { start: *start, end, position };
    match identifiers {
        Identifiers::Whole => {
            spans.push(whole);
            return 1;
        }
        Identifiers::WholeAndParts if parts != [(*start, end)] => spans.push(whole),
        Identifiers::WholeAndParts | Identifiers::Parts => {}
    }
    spans.extend(parts.iter().enumerate().map(|(i, (start, end))| Span {
        start: *start,
        end: *end,
        position: position + i,
    }));
    parts.len()
}

/// Letters of Han, Hiragana, Katakana and Hangul, with the marks that are written after them.
fn is_cjk(c: char) -> bool {
    let block = matches!(c,
        '\u{1100}'..='\u{11FF}' | '\u{3005}'..='\u{3007}' | '\u{3041}'..='\u{30FF}' | '\u{3130}'..='\u{318F}'
        | '\u{31F0}'..='\u{31FF}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{A960}'..='\u{A97F}'
        | '\u{AC00}'..='\u{D7FF}' | '\u{F900}'..='\u{FAFF}' | '\u{FF66}'..='\u{FFDC}' | '\u{20000}'..='\u{3FFFF}');
    block && (c.is_alphanumeric() || matches!(c, '\u{3099}' | '\u{309A}'))
}

fn cjk_spans(text: &str, spans: &mut Vec<Span>) {
    let mut position = 0;
    let mut push = |start: usize, end: usize| {
        spans.push(Span { start, end, position });
        position += 1;
    };
    let mut stream = text.char_indices().peekable();
    while let Some((start, c)) = stream.next() {
        if is_cjk(c) {
            // Where the character before the last one began.
            let (mut first, mut second) = (start, None);
            let mut end = start + c.len_utf8();
            while let Some((at, c)) = stream.next_if(|(_, c)| is_cjk(*c)) {
                if let Some(second) = second {
                    push(first, at);
                    first = second;
                }
                second = Some(at);
                end = at + c.len_utf8();
            }
            push(first, end);
        } else if c.is_alphanumeric() {
            let mut end = start + c.len_utf8();
            while let Some((at, c)) = stream.next_if(|(_, c)| (c.is_alphanumeric() || is_mark(*c)) && !is_cjk(*c)) {
                end = at + c.len_utf8();
            }
            push(start, end);
        }
    }
}

/// Tantivy's n-grams, each at the position of its first character, so that the n-grams of a word are a phrase that only texts
/// with that very word have.
#[derive(Clone)]
pub(super) struct PositionedNgrams(NgramTokenizer);

impl PositionedNgrams {
    pub fn new(lengths: NgramLengths) -> Self {
        let ngrams = NgramTokenizer::all_ngrams(lengths.min(), lengths.max());
        Self(ngrams.expect("invariant: lengths are positive and ascend"))
    }
}

impl Tokenizer for PositionedNgrams {
    type TokenStream<'a> = NgramStream<<NgramTokenizer as Tokenizer>::TokenStream<'a>>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Self::TokenStream<'a> {
        NgramStream { inner: self.0.token_stream(text), last: None }
    }
}

/// The n-grams of one text.
pub(super) struct NgramStream<S> {
    inner: S,
    /// Where the last n-gram began, and its position.
    last: Option<(usize, usize)>,
}

impl<S: TokenStream> TokenStream for NgramStream<S> {
    fn advance(&mut self) -> bool {
        if !self.inner.advance() {
            return false;
        }
        let start = self.inner.token().offset_from;
        let position = match self.last {
            None => 0,
            Some((last, position)) if last == start => position,
            Some((_, position)) => position + 1,
        };
        self.last = Some((start, position));
        self.inner.token_mut().position = position;
        true
    }

    fn token(&self) -> &Token {
        self.inner.token()
    }

    fn token_mut(&mut self) -> &mut Token {
        self.inner.token_mut()
    }
}

#[cfg(test)]
mod tests;
