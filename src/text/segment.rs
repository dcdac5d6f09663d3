//! One segment's text part, open for searching.

use super::builder::open_searcher;
use super::directory::{self, BundleDirectory, PlannedRead, RangeRead, from_io, from_tantivy};
use super::filter::{Evaluator, rows_of_lists};
use super::hotcache;
use super::query::{ParsedTextQuery, QueryShape};
use super::schema::{PRESENT_FIELD, attribute_fields};
use super::score::Weights;
use super::sparse::{Sparse, VIEWS};
use super::stats::CorpusStats;
use super::top::{SearchStatistics, TopRows, pruning_weight};
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::schema::{AttributeId, NamespaceSchema};
use roaring::RoaringBitmap;
use std::collections::BTreeSet;
use std::sync::Arc;
use tantivy::directory::CompositeFile;
use tantivy::index::{InvertedIndexReader, SegmentComponent, SegmentReader};
use tantivy::postings::{Postings, TermInfo};
use tantivy::schema::{Field, IndexRecordOption, Term};
use tantivy::{DocSet, Searcher};

/// Looking up one row in one posting list costs about as much as scoring this many rows in passing: below that ratio the
/// allowed rows are scored one by one instead of searching with the filter as a sieve.
const SEEK_COST_ROWS: u64 = 16;

/// Values whose rows are looked up together: their posting lists are a few bytes each, and lie side by side.
const TERMS_AT_ONCE: usize = 1024;

/// One segment's text part, open for searching. Cheap to share; every method may be called from many threads.
///
/// All methods run on the calling thread, start no thread and block it in [`RangeRead::read`] only.
#[derive(Debug)]
pub struct TextSegment {
    pub(super) object: String,
    pub(super) schema: NamespaceSchema,
    pub(super) present: Field,
    pub(super) searcher: Searcher,
    pub(super) directory: BundleDirectory,
    pub(super) rows: u32,
    pub(super) hot_bytes: usize,
    /// None: no dictionary is so long that words are searched without it.
    pub(super) sparse: Option<Sparse>,
}

/// The terms of a query that this segment has.
struct FoundField {
    /// Place in the query.
    place: usize,
    field: Field,
    inverted: Arc<InvertedIndexReader>,
    /// Place in the query's field, and where its postings are.
    terms: Vec<(usize, TermInfo)>,
}

impl TextSegment {
    /// Opens a bundle. `object_name` names it in errors; `files` are the names, lengths and readers of the bundle's files in
    /// any order. With the hotcache made for these files, opening reads none of them.
    ///
    /// `schema` may be newer than the bundle: attributes the bundle does not know are null in all its documents. (So an
    /// attribute that older segments hold cannot become indexed or full text later without rewriting them.)
    ///
    /// Errors: `Corrupt` if the hotcache or a file is not what was written, and the reader's errors.
    pub fn open(
        schema: &NamespaceSchema,
        object_name: &str,
        files: Vec<(String, u64, Arc<dyn RangeRead>)>,
        hotcache: &[u8],
    ) -> Result<Self> {
        let hot = hotcache::decode(hotcache, object_name)?;
        let directory = BundleDirectory::new(object_name, files, &hot)?;
        let searcher = open_searcher(directory.clone()).map_err(|error| from_tantivy(object_name, error))?;
        let [reader] = searcher.segment_readers() else {
            let count = searcher.segment_readers().len();
            return Err(Error::corrupt(object_name, 0, format!("bundle has {count} tantivy segments instead of one")));
        };
        let rows = reader.max_doc();
        let present = searcher.schema().get_field(PRESENT_FIELD).map_err(|error| from_tantivy(object_name, error))?;
        let sparse = Sparse::open(&directory, object_name)?;
        let (object, hot_bytes) = (object_name.to_string(), hotcache.len());
        Ok(Self { object, schema: schema.clone(), present, searcher, directory, rows, hot_bytes, sparse })
    }

