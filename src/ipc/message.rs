//! Requests and responses. Encoded with postcard; [`PROTOCOL_VERSION`] changes with every change of a type below.

use super::activity::Activity;
use crate::document::Value;
use crate::error::Error;
use crate::ids::{EntryId, EntryOrder, Key, NamespaceId, Op};
use crate::rank::{Fusion, Modifier, OrderBy, Per, Place};
use crate::schema::{AttributeId, FullTextOptions};
use crate::segment_info::SegmentInfo;
use serde::{Deserialize, Serialize};

mod compaction;
pub use compaction::{
    CarryRequest, CompactInput, CompactPhase, CompactProgress, CompactRequest, CompactResult, CompactState,
};
mod text;
pub use text::{CorpusRequest, CorpusStats, FieldStats, Operator, TextAnalysis, TextQuery};

/// Version of the messages; both sides must have the same.
pub const PROTOCOL_VERSION: u32 = 9;

/// What a backend or worker asks of the engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// First message of a connection.
    Hello {
        /// [`PROTOCOL_VERSION`] of the caller.
        protocol: u32,
        /// Version of the library (`CARGO_PKG_VERSION`).
        version: String,
    },
    /// Is anybody there?
    Ping,
    /// Top-k over a namespace.
    Query(Box<QueryRequest>),
    /// Documents by key.
    Fetch(Box<FetchRequest>),
    /// Builds and uploads a segment from buffered entries.
    Flush(Box<FlushRequest>),
    /// Writes `manifest.json` of a generation, put-if-absent.
    PutManifest {
        /// Storage root.
        root: String,
        /// Directory of the namespace below the root.
        path: String,
        /// Generation it describes.
        generation: u64,
        /// The manifest itself.
        json: String,
    },
    /// Deletes objects; missing ones are fine.
    DeleteObjects {
        /// Storage root.
        root: String,
        /// Keys below it.
        keys: Vec<String>,
    },
    /// Checks that the configured storage can be written and has conditional puts.
    CheckStorage,
    /// Figures of the engine.
    Stats,
    /// Starts a scan of an index and returns its first rows.
    ScanOpen(Box<ScanRequest>),
    /// The next rows of a scan that this connection opened.
    ScanNext {
        /// From [`Response::ScanRows`].
        scan: u64,
        /// Rows wanted.
        rows: u32,
    },
    /// Ends scans and scorers of this connection; unknown ones are fine.
    ScanClose {
        /// Their numbers.
        scans: Vec<u64>,
    },
    /// Keys of every live row of the view, for VACUUM and verification: in no order, each once.
    Keys(Box<KeysRequest>),
    /// Reads all bytes of a segment from storage, past every cache, and checks them. Answered by `Done`.
    CheckSegment {
        /// Stored form of the namespace's schema.
        schema: String,
        /// The catalog's description.
        info: Box<SegmentInfo>,
    },
    /// Whether each text matches a query; needs no index.
    TextMatch {
        /// How query and texts are analysed.
        options: FullTextOptions,
        /// Boolean query, as [`crate::filter::Filter::Match`].
        query: String,
        /// The texts.
        texts: Vec<String>,
    },
    /// Prepares BM25 of single texts by the statistics of an index; answered by [`Response::ScorerOpened`], ended by
    /// [`Request::ScanClose`].
    ScorerOpen(Box<ScorerRequest>),
    /// What BM25 counts for a query; answered by [`Response::Corpus`].
    Corpus(Box<CorpusRequest>),
    /// BM25 of texts by a scorer of this connection.
    ScoreTexts {
        /// From [`Response::ScorerOpened`].
        scorer: u64,
        /// The texts.
        texts: Vec<String>,
    },
    /// Answer to [`Response::Need`]; the last part has `last`.
    Provide {
        /// Payloads of buffered entries, CRC already verified by the sender.
        entries: Vec<ProvidedEntry>,
        /// Delete vectors: segment id and encoded bytes (`DeleteVector::encode`).
        delete_vectors: Vec<(String, Vec<u8>)>,
        /// The tombstones of the view, if they were asked for; all of them in the last part.
        tombstones: Vec<Tombstone>,
        /// No further part follows.
        last: bool,
    },
    /// What a ranking is made of, for who ranks it: an index, where the table decides which rows there are. Answered by
    /// [`Response::Candidates`].
    Candidates(Box<QueryRequest>),
    /// Documents by ascending id, answered as [`Request::Fetch`] is.
    Page(Box<PageRequest>),
    /// Which version of some documents is there, and whether it matches; answered by [`Response::Checked`].
    Check(Box<CheckRequest>),
    /// Counts and facets over everything live that matches; answered by [`Response::Aggregated`].
    Aggregate(Box<AggregateRequest>),
    /// How texts and queries are understood; answered by [`Response::Analysis`].
    TextAnalysis(Box<TextAnalysis>),
    /// Brings what is visible of a namespace or an index into the cache; answered by [`Response::Warmed`].
    Warm(Box<NamespaceView>),
    /// Starts a compaction; answered by [`Response::CompactStarted`], ended by [`Request::ScanClose`].
    Compact(Box<CompactRequest>),
    /// How far a compaction of this connection is; answered by [`Response::Compacting`].
    CompactPoll {
        /// From [`Response::CompactStarted`].
        compaction: u64,
        /// How long to wait for its end.
        wait_ms: u32,
    },
    /// Which rows of a compaction's segment have died meanwhile; answered by [`Response::Carried`].
    Carry(Box<CarryRequest>),
    /// A page of a listing; answered by [`Response::Objects`].
    ListObjects {
        /// Storage root.
        root: String,
        /// What the keys begin with.
        prefix: String,
        /// Only keys above this one.
        after: Option<String>,
        /// Most objects, at most [`crate::limits::MAX_LISTED_OBJECTS`]. Fewer are the last.
        limit: u32,
    },
    /// Puts a mark, an object whose name says all ([`crate::garbage::marks`]), unless it is there.
    PutMark {
        /// Storage root.
        root: String,
        /// Key below it.
        key: String,
        /// For people who look into the bucket.
        text: String,
    },
    /// Ends uploads in parts that a crash left unfinished below a prefix; no listing shows them.
    AbortUploads {
        /// Storage root.
        root: String,
        /// What the keys begin with.
        prefix: String,
        /// Only those that began so many seconds ago.
        age_seconds: u64,
    },
    /// Asks whether this server is alone in using a cluster's prefix; the error `Fenced` names another one.
    Claim {
        /// Storage root.
        root: String,
        /// Whose prefix.
        cluster: NamespaceId,
        /// Also says so in storage, for as long.
        announce: Option<u64>,
    },
    /// Figures of the engine for Prometheus; answered by [`Response::Metrics`].
    Metrics,
    /// What the engine is doing; answered by [`Response::Activity`].
    Activity,
}

