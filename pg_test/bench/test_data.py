"""The generator makes what its description says, and files are read as they are."""

import itertools

import numpy as np
import pytest

from bench import words
from bench.data import BLOCK, Absent, Block, Dataset, Fvecs, Generated, Parquet, open_dataset, questions_of
from bench.filters import FILTERS, NONE, Attributes, scatter
from bench.options import parse


def rows_of(dataset: Dataset) -> np.ndarray:
    return np.concatenate([block.vectors for block in dataset.blocks()])


def write_fvecs(path, vectors: np.ndarray) -> None:
    path.write_bytes(np.concatenate([np.full((len(vectors), 1), vectors.shape[1], "<i4"), vectors.astype("<f4").view("<i4")], axis=1).tobytes())


def test_the_same_seed_gives_the_same_rows_queries_and_texts():
    one, two, other = Generated(300, 24, 300, seed=3), Generated(300, 24, 300, seed=3), Generated(300, 24, 300, seed=4)
    assert np.array_equal(rows_of(one), rows_of(two)) and not np.array_equal(rows_of(one), rows_of(other))
    assert np.array_equal(one.queries(20), two.queries(20)) and list(one.texts()) == list(two.texts())
    assert one.questions(20) == two.questions(20) != other.questions(20)
    assert one.identity() == two.identity() != other.identity()


def test_a_smaller_generated_set_is_the_start_of_a_larger_one():
    small, large = Generated(BLOCK + 50, 8, 0), Generated(BLOCK + 2000, 8, 0)
    assert np.array_equal(rows_of(small), rows_of(large)[: BLOCK + 50])
    assert [block.first for block in large.blocks()] == [0, BLOCK]


def test_generated_rows_are_unit_vectors_in_clusters_of_low_dimension_and_queries_are_farther_off():
    dataset = Generated(4000, 128, 0)
    rows, queries = rows_of(dataset), dataset.queries(200)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    spread = np.linalg.svd(rows - rows.mean(0), compute_uv=False) ** 2
    # uniform noise would put 48/128 of the variance there
    assert spread[:48].sum() / spread.sum() > 0.7
    near_rows, near_queries = (np.sort(x @ rows.T, axis=1)[:, -2].mean() for x in (rows[:200], queries))
    anywhere = (rows[:200] @ rows[200:].T).mean()
    assert near_rows > near_queries + 0.05 > anywhere + 0.2


def test_inserted_rows_are_not_the_loaded_ones():
    dataset = Generated(500, 16, 0)
    assert (dataset.inserts(300) @ rows_of(dataset).T).max() < 0.99999


def test_words_are_distinct_and_texts_have_the_length_of_abstracts():
    assert len({words.word(rank) for rank in range(words.VOCABULARY)}) == words.VOCABULARY
    texts = list(Generated(400, 8, 400).texts())
    lengths = [len(text.split()) for text in texts]
    assert len(texts) == 400 and 120 < np.mean(lengths) < 190
    frequent = sum(text.split().count(words.word(0)) for text in texts) / sum(lengths)
    assert 0.02 < frequent < 0.12


def test_questions_find_documents_and_short_ones_have_two_or_three_words():
    dataset = Generated(2000, 8, 2000)
    asked = dataset.questions(50)
    assert all(1 <= len(question) <= 3 for question in asked["2-3 terms"]) and all(5 <= len(question) <= 12 for question in asked["titles"])
    vocabulary = set(itertools.chain.from_iterable(text.split() for text in dataset.texts()))
    assert sum(any(word in vocabulary for word in question) for question in asked["2-3 terms"]) > 40


def test_questions_of_titles_are_words_that_both_parsers_take():
    asked = questions_of(["Attention is all you need: a review (2017)", "?!"])
    assert asked["titles"] == [["attention", "need", "review"], ["nothing"]]
    assert set(asked["2-3 terms"][0]) <= {"attention", "need", "review"} and len(asked["2-3 terms"][0]) >= 2


