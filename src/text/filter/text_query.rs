//! Text queries on the postings and positions of a segment: the rows whose texts [`AnalyzedQuery::matches`].

use super::{Evaluator, Lists, rows_of_lists};
use crate::error::Result;
use crate::schema::AttributeId;
use crate::text::directory::{self, from_io, from_tantivy};
use crate::text::query_language::{
    AnalyzedQuery, BooleanPart, Operator, Part, PhraseList, PhraseTerm, QueryPart, phrase_occurs, search_fields,
};
use crate::text::schema::attribute_fields;
use roaring::RoaringBitmap;
use std::ops::Bound;
use std::sync::Arc;
use tantivy::DocSet;
use tantivy::index::{InvertedIndexReader, SegmentComponent};
use tantivy::postings::{Postings, SegmentPostings, TermInfo};
use tantivy::query::FuzzyTermQuery;
use tantivy::schema::{Field, IndexRecordOption, Term};

impl Evaluator<'_> {
    /// Rows whose text matches a query.
    pub(super) fn match_text(&self, id: AttributeId, query: &str) -> Result<RoaringBitmap> {
        let query = AnalyzedQuery::of_field(id, self.segment.schema.require_full_text(id)?, query)?;
        query.root.as_ref().map_or_else(|| Ok(RoaringBitmap::new()), |root| self.query_part(root))
    }

    /// Rows whose texts together match a query.
    pub(super) fn search(&self, attributes: &[AttributeId], query: &str, all: bool) -> Result<RoaringBitmap> {
        let fields = search_fields(&self.segment.schema, attributes)?;
        let (_, query) = AnalyzedQuery::parse(query, Operator::of_all(all), &fields)?;
        query.root.as_ref().map_or_else(|| Ok(RoaringBitmap::new()), |root| self.query_part(root))
    }

    /// Rows that a part of a query matches.
    pub(in crate::text) fn query_part(&self, part: &QueryPart) -> Result<RoaringBitmap> {
        match part {
            QueryPart::Boolean(group) => self.boolean(group),
            QueryPart::Leaf { attribute, part, .. } => {
                match attribute_fields(self.segment.reader().schema(), *attribute).text {
                    Some(field) => self.leaf(field, part),
                    None => Ok(RoaringBitmap::new()),
                }
            }
        }
    }

    /// While planning everything is touched, whatever has been found.
    fn boolean(&self, group: &BooleanPart) -> Result<RoaringBitmap> {
        let mut rows = match (group.required.split_first(), group.any.is_empty()) {
            (Some((first, others)), _) => {
                let mut rows = self.query_part(first)?;
                for part in others {
                    if rows.is_empty() && !directory::planning() {
                        break;
                    }
                    rows &= self.query_part(part)?;
                }
                rows
            }
            (None, false) => {
                let mut rows = RoaringBitmap::new();
                for part in &group.any {
                    rows |= self.query_part(part)?;
                }
                rows
            }
            (None, true) => {
                let mut rows = RoaringBitmap::new();
                for field in &group.fields {
                    rows |= self.present(*field)?;
                }
                rows
            }
        };
        for part in &group.excluded {
            if rows.is_empty() && !directory::planning() {
                break;
            }
            rows -= self.query_part(part)?;
        }
        Ok(rows)
    }

    pub(super) fn leaf(&self, field: Field, part: &Part) -> Result<RoaringBitmap> {
        match part {
            Part::Term(term) => self.any_term([Term::from_field_text(field, term)]),
            Part::Prefix { prefix, word } => {
                let from = Bound::Included(prefix.as_bytes());
                let rows = self.term_run(field, from, |term| term.starts_with(prefix.as_bytes()))?;
                let word = word.iter().map(|word| Term::from_field_text(field, word));
                Ok(rows | self.any_term(word)?)
            }
            Part::Fuzzy { text, word, distance } => {
                let mut rows = self.fuzzy(field, text, *distance)?;
                if let Some(word) = word {
                    rows |= self.fuzzy(field, word, *distance)?;
                }
                Ok(rows)
            }
            Part::Phrase { terms, slop } => self.phrase(field, terms, *slop),
        }
    }

    /// Rows with a term that few edits make of `text`.
    fn fuzzy(&self, field: Field, text: &str, distance: u8) -> Result<RoaringBitmap> {
        let failed = |error: std::io::Error| from_io(&self.segment.object, &error);
        let query = FuzzyTermQuery::new(Term::from_field_text(field, text), distance, true);
        let automaton = query.automaton().map_err(|error| from_tantivy(&self.segment.object, error))?;
        let mut lists = Lists { inverted: self.inverted(field)?, block: None };
        let inverted = lists.inverted.clone();
        let mut stream = inverted.terms().search(automaton).into_stream().map_err(failed)?;
        let mut rows = RoaringBitmap::new();
        while let Some((_, info)) = stream.next() {
            self.add_list(&mut lists, info, &mut rows)?;
        }
        Ok(rows)
    }

    fn phrase(&self, field: Field, terms: &[PhraseTerm], slop: u32) -> Result<RoaringBitmap> {
        let Some(mut lists) = self.phrase_lists(field, terms)? else { return Ok(RoaringBitmap::new()) };
        let candidates = lists.rows()?;
        Ok(candidates.into_iter().filter(|row| lists.at(*row, |lists| phrase_occurs(lists, slop))).collect())
    }

    /// The postings of a phrase's terms; None if the segment lacks one of them, and while planning.
    pub(super) fn phrase_lists<'q>(&self, field: Field, terms: &'q [PhraseTerm]) -> Result<Option<PhrasePostings<'q>>> {
        let failed = |error: std::io::Error| from_io(&self.segment.object, &error);
        let inverted = self.inverted(field)?;
        let mut infos = Vec::with_capacity(terms.len());
        for term in terms {
            let info = inverted.get_term_info(&Term::from_field_text(field, &term.text)).map_err(failed)?;
            let Some(info) = info else { return Ok(None) };
            infos.push(info);
        }
        if directory::planning() {
            for info in &infos {
                drop(inverted.read_block_postings_from_terminfo(info, IndexRecordOption::WithFreqsAndPositions));
                self.segment.touch_range(SegmentComponent::Positions, field, info.positions_range.clone());
            }
            return Ok(None);
        }
        let mut lists = Vec::with_capacity(terms.len());
        for (term, info) in terms.iter().zip(&infos) {
            let postings = inverted.read_postings_from_terminfo(info, IndexRecordOption::WithFreqsAndPositions);
            lists.push((term, postings.map_err(failed)?, Vec::new()));
        }
        Ok(Some(PhrasePostings { object: self.segment.object.clone(), inverted, infos, lists }))
    }
}

