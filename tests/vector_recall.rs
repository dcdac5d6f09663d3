//! Recall on real embeddings, and that a filter never costs rows (INV-7).

use crate::vector_segment;

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use elacsym::vector::{BuildParams, Metric};
use roaring::RoaringBitmap;
use vector_segment::{Segment, Sequence, data, fvecs, ivecs, recall, synthetic};

/// Shared data: (dimension, corpus, queries), if it is there.
fn embeddings(set: &str) -> Option<(usize, Vec<f32>, Vec<f32>)> {
    let (dim, corpus) = fvecs(&data(&format!("{set}/corpus_emb.fvecs"))?);
    let (_, queries) = fvecs(&data(&format!("{set}/queries_emb.fvecs"))?);
    Some((dim, corpus, queries))
}

/// Mean recall@k over all queries with a filter, checking that every search returns min(k, allowed) sorted rows.
fn measure(segment: &Segment, queries: &[f32], k: usize, effort: f32, allowed: Option<&RoaringBitmap>) -> f64 {
    let expected = allowed.map_or(segment.head.rows(), |allowed| allowed.len() as usize).min(k);
    let (mut sum, mut lists, mut scanned, mut coded, mut reranked) = (0.0, 0, 0, 0, 0);
    segment.round_trips.store(0, Ordering::Relaxed);
    for query in queries.chunks_exact(segment.dim) {
        let (found, stats) = segment.search(query, k, effort, allowed);
        assert_eq!(found.len(), expected, "a search returns min(k, allowed rows)");
        assert!(found.is_sorted_by(|a, b| (a.1, a.0) < (b.1, b.0)), "sorted by distance, then ordinal");
        assert!(found.iter().all(|(row, _)| allowed.is_none_or(|allowed| allowed.contains(*row))), "only allowed rows");
        sum += recall(&found, &segment.exact(query, k, allowed));
        lists += stats.lists_probed;
        scanned += stats.rows_scanned;
        coded += stats.rows_coded;
        reranked += stats.rows_reranked;
    }
    let count = queries.len() / segment.dim;
    println!(
        "{} rows, {} lists, {}, k {k}, effort {effort}, allowed {}: recall {:.4}; per query {} lists, {} scanned, {} coded, {} reranked, {:.2} round trips",
        segment.head.rows(),
        segment.head.lists(),
        segment.metric,
        allowed.map_or(segment.head.rows() as u64, RoaringBitmap::len),
        sum / count as f64,
        lists / count,
        scanned / count,
        coded / count,
        reranked / count,
        segment.round_trips.load(Ordering::Relaxed) as f64 / count as f64,
    );
    sum / count as f64
}

#[test]
fn scifact_top_10_equals_exact_search() {
    let Some((dim, corpus, queries)) = embeddings("scifact") else { return };
    for metric in Metric::ALL {
        let segment = Segment::build(metric, dim, &corpus);
        assert_eq!(measure(&segment, &queries, 10, 1.0, None), 1.0, "{metric}");
    }
}

#[test]
fn arxiv_reaches_its_floor_against_the_published_neighbours() {
    let (Some((dim, corpus, queries)), Some(truth)) = (embeddings("arxiv"), data("arxiv/gt100.ivecs")) else { return };
    let segment = Segment::build(Metric::Cosine, dim, &corpus);
    let truth = ivecs(&truth);
    for (k, floor) in [(10, 0.999), (100, 0.999)] {
        let mut hits = 0;
        for (query, truth) in queries.chunks_exact(dim).zip(&truth) {
            let truth: HashSet<u32> = truth[..k].iter().copied().collect();
            let (found, _) = segment.search(query, k, 1.0, None);
            hits += found.iter().filter(|(ordinal, _)| truth.contains(&segment.order[*ordinal as usize])).count();
        }
        let recall = hits as f64 / (k * truth.len()) as f64;
        println!("arxiv recall@{k} against gt100: {recall:.4}");
        assert!(recall >= floor, "recall@{k} {recall}");
    }
    assert!(measure(&segment, &queries, 10, 1.0, None) >= 0.999);
}

#[test]
fn filters_never_cost_rows_or_recall() {
    let Some((dim, corpus, queries)) = embeddings("arxiv") else { return };
    let queries = &queries[..100 * dim];
    for metric in Metric::ALL {
        let segment = Segment::build(metric, dim, &corpus);
        let rows = segment.head.rows();
        let mut random = Sequence(1);
        for share in [0.5, 0.1, 0.01, 0.001, 0.0] {
            let allowed: RoaringBitmap = (0..rows as u32).filter(|_| f64::from(random.uniform()) < share).collect();
            assert!(measure(&segment, queries, 10, 1.0, Some(&allowed)) >= 0.99, "{metric} {share}");
        }
    }
}

/// A larger set, of which only some lists are probed: the policy at work, with random and with clustered filters.
/// `ELACSYM_VECTOR_ROWS` sets the number of rows.
#[test]
fn default_policy_holds_its_recall_on_more_rows() {
    let rows = std::env::var("ELACSYM_VECTOR_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(30_000);
    let dim = 128;
    let (corpus, queries) = synthetic(rows, 60, dim, 5);
    for (metric, floor) in [(Metric::L2, 0.95), (Metric::Dot, 0.9)] {
        let segment = Segment::build(metric, dim, &corpus);
        assert!(measure(&segment, &queries, 10, 1.0, None) >= floor);
        assert!(measure(&segment, &queries, 100, 1.0, None) >= floor);
        assert!(measure(&segment, &queries, 10, 3.0, None) >= 0.99);
        let mut random = Sequence(1);
        for share in [0.5, 0.1, 0.01, 0.001, 0.0] {
            let allowed: RoaringBitmap = (0..rows as u32).filter(|_| f64::from(random.uniform()) < share).collect();
            assert!(measure(&segment, &queries, 10, 1.0, Some(&allowed)) >= 0.95, "{metric} random {share}");
            let start = random.below(rows / 2) as u32;
            let clustered: RoaringBitmap = (start..start + (rows as f64 * share) as u32).collect();
            assert!(measure(&segment, &queries, 10, 1.0, Some(&clustered)) >= 0.95, "{metric} clustered {share}");
        }
    }
}

/// Real embeddings of several sources in one segment above the size that is scanned whole. Needs all shared sets.
#[test]
fn real_embeddings_reach_recall_with_default_policy() {
    let (Some((dim, mut corpus, mut queries)), Some((_, more, more_queries))) =
        (embeddings("arxiv"), embeddings("scifact"))
    else {
        return;
    };
    corpus.extend(more);
    queries.truncate(150 * dim);
    queries.extend(&more_queries[..150 * dim]);
    let params = BuildParams { metric: Metric::Cosine, dim, seed: 1, threads: 2, lists: None };
    let segment = Segment::build_with(&params, &corpus);
    assert!(measure(&segment, &queries, 10, 1.0, None) >= 0.97);
    assert!(measure(&segment, &queries, 100, 1.0, None) >= 0.97);
    assert!(measure(&segment, &queries, 10, 0.5, None) >= 0.9);
}
