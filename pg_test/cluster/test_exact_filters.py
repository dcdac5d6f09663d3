"""Filters in JSON on columns that an index does not hold in full (numeric, long strings, the outermost floats and times): the same rows
as conditions of SQL find without an index."""

import json

import pytest

pytestmark = pytest.mark.every_pg

BIG = 9007199254740992
# An index keeps 8,192 bytes, and no part of a character.
NOTES = ["", "short", "m" * 8188, "m" * 8189, "m" * 8191 + "é", "m" * 8191 + "z", "m" * 8192, "m" * 8189 + "🦌a", "m" * 8189 + "🦌b", "m" * 9001, "m" * 9002]
AMOUNTS = [str(BIG - 1), str(BIG), str(BIG + 1), f"{BIG}.5", f"-{BIG}", f"-{BIG + 1}", "0", "0.10", "0.1000000000000000000000001", "1e300", "NaN"]
PRICES = ["-Infinity", "-1.7976931348623157e308", "-0", "0", "1.7976931348623157e308", "Infinity", "NaN"]
TIMES = ["-infinity", "2024-01-01 00:00:00+00", "294276-12-31 00:00:00+00", "infinity"]
COLUMNS = 'id int PRIMARY KEY, v vector(2), body text, amount numeric, note text COLLATE "C", tags text[], price float8, seen timestamptz, year int'
INDEX = "USING elacsym (v vector_l2_ops, body bm25_ops, amount, note, tags, price, seen, year)"
SIGNS = {"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def rows():
    for i in range(1, 89):
        note = NOTES[i % len(NOTES)]
        yield (
            i,
            f"[{i},1]",
            "word" if i % 3 else "other",
            AMOUNTS[i % len(AMOUNTS)] if i % 13 else None,
            note if i % 17 else None,
            [note, "a"] if i % 2 else [NOTES[i % 5]],
            PRICES[i % len(PRICES)],
            TIMES[i % len(TIMES)],
            2000 + i % 7,
        )


def conditions():
    """(filter, the same in SQL)"""

    def both(name, op, value, constant):
        filter = {"field": name, "op": op, "value": value}
        if op == "ne":
            return filter, f"{name} IS DISTINCT FROM {constant}"
        return filter, f"{name} {SIGNS[op]} {constant}"

    for op in ("eq", "ne", "gt", "gte", "lt", "lte"):
        for amount in (BIG, BIG + 1, -BIG, 0):
            yield both("amount", op, amount, f"'{amount}'::numeric")
        for note in NOTES:
            yield both("note", op, note, f"'{note}'")
        yield both("price", op, 1.7976931348623157e308, "'1.7976931348623157e308'::float8")
        yield both("seen", op, "infinity", "'infinity'::timestamptz")
    for note in NOTES:
        yield {"field": "note", "op": "prefix", "value": note}, f"starts_with(note, '{note}')"
        yield {"field": "tags", "op": "contains", "value": note}, f"tags @> ARRAY['{note}']"
    yield {"field": "amount", "op": "in", "value": [BIG + 1, 0.1]}, f"amount IN ({BIG + 1}, 0.1)"
    yield {"field": "note", "op": "not_in", "value": NOTES[-3:]}, f"(note IN ({', '.join(repr(note) for note in NOTES[-3:])})) IS NOT TRUE"
    yield {"field": "tags", "op": "contains_any", "value": NOTES[-2:]}, f"tags && ARRAY[{', '.join(repr(note) for note in NOTES[-2:])}]"


def nested():
    made = list(conditions())
    word = {"field": "body", "op": "match", "value": "word"}, "body = 'word'"
    for (a, a_sql), (b, b_sql) in zip(made[::5], made[2::5]):
        yield {"type": "not", "conditions": [a]}, f"({a_sql}) IS NOT TRUE"
        yield {"type": "and", "conditions": [word[0], a, b]}, f"{word[1]} AND {a_sql} AND {b_sql}"
        yield {"type": "or", "conditions": [word[0], {"type": "not", "conditions": [a]}]}, f"{word[1]} OR ({a_sql}) IS NOT TRUE"
        yield (
            {"type": "not", "conditions": [{"type": "or", "conditions": [a, {"type": "and", "conditions": [b, word[0]]}]}]},
            f"({a_sql} OR ({b_sql} AND {word[1]})) IS NOT TRUE",
        )


@pytest.fixture(params=["buffered", "flushed"])
def table(conn, request):
    conn.execute(f"CREATE TABLE t ({COLUMNS})")
    conn.execute(f"CREATE INDEX t_search ON t {INDEX}")
    with conn.cursor() as cursor:
        cursor.executemany("INSERT INTO t VALUES (%s, %s, %s, %s::numeric, %s, %s, %s::float8, %s::timestamptz, %s)", list(rows()))
    if request.param == "flushed":
        conn.execute("SELECT elacsym.flush('t_search')")
    return conn


def without_index(conn, condition):
    conn.execute("SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_seqscan = on")
    found = [i for (i,) in conn.execute(f"SELECT id FROM t WHERE {condition} ORDER BY id").fetchall()]
    conn.execute("RESET ALL")
    return found


@pytest.mark.parametrize("made", [conditions, nested], ids=["conditions", "nested"])
def test_a_filter_finds_what_a_condition_finds(table, made):
    some = 0
    for filter, condition in made():
        expected, text = without_index(table, condition), json.dumps(filter)
        found = table.execute("SELECT key::int FROM elacsym.search_keys('t_search', '[0,1]', k => 1000, filter => %s::jsonb, effort => 'infinity')", [text])
        assert [i for (i,) in found] == expected, condition[:200]
        assert table.execute("SELECT elacsym.count('t_search', %s::jsonb)", [text]).fetchone() == (len(expected),), condition[:200]
        some += 0 < len(expected) < 88
    assert some > 30


def test_plain_conditions_on_long_strings_lose_no_row(table):
    """Cut within characters of different lengths, strings are not in their order."""
    for op in SIGNS.values():
        for note in NOTES:
            condition = f"note {op} '{note}'"
            expected = without_index(table, condition)
            table.execute("SET enable_seqscan = off; SET enable_sort = off")
            found = table.execute(f"SELECT id FROM t WHERE {condition} ORDER BY v <-> '[0,1]' LIMIT 1000").fetchall()
            table.execute("RESET ALL")
            assert [i for (i,) in found] == expected, f"note {op} {len(note)} bytes"


def test_facets_orders_groups_and_boosts_are_about_rows_that_match_exactly(table):
    filter = json.dumps({"field": "amount", "op": "eq", "value": BIG + 1})
    expected = without_index(table, f"amount = {BIG + 1}")
    years = dict(table.execute("SELECT year, count(*) FROM t WHERE id = ANY (%s) GROUP BY year", [expected]).fetchall())
    (facets,) = table.execute("SELECT elacsym.facets('t_search', '{\"years\": {\"type\": \"terms\", \"field\": \"year\"}}', filter => %s::jsonb)", [filter]).fetchone()
    assert {bucket["value"]: bucket["count"] for bucket in facets["years"]["buckets"]} == years
    by_year = table.execute("SELECT id FROM t WHERE id = ANY (%s) ORDER BY year DESC, ctid", [expected]).fetchall()
    found = table.execute("SELECT key::int FROM elacsym.search_keys('t_search', k => 100, filter => %s::jsonb, order_by => '[{\"field\": \"year\", \"direction\": \"desc\"}]')", [filter])
    assert found.fetchall() == by_year
    grouped = table.execute("SELECT key::int FROM elacsym.search_keys('t_search', '[0,1]', k => 100, filter => %s::jsonb, per => '{\"field\": \"year\"}')", [filter])
    firsts = table.execute("SELECT min(id) FROM t WHERE id = ANY (%s) GROUP BY year ORDER BY 1", [expected]).fetchall()
    assert grouped.fetchall() == firsts
    plain = "SELECT key::int, score FROM elacsym.search_keys('t_search', '[0,1]', k => 100, candidates => 100, modifiers => %s::jsonb)"
    scores = dict(table.execute(plain, [json.dumps([{"type": "saturate", "field": "year", "k": 2000}])]).fetchall())
    boost = {"type": "boost", "filter": json.loads(filter), "factor": 3}
    boosted = dict(table.execute(plain, [json.dumps([boost, {"type": "saturate", "field": "year", "k": 2000}])]).fetchall())
    assert {i: round(boosted[i] / scores[i], 3) for i in scores} == {i: 3.0 if i in expected else 1.0 for i in scores}


def test_a_page_is_full_where_the_engine_finds_mostly_others(conn):
    conn.execute(f"CREATE TABLE t ({COLUMNS})")
    conn.execute(f"INSERT INTO t (id, v, body, amount, year) SELECT i, ARRAY[i, 1]::vector(2), 'word', {BIG} + (i > 2990)::int, i % 10 FROM generate_series(1, 3000) i")
    conn.execute(f"CREATE INDEX t_search ON t {INDEX}")
    filter = json.dumps({"field": "amount", "op": "eq", "value": BIG + 1})
    for query in ("'[0,1]'", "query_text => 'word'", "'[0,1]', 'word'", "order_by => '[\"year\", \"amount\"]'"):
        found = conn.execute(f"SELECT key::int FROM elacsym.search_keys('t_search', {query}, k => 10, filter => %s::jsonb)", [filter]).fetchall()
        assert sorted(i for (i,) in found) == list(range(2991, 3001)), query
    ranks = conn.execute("SELECT key::int, vector_rank FROM elacsym.search_keys('t_search', '[0,1]', k => 3, filter => %s::jsonb)", [filter]).fetchall()
    assert ranks == [(2991, 1), (2992, 2), (2993, 3)]


def test_partitions_policies_expressions_and_changed_rows(conn):
    conn.execute("CREATE TABLE t (id int, v vector(2), owner name, amount numeric, day date) PARTITION BY RANGE (id)")
    conn.execute("CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (50)")
    # The same columns at other places.
    conn.execute("CREATE TABLE t2 (gone int, day date, amount numeric, owner name, v vector(2), id int)")
    conn.execute("ALTER TABLE t2 DROP COLUMN gone")
    conn.execute("ALTER TABLE t ATTACH PARTITION t2 FOR VALUES FROM (50) TO (100)")
    conn.execute("CREATE INDEX t_search ON t USING elacsym (v vector_l2_ops, (amount + 1), amount, day)")
    insert = f"INSERT INTO t SELECT i, ARRAY[i, 1]::vector(2), CASE i % 2 WHEN 0 THEN 'reader' ELSE 'other' END, {BIG} + i % 3, '2024-01-01' FROM generate_series(0, 99) i"
    conn.execute(insert)
    conn.execute("SELECT elacsym.flush('t_search')")
    conn.execute(f"UPDATE t SET amount = {BIG + 1} WHERE id IN (0, 60)")
    conn.execute("DELETE FROM t WHERE id = 4")
    matching = [i for (i,) in conn.execute(f"SELECT id FROM t WHERE amount = {BIG + 1} ORDER BY id").fetchall()]
    assert 0 in matching and 60 in matching and 4 not in matching

    def found(filter):
        # The distance of row i is i.
        sql = "SELECT vector_distance::int FROM elacsym.search('t_search', '[0,1]', k => 100, filter => %s::jsonb, effort => 'infinity')"
        return [i for (i,) in conn.execute(sql, [json.dumps(filter)]).fetchall()]

    exact = {"field": "amount", "op": "eq", "value": BIG + 1}
    assert found(exact) == matching
    assert found({"field": "expr", "op": "eq", "value": BIG + 2}) == matching
    assert conn.execute("SELECT elacsym.count('t_search', %s::jsonb)", [json.dumps(exact)]).fetchone() == (len(matching),)
    conn.execute("CREATE ROLE exact_reader")
    try:
        conn.execute("GRANT SELECT ON t TO exact_reader")
        conn.execute("ALTER TABLE t ENABLE ROW LEVEL SECURITY")
        conn.execute("CREATE POLICY own ON t USING (owner = 'reader')")
        conn.execute("SET ROLE exact_reader")
        own = [i for i in matching if i % 2 == 0]
        assert found(exact) == own
        assert conn.execute("SELECT elacsym.count('t_search', %s::jsonb)", [json.dumps(exact)]).fetchone() == (len(own),)
    finally:
        conn.execute("RESET ROLE")
        conn.execute("DROP OWNED BY exact_reader")
        conn.execute("DROP ROLE exact_reader")
