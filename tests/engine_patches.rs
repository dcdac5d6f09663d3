//! Patches: every interleaving of transactions, flushes, compactions and bulk writes gives what the entries of a key give in their order.

#![allow(clippy::unwrap_used)]

use crate::engine_support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use elacsym::batch::Budget;
use elacsym::document::{Document, Patch, Value};
use elacsym::engine::Engine;
use elacsym::filter::Filter;
use elacsym::ids::{EntryOrder, Key, Op};
use elacsym::ipc::message::{CheckRequest, KeyState, PageRequest, TextQuery};
use elacsym::schema::NamespaceSchema;
use engine_support::{Compaction, Database, Random, WalRow, engine};
use serde_json::json;

const DIM: usize = 4;
const BODY: u16 = 0;
const COUNT: u16 = 1;
const KEYS: u64 = 7;

fn schema() -> NamespaceSchema {
    let plain = json!({"stemming": false, "remove_stopwords": false});
    NamespaceSchema::parse(&json!({"vector_dim": DIM, "vector_metric": "l2", "attributes": {
        "body": {"type": "string", "full_text": plain}, "count": "int", "flag": "bool", "tags": "array_string"}}))
    .unwrap()
}

fn vector(random: &mut Random) -> Vec<f32> {
    (0..DIM).map(|_| random.unit()).collect()
}

fn values(random: &mut Random) -> Vec<(u16, Value)> {
    let mut values = Vec::new();
    if random.chance(50) {
        values.push((BODY, Value::String(format!("w{} w{}", random.below(5), random.below(5)))));
    }
    if random.chance(50) {
        values.push((COUNT, Value::Int(random.below(5) as i64)));
    }
    if random.chance(50) {
        values.push((2, Value::Bool(random.chance(50))));
    }
    if random.chance(50) {
        values.push((3, Value::ArrayString(vec![format!("t{}", random.below(3))])));
    }
    values
}

fn document(random: &mut Random) -> Document {
    Document { vector: random.chance(70).then(|| vector(random)), attributes: values(random) }
}

fn patch(random: &mut Random) -> Patch {
    let set = values(random);
    let removed = (0..4).filter(|id| !set.iter().any(|(s, _)| s == id) && random.chance(20)).collect();
    let new_vector = random.chance(20).then(|| vector(random));
    let vector = if random.chance(10) { Some(None) } else { new_vector.map(Some) };
    Patch { vector, set, removed }
}

/// Everything committed, by key and order.
#[derive(Default)]
struct History(BTreeMap<Key, BTreeMap<EntryOrder, (Op, Vec<u8>)>>);

impl History {
    fn add(&mut self, row: &WalRow) {
        let of_key = self.0.entry(row.entry.id.key).or_default();
        of_key.insert(row.entry.id.order, (row.entry.op, row.payload.clone()));
    }

    fn documents(&self) -> BTreeMap<Key, Document> {
        let mut documents = BTreeMap::new();
        for (key, entries) in &self.0 {
            let mut now: Option<Document> = None;
            for (op, payload) in entries.values() {
                match op {
                    Op::Upsert => now = Some(Document::decode(payload, "model").unwrap()),
                    Op::Delete => now = None,
                    Op::Patch => {
                        if let Some(document) = &mut now {
                            Patch::decode(payload, "model").unwrap().apply(document);
                        }
                    }
                }
            }
            documents.extend(now.map(|document| (*key, document)));
        }
        documents
    }
}

struct World {
    random: Random,
    database: Database,
    history: History,
    next_xid: u64,
    seq: u64,
    /// What open transactions have written.
    running: BTreeMap<u64, Vec<WalRow>>,
    /// A bulk write that holds the flush lock.
    bulk: Option<(u64, Vec<WalRow>)>,
    /// A compaction that is not published yet.
    merged: Option<Compaction>,
    counts: Counts,
}

/// What compactions have met.
#[derive(Default)]
struct Counts {
    /// Dead entries that were forgotten, and that had to stay.
    forgotten: u64,
    kept: u64,
    /// Rows that died while a compaction was under way.
    carried: u64,
    /// Nothing was left.
    empty: u64,
}

impl World {
    fn begin(&mut self) -> u64 {
        let xid = self.next_xid;
        self.next_xid += 1;
        self.running.insert(xid, Vec::new());
        xid
    }

