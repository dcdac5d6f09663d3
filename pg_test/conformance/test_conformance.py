"""Every case of queries.py, asked of a namespace and of an index, with the documents in the buffer, in one segment, in both, and in ten
segments, against the oracle. What fails is printed as SQL; with ELACSYM_KEEP=1 the cluster stays, to paste it into."""

import itertools

import psycopg
import pytest

from conformance import corpus
from conformance.aggregates import FACETS, check_facet, facet
from conformance.checking import Row, arms, check, check_list
from conformance.oracle import Oracle
from conformance.queries import Case, cases
from conformance.ranking import check_page
from conformance.targets import LAYOUTS, SEGMENTS, Index, Namespace, aggregate, as_json, literal
from harness import Cluster, wait_until

METRICS = ("cosine", "l2", "dot")
CASES_AT_LEAST = 300
SHOWN = 5
# The index answers what it can, also where reading the table would be cheaper.
BY_INDEX = "SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off"

FAMILIES = sorted({case.family for case in cases()})


class Built:
    """One target in one layout, with its oracle."""

    def __init__(self, conn: psycopg.Connection, kind: type, metric: str, layout: str):
        self.target = kind(metric, layout)
        writes = corpus.history()
        self.target.build(conn, writes)
        self.oracle = Oracle(corpus.live(writes), self.target.counted(writes), self.target.order(conn))


@pytest.fixture(scope="module")
def cluster():
    """A cluster that neither flushes nor vacuums by itself: the layouts stay what they are."""
    with Cluster("conformance", config={"elacsym.flush_interval": "1h", "autovacuum": "off"}) as made:
        made.start()
        made.create_database("t")
        yield made


@pytest.fixture(scope="module")
def conn(cluster):
    with cluster.connect("t", prepare_threshold=None) as connection:
        connection.execute(BY_INDEX)
        yield connection


@pytest.fixture(scope="module")
def built(conn):
    """A function that gives a target in a layout, built at its first use."""
    made: dict[tuple, Built] = {}

    def get(kind: type, metric: str, layout: str) -> Built:
        key = kind, metric, layout
        if key not in made:
            made[key] = Built(conn, *key)
        return made[key]

    return get


@pytest.fixture(scope="module")
def matching():
    """The ids that match a case's filter: the same in every layout and for both targets."""
    oracle = Oracle(corpus.live(corpus.history()), [])
    return {case.id: oracle.matching(case.filter) for case in cases()}


def report(failures: list[tuple[Case, str, str]], asked: int) -> None:
    """Fails with the SQL of the first failures."""
    if failures:
        shown = "\n\n".join(f"{case.id}: {what}\n{sql};" for case, what, sql in failures[:SHOWN])
        names = " ".join(dict.fromkeys(case.id for case, _, _ in failures))
        pytest.fail(f"{len(failures)} of {asked} answers are wrong ({names}):\n\n{shown}", pytrace=False)
    assert asked, "no case was asked"


def both(test):
    """Both targets in all layouts. Other versions of PostgreSQL plan differently, which only an index can notice: one layout of it is for all."""
    pairs = [
        pytest.param(kind, layout, id=f"{kind.kind}-{layout}", marks=[pytest.mark.every_pg] if (kind, layout) == (Index, "half") else [])
        for kind, layout in itertools.product((Namespace, Index), LAYOUTS)
    ]
    return pytest.mark.parametrize(("kind", "layout"), pairs)(test)


def test_there_are_enough_cases_for_both_targets():
    common = [case for case in cases() if not case.on_index_only]
    assert len(common) >= CASES_AT_LEAST
    assert len({case.id for case in cases()}) == len(cases())
    asks = {(case.vector is not None, case.text is not None) for case in common}
    assert asks == {(True, False), (False, True), (True, True), (False, False)}
    assert {case.metric for case in common} == set(METRICS)


def test_few_cases_are_about_nothing(matching, built):
    """Most filters match something and leave something out, and most texts are found: else the suite compares empty answers."""
    oracle = built(Namespace, "cosine", "buffered").oracle
    filtered = [case for case in cases() if case.filter is not None]
    telling = [case for case in filtered if 0 < len(matching[case.id]) < len(oracle.live)]
    assert len(telling) > 0.85 * len(filtered)
    asked = [case for case in cases() if case.text is not None and not case.on_index_only]
    found = [case for case in asked if any(arm and arm.costs for arm in arms(case, oracle, matching[case.id])[1:])]
    assert len(found) > 0.75 * len(asked)