/// The postings of the terms of one phrase.
pub(super) struct PhrasePostings<'q> {
    object: String,
    inverted: Arc<InvertedIndexReader>,
    infos: Vec<TermInfo>,
    lists: Vec<(&'q PhraseTerm, SegmentPostings, Vec<u32>)>,
}

impl PhrasePostings<'_> {
    /// Rows that hold all of the terms.
    fn rows(&self) -> Result<RoaringBitmap> {
        let mut rows: Option<RoaringBitmap> = None;
        for info in &self.infos {
            let of_term = rows_of_lists(&self.inverted, [info]).map_err(|error| from_io(&self.object, &error))?;
            rows = Some(rows.map_or_else(|| of_term.clone(), |rows| rows & &of_term));
        }
        Ok(rows.unwrap_or_default())
    }

    /// What `look` says of the terms' positions in a row, by default if the row lacks a term. Rows must ascend.
    pub(super) fn at<T: Default>(&mut self, row: u32, look: impl FnOnce(&[PhraseList<'_>]) -> T) -> T {
        for (_, postings, positions) in &mut self.lists {
            if postings.doc() < row {
                postings.seek(row);
            }
            if postings.doc() != row {
                return T::default();
            }
            postings.positions(positions);
        }
        let lists: Vec<PhraseList<'_>> = self
            .lists
            .iter()
            .map(|(term, _, positions)| PhraseList { distance: term.distance, term: &term.text, positions })
            .collect();
        look(&lists)
    }
}
