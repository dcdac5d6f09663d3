//! Build time and queries per second against recall, ours and rabitq-rs on the same data in one run, one thread.
//! `ELACSYM_VECTOR_ROWS` (default 100000) and `ELACSYM_VECTOR_DIM` (default 384, at most 1024 for the comparison) choose
//! the synthetic set. `cargo bench --bench vector_search`.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../tests/vector_segment/mod.rs"]
mod vector_segment;

use std::collections::HashSet;
use std::time::Instant;

use elacsym::vector::{BuildParams, Metric};
use rabitq::rotation::RotatorType;
use roaring::RoaringBitmap;
use vector_segment::{Segment, Sequence, data, fvecs, recall, synthetic};

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn main() {
    let (rows, dim) = (number("ELACSYM_VECTOR_ROWS", 100_000), number("ELACSYM_VECTOR_DIM", 384));
    let (corpus, queries) = synthetic(rows, 300, dim, 5);
    compare("synthetic", dim, &corpus, &queries);
    if let (Some(corpus), Some(queries)) = (data("arxiv/corpus_emb.fvecs"), data("arxiv/queries_emb.fvecs")) {
        let (dim, corpus) = fvecs(&corpus);
        compare("arxiv", dim, &corpus, &fvecs(&queries).1);
    }
}

fn compare(name: &str, dim: usize, corpus: &[f32], queries: &[f32]) {
    let rows = corpus.len() / dim;
    let count = queries.len() / dim;
    println!("== {name}: {rows} x {dim}, {count} queries, cosine, one thread");
    let start = Instant::now();
    let params = BuildParams { metric: Metric::Cosine, dim, seed: 1, threads: 1, lists: None };
    let built = elacsym::vector::build(&params, corpus).unwrap();
    println!(
        "ours: build {:.2} s; head {} KiB, postings {:.1} B and row codes {:.1} B per row",
        start.elapsed().as_secs_f64(),
        built.head.len() >> 10,
        built.postings.len() as f64 / rows as f64,
        built.row_codes.len() as f64 / rows as f64
    );
    drop(built);
    let segment = Segment::build_with(&params, corpus);
    let truth: Vec<_> = queries.chunks_exact(dim).map(|query| segment.exact(query, 100, None)).collect();
    for k in [10, 100] {
        for effort in [0.25, 0.5, 1.0, 2.0, 4.0] {
            let start = Instant::now();
            let found: Vec<_> = queries.chunks_exact(dim).map(|query| segment.search(query, k, effort, None)).collect();
            let seconds = start.elapsed().as_secs_f64();
            let sum: f64 = found.iter().zip(&truth).map(|((found, _), truth)| recall(found, &truth[..k])).sum();
            let mean =
                |f: fn(&elacsym::vector::SearchStats) -> usize| found.iter().map(|(_, s)| f(s)).sum::<usize>() / count;
            println!(
                "ours k {k} effort {effort}: recall {:.4}, {:.0} queries/s; {} lists, {} scanned, {} coded, {} reranked",
                sum / count as f64,
                count as f64 / seconds,
                mean(|s| s.lists_probed),
                mean(|s| s.rows_scanned),
                mean(|s| s.rows_coded),
                mean(|s| s.rows_reranked)
            );
        }
    }
    let mut random = Sequence(1);
    for share in [0.5, 0.1, 0.01, 0.001] {
        let allowed: RoaringBitmap = (0..rows as u32).filter(|_| f64::from(random.uniform()) < share).collect();
        let start = Instant::now();
        let found: Vec<_> =
            queries.chunks_exact(dim).map(|query| segment.search(query, 10, 1.0, Some(&allowed)).0).collect();
        let seconds = start.elapsed().as_secs_f64();
        let sum: f64 = found
            .iter()
            .zip(queries.chunks_exact(dim))
            .map(|(found, query)| recall(found, &segment.exact(query, 10, Some(&allowed))))
            .sum();
        let speed = count as f64 / seconds;
        println!("ours k 10, {} allowed: recall {:.4}, {speed:.0} queries/s", allowed.len(), sum / count as f64);
    }
    if dim > 1024 {
        println!("rabitq-rs: not run, it overflows above 1024 dimensions");
        return;
    }
    // The pool of that library is global: one thread for it, too.
    let vectors: Vec<Vec<f32>> = corpus.chunks_exact(dim).map(<[f32]>::to_vec).collect();
    for bits in [1, 7] {
        let start = Instant::now();
        let index = rabitq::ivf::IvfRabitqIndex::train(
            &vectors,
            segment.head.lists(),
            bits,
            rabitq::Metric::L2,
            RotatorType::FhtKacRotator,
            1,
            true,
        )
        .unwrap();
        println!("rabitq-rs {bits} bits: build {:.2} s", start.elapsed().as_secs_f64());
        for probes in [8, 16, 32, 64] {
            let start = Instant::now();
            let found: Vec<_> = queries
                .chunks_exact(dim)
                .map(|query| index.search(query, rabitq::ivf::SearchParams::new(10, probes)).unwrap())
                .collect();
            let seconds = start.elapsed().as_secs_f64();
            let hits: usize = found
                .iter()
                .zip(&truth)
                .map(|(found, truth)| {
                    let truth: HashSet<usize> =
                        truth[..10].iter().map(|(ordinal, _)| segment.order[*ordinal as usize] as usize).collect();
                    found.iter().filter(|result| truth.contains(&result.id)).count()
                })
                .sum();
            println!(
                "rabitq-rs {bits} bits, k 10, {probes} probes: recall {:.4}, {:.0} queries/s",
                hits as f64 / (10 * count) as f64,
                count as f64 / seconds
            );
        }
    }
}
