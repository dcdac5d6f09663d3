"""The page keeps its prose, numbers read well, and every part of a result is printed."""

import copy

import pytest

from bench.report import BEGIN, END, NoMarkers, insert, number, readings_table, render, size, table
from harness import REPO

POINT = {
    "contender": "elacsym", "key": "elacsym", "effort": "effort 1", "default": True, "recall": 0.97, "recall_queries": 10, "full_answers": 1.0, "queries": 100,
    "qps": 2000.0, "ms": 0.5, "p50_ms": 0.5, "p99_ms": 0.9, "cpu_ms": 0.4, "memory": {"backend": 3_000_000, "engine": 90_000_000},
}  # fmt: skip
OTHER = POINT | {"contender": "pgvector HNSW", "key": "hnsw", "effort": "ef_search 40", "qps": 250.0, "cpu_ms": 4.0, "memory": {"backend": 5_000_000, "engine": 0}}
LATENCY = {"kind": "titles", "contender": "elacsym BM25", "key": "elacsym", "answered": 10.0, "qps": 900.0, "p50_ms": 1.0, "p99_ms": 2.0, "cpu_ms": 1.0}
BUILD = {"contender": "elacsym", "key": "elacsym", "seconds": 12.3, "cpu": 20.0, "wal": 4096, "peak_memory": 5 * 10**8, "statements": ["CREATE INDEX a"], "bytes": {"index": 10**6, "rows": 3 * 10**6}}
INSERT = {"rows": 10, "rows_per_second": 9000.0, "rows_per_second_settled": 8000.0, "cpu_ms_per_row": 0.1, "wal_bytes_per_row": 1700.0}
RESULT = {
    "date": "2026-01-01", "commit": "abc", "postgresql": "PostgreSQL 18.4", "extensions": {"vector": "0.8.5"}, "settings": {"work_mem": "64MB"}, "seconds": 3.0,
    "machine": {"cpu": "A CPU", "cores": 2, "memory": 24 * 10**9, "system": "Linux"}, "missing": {"RUM": "the extension rum is not installed"},
    "sets": [{
        "name": "toy 1,000 × 8", "about": "made up", "rows": 1000, "dim": 8, "metric": "cosine", "k": 10, "queries": 10, "text_rows": 500,
        "build": [BUILD, BUILD | {"contender": "tsvector + GIN", "documents": 500, "bytes": {"index": 5000}}],
        "search": {"name": "no filter", "points": [POINT, OTHER]},
        "filters": [{"name": "1 %", "sql": "bucket < 10", "share": 0.0098, "points": [POINT, OTHER]}],
        "clients": [POINT | {"clients": n, "qps": n * 700.0} for n in (1, 2)],
        "insert": [{"contender": "elacsym", "key": "elacsym", "batch": INSERT, "one": INSERT}, {"contender": "pgvector HNSW", "key": "hnsw", "batch": INSERT | {"rows_per_second": 300.0}, "one": INSERT}],
        "vacuum": [{"contender": "elacsym", "key": "elacsym", "seconds": 0.5, "cpu": 0.25, "wal": 2000}],
        "text": [LATENCY, LATENCY | {"contender": "tsvector + GIN", "cpu_ms": 80.0}],
        "hybrid": [LATENCY, LATENCY | {"contender": "HNSW + GIN", "cpu_ms": 90.0}],
    }],
}  # fmt: skip


def test_only_what_is_between_the_markers_changes():
    page = f"# Title\n\nprose\n\n{BEGIN}\nold | stuff\n{END}\n\nafter\n"
    once = insert(page, "new")
    assert once == f"# Title\n\nprose\n\n{BEGIN}\n\nnew\n\n{END}\n\nafter\n" and insert(once, "new") == once
    for broken in ("no markers", BEGIN, END, f"{END}\n{BEGIN}"):
        with pytest.raises(NoMarkers):
            insert(broken, "new")


