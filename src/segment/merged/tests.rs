use super::*;
use crate::document::Value;
use crate::ids::EntryOrder;
use crate::segment::merged_keys::MergedKeysWriter;
use crate::segment::spill::Spill;
use crate::segment::{WriteOptions, write_segment};
use serde_json::json;

fn schema(id: &str) -> NamespaceSchema {
    let mut json = json!({"vector_dim": 20, "attributes": {
        "body": {"type": "string", "full_text": true}, "tags": "array_string", "year": "int", "sizes": "array_int"}});
    if id != "int" {
        json["id"] = json!(id);
    }
    NamespaceSchema::parse(&json).unwrap()
}

fn entries(count: i128, far: i128, schema: &NamespaceSchema) -> Vec<(EntryId, Document)> {
    let id = |name: &str| schema.attributes.iter().find(|attribute| attribute.name == name).unwrap().id;
    let mut state = 11_u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    };
    let mut document = |row: i128| {
        let words: Vec<String> = (0..random(30)).map(|_| format!("w{}", random(20) * random(20))).collect();
        let mut attributes = vec![(id("body"), Value::String(words.join(" ")))];
        if random(100) < 30 {
            attributes.push((id("tags"), Value::ArrayString((0..random(4)).map(|i| format!("t{i}")).collect())));
        }
        attributes.push((id("year"), Value::Int(row as i64 % 50)));
        attributes.push((id("sizes"), Value::ArrayInt((0..random(3)).map(|i| i as i64).collect())));
        attributes.sort_by_key(|(id, _)| *id);
        let vector = (random(100) < 80).then(|| (0..20).map(|_| random(2_001) as f32 / 1_000.0 - 1.0).collect());
        Document { vector, attributes }
    };
    let order = |row: i128| EntryOrder { seq: 10_000 - row as u64, xid: 5 };
    (0..count).map(|row| (EntryId { key: far + row * 3, order: order(row) }, document(row))).collect()
}

/// What a merge of two segments makes of these rows: keys in turns from one and the other.
fn merged(
    schema: &NamespaceSchema,
    entries: &[(EntryId, Document)],
    tombstones: &[EntryId],
    options: &MergeOptions,
) -> MergedSegment {
    let scratch = Scratch::new(None);
    // Rows are numbered by key within an input; so that both ways order rows alike, one input has the lower keys.
    let half = entries.len() / 2;
    let inputs = [&entries[..half], &entries[half..]];
    let by_ordinal = inputs.map(|input| {
        let (with, without): (Vec<_>, Vec<_>) = input.iter().partition(|(_, document)| document.vector.is_some());
        (with.len() as u64, with.into_iter().chain(without).collect::<Vec<_>>())
    });
    let mut keys = MergedKeysWriter::new(&scratch, by_ordinal.iter().map(|(vectors, _)| *vectors)).unwrap();
    let mut all: Vec<(EntryId, Option<(u32, u32)>)> = tombstones.iter().map(|id| (*id, None)).collect();
    for (input, (_, rows)) in (0..).zip(&by_ordinal) {
        all.extend((0..).zip(rows).map(|(ordinal, (id, _))| (*id, Some((input, ordinal)))));
    }
    all.sort_unstable_by_key(|(id, _)| *id);
    for (id, row) in all {
        match row {
            Some((input, ordinal)) => keys.row(id, input, ordinal).unwrap(),
            None => keys.tombstone(id).unwrap(),
        }
    }
    let mut spill = Spill::new(&scratch, schema.vector.map_or(0, |vector| vector.dim)).unwrap();
    let rows = by_ordinal.iter().flat_map(|(_, rows)| rows);
    rows.for_each(|(_, document)| spill.add(document.clone()).unwrap());
    let rows = spill.finish(keys.finish().unwrap()).unwrap();
    write_merged(schema, &rows, options, place(), &|_| ()).unwrap()
}

fn place() -> Place {
    Place { id: "01".to_string(), root: "file:///r".to_string(), path: "p/01".to_string() }
}

#[test]
fn the_same_rows_give_the_same_bytes_on_disk_as_in_memory() {
    for (id, count, far, text_bytes) in
        [("int", 1, 0, 1), ("int", 200, -90, 1), ("uuid", 3_000, 1 << 100, 256 << 10), ("int", 9_000, 0, 4 << 20)]
    {
        let schema = schema(id);
        let entries = entries(count, far, &schema);
        let tombstones: Vec<EntryId> =
            (0..count / 10).map(|i| EntryId { key: far + i * 30 + 1, order: EntryOrder { seq: 3, xid: 4 } }).collect();
        let in_memory =
            write_segment(&schema, entries.clone(), tombstones.clone(), &WriteOptions { threads: 2 }, place()).unwrap();
        // Texts go to the disk after every few documents.
        let options = MergeOptions { threads: 1, training_bytes: usize::MAX, text_bytes };
        let on_disk = merged(&schema, &entries, &tombstones, &options);
        assert_eq!(on_disk.info, in_memory.info);
        let whole = |file: &ScratchFile| file.read(0..file.len()).unwrap();
        assert!(on_disk.parquet.as_ref().map(whole) == in_memory.parquet.as_ref().map(|bytes| bytes.to_vec()));
        assert!(whole(&on_disk.index) == in_memory.index, "the index differs with {count} rows");
        assert_eq!(on_disk.key_records().unwrap(), in_memory.key_records());
    }
}

