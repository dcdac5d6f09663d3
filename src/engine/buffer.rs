//! Decoded entries of the write buffer, shared by all queries.

use std::sync::Arc;

use super::bounded::Bounded;
use super::permits::CpuPool;
use crate::document::Document;
use crate::error::{Error, Result};
use crate::ids::{EntryId, NamespaceId};
use crate::ipc::message::ProvidedEntry;
use crate::schema::NamespaceSchema;
use crate::text::{AnalyzedDocument, Analyzers};

/// One buffered upsert, or what patches have made of a document, decoded and analysed.
#[derive(Debug)]
pub struct BufferedDocument {
    /// Which entry.
    pub id: EntryId,
    /// Its values.
    pub document: Document,
    /// Its terms.
    pub analyzed: AnalyzedDocument,
    bytes: usize,
}

impl BufferedDocument {
    /// Analyses a document; `payload_bytes` is its encoded length.
    pub fn new(analyzers: &mut Analyzers, id: EntryId, document: Document, payload_bytes: usize) -> Self {
        let analyzed = AnalyzedDocument::new(analyzers, &document);
        // Strings and vectors take what they take in the payload, plus a header for each value.
        let values = document.attributes.len() * 64;
        let bytes = size_of::<Self>() + payload_bytes + values + analyzed.memory_bytes();
        Self { id, document, analyzed, bytes }
    }

    /// About how much memory it holds, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.bytes
    }
}

/// An entry as the cache knows it. The schema's hash is part of the name: terms depend on the analysers.
type Name = (NamespaceId, u64, EntryId);

/// Entries already decoded, within a budget.
#[derive(Debug)]
pub struct BufferCache {
    entries: Bounded<Name, Arc<BufferedDocument>>,
}

impl BufferCache {
    /// An empty cache of that many bytes.
    pub fn new(budget: usize) -> Self {
        Self { entries: Bounded::new(budget) }
    }

    /// Entries and bytes held now.
    pub fn usage(&self) -> (usize, usize) {
        self.entries.usage()
    }

    /// Changes the budget.
    pub fn resize(&self, budget: usize) {
        self.entries.resize(budget);
    }

    /// A decoded entry.
    pub fn get(&self, namespace: NamespaceId, schema_hash: u64, id: EntryId) -> Option<Arc<BufferedDocument>> {
        self.entries.get(&(namespace, schema_hash, id))
    }

    /// Decodes, analyses and remembers payloads.
    ///
    /// # Errors
    /// `Corrupt` for a payload that cannot be read or does not fit the schema.
    pub async fn decode(
        &self,
        cpu: &CpuPool,
        namespace: NamespaceId,
        schema: &Arc<NamespaceSchema>,
        schema_hash: u64,
        provided: Vec<ProvidedEntry>,
    ) -> Result<Vec<Arc<BufferedDocument>>> {
        if provided.is_empty() {
            return Ok(Vec::new());
        }
        let schema = schema.clone();
        let decoded = cpu
            .run(move |cancel| {
                let mut analyzers = Analyzers::new(&schema);
                let mut decoded = Vec::with_capacity(provided.len());
                for entry in provided {
                    cancel.check()?;
                    decoded.push(Arc::new(decode(&schema, &mut analyzers, &entry)?));
                }
                Ok(decoded)
            })
            .await?;
        for entry in &decoded {
            self.entries.insert((namespace, schema_hash, entry.id), entry.clone(), entry.bytes);
        }
        Ok(decoded)
    }
}

fn decode(schema: &NamespaceSchema, analyzers: &mut Analyzers, entry: &ProvidedEntry) -> Result<BufferedDocument> {
    let what = format!("write buffer entry {} at {}/{}", entry.id.key, entry.id.order.seq, entry.id.order.xid);
    let document = Document::decode(&entry.payload, &what)?;
    if let Some(vector) = &document.vector {
        Document::check_vector(schema, vector).map_err(|error| Error::corrupt(&what, 0, error))?;
    }
    if document.attributes.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
        return Err(Error::corrupt(&what, 0, "its attributes are not in order"));
    }
    Ok(BufferedDocument::new(analyzers, entry.id, document, entry.payload.len()))
}