def test_the_page_of_the_repository_has_the_markers():
    page = (REPO / "docs" / "performance.md").read_text(encoding="utf-8")
    assert page.count(BEGIN) == page.count(END) == 1 and insert(page, "x").startswith("# ")


@pytest.mark.parametrize("value, text", [(None, "—"), (0, "0"), (1234.5, "1,234"), (100, "100"), (99.5, "99.5"), (1.234, "1.23"), (0.01234, "0.0123"), (1e-5, "0.0000100")])
def test_numbers_have_three_significant_digits(value, text):
    assert number(value) == text


@pytest.mark.parametrize("count, text", [(None, "—"), (0, "0 B"), (999, "999 B"), (1234, "1.23 kB"), (5e8, "500 MB"), (2.5e12, "2,500 GB")])
def test_sizes_have_the_unit_that_suits(count, text):
    assert size(count) == text


def test_a_table_is_markdown_and_a_bar_in_a_cell_is_escaped():
    assert table(["a", "b"], [["x|y", 1]]) == "| a | b |\n|---|--:|\n| x\\|y | 1 |"


def test_the_others_are_compared_with_elacsym_at_the_same_recall():
    lines = readings_table([POINT, OTHER]).splitlines()
    assert lines[2] == "| elacsym | 2,000 | — | 0.400 | — | not reached | — | not reached | — |"
    assert lines[3] == "| pgvector HNSW | 250 | 8.00 × | 4.00 | 1/10.0 | not reached | — | not reached | — |"


def test_a_ratio_with_a_bound_in_it_is_marked():
    lines = readings_table([POINT, OTHER, OTHER | {"recall": 0.99, "qps": 200.0, "cpu_ms": 5.0}]).splitlines()
    assert lines[3] == "| pgvector HNSW | ≥ 250 | ≈ 8.00 × | ≤ 4.00 | ≈ 1/10.0 | 200 | — | 5.00 | — |"
    slow = POINT | {"qps": 100.0, "cpu_ms": 8.0}
    assert readings_table([slow, OTHER]).splitlines()[3].startswith("| pgvector HNSW | 250 | 0.400 × | 4.00 | 2.00 × |")


def test_every_part_of_a_result_is_printed_with_what_it_was_measured_on():
    text = render(RESULT, {"toy 1,000 × 8/search": "performance/toy-search.png"})
    for expected in (
        "A CPU, 2 cores, 24.0 GB", "commit abc", "vector 0.8.5", "`work_mem = 64MB`", "RUM (the extension rum is not installed)", "### toy 1,000 × 8",
        "500 documents", "| elacsym | 12.3 | 20.0 | 4.10 kB | 500 MB | 1.00 MB | 1,000 | 3.00 MB |", "CREATE INDEX a;",
        "![recall and queries per second, toy 1,000 × 8](performance/toy-search.png)", "0.98% of the rows match `bucket < 10`",
        "| pgvector HNSW | 300 | 8,000 | 0.100 | 1,700 | 30.0 × |", "| tsvector + GIN | 900 | 1.00 | 2.00 | 80.0 | 80.0 × | 10.0 |", "#### Hybrid", "| elacsym | 0.500 | 0.250 | 2.00 kB |",
        "| elacsym, effort 1 | 2 | 1,400 | 0.500 | 0.900 | 0.400 | 3.00 MB |",
    ):  # fmt: skip
        assert expected in text, f"{expected!r} is missing in\n{text}"


def test_parts_that_did_not_run_leave_no_heading():
    result = copy.deepcopy(RESULT)
    for part in ("search", "filters", "clients", "insert", "vacuum", "text", "hybrid", "text_rows"):
        del result["sets"][0][part]
    text = render(result, {})
    assert "#### Build" in text and not any(f"#### {part}" in text for part in ("Search", "Many", "Insert", "VACUUM", "Text", "Hybrid"))
