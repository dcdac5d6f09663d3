//! Builds the text part of a segment: one tantivy segment whose document ids are the segment's ordinals.

use crate::document::Document;
use crate::error::Result;
use crate::schema::NamespaceSchema;

/// The files of one tantivy segment, to be stored in `search.idx`, and what opening them reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextBundle {
    /// Name (`meta.json`, `term`, `idx`, `pos`, `fieldnorm`, `fast`, `store`) and bytes, sorted by name. The same schema and
    /// documents give the same bytes.
    pub files: Vec<(String, Vec<u8>)>,
    /// The bytes of the files that opening a segment reads; goes into the tail of `search.idx`.
    pub hotcache: Vec<u8>,
}

/// Collects documents in ordinal order.
pub struct TextBuilder {}

impl TextBuilder {
    /// A builder for that schema. Starts no thread; everything is in memory until [`Self::finish`].
    pub fn new(schema: &NamespaceSchema) -> Result<Self> {
        let _ = schema;
        unimplemented!()
    }

    /// Adds the document of the next ordinal (0, 1, …). Values longer than a term can be are an error.
    pub fn add(&mut self, document: &Document) -> Result<()> {
        let _ = document;
        unimplemented!()
    }

    /// About how much memory the builder holds, in bytes.
    pub fn memory_bytes(&self) -> usize {
        unimplemented!()
    }

    /// Writes the files and the hotcache.
    pub fn finish(self) -> Result<TextBundle> {
        unimplemented!()
    }
}

/// Builds a bundle of documents in ordinal order.
pub fn build<'a>(schema: &NamespaceSchema, documents: impl IntoIterator<Item = &'a Document>) -> Result<TextBundle> {
    let mut builder = TextBuilder::new(schema)?;
    for document in documents {
        builder.add(document)?;
    }
    builder.finish()
}
