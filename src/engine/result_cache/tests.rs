use super::*;
use crate::ids::NamespaceId;
use crate::ipc::message::{BufferedEntry, NamespaceView, SegmentView, TextQuery, TombstonesVersion};
use crate::segment_info::SegmentInfo;

fn request() -> QueryRequest {
    let info = SegmentInfo {
        id: "s".into(),
        root: "file:///r".into(),
        path: "p/s".into(),
        format: 1,
        rows: 1,
        vectors: 1,
        tombstones: 0,
        parquet_bytes: 1,
        index_bytes: 1,
        tail_bytes: 1,
        min_key: 1,
        max_key: 1,
        min_seq: 1,
        max_seq: 1,
    };
    let namespace = NamespaceView {
        id: NamespaceId([1; 16]),
        schema: "{}".into(),
        segments: vec![SegmentView { info, delete_version: 3 }],
        buffered: vec![entry(1)],
        tombstones: Some(TombstonesVersion { generation: 1, count: 2 }),
    };
    let request = QueryRequest {
        namespace,
        arms: Vec::new(),
        order_by: Vec::new(),
        filter: None,
        top_k: 10,
        offset: 0,
        candidates: 100,
        fusion: Default::default(),
        modifiers: Vec::new(),
        per: None,
        effort: 1.0,
        include_vector: false,
        include_attributes: Vec::new(),
    };
    request.and_vector(vec![1.0, 0.0]).and_text(TextQuery::of_attribute(0, "word".into()))
}

fn entry(seq: u64) -> BufferedEntry {
    use crate::ids::{EntryId, EntryOrder, Op};
    BufferedEntry { id: EntryId { key: 1, order: EntryOrder { seq, xid: 1 } }, op: Op::Upsert }
}

fn row(key: i128) -> ResultRow {
    ResultRow { key, attributes: Some("{}".into()), ..ResultRow::default() }
}

#[test]
fn the_same_question_has_the_same_answer_and_any_other_has_none() {
    let cache = ResultCache::new(1 << 20);
    let stats = RequestStats { segments: 1, buffered: 1, object_requests: 9, lists_probed: 4, ..Default::default() };
    let question = |request: &QueryRequest| cache.question(Asked::Rows, request).unwrap();
    assert!(cache.get(&question(&request())).is_none());
    cache.keep_rows(question(&request()), vec![row(5)], &stats);
    let Some((Answer::Rows(rows), stats)) = cache.get(&question(&request())) else { panic!("known") };
    assert_eq!(rows, [row(5)]);
    let nothing_read = RequestStats { segments: 1, buffered: 1, ..Default::default() };
    assert_eq!(stats, nothing_read);
    type Change = fn(&mut QueryRequest);
    let changes: [Change; 14] = [
        |r| r.namespace.id = NamespaceId([2; 16]),
        |r| r.namespace.schema = "{ }".into(),
        |r| r.namespace.segments[0].info.id = "t".into(),
        |r| r.namespace.segments[0].delete_version = 4,
        |r| r.namespace.segments.clear(),
        |r| r.namespace.buffered.push(entry(2)),
        |r| r.namespace.buffered[0] = entry(2),
        |r| r.namespace.buffered[0].op = crate::ids::Op::Delete,
        |r| r.namespace.tombstones = None,
        |r| r.namespace.tombstones = Some(TombstonesVersion { generation: 1, count: 3 }),
        |r| r.effort = 2.0,
        |r| r.top_k = 11,
        |r| r.arms[0].query = crate::ipc::message::ArmQuery::Vector(vec![1.0, -0.0]),
        |r| r.include_vector = true,
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut other = request();
        change(&mut other);
        assert!(cache.get(&question(&other)).is_none(), "change {number}");
    }
    assert!(cache.get(&cache.question(Asked::Candidates, &request()).unwrap()).is_none());
}

#[test]
fn equal_hashes_are_not_equal_questions() {
    let cache = ResultCache::new(1 << 20);
    cache.keep_rows(Question { hash: 1, bytes: vec![1] }, vec![row(1)], &RequestStats::default());
    assert!(cache.get(&Question { hash: 1, bytes: vec![2] }).is_none());
    assert!(cache.get(&Question { hash: 1, bytes: vec![1] }).is_some());
}

#[test]
fn answers_stay_within_the_budget_and_none_is_kept_without_one() {
    let cache = ResultCache::new(0);
    assert!(cache.question(Asked::Rows, &request()).is_none());
    cache.resize(64 << 10);
    for number in 0..1_000 {
        let question = cache.question(Asked::Rows, &QueryRequest { top_k: number, ..request() }).unwrap();
        cache.keep_rows(question, (0..10).map(row).collect(), &RequestStats::default());
    }
    let (count, bytes) = cache.kept.usage();
    assert!(count > 1 && bytes <= 64 << 10, "{count} answers of {bytes} bytes");
    let question = cache.question(Asked::Rows, &request()).unwrap();
    cache.keep_rows(question, (0..1_000).map(row).collect(), &RequestStats::default());
    assert!(
        cache
            .get(&cache.question(Asked::Rows, &request()).unwrap())
            .is_none_or(|(answer, _)| { matches!(answer, Answer::Rows(rows) if rows.len() == 10) })
    );
    let mut long = request();
    long.namespace.buffered = (0..100_000).map(entry).collect();
    assert!(cache.question(Asked::Rows, &long).is_none(), "too long to be kept");
    cache.resize(0);
    assert_eq!(cache.kept.usage(), (0, 0));
}