    /// As the position in the log: rises with every record, and two sessions may see the same.
    fn order(&mut self, xid: u64) -> EntryOrder {
        self.seq += self.random.below(2);
        let last = self.running[&xid].last().map_or(0, |row| row.entry.id.order.seq);
        self.seq = self.seq.max(last + 1);
        EntryOrder { seq: self.seq, xid }
    }

    fn some_transaction(&mut self) -> Option<u64> {
        let bulk = self.bulk.as_ref().map(|(xid, _)| *xid);
        let open: Vec<u64> = self.running.keys().copied().filter(|xid| Some(*xid) != bulk).collect();
        (!open.is_empty()).then(|| open[self.random.below(open.len() as u64) as usize])
    }

    fn write(&mut self, xid: u64) {
        let key = self.random.below(KEYS) as Key;
        let order = self.order(xid);
        let row = match self.random.below(10) {
            0..=2 => WalRow::upsert(key, order, &document(&mut self.random)),
            3 => WalRow::delete(key, order),
            _ => {
                // Others may begin between the order and the horizon.
                for _ in 0..self.random.below(3) {
                    self.begin();
                }
                WalRow::patch(key, order, &patch(&mut self.random), self.next_xid)
            }
        };
        self.running.get_mut(&xid).unwrap().push(row);
    }

    fn end(&mut self, xid: u64) {
        let rows = self.running.remove(&xid).unwrap();
        if self.random.chance(85) {
            rows.iter().for_each(|row| self.history.add(row));
            self.database.wal.extend(rows);
        }
    }

    fn start_bulk(&mut self) {
        let xid = self.begin();
        let order = self.order(xid);
        let keys: BTreeSet<Key> = (0..1 + self.random.below(4)).map(|_| self.random.below(KEYS) as Key).collect();
        let rows = keys.into_iter().map(|key| WalRow::upsert(key, order, &document(&mut self.random))).collect();
        self.bulk = Some((xid, rows));
    }

    async fn end_bulk(&mut self, engine: &Engine) {
        let Some((xid, rows)) = self.bulk.take() else { return };
        self.running.remove(&xid);
        if self.random.chance(85) {
            self.database.next_xid = self.next_xid;
            self.database.bulk(engine, rows.clone()).await.unwrap();
            rows.iter().for_each(|row| self.history.add(row));
        }
    }

    async fn flush(&mut self, engine: &Engine) {
        self.database.oldest_running = self.running.keys().next().copied().unwrap_or(self.next_xid);
        let rows = if self.random.chance(50) { 1 + self.random.below(6) as usize } else { usize::MAX };
        self.database.budget = Budget { rows, bytes: u64::MAX };
        self.database.next_xid = self.next_xid;
        self.database.flush(engine).await.unwrap();
    }

    /// Every transaction before this one is over and has nothing in the buffer.
    fn complete(&self) -> u64 {
        let buffered = self.database.wal.iter().map(|row| row.entry.id.order.xid);
        buffered.chain(self.running.keys().copied()).fold(self.next_xid, u64::min)
    }

    /// Merges some segments, or publishes what was merged before.
    async fn compact(&mut self, engine: &Arc<Engine>) {
        if let Some(merged) = self.merged.take() {
            self.counts.carried += self.database.publish(engine, merged).await.unwrap();
            return;
        }
        let all = 0..self.database.segments.len();
        let chosen: Vec<usize> = all.filter(|_| self.random.chance(60)).collect();
        if chosen.is_empty() {
            return;
        }
        let complete = self.complete();
        let (mut dead, mut forgotten) = (0, 0);
        for segment in chosen.iter().map(|at| &self.database.segments[*at]) {
            dead += segment.info.tombstones;
            forgotten += if segment.horizon <= complete { segment.info.tombstones } else { 0 };
        }
        let merged = self.database.merge(engine, &chosen, complete).await.unwrap();
        self.counts.forgotten += forgotten;
        self.counts.kept += merged.result.segment.as_ref().map_or(0, |info| info.tombstones);
        self.counts.empty += u64::from(merged.result.segment.is_none());
        assert!(dead >= forgotten);
        self.merged = Some(merged);
    }

    async fn states(&self, engine: &Engine, filter: &Filter) -> Vec<KeyState> {
        let keys = (0..KEYS as Key).map(|key| (key, 0)).collect();
        let request = CheckRequest { namespace: self.database.view(), keys, filters: vec![filter.clone()] };
        engine.check(request, &mut self.database.provider()).await.unwrap()
    }

