//! Searching words without loading the dictionary of their field: over a view of the segment whose dictionary knows the words of
//! one query, made of a few blocks of the [term table](super::terms).

use super::builder::open_searcher;
use super::directory::{self, PlannedRead, from_io, from_tantivy};
use super::query::{ParsedTextQuery, QueryShape};
use super::schema::attribute_fields;
use super::segment::TextSegment;
use super::terms::{self, Fences, TRAILER_BYTES};
use crate::error::{Error, Result};
use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tantivy::DocId;
use tantivy::directory::{FileHandle, OwnedBytes};
use tantivy::index::{SegmentComponent, SegmentReader};
use tantivy::postings::TermInfo;
use tantivy::schema::{Field, Term};

/// After this many queries the dictionary is worth its memory: from then on queries load it, and find it loaded.
const DICTIONARY_AFTER: usize = 16;
/// Views that are kept: a query makes one and uses it three times, a few queries run at a time, and a view has a byte for each row.
pub(super) const VIEWS: usize = 4;
/// Bytes in front of a field's postings: its number of tokens.
pub(super) const POSTINGS_HEADER: usize = size_of::<u64>();
/// Bytes behind tantivy's footer: its length and a magic number.
const FOOTER_TRAILER: usize = 8;

/// The fields of a query with their terms, sorted.
type Words = Vec<(Field, Vec<String>)>;

/// What a search for words reads.
#[derive(Default)]
struct Places {
    /// In the file of the term table.
    blocks: Vec<Range<u64>>,
    /// Among those of each field.
    postings: Vec<(Field, Range<usize>)>,
}

/// A word that the segment has.
struct FoundWord<'a> {
    word: &'a str,
    info: TermInfo,
    /// Of its rows, in their order; none of a field that is not in the term table.
    lengths: Vec<u8>,
}

/// The term table of a segment, and the views made with it.
#[derive(Debug)]
pub(super) struct Sparse {
    fences: Fences,
    made: AtomicUsize,
    views: Mutex<VecDeque<(Words, Arc<TextSegment>)>>,
}

impl Sparse {
    /// Opens the term table, if the bundle has one; its fences are hot.
    pub fn open(directory: &directory::BundleDirectory, object: &str) -> Result<Option<Self>> {
        let Some(file) = directory.named(terms::FILE) else { return Ok(None) };
        let length = tantivy::HasLen::len(file.as_ref());
        let read = |range: Range<usize>| file.read_bytes(range).map_err(|error| from_io(object, &error));
        let cut = || Error::corrupt(object, 0, "the term table ends early");
        let end = length.checked_sub(TRAILER_BYTES).ok_or_else(cut)?;
        let fences = terms::decode_trailer(&read(end..length)?, object)?;
        let start = end.checked_sub(fences).ok_or_else(cut)?;
        let fences = Fences::decode(&read(start..end)?, object)?;
        Ok(Some(Self { fences, made: AtomicUsize::new(0), views: Mutex::default() }))
    }

    fn known(&self, words: &Words) -> Option<Arc<TextSegment>> {
        let known = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|(known, _)| known == words).map(|(_, view)| view.clone())
    }
}

impl TextSegment {
    /// The table to search a query by; None if it takes more than single words, or the dictionaries are at hand.
    fn sparse_for(&self, query: &ParsedTextQuery, words: &Words) -> Option<&Sparse> {
        let sparse = self.sparse.as_ref().filter(|_| query.shape == QueryShape::Words)?;
        let (tabled, others): (BTreeSet<Field>, BTreeSet<Field>) =
            words.iter().map(|(field, _)| *field).partition(|field| sparse.fences.knows(*field));
        let cold = !self.cold_dictionaries(&tabled).is_empty() && self.cold_dictionaries(&others).is_empty();
        // A query that has begun with a view goes on with it.
        let wanted = || sparse.made.load(Ordering::Relaxed) < DICTIONARY_AFTER || sparse.known(words).is_some();
        (cold && wanted()).then_some(sparse)
    }

