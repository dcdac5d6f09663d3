"""The suite's own checks: an answer that is wrong in any way, or a plan without the index, must not pass."""

import copy
import re

import psycopg
import pytest

import contract
from contract import DATA, K, MOVED, MOVED_TO, QUERY, UNCHANGED, distance
from documentation import DOCUMENT, block


def exact_answers():
    """What a perfect client sees."""
    state = {r.id: copy.copy(r) for r in DATA if r.embedding}

    def nearest(where):
        matching = [r for r in state.values() if contract.FILTERS[where](r)]
        return [(id, d) for d, id in sorted((distance("l2", r.embedding, QUERY), r.id) for r in matching)[:K]]

    seen = {where: nearest(where) for where in UNCHANGED} | {"generic": nearest("all")}
    for id in MOVED:
        state[id].embedding, state[id].category = MOVED_TO[id], "moved"
    seen |= {"moved": nearest("moved"), "all moved": nearest("all")}
    for id, _ in seen["all moved"][:3]:
        del state[id]
    seen["all deleted"] = nearest("all")
    best = seen["all deleted"][0][0]
    zebras = [r.id for r in state.values() if "zebra" in r.body]
    ids = dict.fromkeys([best, zebras[0], *[id for id, _ in seen["all deleted"]]])
    both = [(id, 1 / (60 + rank)) for rank, id in enumerate(list(ids)[:5], 1)]
    return seen | {"hybrid": both, "hybrid keys": [(str(id), s) for id, s in both]}


def test_exact_answers_pass():
    contract.check(exact_answers(), "l2")


@pytest.mark.parametrize(
    "step, spoil",
    [
        ("all", lambda rows: rows[:-1]),
        ("all", lambda rows: rows[:3] + [rows[4], rows[3]] + rows[5:]),
        ("all", lambda rows: rows[1:] + [(1, None)]),
        ("category", lambda rows: [(id, d + 0.1) for id, d in rows]),
        ("category", lambda rows: exact_answers()["all"]),
        ("rare", lambda rows: rows[:-1]),
        ("moved", lambda rows: rows[:2]),
        ("all moved", lambda rows: exact_answers()["all"]),
        ("all deleted", lambda rows: exact_answers()["all moved"]),
        ("generic", lambda rows: []),
    ],
)
def test_wrong_answers_do_not_pass(step, spoil):
    seen = exact_answers()
    seen[step] = spoil(seen[step])
    with pytest.raises(AssertionError, match=step):
        contract.check(seen, "l2")


def test_a_search_without_the_index_is_found(app):
    app.sql("CREATE EXTENSION vector")
    app.sql("CREATE TABLE items (id int PRIMARY KEY, category text, embedding vector(3))")
    app.sql("INSERT INTO items SELECT i, 'it''s', ARRAY[i, 1, 1]::vector FROM generate_series(1, 10) i")
    with psycopg.connect(app.url()) as conn:
        conn.execute("SELECT id FROM items WHERE category <> %s\n ORDER BY embedding <=> %s LIMIT 3", ["it's\nso", "[1,1,1]"])
    (search,) = (s for s in app.statements() if "LIMIT" in s.text)
    assert search.parameters == ["it's\nso", "[1,1,1]"]
    with pytest.raises(AssertionError, match="items_search.* is not used"):
        app.check_plans("items_search", unfiltered="")
    # what is no search is not looked at
    assert app.check_plans("items_search", metric="l2") == 0


def test_every_block_of_the_document_is_run_by_a_test():
    named = set(re.findall(r"<!-- run: (\w+) -->", DOCUMENT.read_text()))
    assert named == {"django", "django_index", "typeorm", "langchain", "llama_index", "llama_index_hybrid"}
    with pytest.raises(KeyError):
        block("no such block")