/// What the engine answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Response {
    /// Answer to `Hello`.
    Hello {
        /// [`PROTOCOL_VERSION`] of the engine.
        protocol: u32,
        /// Version of the engine.
        version: String,
        /// Process id of the engine.
        pid: u32,
    },
    /// Done, nothing to say (`Ping`, `PutManifest`, `DeleteObjects`, `CheckStorage`, `CheckSegment`, `PutMark`,
    /// `AbortUploads`, `Claim`).
    Done,
    /// The engine needs these before it can answer.
    Need {
        /// Buffered entries whose payload it lacks.
        entries: Vec<EntryId>,
        /// Segments whose delete vector it lacks.
        delete_vectors: Vec<String>,
        /// It lacks the tombstones of this version of the view.
        tombstones: bool,
    },
    /// Rows of a query or fetch; further parts follow until `last`.
    Rows {
        /// In rank order.
        rows: Vec<ResultRow>,
        /// No further part follows; `stats` is of the whole request.
        last: bool,
        /// Filled in the last part.
        stats: RequestStats,
    },
    /// Result of a flush.
    Flushed(Box<FlushResult>),
    /// Figures, as a JSON object.
    Stats(String),
    /// Rows of a scan; further parts follow until `last`.
    ScanRows {
        /// Number of the scan on this connection.
        scan: u64,
        /// In the scan's order.
        rows: Vec<ScanRow>,
        /// Nothing is left in the scan; the engine has forgotten it.
        exhausted: bool,
        /// No further part of this answer follows.
        last: bool,
        /// Of the whole scan so far; filled in the last part.
        stats: RequestStats,
    },
    /// Keys of live rows; further parts follow until `last`.
    Keys {
        /// The keys.
        keys: Vec<KeyInfo>,
        /// No further part follows.
        last: bool,
    },
    /// Answer to `TextMatch`, one for each text.
    Matches(Vec<bool>),
    /// Answer to `ScorerOpen`.
    ScorerOpened {
        /// Number of the scorer on this connection; shares its numbers with scans.
        scorer: u64,
    },
    /// Answer to `Corpus`.
    Corpus(CorpusStats),
    /// Answer to `ScoreTexts`: BM25 of each text, 0 where no term matches.
    Scores(Vec<f32>),
    /// The request failed; the connection stays usable.
    Error(Error),
    /// Answer to `Candidates`; further parts follow until `last`.
    Candidates {
        /// In no order; of an order by attributes, in that order.
        rows: Vec<CandidateRow>,
        /// No further part follows; `stats` is of the whole request.
        last: bool,
        /// Filled in the last part.
        stats: RequestStats,
    },
    /// Answer to `Check`, in the order of its keys; further parts follow until `last`.
    Checked {
        /// One for each key.
        states: Vec<KeyState>,
        /// No further part follows.
        last: bool,
    },
    /// Answer to `Aggregate`.
    Aggregated {
        /// Rows that match.
        count: u64,
        /// The facets, as a JSON object.
        facets: String,
        /// What it cost.
        stats: RequestStats,
    },
    /// Answer to `TextAnalysis`, as JSON.
    Analysis(String),
    /// Answer to `Warm`.
    Warmed {
        /// Objects of which parts are at hand.
        objects: u64,
        /// Bytes that are.
        bytes: u64,
    },
    /// Answer to `Compact`.
    CompactStarted {
        /// Number of the compaction on this connection; shares its numbers with scans.
        compaction: u64,
    },
    /// Answer to `CompactPoll`.
    Compacting(CompactState),
    /// Answer to `Carry`: a delete vector, encoded.
    Carried(Vec<u8>),
    /// Answer to `ListObjects`, by key.
    Objects(Vec<StoredObject>),
    /// Answer to `Metrics`, in Prometheus' text format.
    Metrics(String),
    /// Answer to `Activity`.
    Activity(Vec<Activity>),
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredObject {
    /// Key below the root.
    pub key: String,
    /// Its size.
    pub bytes: u64,
    /// When it was last written, by the store's clock: microseconds since 1970.
    pub modified: i64,
}