    async fn check(&mut self, engine: &Engine, what: &str) {
        let expected = self.history.documents();
        let all: Vec<Key> = (0..KEYS as Key).collect();
        let rows = self.database.fetch(engine, &all).await.unwrap();
        let keys: Vec<Key> = rows.iter().map(|row| row.key).collect();
        assert_eq!(keys, expected.keys().copied().collect::<Vec<_>>(), "fetch, {what}");
        for row in &rows {
            let document = &expected[&row.key];
            let attributes = document.attributes_json(&self.database.schema, None).to_string();
            assert_eq!(
                (&row.vector, row.attributes.as_ref()),
                (&document.vector, Some(&attributes)),
                "{what}: {row:?}"
            );
        }
        let count = json!({"field": "count", "op": "gte", "value": 2});
        let filter = Filter::parse(&self.database.schema, &count).unwrap();
        let states = self.states(engine, &filter).await;
        for (key, state) in (0..).zip(&states) {
            let document = expected.get(&key);
            let matches = document.is_some_and(|document| filter.matches(document));
            assert_eq!((state.order.is_some(), state.matches), (document.is_some(), matches), "key {key}, {what}");
        }
        let page = PageRequest {
            namespace: self.database.view(),
            filter: Some(filter.clone()),
            after: None,
            after_text: None,
            rows: 100,
            include_vector: false,
            include_attributes: Vec::new(),
        };
        let rows = engine.page(page, &mut self.database.provider()).await.unwrap().0;
        let matching: Vec<Key> =
            expected.iter().filter(|(_, document)| filter.matches(document)).map(|(key, _)| *key).collect();
        assert_eq!(rows.iter().map(|row| row.key).collect::<Vec<_>>(), matching, "page, {what}");

        let query = self.database.query().and_vector(vector(&mut self.random));
        let rows = self.database.run(engine, query).await.unwrap();
        let mut found: Vec<Key> = rows.iter().map(|row| row.key).collect();
        found.sort_unstable();
        let with_vector = expected.iter().filter(|(_, document)| document.vector.is_some()).map(|(key, _)| *key);
        assert_eq!(found, with_vector.collect::<Vec<_>>(), "vectors, {what}");

        let text = TextQuery::of_attribute(BODY, "w1".to_string());
        let query = self.database.query().and_text(text);
        let rows = self.database.run(engine, query).await.unwrap();
        let mut found: Vec<Key> = rows.iter().map(|row| row.key).collect();
        found.sort_unstable();
        let holds =
            |document: &Document| matches!(document.get(BODY), Some(Value::String(text)) if text.contains("w1"));
        let with_word = expected.iter().filter(|(_, document)| holds(document)).map(|(key, _)| *key);
        assert_eq!(found, with_word.collect::<Vec<_>>(), "text, {what}");
    }
}