    /// Number of rows, dead ones included: ordinals are 0 up to this.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// About how much memory it holds, in bytes (grows when large dictionaries are first used).
    pub fn memory_bytes(&self) -> usize {
        let views = self.sparse.as_ref().map_or(0, |_| VIEWS * self.rows as usize);
        size_of::<Self>() + self.hot_bytes + self.directory.cold_bytes("term") + views
    }

    /// Optional, to save round trips: the dictionaries that the operation needs and that are neither hot nor loaded yet; of a
    /// query of words all that it reads instead, its postings included. Have these ranges fetched into the cache in parallel before
    /// [`Self::plan_postings`].
    pub fn plan_dictionaries(
        &self,
        query: Option<&ParsedTextQuery>,
        filter: Option<&Filter>,
    ) -> Result<Vec<PlannedRead>> {
        let sparse = query.map(|query| self.plan_sparse(query)).transpose()?.flatten();
        if let Some(mut reads) = sparse {
            reads.extend(self.cold_dictionaries(&self.needed_dictionaries(None, filter)));
            return Ok(reads);
        }
        Ok(self.cold_dictionaries(&self.needed_dictionaries(query, filter)))
    }

    /// Optional, to save round trips: all ranges that [`Self::search`] and [`Self::filter`] are going to read (dictionaries
    /// apart, which this loads). Have them fetched into the cache in parallel; the operations find them there.
    pub fn plan_postings(&self, query: Option<&ParsedTextQuery>, filter: Option<&Filter>) -> Result<Vec<PlannedRead>> {
        if let Some(query) = query
            && let Some(view) = self.sparse_view(query)?
        {
            let mut reads = view.plan_postings(Some(query), None)?;
            reads.extend(self.plan_postings(None, filter)?);
            return Ok(reads);
        }
        self.load_dictionaries(query, filter)?;
        let found = query.map(|query| self.find(query)).transpose()?;
        let mut failed = Ok(());
        let planned = directory::plan(|| {
            if let (Some(query), Some(found)) = (query, &found) {
                failed = self.touch(query, found);
            }
            if let (Some(filter), true) = (filter, failed.is_ok()) {
                failed = Evaluator { segment: self }.evaluate(filter).map(drop);
            }
        });
        failed.map(|()| planned)
    }

    /// This segment's part of the statistics for that query. Reads nothing if the dictionaries are hot.
    pub fn stats(&self, query: &ParsedTextQuery) -> Result<CorpusStats> {
        if let Some(view) = self.sparse_view(query)? {
            return view.stats(query);
        }
        self.load_dictionaries(Some(query), None)?;
        let mut stats = CorpusStats::new(query);
        stats.docs = u64::from(self.rows);
        for found in self.find(query)? {
            stats.fields[found.place].tokens = found.inverted.total_num_tokens();
            for (place, info) in &found.terms {
                stats.fields[found.place].doc_freqs[*place] = u64::from(info.doc_freq);
            }
        }
        Ok(stats)
    }

    /// The best `k` rows by BM25 with the statistics of the whole corpus: (ordinal, score), best first, equal scores by
    /// ascending ordinal. `allowed` restricts the rows (filter matches, dead rows left out); the result always has
    /// min(k, allowed rows that match) rows (INV-7).
    ///
    /// Errors: `stats` do not count this segment, and the reader's errors.
    pub fn search(
        &self,
        query: &ParsedTextQuery,
        stats: &CorpusStats,
        k: usize,
        allowed: Option<&RoaringBitmap>,
    ) -> Result<Vec<(u32, f32)>> {
        self.search_with_ties(query, stats, k, 0, allowed)
    }