/// The visible state of a namespace, as the reader's snapshot has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NamespaceView {
    /// Identity.
    pub id: NamespaceId,
    /// Stored form of the schema.
    pub schema: String,
    /// Live segments.
    pub segments: Vec<SegmentView>,
    /// Visible entries of the write buffer; order does not matter.
    pub buffered: Vec<BufferedEntry>,
    /// Tombstones that VACUUM left in an index; None for a namespace and for an index without any.
    pub tombstones: Option<TombstonesVersion>,
}

impl NamespaceView {
    /// Of a namespace that holds nothing: where a view is put in later.
    pub fn nothing() -> Self {
        Self {
            id: NamespaceId([0; 16]),
            schema: String::new(),
            segments: Vec::new(),
            buffered: Vec::new(),
            tombstones: None,
        }
    }
}

/// Which state of an index's tombstone log a view belongs to. Within one generation the log only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TombstonesVersion {
    /// Changes whenever the log is trimmed.
    pub generation: u64,
    /// Tombstones in it.
    pub count: u64,
}

/// VACUUM's note that a key is dead: every entry of it with a seq up to this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tombstone {
    /// The key.
    pub key: Key,
    /// Entries of it with this seq or a lower one are dead.
    pub seq: u64,
}

/// In which order a scan returns rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ScanOrder {
    /// In none.
    Unordered,
    /// By distance to the vector; then rows whose distance is not a number ([`crate::schema::ZERO_VECTOR`]), then rows
    /// without a vector.
    Distance {
        /// The query vector, with the schema's dimension.
        vector: Vec<f32>,
    },
    /// By falling BM25; then rows that match no term (score 0), then rows without the attribute.
    Bm25 {
        /// A full-text attribute.
        attribute: AttributeId,
        /// The words.
        query: String,
        /// What the view is part of; None: it is all.
        corpus: Option<CorpusStats>,
    },
}

/// Starts a scan over everything live in a view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScanRequest {
    /// What to scan.
    pub namespace: NamespaceView,
    /// In which order.
    pub order: ScanOrder,
    /// Rows that do not match are left out.
    pub filter: Option<crate::filter::Filter>,
    /// 1.0 = default; larger probes more; infinity = exact.
    pub effort: f32,
    /// Rows wanted in the first answer.
    pub rows: u32,
    /// Scans and scorers that end with this, as by [`Request::ScanClose`].
    pub close: Vec<u64>,
}