    /// What a search of words reads: blocks of the term table, postings and field lengths, all in one wave. None: another search.
    ///
    /// # Errors
    /// `Corrupt`, and the reader's.
    pub(super) fn plan_sparse(&self, query: &ParsedTextQuery) -> Result<Option<Vec<PlannedRead>>> {
        if self.sparse.is_none() {
            return Ok(None);
        }
        let words = self.words(query);
        let Some(sparse) = self.sparse_for(query, &words) else { return Ok(None) };
        let places = self.places(sparse, &words)?;
        Ok(Some(directory::plan(|| self.touch_places(sparse, &words, &places))))
    }

    /// Where a search for these words reads.
    fn places(&self, sparse: &Sparse, words: &Words) -> Result<Places> {
        let mut places = Places::default();
        for (field, words) in words {
            for word in words {
                if !sparse.fences.knows(*field) {
                    places.postings.extend(self.info_at_hand(*field, word)?.map(|info| (*field, info.postings_range)));
                } else if let Some(place) = sparse.fences.place(*field, word.as_bytes()) {
                    places.postings.push((*field, place.postings.start as usize..place.postings.end as usize));
                    places.blocks.push(place.block);
                }
            }
        }
        Ok(places)
    }

    /// Asks for all of that, while planning.
    fn touch_places(&self, sparse: &Sparse, words: &Words, places: &Places) {
        places.blocks.iter().for_each(|block| drop(self.read_terms(block)));
        for (field, postings) in &places.postings {
            let postings = postings.start + POSTINGS_HEADER..postings.end + POSTINGS_HEADER;
            self.touch_range(SegmentComponent::Postings, *field, postings);
        }
        for (field, _) in words.iter().filter(|(field, _)| !sparse.fences.knows(*field)) {
            drop(self.reader().fieldnorms_readers().get_field(*field));
        }
    }

    /// The segment as a search of words sees it; None: another search, or the dictionaries are at hand.
    ///
    /// # Errors
    /// `Corrupt`, and the reader's.
    pub(super) fn sparse_view(&self, query: &ParsedTextQuery) -> Result<Option<Arc<Self>>> {
        if self.sparse.is_none() {
            return Ok(None);
        }
        let words = self.words(query);
        let Some(sparse) = self.sparse_for(query, &words) else { return Ok(None) };
        if let Some(view) = sparse.known(&words) {
            return Ok(Some(view));
        }
        let view = Arc::new(self.view_of(sparse, &words)?);
        sparse.made.fetch_add(1, Ordering::Relaxed);
        let mut known = sparse.views.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() == VIEWS {
            known.pop_front();
        }
        known.push_back((words, view.clone()));
        Ok(Some(view))
    }

    fn words(&self, query: &ParsedTextQuery) -> Words {
        let schema = self.reader().schema();
        let words = query.fields.iter().filter_map(|field| {
            let mut words: Vec<String> = field.terms.iter().map(|term| term.text.clone()).collect();
            words.sort_unstable();
            Some((attribute_fields(schema, field.attribute).text?, words))
        });
        words.collect()
    }