def test_an_fvecs_file_is_read_in_blocks_with_its_queries(tmp_path):
    rng = np.random.default_rng(1)
    base, query = rng.random((BLOCK + 7, 5), dtype=np.float32), rng.random((9, 5), dtype=np.float32)
    write_fvecs(tmp_path / "toy_base.fvecs", base)
    held_out = Fvecs(tmp_path / "toy_base.fvecs", 10**9, held_out=7)
    assert held_out.rows == BLOCK and np.array_equal(rows_of(held_out), base[:BLOCK]) and np.array_equal(held_out.queries(100), base[BLOCK:])
    write_fvecs(tmp_path / "toy_query.fvecs", query)
    dataset = Fvecs(tmp_path / "toy_base.fvecs", BLOCK + 3)
    assert (dataset.rows, dataset.dim) == (BLOCK + 3, 5)
    assert np.array_equal(rows_of(dataset), base[: BLOCK + 3]) and np.array_equal(dataset.queries(4), query[:4])
    assert dataset.identity() != held_out.identity()


def test_parquet_files_are_read_in_order_across_files(tmp_path):
    import duckdb

    rng = np.random.default_rng(2)
    vectors = rng.random((60, 4), dtype=np.float32)
    for part in range(2):
        rows = ", ".join(f"({i}, {vectors[i].tolist()}::FLOAT[], 'body {i}')" for i in range(part * 30, part * 30 + 30))
        duckdb.connect().execute(f"COPY (SELECT * FROM (VALUES {rows}) t(id, emb, body) ORDER BY id) TO '{tmp_path}/p{part}.parquet' (FORMAT parquet, ROW_GROUP_SIZE 10)")
    dataset = Parquet(tmp_path / "p*.parquet", 10**9, 40, held_out=10)
    assert (dataset.rows, dataset.dim, dataset.text_rows) == (50, 4, 40)
    assert np.array_equal(rows_of(dataset), vectors[:50]) and np.array_equal(dataset.queries(10), vectors[50:])
    assert list(dataset.texts()) == [f"body {i}" for i in range(40)]


@pytest.mark.parametrize("word", ["sift", "generated:5", "generated:5x", "/nowhere/x.fvecs", "/nowhere/x.parquet", "x.csv"])
def test_a_set_that_is_not_there_says_so(word):
    with pytest.raises(Absent, match=word.split(":")[0].removesuffix(".fvecs")):
        open_dataset(word, 10, 4, 0, 1)


def test_filters_leave_the_share_that_their_name_says_and_region_follows_the_vectors():
    dataset = Generated(BLOCK, 32, 0)
    block: Block = next(dataset.blocks())
    columns = Attributes(block.vectors).of(block.ids, block.vectors)
    for filter_, share in zip(FILTERS, (0.1, 0.01, 0.001, 0.1, 0.01, 0.001), strict=True):
        assert filter_.mask(columns).mean() == pytest.approx(share, rel=0.15, abs=0.0006), filter_
    assert NONE.mask(columns) is None and NONE.sql == ""
    near_first = block.vectors @ block.vectors[0]
    assert near_first[columns["region"] < 100].min() >= near_first[columns["region"] >= 100].max() - 1e-6
    assert abs(np.corrcoef(near_first, columns["bucket"])[0, 1]) < 0.05
    assert len(set(scatter(np.arange(1000)).tolist())) == 1000


def test_arguments_win_over_the_environment_and_wrong_ones_are_refused(capsys):
    options = parse(["--rows", "7", "--parts", "search,text"], {"BENCH_ROWS": "5", "BENCH_DIM": "6", "BENCH_DATA": "a b.fvecs", "BENCH_FROM": "/x", "BENCH_K": ""})
    assert (options.rows, options.dim, options.k, options.parts, options.data) == (7, 6, 10, ("search", "text"), ("a", "/x/b.fvecs"))
    for wrong in (["--rows", "0"], ["--metric", "hamming"], ["--parts", "all"], ["--seconds", "soon"]):
        with pytest.raises(SystemExit):
            parse(wrong, {})
    assert "metric: 'hamming' is none of cosine, l2, ip" in capsys.readouterr().err