/// One row of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ScanRow {
    /// The key.
    pub key: Key,
    /// Value of the ORDER BY operator: distance, or negated BM25. NaN: not a number. None: null (no vector or text), and
    /// for every row of an unordered scan.
    pub value: Option<f32>,
}

/// Which keys to list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeysRequest {
    /// Of what.
    pub namespace: NamespaceView,
    /// Also return the CRC32 of each row's values, which reads every row.
    pub checksums: bool,
}

/// One key that is live in a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInfo {
    /// The entry.
    pub id: EntryId,
    /// CRC32 of `Document::encode` of its values; 0 if not asked for.
    pub crc: u32,
}

/// Prepares BM25 of single texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScorerRequest {
    /// Whose statistics count.
    pub namespace: NamespaceView,
    /// A full-text attribute.
    pub attribute: AttributeId,
    /// The words.
    pub query: String,
    /// What the view is part of; None: it is all.
    pub corpus: Option<CorpusStats>,
}

/// One segment of a view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentView {
    /// The catalog's description.
    pub info: SegmentInfo,
    /// Version of its delete vector, never used for another one of this segment; 0 means it has none.
    pub delete_version: u64,
}

/// One visible row of `elacsym.wal`, without its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BufferedEntry {
    /// Identity.
    pub id: EntryId,
    /// What it does.
    pub op: Op,
}

/// What [`Request::Provide`] brings, all parts together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Provided {
    /// Payloads of buffered entries.
    pub entries: Vec<ProvidedEntry>,
    /// Delete vectors by segment id.
    pub delete_vectors: Vec<(String, Vec<u8>)>,
    /// Tombstones, if they were asked for.
    pub tombstones: Vec<Tombstone>,
}

/// The payload of a buffered entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProvidedEntry {
    /// Identity.
    pub id: EntryId,
    /// `Document::encode`.
    pub payload: Vec<u8>,
}

/// What one arm looks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ArmQuery {
    /// The nearest rows to a vector, which is checked against the schema.
    Vector(Vec<f32>),
    /// The rows with the highest BM25.
    Text {
        /// The query.
        text: TextQuery,
        /// What the view is part of; None: it is all.
        corpus: Option<CorpusStats>,
    },
}

/// One arm of a query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmRequest {
    /// What it looks for.
    pub query: ArmQuery,
    /// What it counts in the fusion.
    pub weight: f32,
}

/// A page of a ranking: by the fusion of arms, or by attributes. Either `arms` or `order_by` is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueryRequest {
    /// What to search.
    pub namespace: NamespaceView,
    /// What to search for.
    pub arms: Vec<ArmRequest>,
    /// Without arms: the order.
    pub order_by: Vec<OrderBy>,
    /// Filter, checked against the schema.
    pub filter: Option<crate::filter::Filter>,
    /// Rows wanted. For [`Request::Candidates`] of an order by attributes: its first rows.
    pub top_k: usize,
    /// Rows before them.
    pub offset: usize,
    /// Rows of each arm in the first block of the ranking ([`crate::rank::Ranking`]). For [`Request::Candidates`]: rows of
    /// each arm.
    pub candidates: usize,
    /// How the arms are joined.
    pub fusion: Fusion,
    /// What the fused score is multiplied with.
    pub modifiers: Vec<Modifier>,
    /// Limit per group.
    pub per: Option<Per>,
    /// 1.0 = default; larger probes more; infinity = exact.
    pub effort: f32,
    /// Return vectors.
    pub include_vector: bool,
    /// Attributes to return.
    pub include_attributes: Vec<AttributeId>,
}

impl QueryRequest {
    /// With another arm, of weight 1.
    #[must_use]
    pub fn and_vector(self, vector: Vec<f32>) -> Self {
        self.and_arm(ArmQuery::Vector(vector), 1.0)
    }

    /// With another arm, of weight 1.
    #[must_use]
    pub fn and_text(self, text: TextQuery) -> Self {
        self.and_arm(ArmQuery::Text { text, corpus: None }, 1.0)
    }

    /// With another arm.
    #[must_use]
    pub fn and_arm(mut self, query: ArmQuery, weight: f32) -> Self {
        self.arms.push(ArmRequest { query, weight });
        self
    }
}