@both
@pytest.mark.parametrize("metric", METRICS)
def test_layouts_are_what_they_are_called(built, conn, kind, layout, metric):
    one = built(kind, metric, layout)
    segments, buffered = one.target.shape(conn)
    assert (segments > 0, buffered > 0) == {"buffered": (False, True), "half": (True, True)}.get(layout, (True, False))
    assert segments >= {"segments": SEGMENTS}.get(layout, 0)
    if layout in ("flushed", "half"):
        assert segments == 1
    if kind is Index:
        assert conn.execute("SELECT * FROM elacsym.verify(%s)", [one.target.name]).fetchall() == []


@both
@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_those_of_the_oracle(built, conn, matching, kind, layout, family):
    failures, asked = [], 0
    for case in (case for case in cases() if case.family == family):
        one = built(kind, case.metric, layout)
        for sql, found in answers(conn, one, case, matching[case.id]):
            asked += 1
            if found:
                failures.append((case, found, sql))
    if kind is Namespace and all(case.on_index_only for case in cases() if case.family == family):
        assert asked == 0
        return
    report(failures, asked)


def answers(conn, one: Built, case: Case, ids: frozenset[int]):
    """(SQL, what is wrong) of every form in which a target can be asked."""
    if case.on_index_only and isinstance(one.target, Namespace):
        return
    function = one.target.question(case)
    rows = [Row(*row) for row in conn.execute(function.encode()).fetchall()]
    compare = check_page if case.family.startswith("ranking") else check
    yield function, compare(case, rows, one.oracle, ids)
    if isinstance(one.target, Index) and (statement := one.target.statement(case)) is not None:
        effort = f"SET elacsym.effort = '{case.effort or 1}'"
        conn.execute(effort.encode())
        vector, text = arms(case, one.oracle, ids)
        if text is not None:
            # the operator knows no weights
            text = type(text)({id_: cost / case.weights()[name] for id_, cost in text.costs.items() for name in case.weights()})
        rows = conn.execute(statement.encode()).fetchall()
        conn.execute("RESET elacsym.effort")
        yield f"{BY_INDEX}; {effort};\n{statement}", check_list(rows, vector or text, case.k)


@both
def test_counts_are_those_of_the_oracle(built, conn, matching, kind, layout):
    one, failures, asked = built(kind, "cosine", layout), [], 0
    for case in (case for case in cases() if (kind is Index or not case.on_index_only) and (case.filter is not None or case.text is not None)):
        _, text = arms(case, one.oracle, matching[case.id])
        expected = len(matching[case.id] if text is None else text.costs)
        sql = aggregate("count", one.target, case)
        (found,) = conn.execute(sql.encode()).fetchone()
        asked += 1
        if found != expected:
            failures.append((case, f"{found} instead of {expected}", sql))
    report(failures, asked)


@both
def test_facets_are_those_of_the_oracle(built, conn, matching, kind, layout):
    one, failures, asked = built(kind, "cosine", layout), [], 0
    for case in (case for case in cases() if case.family in ("random", "text-filter", "match-nested")):
        _, text = arms(case, one.oracle, matching[case.id])
        ids = matching[case.id] if text is None else frozenset(text.costs)
        sql = aggregate("facets", one.target, case, literal(as_json(FACETS)))
        (answer,) = conn.execute(sql.encode()).fetchone()
        for name, wanted in FACETS.items():
            asked += 1
            found = check_facet(wanted, answer[name], facet(wanted, one.oracle, ids))
            if found:
                failures.append((case, f"facet {name}: {found}", sql))
    report(failures, asked)


@pytest.mark.every_pg
@pytest.mark.parametrize("layout", ["half"])
def test_the_statements_are_answered_by_the_index(built, conn, layout):
    for case in cases():
        one = built(Index, case.metric, layout)
        statement = one.target.statement(case)
        if statement is not None:
            plan = "\n".join(row[0] for row in conn.execute(f"EXPLAIN {statement}".encode()))
            nothing = "One-Time Filter: false" in plan
            assert nothing or f"Index Scan using {one.target.name}" in plan, f"{case.id}: {statement}\n{plan}"


def test_ten_segments_have_what_vacuum_leaves_behind(built, conn):
    """Folded tombstones, and rows in places that dead ones had."""
    one = built(Index, "cosine", "segments")
    dead = lambda: conn.execute("SELECT dead_rows FROM elacsym.indexes WHERE index = %s::regclass", [one.target.name]).fetchone()[0]  # noqa: E731
    wait_until(dead, "tombstones to be folded", 60)
    writes = [write for write in corpus.history() if write.id in one.oracle.live]
    last, first = writes[-len(writes) // SEGMENTS :], writes[: len(writes) // SEGMENTS]
    assert min(one.oracle.order[write.id] for write in last) < max(one.oracle.order[write.id] for write in first)
