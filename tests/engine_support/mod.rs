//! What PostgreSQL does for the engine, in memory: the write buffer, the segment catalog, and answers to `Need`.

#![allow(dead_code, missing_docs)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use elacsym::batch::{Batch, Budget, Candidate};
use elacsym::config::{EngineSettings, LogLevel, StorageConfig};
use elacsym::document::{Document, Patch};
use elacsym::engine::{Engine, Provider};
use elacsym::env::Env;
use elacsym::error::Result;
use elacsym::filter::Filter;
use elacsym::ids::{EntryId, EntryOrder, Key, NamespaceId, Op};
use elacsym::ipc::message::*;
use elacsym::rank::Fusion;
use elacsym::schema::NamespaceSchema;
use elacsym::segment_info::{DeleteVector, SegmentInfo};

/// A repeatable source of numbers.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 24) as f32
    }
}

pub fn settings(root: &Path) -> EngineSettings {
    EngineSettings {
        storage: StorageConfig { url: format!("file://{}", root.display()), ..StorageConfig::default() },
        cache_memory: 64 << 20,
        cache_disk: 0,
        cache_path: "".into(),
        result_cache: 0,
        engine_threads: 2,
        build_memory: 256 << 20,
        socket_path: "engine.sock".into(),
        log_level: LogLevel::Info,
        metrics_port: 0,
    }
}

pub async fn engine(root: &Path) -> Engine {
    Engine::new(settings(root), Env::system()).await.unwrap()
}

/// A published segment.
pub struct Published {
    pub info: SegmentInfo,
    pub version: u64,
    pub delete_vector: Vec<u8>,
    /// Transactions from this one on draw higher orders than all of its entries.
    pub horizon: u64,
}

/// A compaction that is not published yet.
pub struct Compaction {
    /// Id and delete vector of each input, as the compaction has read them.
    inputs: Vec<(String, Vec<u8>)>,
    pub result: CompactResult,
}

/// A row of `elacsym.wal`.
#[derive(Clone)]
pub struct WalRow {
    pub entry: BufferedEntry,
    pub payload: Vec<u8>,
    /// Of a patch: transactions from this one on began after it.
    pub horizon: u64,
}

impl WalRow {
    pub fn upsert(key: Key, order: EntryOrder, document: &Document) -> Self {
        let entry = BufferedEntry { id: EntryId { key, order }, op: Op::Upsert };
        Self { entry, payload: document.encode(), horizon: 0 }
    }

    pub fn delete(key: Key, order: EntryOrder) -> Self {
        Self { entry: BufferedEntry { id: EntryId { key, order }, op: Op::Delete }, payload: Vec::new(), horizon: 0 }
    }

    pub fn patch(key: Key, order: EntryOrder, patch: &Patch, horizon: u64) -> Self {
        Self { entry: BufferedEntry { id: EntryId { key, order }, op: Op::Patch }, payload: patch.encode(), horizon }
    }
}

/// One namespace with its tables.
pub struct Database {
    pub id: NamespaceId,
    pub schema: NamespaceSchema,
    pub root: String,
    pub generation: u64,
    pub segments: Vec<Published>,
    pub wal: Vec<WalRow>,
    /// Transactions before this one are over.
    pub oldest_running: u64,
    /// Of one flush.
    pub budget: Budget,
    pub tombstones: Vec<Tombstone>,
    /// Generation of the tombstones.
    pub log: u64,
    /// The next transaction: what a segment that is published now gets as its horizon.
    pub next_xid: u64,
}

impl Database {
    pub fn new(root: &Path, schema: NamespaceSchema) -> Self {
        Self {
            id: NamespaceId([7; 16]),
            schema,
            root: format!("file://{}", root.display()),
            generation: 0,
            segments: Vec::new(),
            wal: Vec::new(),
            oldest_running: u64::MAX,
            budget: Budget { rows: usize::MAX, bytes: u64::MAX },
            tombstones: Vec::new(),
            log: 1,
            next_xid: 0,
        }
    }

    pub fn upsert(&mut self, key: Key, order: EntryOrder, document: Document) {
        self.wal.push(WalRow::upsert(key, order, &document));
    }

    pub fn delete(&mut self, key: Key, order: EntryOrder) {
        self.wal.push(WalRow::delete(key, order));
    }

    pub fn view(&self) -> NamespaceView {
        NamespaceView {
            id: self.id,
            schema: self.schema.to_stored(),
            segments: self
                .segments
                .iter()
                .map(|s| SegmentView { info: s.info.clone(), delete_version: s.version })
                .collect(),
            buffered: self.wal.iter().map(|row| row.entry).collect(),
            tombstones: (!self.tombstones.is_empty())
                .then_some(TombstonesVersion { generation: self.log, count: self.tombstones.len() as u64 }),
        }
    }

