"""SciFact through SQL: quality at default settings, and the same rankings wherever the rows are."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from dataset import SciFact  # noqa: E402

SCHEMA = {"vector_dim": 384, "vector_metric": "cosine", "attributes": {"body": {"type": "string", "full_text": True}}}
ARMS = ("text", "vector", "hybrid")
# References in the data's README: BM25 0.6858, exact cosine 0.6446, RRF 0.7146.
FLOOR = {"text": 0.68, "vector": 0.640, "hybrid": 0.710}


@pytest.fixture(scope="module")
def scifact(request):
    from harness import SHARED_DATA

    if SHARED_DATA is None:
        pytest.skip("no shared data beside the clone (ELACSYM_SHARED_DATA)")
    return SciFact(SHARED_DATA)


def literal(vector) -> str:
    return "[" + ",".join(repr(float(x)) for x in vector) + "]"


def load(conn, data: SciFact) -> None:
    conn.execute("CREATE TABLE corpus (id bigint, embedding vector(384), body text)")
    with conn.cursor() as cur, cur.copy("COPY corpus FROM STDIN") as copy:
        for document, vector in zip(data.documents, data.vectors):
            copy.write_row((int(document["_id"]), literal(vector), document["title"] + " " + document["text"]))
    conn.execute("SELECT elacsym.create_namespace('scifact', %s)", [json.dumps(SCHEMA)])
    loaded = conn.execute(
        "SELECT count(elacsym.upsert('scifact', id, embedding, jsonb_build_object('body', body))) FROM corpus"
    ).fetchone()[0]
    assert loaded == len(data.documents)


def search(conn, data: SciFact, depth: int = 20) -> dict[str, dict[int, list[tuple[int, float]]]]:
    """arm → query → (document, score) in rank order."""
    results = {arm: {} for arm in ARMS}
    for query, vector in zip(data.queries, data.query_vectors):
        text, vector = json.dumps(query["text"]), literal(vector)
        for arm in ARMS:
            rows = conn.execute(
                "SELECT id, score FROM elacsym.query('scifact', vector => %s::vector, full_text => %s::jsonb, top_k => %s) ORDER BY score DESC, id",
                [vector if arm != "text" else None, text if arm != "vector" else None, depth],
            ).fetchall()
            results[arm][int(query["_id"])] = rows
    return results


def check_quality(data: SciFact, results) -> dict[str, float]:
    figures = {arm: data.ndcg({q: [d for d, _ in rows] for q, rows in results[arm].items()}) for arm in ARMS}
    print("nDCG@10:", ", ".join(f"{arm} {value:.4f}" for arm, value in figures.items()))
    for arm, floor in FLOOR.items():
        assert figures[arm] >= floor, f"{arm}: nDCG@10 {figures[arm]:.4f} is below {floor}"
    return figures


def assert_same(before, after, when: str) -> None:
    """The same documents in the same order, except that documents whose scores tie (to 1e-5) may change places."""
    for arm in ARMS:
        for query, rows in before[arm].items():
            other = after[arm][query]
            assert len(rows) == len(other)
            scores = dict(other)
            for rank, ((document, score), (document2, score2)) in enumerate(zip(rows, other)):
                close = abs(score - score2) <= 1e-5 * max(1.0, abs(score))
                if arm != "hybrid":
                    assert close, f"{when}: {arm}, query {query}, rank {rank + 1}: {score} became {score2}"
                if document != document2:
                    assert close, f"{when}: {arm}, query {query}, rank {rank + 1}: {document} became {document2}"
                    assert document not in scores or abs(scores[document] - score) <= 1e-3 * max(1.0, abs(score))


@pytest.mark.parametrize("storage", ["file", "s3"])
def test_quality_and_rankings_do_not_depend_on_where_the_rows_are(scifact, new_cluster, request, storage):
    config, env = {"elacsym.flush_interval": "1h", "elacsym.flush_rows": 1000000, "elacsym.flush_bytes": "1GB"}, {}
    if storage == "s3":
        moto = request.getfixturevalue("moto")
        config |= {"elacsym.storage_url": f"s3://{request.getfixturevalue('bucket')}/quality", **moto.settings}
        env = moto.env
    cluster = new_cluster("scifact", config=config, env=env)
    cluster.create_database("q")
    with cluster.connect("q") as conn:
        load(conn, scifact)
        buffered = search(conn, scifact)
        check_quality(scifact, buffered)
        assert conn.execute("SELECT elacsym.flush('scifact')").fetchone()[0] == len(scifact.documents)
        rows = conn.execute("SELECT root FROM elacsym.segments").fetchall()
        assert rows and all(root.startswith("s3://" if storage == "s3" else "pgdata:") for (root,) in rows)
        flushed = search(conn, scifact)
        check_quality(scifact, flushed)
        assert_same(buffered, flushed, "after the flush")
    cluster.kill_engine()
    with cluster.connect("q") as conn:
        assert_same(flushed, search(conn, scifact), "after an engine restart")