#[test]
fn batches_end_with_large_documents_in_both_ways_alike() {
    let schema = schema("int");
    let mut entries = entries(60, 0, &schema);
    for (_, document) in entries.iter_mut().step_by(3) {
        document.attributes[0].1 = Value::String("lorem ipsum ".repeat(100_000));
    }
    let in_memory = write_segment(&schema, entries.clone(), Vec::new(), &WriteOptions { threads: 1 }, place()).unwrap();
    let options = MergeOptions { threads: 1, training_bytes: usize::MAX, text_bytes: 1 << 20 };
    let on_disk = merged(&schema, &entries, &[], &options);
    let parquet = on_disk.parquet.unwrap();
    assert!(parquet.read(0..parquet.len()).unwrap() == in_memory.parquet.unwrap());
    assert!(on_disk.index.read(0..on_disk.index.len()).unwrap() == in_memory.index);
}

#[test]
fn only_tombstones_make_a_segment_without_row_file() {
    let schema = schema("int");
    let tombstones = [EntryId { key: 3, order: EntryOrder { seq: 1, xid: 1 } }];
    let options = MergeOptions { threads: 1, training_bytes: 1 << 20, text_bytes: 1 << 20 };
    let on_disk = merged(&schema, &[], &tombstones, &options);
    let in_memory =
        write_segment(&schema, Vec::new(), tombstones.to_vec(), &WriteOptions { threads: 1 }, place()).unwrap();
    assert!(on_disk.parquet.is_none() && on_disk.info == in_memory.info);
    assert!(on_disk.index.read(0..on_disk.index.len()).unwrap() == in_memory.index);
}

#[test]
fn a_full_disk_or_a_cancelled_merge_is_told_as_what_it_is() {
    let schema = schema("int");
    let entries = entries(2_000, 0, &schema);
    let scratch = Scratch::new(None);
    let (with, without): (Vec<_>, Vec<_>) = entries.iter().partition(|(_, document)| document.vector.is_some());
    let mut keys = MergedKeysWriter::new(&scratch, [with.len() as u64]).unwrap();
    let mut by_key: Vec<_> = (0..).zip(with.iter().chain(&without)).collect();
    by_key.sort_by_key(|(_, (id, _))| *id);
    by_key.iter().for_each(|(ordinal, (id, _))| keys.row(*id, 0, *ordinal).unwrap());
    let mut spill = Spill::new(&scratch, 20).unwrap();
    with.iter().chain(&without).for_each(|(_, document)| spill.add(document.clone()).unwrap());
    let rows = spill.finish(keys.finish().unwrap()).unwrap();
    // Deep inside of the writer of Parquet or of the text index.
    let left = std::sync::atomic::AtomicI64::new(3_000);
    scratch.set_check(Some(Arc::new(move || {
        let left = left.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        if left > 0 { Ok(()) } else { Err(Error::new(ErrorKind::Exhausted, "the disk is full")) }
    })));
    let options = MergeOptions { threads: 1, training_bytes: 1 << 30, text_bytes: 1 };
    let error = write_merged(&schema, &rows, &options, place(), &|_| ()).unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Exhausted, "the disk is full"));
}

#[test]
fn of_large_documents_only_a_few_are_in_memory_at_once() {
    const LARGE: usize = 1 << 20;
    let json = json!({"attributes": {"body": {"type": "string", "indexed": false}}});
    let schema = NamespaceSchema::parse(&json).unwrap();
    let scratch = Scratch::new(None);
    let mut keys = MergedKeysWriter::new(&scratch, [0]).unwrap();
    let mut spill = Spill::new(&scratch, 0).unwrap();
    for row in 0..40 {
        keys.row(EntryId { key: row.into(), order: EntryOrder { seq: 1, xid: 1 } }, 0, row).unwrap();
        let body = if row < 20 { "x".repeat(LARGE) } else { "y".to_string() };
        let attributes = vec![(schema.attributes[0].id, Value::String(body))];
        spill.add(Document { vector: None, attributes }).unwrap();
    }
    let rows = spill.finish(keys.finish().unwrap()).unwrap();
    let options = MergeOptions { threads: 1, training_bytes: 1 << 20, text_bytes: 1 << 20 };
    let batches = std::cell::RefCell::new(Vec::new());
    let on = |step| {
        if let MergeStep::Wrote(rows) = step {
            batches.borrow_mut().push(rows);
        }
    };
    assert_eq!(write_merged(&schema, &rows, &options, place(), &on).unwrap().info.rows, 40);
    let batches = batches.into_inner();
    assert_eq!((&batches[..10], &batches[10..]), (&[2; 10][..], &[20][..]), "2 MiB of documents at once");
}
