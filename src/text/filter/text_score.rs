//! Scores of rows by a query that is more than words, as [`crate::text::BufferScorer`] gives them to buffered documents.

use super::Evaluator;
use crate::error::{Error, Result};
use crate::schema::AttributeId;
use crate::text::bm25::TermWeight;
use crate::text::directory::{from_io, from_tantivy};
use crate::text::query_language::{Part, phrase_frequency};
use crate::text::schema::attribute_fields;
use crate::text::score::{LeafScore, ScoredPart};
use roaring::RoaringBitmap;
use tantivy::DocSet;
use tantivy::postings::Postings;
use tantivy::schema::{Field, IndexRecordOption, Term};

/// The score of each row, or that it does not match.
type Scores = Vec<Option<f32>>;

impl Evaluator<'_> {
    /// The scores of ascending rows by a part of a query, added up as for buffered documents: required parts, then alternatives.
    pub(in crate::text) fn scores(&self, part: &ScoredPart<'_>, rows: &[u32]) -> Result<Scores> {
        match part {
            ScoredPart::Leaf { attribute, part, score } => {
                match attribute_fields(self.segment.reader().schema(), *attribute).text {
                    Some(field) => self.leaf_scores(field, part, score, rows),
                    None => Ok(vec![None; rows.len()]),
                }
            }
            ScoredPart::Group { required, any, excluded, fields } => {
                let mut sums: Scores = if !required.is_empty() {
                    vec![Some(0.0); rows.len()]
                } else if any.is_empty() {
                    self.with_any_of(fields, rows)?
                } else {
                    vec![None; rows.len()]
                };
                for part in required {
                    for (sum, score) in sums.iter_mut().zip(self.scores(part, rows)?) {
                        *sum = sum.zip(score).map(|(sum, score)| sum + score);
                    }
                }
                for part in any {
                    for (sum, score) in sums.iter_mut().zip(self.scores(part, rows)?) {
                        // An alternative does not make a row match that lacks something required.
                        if let (Some(score), true) = (score, required.is_empty() || sum.is_some()) {
                            *sum = Some(sum.unwrap_or(0.0) + score);
                        }
                    }
                }
                for part in excluded {
                    for (sum, score) in sums.iter_mut().zip(self.scores(part, rows)?) {
                        *sum = sum.filter(|_| score.is_none());
                    }
                }
                Ok(sums)
            }
        }
    }

    /// Score 0 for rows that have one of the attributes.
    fn with_any_of(&self, attributes: &[AttributeId], rows: &[u32]) -> Result<Scores> {
        let mut with = RoaringBitmap::new();
        for attribute in attributes {
            with |= self.present(*attribute)?;
        }
        Ok(rows.iter().map(|row| with.contains(*row).then_some(0.0)).collect())
    }

    fn leaf_scores(&self, field: Field, part: &Part, score: &LeafScore, rows: &[u32]) -> Result<Scores> {
        match (score, part) {
            (LeafScore::Bm25(weight), Part::Term(term)) => self.term_scores(field, term, weight, rows),
            (LeafScore::Bm25(weight), Part::Phrase { terms, slop }) => {
                let Some(mut postings) = self.phrase_lists(field, terms)? else { return Ok(vec![None; rows.len()]) };
                let norms = self.segment.reader().get_fieldnorms_reader(field);
                let norms = norms.map_err(|error| from_tantivy(&self.segment.object, error))?;
                let score = |row: &u32| {
                    let frequency = postings.at(*row, |lists| phrase_frequency(lists, *slop));
                    (frequency > 0).then(|| weight.score(norms.fieldnorm_id(*row), frequency))
                };
                Ok(rows.iter().map(score).collect())
            }
            (LeafScore::Constant(score), part) => {
                let found = self.leaf(field, part)?;
                Ok(rows.iter().map(|row| found.contains(*row).then_some(*score)).collect())
            }
            (LeafScore::Bm25(_), Part::Prefix { .. } | Part::Fuzzy { .. }) => {
                Err(Error::internal("a part of a query without terms has a BM25 weight"))
            }
        }
    }

    fn term_scores(&self, field: Field, term: &str, weight: &TermWeight, rows: &[u32]) -> Result<Scores> {
        let failed = |error: std::io::Error| from_io(&self.segment.object, &error);
        let inverted = self.inverted(field)?;
        let info = inverted.get_term_info(&Term::from_field_text(field, term)).map_err(failed)?;
        let Some(info) = info else { return Ok(vec![None; rows.len()]) };
        let norms = self.segment.reader().get_fieldnorms_reader(field);
        let norms = norms.map_err(|error| from_tantivy(&self.segment.object, error))?;
        let mut postings = inverted.read_postings_from_terminfo(&info, IndexRecordOption::WithFreqs).map_err(failed)?;
        let score = |row: &u32| {
            if postings.doc() < *row {
                postings.seek(*row);
            }
            (postings.doc() == *row).then(|| weight.score(norms.fieldnorm_id(*row), postings.term_freq()))
        };
        Ok(rows.iter().map(score).collect())
    }
}