    pub fn provider(&self) -> Backend<'_> {
        Backend { database: self, calls: 0, entries: 0, refuse: None }
    }

    pub fn query(&self) -> QueryRequest {
        QueryRequest {
            namespace: self.view(),
            arms: Vec::new(),
            order_by: Vec::new(),
            filter: None,
            top_k: 10,
            offset: 0,
            candidates: 100,
            fusion: Fusion::default(),
            modifiers: Vec::new(),
            per: None,
            effort: f32::INFINITY,
            include_vector: false,
            include_attributes: Vec::new(),
        }
    }

    pub async fn run(&self, engine: &Engine, request: QueryRequest) -> Result<Vec<ResultRow>> {
        Ok(engine.query(request, &mut self.provider()).await?.0)
    }

    pub async fn fetch(&self, engine: &Engine, keys: &[Key]) -> Result<Vec<ResultRow>> {
        let request = FetchRequest {
            namespace: self.view(),
            keys: keys.to_vec(),
            include_vector: true,
            include_attributes: self.schema.attributes.iter().map(|a| a.id).collect(),
        };
        Ok(engine.fetch(request, &mut self.provider()).await?.0)
    }

    /// Flush and publish, as the worker does in one transaction.
    pub async fn flush(&mut self, engine: &Engine) -> Result<FlushResult> {
        // By transaction, as the index of the buffer gives them.
        self.wal.sort_by_key(|row| row.entry.id.order.xid);
        let mut batch = Batch::new(self.oldest_running, self.budget);
        for row in &self.wal {
            let BufferedEntry { id, op } = row.entry;
            let bytes = row.payload.len() as u64;
            if !batch.offer(Candidate { id, op, horizon: row.horizon, bytes }, row.clone()) {
                break;
            }
        }
        let taken: Vec<BufferedEntry> = batch.finish().entries.into_iter().map(|row| row.entry).collect();
        let result = self.flush_entries(engine, taken.clone()).await?;
        self.wal.retain(|row| !taken.contains(&row.entry));
        Ok(result)
    }

    /// Makes one segment of these rows, which are not in the buffer, as a bulk write does.
    pub async fn bulk(&mut self, engine: &Engine, rows: Vec<WalRow>) -> Result<FlushResult> {
        let entries: Vec<BufferedEntry> = rows.iter().map(|row| row.entry).collect();
        let buffer = std::mem::replace(&mut self.wal, rows);
        let result = self.flush_entries(engine, entries).await;
        self.wal = buffer;
        result
    }

    async fn flush_entries(&mut self, engine: &Engine, buffered: Vec<BufferedEntry>) -> Result<FlushResult> {
        let request = FlushRequest {
            namespace: NamespaceView { buffered, ..self.view() },
            root: self.root.clone(),
            path: "cluster/1/namespace".to_string(),
            pin_keys: true,
        };
        let result = engine.flush(request, &mut self.provider()).await?;
        self.generation += 1;
        for (id, bytes) in &result.delete_vectors {
            let segment = self.segments.iter_mut().find(|s| s.info.id == *id).unwrap();
            segment.version = self.generation;
            segment.delete_vector = bytes.clone();
        }
        if let Some(info) = &result.segment {
            let horizon = self.next_xid;
            self.segments.push(Published { info: info.clone(), version: 0, delete_vector: Vec::new(), horizon });
        }
        // The delete vectors hold what they killed.
        self.tombstones.clear();
        self.log += 1;
        Ok(result)
    }

    /// The request to merge these segments. Every transaction before `complete` is over and has nothing in the buffer.
    pub fn compact_request(&self, chosen: &[usize], complete: u64) -> CompactRequest {
        let inputs = chosen.iter().map(|at| &self.segments[*at]).map(|segment| CompactInput {
            info: segment.info.clone(),
            delete_vector: segment.delete_vector.clone(),
            forget: segment.horizon <= complete,
        });
        CompactRequest {
            schema: self.schema.to_stored(),
            inputs: inputs.collect(),
            root: self.root.clone(),
            path: "cluster/1/namespace".to_string(),
            pin_keys: true,
        }
    }

    /// Merges these segments; nothing is published yet.
    pub async fn merge(&self, engine: &Arc<Engine>, chosen: &[usize], complete: u64) -> Result<Compaction> {
        let request = self.compact_request(chosen, complete);
        let inputs = request.inputs.iter().map(|i| (i.info.id.clone(), i.delete_vector.clone())).collect();
        Ok(Compaction { inputs, result: engine.compact(request).await? })
    }

    /// Replaces the inputs by what the compaction made, with what has died in them meanwhile carried over; returns how many rows
    /// that were.
    pub async fn publish(&mut self, engine: &Arc<Engine>, compaction: Compaction) -> Result<u64> {
        let (mut died, mut horizon) = (Vec::new(), 0);
        for (id, before) in &compaction.inputs {
            let at = self.segments.iter().position(|segment| segment.info.id == *id).unwrap();
            let segment = self.segments.remove(at);
            horizon = horizon.max(segment.horizon);
            let now = DeleteVector::decode(&segment.delete_vector, id)?.0;
            let died_since = now - DeleteVector::decode(before, id)?.0;
            if !died_since.is_empty() {
                died.push((segment.info, DeleteVector(died_since).encode()));
            }
        }
        self.generation += 1;
        let Some(info) = compaction.result.segment else { return Ok(0) };
        let (mut version, mut delete_vector, mut carried) = (0, Vec::new(), 0);
        if !died.is_empty() {
            let request = CarryRequest { schema: self.schema.to_stored(), output: info.clone(), died };
            delete_vector = engine.carry(request).await?;
            carried = DeleteVector::decode(&delete_vector, &info.id)?.0.len();
            version = self.generation;
        }
        self.segments.push(Published { info, version, delete_vector, horizon });
        Ok(carried)
    }

    /// Merges all segments into one, or none.
    pub async fn compact(&mut self, engine: &Arc<Engine>) -> Result<CompactResult> {
        let all: Vec<usize> = (0..self.segments.len()).collect();
        let compaction = self.merge(engine, &all, u64::MAX).await?;
        let result = compaction.result.clone();
        self.publish(engine, compaction).await?;
        Ok(result)
    }
}