    /// As [`Self::search`], and besides up to `ties` rows whose score equals that of the last: it is not for their ordinals to say
    /// which of them belong to the best of several segments.
    ///
    /// # Errors
    /// As [`Self::search`].
    pub fn search_with_ties(
        &self,
        query: &ParsedTextQuery,
        stats: &CorpusStats,
        k: usize,
        ties: usize,
        allowed: Option<&RoaringBitmap>,
    ) -> Result<Vec<(u32, f32)>> {
        if k == 0 || allowed.is_some_and(RoaringBitmap::is_empty) {
            return Ok(Vec::new());
        }
        if let Some(view) = self.sparse_view(query)? {
            return view.search_with_ties(query, stats, k, ties, allowed);
        }
        self.with_postings(query, stats, |found, weights| {
            let candidates = match (&query.shape, allowed) {
                (QueryShape::Words, _) => self.candidates(query, stats, found, (k, ties), allowed)?,
                (QueryShape::Parts(root), None) => Evaluator { segment: self }.query_part(root)?.iter().collect(),
                (QueryShape::Parts(root), Some(allowed)) => {
                    (Evaluator { segment: self }.query_part(root)? & allowed).iter().collect()
                }
            };
            let mut rows = self.score(weights, found, &candidates)?;
            rows.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            rows.truncate(end_of_ties(&rows, k, ties));
            Ok(rows)
        })
    }

    /// The scores of these rows, by ascending ordinal; rows that hold none of the terms are left out. The same numbers as
    /// [`Self::search`] gives.
    pub fn score_ordinals(
        &self,
        query: &ParsedTextQuery,
        stats: &CorpusStats,
        ordinals: &RoaringBitmap,
    ) -> Result<Vec<(u32, f32)>> {
        if let Some(view) = self.sparse_view(query)? {
            return view.score_ordinals(query, stats, ordinals);
        }
        let ordinals: Vec<u32> = ordinals.iter().take_while(|ordinal| *ordinal < self.rows).collect();
        self.with_postings(query, stats, |found, weights| self.score(weights, found, &ordinals))
    }

    /// The ordinals of all rows (dead ones included) that the filter matches: the same rows as `Filter::matches` says.
    pub fn filter(&self, filter: &Filter) -> Result<RoaringBitmap> {
        let planned = self.plan_postings(None, Some(filter))?;
        self.directory.with_reads(planned, || Evaluator { segment: self }.evaluate(filter))
    }