    fn view_of(&self, sparse: &Sparse, words: &Words) -> Result<Self> {
        let places = self.places(sparse, words)?;
        let reads = directory::plan(|| self.touch_places(sparse, words, &places));
        let (directory, searcher) = self.directory.with_reads(reads, || {
            let mut found: Vec<(Field, Vec<FoundWord<'_>>)> = Vec::with_capacity(words.len());
            for (field, words) in words {
                let mut terms = Vec::with_capacity(words.len());
                for word in words {
                    terms.extend(self.found_word(sparse, *field, word)?);
                }
                found.push((*field, terms));
            }
            let terms: Vec<(Field, Vec<(&str, TermInfo)>)> = found
                .iter()
                .map(|(field, terms)| (*field, terms.iter().map(|found| (found.word, found.info.clone())).collect()))
                .collect();
            let dictionaries = terms::dictionaries(&terms, &self.footer_of("term")?, &self.object)?;
            let directory = self.directory.with_file("term", dictionaries);
            let failed = |error| from_tantivy(&self.object, error);
            let searcher = open_searcher(directory.clone()).map_err(failed)?;
            let mut lengths = Vec::with_capacity(found.len());
            for (field, found) in &found {
                let lengths_of_field = match sparse.fences.knows(*field) {
                    true => Some(self.lengths_of(searcher.segment_reader(0), *field, found)?),
                    false => self.stored_lengths(*field)?,
                };
                lengths.extend(lengths_of_field.map(|lengths| (*field, lengths)));
            }
            let lengths = terms::file_of_lengths(&lengths, &self.footer_of("fieldnorm")?, &self.object)?;
            let directory = directory.with_file("fieldnorm", lengths);
            let searcher = open_searcher(directory.clone()).map_err(failed)?;
            Ok((directory, searcher))
        })?;
        Ok(Self {
            object: self.object.clone(),
            schema: self.schema.clone(),
            present: self.present,
            searcher,
            directory,
            rows: self.rows,
            hot_bytes: 0,
            sparse: None,
        })
    }

    fn found_word<'a>(&self, sparse: &Sparse, field: Field, word: &'a str) -> Result<Option<FoundWord<'a>>> {
        if !sparse.fences.knows(field) {
            let info = self.info_at_hand(field, word)?;
            return Ok(info.map(|info| FoundWord { word, info, lengths: Vec::new() }));
        }
        let Some(place) = sparse.fences.place(field, word.as_bytes()) else { return Ok(None) };
        let block = self.read_terms(&place.block).map_err(|error| from_io(&self.object, &error))?;
        let found = terms::find(&block, word.as_bytes(), self.rows, &self.object)?;
        Ok(found.map(|(info, lengths)| FoundWord { word, info, lengths }))
    }

    /// The lengths of the rows that hold one of these words; 0 for all others. `reader` knows the words.
    fn lengths_of(&self, reader: &SegmentReader, field: Field, found: &[FoundWord<'_>]) -> Result<Vec<u8>> {
        let mut all = vec![0; self.rows as usize];
        let inverted = reader.inverted_index(field).map_err(|error| from_tantivy(&self.object, error))?;
        for word in found {
            let mut lengths = word.lengths.iter();
            let mut is_sound = true;
            let put = |row: DocId| match (all.get_mut(row as usize), lengths.next()) {
                (Some(place), Some(length)) => *place = *length,
                _ => is_sound = false,
            };
            terms::each_row(&inverted, &word.info, put).map_err(|error| from_io(&self.object, &error))?;
            if !is_sound || lengths.next().is_some() {
                return Err(Error::corrupt(&self.object, 0, "the term table does not fit its postings"));
            }
        }
        Ok(all)
    }

    /// The lengths of a field that is not in the term table, of every row one byte.
    fn stored_lengths(&self, field: Field) -> Result<Option<Vec<u8>>> {
        let failed = |error: std::io::Error| from_io(&self.object, &error);
        let file = self.reader().fieldnorms_readers().get_inner_file().open_read(field);
        file.map(|file| Ok(file.read_bytes().map_err(failed)?.to_vec())).transpose()
    }

    /// Of a term of a field whose dictionary is hot.
    fn info_at_hand(&self, field: Field, word: &str) -> Result<Option<TermInfo>> {
        let inverted = self.reader().inverted_index(field).map_err(|error| from_tantivy(&self.object, error))?;
        let info = inverted.get_term_info(&Term::from_field_text(field, word));
        info.map_err(|error| from_io(&self.object, &error))
    }

    /// Tantivy's own footer of a file; hot.
    fn footer_of(&self, name: &str) -> Result<OwnedBytes> {
        let failed = |error: std::io::Error| from_io(&self.object, &error);
        let cut = || Error::corrupt(&self.object, 0, format!("the file \"{name}\" ends early"));
        let file = self.directory.named(name).ok_or_else(cut)?;
        let length = tantivy::HasLen::len(file.as_ref());
        let trailer = length.checked_sub(FOOTER_TRAILER).ok_or_else(cut)?;
        let bytes = file.read_bytes(trailer..length).map_err(failed)?;
        let footer = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        file.read_bytes(trailer.checked_sub(footer).ok_or_else(cut)?..length).map_err(failed)
    }

    fn read_terms(&self, range: &Range<u64>) -> std::io::Result<OwnedBytes> {
        let file = self.directory.named(terms::FILE).ok_or(std::io::ErrorKind::NotFound)?;
        file.read_bytes(range.start as usize..range.end as usize)
    }
}

#[cfg(test)]
mod tests;