async fn scenario(seed: u64) -> Counts {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::new(directory.path(), schema());
    let mut running = Arc::new(engine(directory.path()).await);
    let mut world = World {
        random: Random::new(seed),
        database,
        history: History::default(),
        next_xid: 100,
        seq: 1000,
        running: BTreeMap::new(),
        bulk: None,
        merged: None,
        counts: Counts::default(),
    };
    for step in 0..250 {
        let what = format!("seed {seed}, step {step}");
        match world.random.below(25) {
            0..=1 => drop(world.begin()),
            2..=10 => {
                let xid = world.some_transaction().unwrap_or(world.next_xid);
                if !world.running.contains_key(&xid) {
                    world.begin();
                }
                world.write(xid);
            }
            11..=14 => {
                if let Some(xid) = world.some_transaction() {
                    world.end(xid);
                    world.check(&running, &format!("{what}, after a commit")).await;
                }
            }
            15 if world.bulk.is_none() => world.start_bulk(),
            15..=16 => {
                world.end_bulk(&running).await;
                world.check(&running, &format!("{what}, after a bulk write")).await;
            }
            17 if world.random.chance(20) => running = Arc::new(engine(directory.path()).await),
            // A quiet moment: nothing runs, and everything is in segments.
            24 if world.bulk.is_none() => {
                while let Some(xid) = world.running.keys().next().copied() {
                    world.end(xid);
                }
                world.flush(&running).await;
                world.check(&running, &format!("{what}, after a quiet moment")).await;
            }
            // Publishing takes the flush lock.
            20..=23 if world.bulk.is_none() || world.merged.is_none() => {
                let filter = Filter::And(Vec::new());
                let before = world.states(&running, &filter).await;
                world.compact(&running).await;
                assert_eq!(world.states(&running, &filter).await, before, "versions, {what}, after a compaction");
                world.check(&running, &format!("{what}, after a compaction")).await;
            }
            _ if world.bulk.is_none() => {
                let filter = Filter::And(Vec::new());
                let before = world.states(&running, &filter).await;
                world.flush(&running).await;
                assert_eq!(world.states(&running, &filter).await, before, "versions, {what}, after a flush");
                world.check(&running, &format!("{what}, after a flush")).await;
            }
            _ => {}
        }
    }
    // Once nothing runs, one flush takes all.
    world.end_bulk(&running).await;
    while let Some(xid) = world.running.keys().next().copied() {
        world.end(xid);
    }
    world.database.oldest_running = world.next_xid;
    world.database.budget = Budget { rows: usize::MAX, bytes: u64::MAX };
    world.database.flush(&running).await.unwrap();
    assert!(world.database.wal.is_empty(), "seed {seed}");
    world.check(&running, &format!("seed {seed}, at the end")).await;
    // Then nothing dead is needed any more.
    if let Some(merged) = world.merged.take() {
        world.database.publish(&running, merged).await.unwrap();
    }
    world.database.compact(&running).await.unwrap();
    assert!(world.database.segments.iter().all(|segment| segment.info.tombstones == 0), "seed {seed}");
    assert!(world.database.segments.len() <= 1, "seed {seed}");
    world.check(&running, &format!("seed {seed}, compacted")).await;
    world.counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_3_patches_count_in_order_whatever_runs_beside_them() {
    let seeds = std::env::var("ENGINE_MODEL_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(12);
    let mut all = Counts::default();
    for seed in 1..=seeds {
        let counts = scenario(seed).await;
        all.forgotten += counts.forgotten;
        all.kept += counts.kept;
        all.carried += counts.carried;
        all.empty += counts.empty;
    }
    let Counts { forgotten, kept, carried, empty } = all;
    println!(
        "dead entries: {forgotten} forgotten, {kept} kept, {carried} carried over; {empty} times nothing was left"
    );
    assert!(forgotten > 0 && kept > 0 && carried > 0, "the compactions met nothing of interest");
}

fn order(seq: u64) -> EntryOrder {
    EntryOrder { seq, xid: 1 }
}

#[tokio::test]
async fn what_patches_make_is_remembered_until_the_next_patch_of_the_same_document() {
    let directory = tempfile::tempdir().unwrap();
    let mut database = Database::new(directory.path(), schema());
    let engine = engine(directory.path()).await;
    let mut random = Random::new(1);
    for key in 0..3 {
        database.upsert(key, order(key as u64 + 1), document(&mut random));
    }
    database.flush(&engine).await.unwrap();
    let set = |count| Patch { set: vec![(COUNT, Value::Int(count))], ..Patch::default() };
    for key in 0..3 {
        database.wal.push(WalRow::patch(key, order(10 + key as u64), &set(key as i64), 2));
    }
    let mut provider = database.provider();
    let mut query = database.query().and_vector(vec![0.0; DIM]);
    engine.query(query.clone(), &mut provider).await.unwrap();
    assert_eq!(provider.entries, 3);
    database.wal.push(WalRow::patch(2, order(20), &set(9), 2));
    let mut provider = database.provider();
    query.namespace = database.view();
    engine.query(query, &mut provider).await.unwrap();
    assert_eq!(provider.entries, 2, "both patches of the one document, nothing of the others");
    let rows = database.fetch(&engine, &[2]).await.unwrap();
    assert!(rows[0].attributes.as_ref().unwrap().contains("\"count\":9"));
}

#[tokio::test]
async fn a_patch_that_does_not_fit_the_schema_is_corrupt() {
    let directory = tempfile::tempdir().unwrap();
    let mut database = Database::new(directory.path(), schema());
    let engine = engine(directory.path()).await;
    database.upsert(1, order(1), Document::default());
    let wrong = Patch { vector: Some(Some(vec![1.0])), ..Patch::default() };
    database.wal.push(WalRow::patch(1, order(2), &wrong, 2));
    let error = database.fetch(&engine, &[1]).await.unwrap_err();
    assert_eq!(error.kind, elacsym::error::ErrorKind::Corrupt);
    assert!(error.message.contains("write buffer entry 1 at 2/1"), "{error}");
}