    /// The first `limit` allowed rows by the value of a string attribute that is indexed for filters, with their values, which are
    /// above `after`. Reads the dictionary and the posting lists of the values that it passes.
    ///
    /// # Errors
    /// `Corrupt`, and the reader's.
    pub fn rows_by_term(
        &self,
        attribute: AttributeId,
        after: Option<&str>,
        limit: usize,
        allowed: Option<&RoaringBitmap>,
    ) -> Result<Vec<(String, u32)>> {
        let Some(field) = attribute_fields(self.reader().schema(), attribute).filter else { return Ok(Vec::new()) };
        let cold = self.cold_dictionaries(&BTreeSet::from([field]));
        let inverted = self
            .directory
            .with_reads(cold, || self.reader().inverted_index(field).map_err(|error| self.failed(error)))?;
        let failed = |error: std::io::Error| from_io(&self.object, &error);
        let range = inverted.terms().range();
        let range = if let Some(after) = after { range.gt(after.as_bytes()) } else { range };
        let mut stream = range.into_stream().map_err(failed)?;
        let mut found = Vec::new();
        let mut more = true;
        while more && found.len() < limit {
            let mut terms: Vec<(String, TermInfo)> = Vec::new();
            while terms.len() < TERMS_AT_ONCE && more {
                match stream.next() {
                    Some((term, info)) => {
                        let term = std::str::from_utf8(term).map_err(|error| Error::corrupt(&self.object, 0, error))?;
                        terms.push((term.to_string(), info.clone()));
                    }
                    None => more = false,
                }
            }
            // The lists of neighbouring terms are neighbours: one read covers them all.
            let planned = directory::plan(|| {
                if let (Some((_, first)), Some((_, last))) = (terms.first(), terms.last()) {
                    let mut span = first.clone();
                    span.postings_range.end = last.postings_range.end;
                    drop(inverted.read_block_postings_from_terminfo(&span, IndexRecordOption::Basic));
                }
            });
            let lists = self.directory.with_reads(planned, || {
                let lists = terms.iter().map(|(_, info)| rows_of_lists(&inverted, [info]));
                lists.collect::<std::io::Result<Vec<RoaringBitmap>>>().map_err(failed)
            })?;
            for ((term, _), rows) in terms.into_iter().zip(lists) {
                let rows = rows.iter().filter(|row| allowed.is_none_or(|allowed| allowed.contains(*row)));
                found.extend(rows.map(|row| (term.clone(), row)));
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    pub(super) fn reader(&self) -> &SegmentReader {
        self.searcher.segment_reader(0)
    }

    fn failed(&self, error: tantivy::TantivyError) -> Error {
        from_tantivy(&self.object, error)
    }

    /// Finds the terms, reads their postings and runs `run` with them at hand; nothing found is no rows.
    fn with_postings(
        &self,
        query: &ParsedTextQuery,
        stats: &CorpusStats,
        run: impl FnOnce(&[FoundField], &Weights<'_>) -> Result<Vec<(u32, f32)>>,
    ) -> Result<Vec<(u32, f32)>> {
        if stats.docs < u64::from(self.rows) || stats.fields.len() != query.fields.len() {
            return Err(Error::internal(format!("statistics do not count the segment \"{}\"", self.object)));
        }
        self.load_dictionaries(Some(query), None)?;
        let mut found = self.find(query)?;
        found.retain(|field| !field.terms.is_empty());
        if found.is_empty() && query.shape == QueryShape::Words {
            return Ok(Vec::new());
        }
        let mut failed = Ok(());
        let planned = directory::plan(|| failed = self.touch(query, &found));
        failed?;
        self.directory.with_reads(planned, || run(&found, &Weights::new(query, stats)))
    }

    pub(super) fn needed_dictionaries(
        &self,
        query: Option<&ParsedTextQuery>,
        filter: Option<&Filter>,
    ) -> BTreeSet<Field> {
        let mut fields = BTreeSet::new();
        if let Some(query) = query {
            let schema = self.reader().schema();
            fields.extend(query.fields.iter().filter_map(|field| attribute_fields(schema, field.attribute).text));
            if let QueryShape::Parts(root) = &query.shape {
                fields.insert(self.present);
                fields.extend(root.attributes().into_iter().filter_map(|id| attribute_fields(schema, id).text));
            }
        }
        if let Some(filter) = filter {
            Evaluator { segment: self }.dictionaries(filter, &mut fields);
        }
        fields
    }

    fn load_dictionaries(&self, query: Option<&ParsedTextQuery>, filter: Option<&Filter>) -> Result<()> {
        let fields = self.needed_dictionaries(query, filter);
        let cold = self.cold_dictionaries(&fields);
        self.directory.with_reads(cold, || {
            fields.iter().try_for_each(|field| {
                self.reader().inverted_index(*field).map(drop).map_err(|error| self.failed(error))
            })
        })
    }

    /// What reading the dictionaries takes; hot ones are opened on the way and stay open.
    pub(super) fn cold_dictionaries(&self, fields: &BTreeSet<Field>) -> Vec<PlannedRead> {
        directory::plan(|| {
            for field in fields {
                let cold = !directory::plan(|| drop(self.reader().inverted_index(*field))).is_empty();
                if cold {
                    // In one piece, not piece by piece as tantivy opens it.
                    self.touch_part(SegmentComponent::Terms, *field, usize::MAX);
                    self.touch_part(SegmentComponent::Postings, *field, size_of::<u64>());
                }
            }
        })
    }

    /// Asks for the first bytes of a field's part of a file, while planning.
    fn touch_part(&self, component: SegmentComponent, field: Field, bytes: usize) {
        self.touch_range(component, field, 0..bytes);
    }

    /// Asks for a range of a field's part of a file, while planning.
    pub(super) fn touch_range(&self, component: SegmentComponent, field: Field, range: std::ops::Range<usize>) {
        let file = self.reader().open_read(component).ok();
        let file = file.and_then(|file| CompositeFile::open(&file).ok());
        if let Some(part) = file.and_then(|file| file.open_read(field)) {
            let end = range.end.min(tantivy::HasLen::len(&part));
            drop(part.read_bytes_slice(range.start.min(end)..end));
        }
    }

    /// The fields of the query that the segment has, with those of their terms that it has. Dictionaries are loaded.
    fn find(&self, query: &ParsedTextQuery) -> Result<Vec<FoundField>> {
        let mut found = Vec::with_capacity(query.fields.len());
        for (place, wanted) in query.fields.iter().enumerate() {
            let Some(field) = attribute_fields(self.reader().schema(), wanted.attribute).text else { continue };
            let inverted = self.reader().inverted_index(field).map_err(|error| self.failed(error))?;
            let mut terms = Vec::with_capacity(wanted.terms.len());
            for (place, term) in wanted.terms.iter().enumerate() {
                let info = inverted.get_term_info(&Term::from_field_text(field, &term.text));
                if let Some(info) = info.map_err(|error| from_io(&self.object, &error))? {
                    terms.push((place, info));
                }
            }
            found.push(FoundField { place, field, inverted, terms });
        }
        Ok(found)
    }

    /// Asks for everything that a search reads, while planning.
    fn touch(&self, query: &ParsedTextQuery, found: &[FoundField]) -> Result<()> {
        for field in found.iter().filter(|field| !field.terms.is_empty()) {
            drop(self.reader().fieldnorms_readers().get_field(field.field));
            for (_, info) in &field.terms {
                drop(field.inverted.read_block_postings_from_terminfo(info, IndexRecordOption::WithFreqs));
            }
        }
        match &query.shape {
            QueryShape::Words => Ok(()),
            QueryShape::Parts(root) => Evaluator { segment: self }.query_part(root).map(drop),
        }
    }

    /// At least the best `k` allowed rows that hold a term, and `ties` equal to the last, ascending.
    fn candidates(
        &self,
        query: &ParsedTextQuery,
        stats: &CorpusStats,
        found: &[FoundField],
        wanted: (usize, usize),
        allowed: Option<&RoaringBitmap>,
    ) -> Result<Vec<u32>> {
        let lists = found.iter().flat_map(|field| &field.terms);
        let (terms, postings) = lists.fold((0, 0), |(n, sum), (_, info)| (n + 1, sum + u64::from(info.doc_freq)));
        // Tantivy's block maxima are bounds for its own parameters only.
        let prunable = query.fields.iter().all(|field| field.parameters.are_default());
        match allowed {
            Some(allowed) if allowed.len().saturating_mul(terms * SEEK_COST_ROWS) < postings => {
                Ok(allowed.iter().take_while(|ordinal| *ordinal < self.rows).collect())
            }
            _ if prunable => self.best_candidates(query, stats, found, wanted, allowed),
            _ => self.all_candidates(found, allowed),
        }
    }

    /// At least the best `k` allowed rows and `ties` equal to the last, ascending, found with block-max WAND. Scores are rounded in
    /// another order there, and its block maxima were made with this segment's own average length, so [`TopRows`] keeps and the
    /// threshold passes everything that could still be among the best by the exact score.
    fn best_candidates(
        &self,
        query: &ParsedTextQuery,
        stats: &CorpusStats,
        found: &[FoundField],
        (k, ties): (usize, usize),
        allowed: Option<&RoaringBitmap>,
    ) -> Result<Vec<u32>> {
        let mut statistics = SearchStatistics::new(stats.docs);
        let doc_freqs = stats.doc_freqs(query);
        let mut clauses = Vec::new();
        let mut skew = 1.0_f32;
        for field in found {
            let counts = &stats.fields[field.place];
            statistics.add_field(field.field, counts.tokens);
            let here = field.inverted.total_num_tokens() as f32 / self.rows as f32;
            let everywhere = counts.tokens as f32 / stats.docs as f32;
            skew = skew.max(here / everywhere).max(everywhere / here);
            for (place, _) in &field.terms {
                let wanted = &query.fields[field.place].terms[*place];
                let term = Term::from_field_text(field.field, &wanted.text);
                statistics.add_term(term.clone(), doc_freqs.get(wanted.text.as_str()).copied().unwrap_or(0));
                clauses.push((term, wanted.boost));
            }
        }
        let weight = pruning_weight(&self.searcher, &statistics, &clauses).map_err(|error| self.failed(error))?;
        let mut top = TopRows::new(k, ties, &clauses, skew);
        weight
            .for_each_pruning(f32::MIN, self.reader(), &mut |ordinal, score| {
                if allowed.is_none_or(|allowed| allowed.contains(ordinal)) {
                    top.push(ordinal, score);
                }
                top.threshold()
            })
            .map_err(|error| self.failed(error))?;
        Ok(top.into_ordinals())
    }

    /// All allowed rows that hold a term, ascending.
    fn all_candidates(&self, found: &[FoundField], allowed: Option<&RoaringBitmap>) -> Result<Vec<u32>> {
        let mut rows = RoaringBitmap::new();
        for field in found {
            let infos = field.terms.iter().map(|(_, info)| info);
            rows |= rows_of_lists(&field.inverted, infos).map_err(|error| from_io(&self.object, &error))?;
        }
        if let Some(allowed) = allowed {
            rows &= allowed;
        }
        Ok(rows.iter().collect())
    }

    /// Scores of ascending rows, added up in the order of the query as [`super::BufferScorer`] does; rows that do not match are
    /// left out.
    fn score(&self, weights: &Weights<'_>, found: &[FoundField], ordinals: &[u32]) -> Result<Vec<(u32, f32)>> {
        let weights = match weights {
            Weights::Words(weights) => weights,
            Weights::Parts(root) => {
                let scores = Evaluator { segment: self }.scores(root, ordinals)?;
                return Ok(ordinals.iter().zip(scores).filter_map(|(row, score)| Some((*row, score?))).collect());
            }
        };
        let mut scores: Vec<Option<f32>> = vec![None; ordinals.len()];
        for field in found {
            let norms = self.reader().get_fieldnorms_reader(field.field).map_err(|error| self.failed(error))?;
            for (place, info) in &field.terms {
                let weight = &weights[field.place][*place];
                let postings = field.inverted.read_postings_from_terminfo(info, IndexRecordOption::WithFreqs);
                let mut postings = postings.map_err(|error| from_io(&self.object, &error))?;
                for (ordinal, score) in ordinals.iter().zip(&mut scores) {
                    if postings.doc() < *ordinal {
                        postings.seek(*ordinal);
                    }
                    if postings.doc() == *ordinal {
                        let term_score = weight.score(norms.fieldnorm_id(*ordinal), postings.term_freq());
                        *score = Some(score.unwrap_or(0.0) + term_score);
                    }
                }
            }
        }
        Ok(ordinals.iter().zip(scores).filter_map(|(ordinal, score)| Some((*ordinal, score?))).collect())
    }
}

/// Where the best `k` of sorted rows end, with up to `ties` more that equal the last of them.
fn end_of_ties(rows: &[(u32, f32)], k: usize, ties: usize) -> usize {
    let Some((_, last)) = k.checked_sub(1).and_then(|last| rows.get(last)) else { return rows.len().min(k) };
    k + rows[k..].iter().take(ties).take_while(|(_, score)| score.total_cmp(last).is_eq()).count()
}

#[cfg(test)]
mod tests;