/// Answers `Need` from the tables.
pub struct Backend<'a> {
    database: &'a Database,
    pub calls: usize,
    pub entries: usize,
    pub refuse: Option<elacsym::error::Error>,
}

#[async_trait]
impl Provider for Backend<'_> {
    async fn need(&mut self, entries: Vec<EntryId>, delete_vectors: Vec<String>, tombstones: bool) -> Result<Provided> {
        self.calls += 1;
        self.entries += entries.len();
        assert_eq!(self.calls, 1, "one Need for each request");
        if let Some(error) = self.refuse.take() {
            return Err(error);
        }
        let by_id: HashMap<EntryId, &WalRow> = self.database.wal.iter().map(|row| (row.entry.id, row)).collect();
        let entries = entries.into_iter().map(|id| ProvidedEntry { id, payload: by_id[&id].payload.clone() }).collect();
        let vectors = delete_vectors
            .into_iter()
            .map(|id| {
                let bytes = self.database.segments.iter().find(|s| s.info.id == id).unwrap().delete_vector.clone();
                (id, bytes)
            })
            .collect();
        let tombstones = if tombstones { self.database.tombstones.clone() } else { Vec::new() };
        Ok(Provided { entries, delete_vectors: vectors, tombstones })
    }
}

/// The naive model: what is true, and what BM25 counts.
#[derive(Default)]
pub struct Model {
    /// Highest committed entry of each key.
    pub truth: BTreeMap<Key, (EntryOrder, Option<Document>)>,
    /// Rows of segments, dead ones included.
    pub flushed: Vec<Document>,
    /// Keys whose highest entry is in the buffer.
    pub buffered: BTreeSet<Key>,
}

impl Model {
    pub fn apply(&mut self, key: Key, order: EntryOrder, document: Option<Document>) {
        if self.truth.get(&key).is_none_or(|(known, _)| *known < order) {
            self.truth.insert(key, (order, document));
            self.buffered.insert(key);
        }
    }

    pub fn flush(&mut self) {
        let rows = std::mem::take(&mut self.buffered);
        self.flushed.extend(rows.iter().filter_map(|key| self.truth[key].1.clone()));
    }

    pub fn alive<'a>(&'a self, filter: &'a Option<Filter>) -> impl Iterator<Item = (Key, &'a Document)> {
        self.truth
            .iter()
            .filter_map(|(key, (_, document))| document.as_ref().map(|d| (*key, d)))
            .filter(move |(_, document)| filter.as_ref().is_none_or(|filter| filter.matches(document)))
    }

    /// Documents BM25 counts.
    pub fn corpus(&self) -> Vec<&Document> {
        let buffered = self.buffered.iter().filter_map(|key| self.truth[key].1.as_ref());
        self.flushed.iter().chain(buffered).collect()
    }
}