/// A row that may be part of a ranking.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CandidateRow {
    /// The key.
    pub key: Key,
    /// Distance or BM25 in each arm that holds it among its best.
    pub values: Vec<Option<f32>>,
    /// The product of the modifiers.
    pub factor: f64,
    /// The value of the attribute of `per`.
    pub group: Option<Value>,
    /// Values of the attributes of `order_by`.
    pub sort: Vec<Option<Value>>,
}

/// What to count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AggregateRequest {
    /// In what.
    pub namespace: NamespaceView,
    /// Rows that do not match are left out.
    pub filter: Option<crate::filter::Filter>,
    /// What is wanted beside the number of rows.
    pub facets: Vec<crate::aggregate::Facet>,
}

/// Documents by key; missing ones are left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FetchRequest {
    /// Where.
    pub namespace: NamespaceView,
    /// Which.
    pub keys: Vec<Key>,
    /// Return vectors.
    pub include_vector: bool,
    /// Attributes to return.
    pub include_attributes: Vec<AttributeId>,
}

/// The first documents by ascending id that match.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PageRequest {
    /// Where.
    pub namespace: NamespaceView,
    /// Documents that do not match are left out.
    pub filter: Option<crate::filter::Filter>,
    /// Only keys above this one. Of a namespace with text ids nothing: see `after_text`.
    pub after: Option<Key>,
    /// Of a namespace with text ids, whose pages are by ascending id: only ids above this one.
    pub after_text: Option<String>,
    /// Documents wanted, at most [`crate::limits::MAX_PAGE_ROWS`].
    pub rows: u32,
    /// Return vectors.
    pub include_vector: bool,
    /// Attributes to return.
    pub include_attributes: Vec<AttributeId>,
}

/// Asks for the state of some documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckRequest {
    /// Where.
    pub namespace: NamespaceView,
    /// Keys, each with the number of a filter. At most [`crate::limits::MAX_PAGE_ROWS`].
    pub keys: Vec<(Key, u32)>,
    /// The filters, checked against the schema.
    pub filters: Vec<crate::filter::Filter>,
}

/// The state of one document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyState {
    /// Which version is there; None: there is no document.
    pub order: Option<EntryOrder>,
    /// It is there and matches its filter.
    pub matches: bool,
}

/// One result. Ranks are 1-based.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ResultRow {
    /// The document.
    pub key: Key,
    /// Its id, where ids are texts.
    pub id: Option<String>,
    /// Larger is better. One arm without modifiers: its own score ([`crate::rank::ArmKind::score`]). Else the fused one. 0
    /// where nothing was searched for.
    pub score: f32,
    /// Rank in the vector arm, if it is among its candidates; of several, in the one where it ranks best.
    pub vector_rank: Option<u32>,
    /// Exact distance there, as the SQL operator returns it.
    pub vector_distance: Option<f32>,
    /// Rank in the text arm, if it is among its candidates; of several, in the one where it ranks best.
    pub text_rank: Option<u32>,
    /// BM25 there.
    pub text_score: Option<f32>,
    /// Place in each arm.
    pub arms: Vec<Option<Place>>,
    /// The vector, if asked for and there is one.
    pub vector: Option<Vec<f32>>,
    /// The attributes asked for that are not null, as a JSON object; None if none were asked for.
    pub attributes: Option<String>,
}

/// What one request cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct RequestStats {
    pub segments: u64,
    pub buffered: u64,
    pub lists_probed: u64,
    pub rows_scanned: u64,
    pub rows_reranked: u64,
    pub object_requests: u64,
    pub object_bytes: u64,
    pub cache_hits: u64,
    pub cache_misses: u64,
    pub engine_micros: u64,
}

/// Build one segment of the buffered entries of `namespace`, upload it, and find what they supersede.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlushRequest {
    /// State to flush: all of `buffered` that is not dead goes into the segment, `segments` are the ones it and the
    /// tombstones may make rows of dead. May have tombstones and nothing buffered.
    pub namespace: NamespaceView,
    /// Storage root to write to.
    pub root: String,
    /// Directory of the namespace below the root.
    pub path: String,
    /// The engine is to keep the segment's keys on its own disk: VACUUM of an index lists them without object storage.
    pub pin_keys: bool,
}

/// What a flush made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlushResult {
    /// The new segment; None if every entry was superseded or dead.
    pub segment: Option<SegmentInfo>,
    /// For each older segment with newly dead rows: id and its new complete delete vector (encoded).
    pub delete_vectors: Vec<(String, Vec<u8>)>,
    /// Statistics for the view, as a JSON object (row counts by attribute, timings).
    pub stats: String,
}
