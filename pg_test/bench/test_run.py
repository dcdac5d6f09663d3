"""The whole benchmark on a small set: every contender that this PostgreSQL has, every part, in seconds."""

import dataclasses
import re

import pytest

from bench import __main__ as bench
from bench import clients, data
from bench.contenders import KEYS, VECTOR
from bench.contenders.base import Effort
from bench.data import Absent, Generated, open_dataset
from bench.filters import FILTERS, NONE
from bench.options import PARTS, parse
from bench.report import BEGIN, END, render
from bench.runner import Runner, WrongPlan
from bench.server import Server, settings
from harness import Cluster, pg_major

ROWS, DIM, TEXTS = 1500, 32, 300
OPTIONS = parse(["--rows", str(ROWS), "--dim", str(DIM), "--texts", str(TEXTS), "--queries", "25", "--seconds", "0.1", "--shared-buffers", "128MB", "--build-memory", "64MB", "--parts", " ".join(PARTS)], {})
REAL_PGVECTOR = pg_major() > 15


CLIENTS = (1, 4)


@pytest.fixture(scope="module")
def measured():
    missing = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clients, "CLIENTS", CLIENTS)
        one, about = bench.run_set(OPTIONS, Generated(ROWS, DIM, TEXTS), missing)
    return one, {"sets": [one], "missing": missing, "seconds": OPTIONS.seconds, **about}


@pytest.mark.every_pg
def test_every_contender_that_is_there_is_measured(measured):
    one, result = measured
    expected = ["elacsym", "hnsw", "ivfflat", "exact"] if REAL_PGVECTOR else ["elacsym", "exact"]
    assert list(dict.fromkeys(point["key"] for point in one["search"]["points"])) == expected
    assert [entry["key"] for entry in one["insert"]] == [entry["key"] for entry in one["vacuum"]] == expected
    assert [(entry["clients"], entry["key"]) for entry in one["clients"]] == [(n, key) for n in CLIENTS for key in expected]
    assert {entry["key"] for entry in one["text"]} == {"elacsym", "gin"}
    assert ("hnsw_gin" in {entry["key"] for entry in one["hybrid"]}) == REAL_PGVECTOR
    assert {"VectorChord", "RUM"} <= result["missing"].keys()
    assert [filtered["name"] for filtered in one["filters"]] == [filter_.name for filter_ in FILTERS]


@pytest.mark.every_pg
def test_figures_are_plausible(measured):
    one, _ = measured
    points = one["search"]["points"]
    assert next(p for p in points if p["key"] == "exact")["recall"] == 1.0
    assert next(p for p in points if p["key"] == "elacsym" and p["default"])["recall"] >= 0.95
    for point in points + [p for filtered in one["filters"] for p in filtered["points"]]:
        assert point["qps"] > 1 and 0 < point["cpu_ms"] < 1000 and point["p50_ms"] <= point["p99_ms"], point
        assert point["memory"]["backend"] > 100_000 and (point["memory"]["engine"] > 1_000_000) == (point["key"] == "elacsym"), point
    for filtered in one["filters"]:
        for point in filtered["points"]:
            if point["key"] in ("elacsym", "exact"):
                assert point["full_answers"] == 1.0 and point["recall"] >= (1.0 if point["key"] == "exact" else 0.9), point
    for built in one["build"]:
        assert built["seconds"] > 0 and built["bytes"]["index"] > 1000, built
    for entry in one["insert"]:
        assert entry["batch"]["rows"] >= 1000 and entry["one"]["rows"] >= 1 and entry["batch"]["wal_bytes_per_row"] > DIM * 4, entry
    for entry in one["clients"]:
        assert entry["qps"] > 1 and entry["p50_ms"] <= entry["p99_ms"] and entry["cpu_ms"] > 0, entry
    for entry in one["text"] + one["hybrid"]:
        assert entry["answered"] > (5 if entry["kind"] == "titles" else 0), entry


@pytest.mark.every_pg
def test_the_report_of_a_run_is_complete(measured):
    one, result = measured
    text = render(result, {})
    for heading in ("#### Build", "#### Search, one client, warm", "#### Search with a filter", "#### Many clients", "#### Insert", "#### VACUUM", "#### Text", "#### Hybrid"):
        assert heading in text
    assert not re.search(r"\b(None|nan|inf)\b", text)


@pytest.mark.parametrize("word", ["arxiv", "scifact"])
def test_shared_sets_have_as_many_texts_and_queries_as_vectors(word):
    try:
        dataset = open_dataset(word, 10**9, 0, 10**9, 1)
    except Absent as reason:
        pytest.skip(str(reason))
    asked = dataset.questions(200)
    assert sum(1 for _ in dataset.texts()) == dataset.rows == dataset.text_rows
    assert all(len(questions) == len(dataset.queries(200)) == 200 for questions in asked.values())


def test_a_plan_without_the_index_stops_the_run():
    with Cluster("benchplan", config=settings("64MB", "64MB", 1, 2)) as cluster:
        server = Server(cluster.start())
        server.conn.execute("CREATE TABLE items_elacsym (id bigint PRIMARY KEY, embedding vector(2), bucket int, region int)")
        server.conn.execute("INSERT INTO items_elacsym VALUES (1, '[1,2]', 3, 4)")
        statement = VECTOR[0].statement("items", "cosine", 10, NONE)
        argument = [b"\0\2\0\0\x3f\x80\0\0\x40\0\0\0"]
        with pytest.raises(WrongPlan, match="items_elacsym_idx"):
            Runner(server, "elacsym", statement, ["vector"], [argument], Effort("", {}), ["items_elacsym_idx"], True)
        server.conn.execute(VECTOR[0].build_statements("items", 1, "cosine")[0])
        runner = Runner(server, "elacsym", statement, ["vector"], [argument], Effort("", {"enable_seqscan": "off"}), ["items_elacsym_idx"], True)
        assert runner.run(0) == [1] and runner.cpu() > 0
        runner.close()
        server.conn.close()


def test_contenders_are_chosen_by_key_and_elacsym_always():
    options = dataclasses.replace(OPTIONS, contenders=("hnsw",))
    assert [c.key for c in bench.chosen(VECTOR, options)] == ["elacsym", "hnsw"] and {"hnsw", "gin", "rum", "exact"} <= set(KEYS)


def test_what_cannot_run_is_said_before_anything_is_measured(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n{BEGIN}\n{END}\n")
    for arguments, reason in (
        (["--data", "nowhere.fvecs"], "nowhere.fvecs"),
        (["--contenders", "faiss"], "no contender faiss: there are elacsym, hnsw"),
        (["--out", str(tmp_path / "none.md")], "none.md"),
    ):
        assert bench.main(["--out", str(page), "--data", "generated:10x4", *arguments]) == 2
        assert reason in capsys.readouterr().err
    assert page.read_text() == f"# Page\n{BEGIN}\n{END}\n"


def test_a_shared_set_that_is_not_here_is_left_out_and_named(monkeypatch):
    monkeypatch.setattr(data, "SHARED_DATA", None)
    sets, missing = bench.opened(dataclasses.replace(OPTIONS, data=("arxiv", "generated:10x4")))
    assert [one.name for one in sets] == ["generated 10 × 4"] and missing == {"data set arxiv": "not here"}
