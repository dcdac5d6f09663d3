"""SciFact through elacsym.evaluate(): the figures are those of the reference implementation, and weights can be tuned with it."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from dataset import SciFact  # noqa: E402
from test_index_quality import corpus  # noqa: E402, F401
from test_scifact import FLOOR, load, scifact  # noqa: E402, F401


def arguments(data: SciFact):
    queries = [{"id": q["_id"], "vector": [float(x) for x in v], "text": q["text"]} for q, v in zip(data.queries, data.query_vectors)]
    return [json.dumps(queries), json.dumps({str(q): {str(d): g for d, g in of_query.items()} for q, of_query in data.relevant.items()})]


def evaluate(conn, target, given, options=""):
    rows = conn.execute(f"SELECT arm, queries, ndcg, recall, mrr FROM elacsym.evaluate('{target}', %s, %s, 10{options})", given).fetchall()
    return {arm: (queries, ndcg, recall, mrr) for arm, queries, ndcg, recall, mrr in rows}


def test_figures_of_the_index_are_those_of_the_reference_and_tuned_weights_beat_both_arms(corpus, scifact):  # noqa: F811
    given = arguments(scifact)
    figures = evaluate(corpus, "corpus_search", given)
    print(figures)
    assert [figures[arm][0] for arm in ("vector", "text", "fused")] == [300] * 3
    for arm, name in (("vector", "vector"), ("text", "text"), ("hybrid", "fused")):
        assert figures[name][1] >= FLOOR[arm]
    # The same as nDCG computed outside, from what search() returns.
    rankings = {}
    for query, vector in zip(scifact.queries, scifact.query_vectors):
        literal = "[" + ",".join(repr(float(x)) for x in vector) + "]"
        rows = corpus.execute("SELECT key::int FROM elacsym.search_keys('corpus_search', %s::vector, %s)", [literal, query["text"]])
        rankings[int(query["_id"])] = [key for (key,) in rows]
    assert figures["fused"][1] == pytest.approx(scifact.ndcg(rankings), abs=1e-6)
    best = {}
    for fusion in ("rrf", "minmax", "distribution"):
        for weight in (0.3, 0.6, 1.0, 1.5):
            found = evaluate(corpus, "corpus_search", given, f", fusion => '{fusion}', vector_weight => {weight}")
            assert found["vector"] == figures["vector"] and found["text"] == figures["text"]
            best[fusion, weight] = found["fused"][1]
    print("nDCG@10 by fusion and vector weight:", {f"{f} {w}": round(v, 4) for (f, w), v in best.items()})
    tuned = max(best.values())
    assert tuned >= figures["fused"][1] and tuned > max(figures["vector"][1], figures["text"][1]) + 0.02


def test_a_namespace_and_an_index_of_the_same_rows_have_the_same_figures(corpus, scifact, conn):  # noqa: F811
    load(conn, scifact)
    given = arguments(scifact)
    of_index = evaluate(corpus, "corpus_search", given, ", effort => 'infinity'")
    for _ in range(2):
        of_namespace = evaluate(conn, "scifact", given, ", effort => 'infinity'")
        for arm, (queries, *figures) in of_index.items():
            assert of_namespace[arm][0] == queries
            # Among equal scores the ids decide, which are not the places of an index.
            assert of_namespace[arm][1:] == pytest.approx(figures, abs=2e-3)
        conn.execute("SELECT elacsym.flush('scifact')")
