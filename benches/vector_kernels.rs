//! Time per vector of every stage: rotation, quantisation, one-bit scan, 8-bit codes, exact distances; every kernel set
//! that this CPU has. `cargo bench --bench vector_kernels`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use elacsym::vector::Metric;
use elacsym::vector::distance::distances;
use elacsym::vector::rabitq::{
    Block, BlockWriter, QueryCodes, block_len, eight_bit, one_bit, read_row, row_len, write_row,
};
use elacsym::vector::rotate::Rotation;
use elacsym::vector::simd::{BLOCK, BlockEstimates, ListTerms, TILE_COLUMNS, TILE_ROWS, available, force, kernels};

const ROWS: usize = 4096;

fn rows(dim: usize) -> Vec<f32> {
    let mut state = 1u64;
    (0..ROWS * dim)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

fn stages(criterion: &mut Criterion) {
    for dim in [384, 768, 1536] {
        let rows = rows(dim);
        let rotation = Rotation::new(dim, 1);
        let query = &rows[..dim];
        let origin = vec![0.0; dim];
        let (mut blocks, mut codes, mut code) = (Vec::new(), Vec::new(), Vec::new());
        let mut writer = BlockWriter::new(dim);
        for row in rows.chunks_exact(dim) {
            let factors = one_bit(Metric::L2, row, &origin, &mut code);
            writer.push(&code, &factors, &mut blocks);
            let factors = eight_bit(Metric::L2, row, &origin, &mut code);
            write_row(&code, &factors, &mut codes);
        }
        for set in available() {
            force(Some(set.name));
            let mut group = criterion.benchmark_group(format!("{dim}/{}", set.name));
            group
                .sample_size(20)
                .measurement_time(std::time::Duration::from_secs(1))
                .throughput(Throughput::Elements(ROWS as u64));
            group.bench_function(BenchmarkId::from_parameter("rotate"), |bencher| {
                let mut scratch = rows.clone();
                bencher.iter(|| scratch.chunks_exact_mut(dim).for_each(|row| rotation.rotate(row)));
            });
            group.bench_function(BenchmarkId::from_parameter("quantise 1 + 8 bits"), |bencher| {
                bencher.iter(|| {
                    let (mut blocks, mut codes) = (Vec::new(), Vec::new());
                    let mut writer = BlockWriter::new(dim);
                    for row in rows.chunks_exact(dim) {
                        let factors = one_bit(Metric::L2, row, &origin, &mut code);
                        writer.push(&code, &factors, &mut blocks);
                        let factors = eight_bit(Metric::L2, row, &origin, &mut code);
                        write_row(&code, &factors, &mut codes);
                    }
                    (blocks, codes)
                });
            });
            let prepared = QueryCodes::new(query);
            group.bench_function(BenchmarkId::from_parameter("scan 1 bit"), |bencher| {
                let terms = ListTerms {
                    step: prepared.step,
                    bias: prepared.bias,
                    add: 1.0,
                    multiply_add: 1.0,
                    error: prepared.block_error(1.6, 1.0),
                    error_floor: prepared.table_error,
                };
                bencher.iter(|| {
                    let (mut sums, mut out, mut mask) = ([0; BLOCK], BlockEstimates::new(), 0);
                    for block in blocks.chunks_exact(block_len(dim)) {
                        let block = Block::read(block, dim).unwrap();
                        (kernels().fast_scan)(block.codes, &prepared.table, &mut sums);
                        mask ^= (kernels().estimate)(&sums, &block.factors(), &terms, 0.0, &mut out);
                    }
                    mask
                });
            });
            group.bench_function(BenchmarkId::from_parameter("8-bit codes"), |bencher| {
                bencher.iter(|| {
                    let products = codes
                        .chunks_exact(row_len(dim))
                        .map(|row| prepared.code_product(read_row(row, dim).unwrap().0));
                    products.sum::<f32>()
                });
            });
            for metric in [Metric::Cosine, Metric::L2, Metric::Dot] {
                group.bench_function(BenchmarkId::from_parameter(format!("exact {metric}")), |bencher| {
                    bencher.iter(|| distances(metric, black_box(query), &rows));
                });
            }
            group.finish();
            let mut group = criterion.benchmark_group(format!("{dim}/{}", set.name));
            group.sample_size(20).measurement_time(std::time::Duration::from_secs(1));
            group.bench_function(BenchmarkId::from_parameter("prepare query"), |bencher| {
                bencher.iter(|| QueryCodes::new(black_box(query)));
            });
            // Rows times columns times depth multiplications and as many additions.
            group.throughput(Throughput::Elements((ROWS * TILE_COLUMNS * dim * 2) as u64));
            group.bench_function(BenchmarkId::from_parameter("tile (flop)"), |bencher| {
                let panel = &rows[..TILE_COLUMNS * dim];
                let mut out = [0.0; TILE_ROWS * TILE_COLUMNS];
                bencher.iter(|| {
                    for quad in rows.chunks_exact(TILE_ROWS * dim) {
                        (kernels().tile)(quad, dim, panel, &mut out);
                    }
                    out
                });
            });
            group.finish();
            force(None);
        }
    }
}

criterion_group!(benches, stages);
criterion_main!(benches);
