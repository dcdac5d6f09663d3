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
use tantivy::directory::{FileHandle, OwnedBytes};
use tantivy::index::SegmentComponent;
use tantivy::postings::TermInfo;
use tantivy::schema::{Field, Term};

/// After this many queries the dictionary is worth its memory: from then on queries load it, and find it loaded.
const DICTIONARY_AFTER: usize = 16;
/// Views that are kept: a query makes one and uses it three times, a few queries run at a time, and a view has a byte for each row.
const VIEWS: usize = 4;
/// Bytes in front of a field's postings: its number of tokens.
pub(super) const POSTINGS_HEADER: usize = size_of::<u64>();
/// Bytes behind tantivy's footer: its length and a magic number.
const FOOTER_TRAILER: usize = 8;

/// The fields of a query with their terms, sorted.
type Words = Vec<(Field, Vec<String>)>;

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
        // Postings of the fields, as far as they are known.
        let mut postings: Vec<(Field, Range<usize>)> = Vec::new();
        let mut blocks = Vec::new();
        for (field, words) in &words {
            for word in words {
                if !sparse.fences.knows(*field) {
                    postings.extend(self.info_at_hand(*field, word)?.map(|info| (*field, info.postings_range)));
                } else if let Some(place) = sparse.fences.place(*field, word.as_bytes()) {
                    postings.push((*field, place.postings.start as usize..place.postings.end as usize));
                    blocks.push(place.block);
                }
            }
        }
        Ok(Some(directory::plan(|| {
            blocks.iter().for_each(|block| drop(self.read_terms(block)));
            for (field, postings) in postings {
                let postings = postings.start + POSTINGS_HEADER..postings.end + POSTINGS_HEADER;
                self.touch_range(SegmentComponent::Postings, field, postings);
                self.touch_lengths(sparse, field);
            }
        })))
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
        let failed = |error: std::io::Error| from_io(&self.object, &error);
        let blocks = directory::plan(|| {
            for (field, word) in words.iter().flat_map(|(field, words)| words.iter().map(move |word| (*field, word))) {
                if let Some(place) = sparse.fences.place(field, word.as_bytes()) {
                    drop(self.read_terms(&place.block));
                }
                self.touch_lengths(sparse, field);
            }
        });
        let (dictionaries, lengths) = self.directory.with_reads(blocks, || {
            let mut found: Vec<(Field, Vec<(&str, TermInfo)>)> = Vec::with_capacity(words.len());
            for (field, words) in words {
                let mut terms = Vec::with_capacity(words.len());
                for word in words {
                    let info = if !sparse.fences.knows(*field) {
                        self.info_at_hand(*field, word)?
                    } else if let Some(place) = sparse.fences.place(*field, word.as_bytes()) {
                        let block = self.read_terms(&place.block).map_err(failed)?;
                        terms::find(&block, word.as_bytes(), &self.object)?
                    } else {
                        None
                    };
                    terms.extend(info.map(|info| (word.as_str(), info)));
                }
                found.push((*field, terms));
            }
            let lengths =
                words.iter().filter_map(|(field, _)| Some((*field, self.lengths(sparse, *field).transpose()?)));
            let lengths = lengths.map(|(field, lengths)| Ok((field, lengths?))).collect::<Result<Vec<_>>>()?;
            Ok((
                terms::dictionaries(&found, &self.footer_of("term")?, &self.object)?,
                terms::file_of_lengths(&lengths, &self.footer_of("fieldnorm")?, &self.object)?,
            ))
        })?;
        let directory = self.directory.with_file("term", dictionaries).with_file("fieldnorm", lengths);
        let searcher = open_searcher(directory.clone()).map_err(|error| from_tantivy(&self.object, error))?;
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

    /// Of a term of a field whose dictionary is hot.
    fn info_at_hand(&self, field: Field, word: &str) -> Result<Option<TermInfo>> {
        let inverted = self.reader().inverted_index(field).map_err(|error| from_tantivy(&self.object, error))?;
        let info = inverted.get_term_info(&Term::from_field_text(field, word));
        info.map_err(|error| from_io(&self.object, &error))
    }

    /// Asks for the lengths of a field, while planning.
    fn touch_lengths(&self, sparse: &Sparse, field: Field) {
        match sparse.fences.lengths(field) {
            Some(range) => drop(self.read_terms(&range)),
            None => drop(self.reader().fieldnorms_readers().get_field(field)),
        }
    }

    /// The lengths of a field, of every row one byte.
    fn lengths(&self, sparse: &Sparse, field: Field) -> Result<Option<OwnedBytes>> {
        let failed = |error: std::io::Error| from_io(&self.object, &error);
        if let Some(range) = sparse.fences.lengths(field) {
            let frame = self.read_terms(&range).map_err(failed)?;
            return terms::lengths(&frame, self.rows, &self.object).map(|lengths| Some(OwnedBytes::new(lengths)));
        }
        let file = self.reader().fieldnorms_readers().get_inner_file().open_read(field);
        file.map(|file| file.read_bytes().map_err(failed)).transpose()
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
