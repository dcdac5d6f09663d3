"""elacsym.count() and elacsym.facets(), of namespaces and indexes, against plain Python; who may see what; transactions."""

import collections
import datetime
import json
import math
import random

import psycopg
import pytest

from harness import Cluster

pytestmark = pytest.mark.every_pg

UTC = datetime.timezone.utc
WORDS = ("lake", "river", "mountain", "cloud", "index")
SPREADS = ("buffered", "flushed", "half", "segments")
ROWS = 300
ATTRIBUTES = {
    "body": {"type": "string", "full_text": {"stemming": False, "remove_stopwords": False}},
    "title": {"type": "string", "full_text": {"stemming": False, "remove_stopwords": False}},
    "category": "string",
    "year": "int",
    "price": "float",
    "live": "bool",
    "at": "timestamp",
    "tags": "array_string",
    "sizes": "array_int",
}


def row(rng: random.Random) -> dict:
    values = {
        "body": " ".join(rng.choices(WORDS, k=rng.randrange(4))),
        "title": rng.choice(WORDS),
        "category": rng.choice(["db", "web", "ai", "os", "a\"b\\c", "ö"]),
        "year": rng.randrange(1990, 2025),
        "price": rng.choice([0.1, 0.2, 0.3, 1e16, -1e16, rng.uniform(-50, 50)]),
        "live": rng.random() < 0.5,
        "at": datetime.datetime(2023, 11, 20, tzinfo=UTC) + datetime.timedelta(minutes=rng.randrange(200_000)),
        "tags": [rng.choice("xyz") for _ in range(rng.randrange(4))],
        "sizes": [rng.randrange(4) for _ in range(rng.randrange(4))],
    }
    return {name: None if rng.random() < 0.2 else value for name, value in values.items()}


def timestamp(moment: datetime.datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S") + (f".{moment.microsecond:06}" if moment.microsecond else "") + "Z"


FACETS = {
    "categories": {"type": "terms", "field": "category", "limit": 3},
    "lives": {"type": "terms", "field": "live"},
    "tags": {"type": "terms", "field": "tags"},
    "sizes": {"type": "terms", "field": "sizes", "limit": 2},
    "titles": {"type": "terms", "field": "title"},
    "year": {"type": "stats", "field": "year"},
    "price": {"type": "stats", "field": "price"},
    "at": {"type": "stats", "field": "at"},
    "decades": {"type": "histogram", "field": "year", "interval": 10, "offset": 5},
    "months": {"type": "histogram", "field": "at", "interval": "month"},
    "days": {"type": "histogram", "field": "at", "interval": "7 days"},
    "eras": {"type": "range", "field": "year", "ranges": [{"key": "old", "to": 2000}, {"from": 2000, "to": 2010}, {"from": 2005}]},
}


def terms(rows, name, limit=10):
    counts = collections.Counter()
    missing = 0
    for r in rows:
        values = r[name] if isinstance(r[name], list) else [] if r[name] is None else [r[name]]
        counts.update(set(values))
        missing += not values
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0].encode() if isinstance(item[0], str) else item[0]))
    return {
        "type": "terms",
        "buckets": [{"value": value, "count": count} for value, count in ordered[:limit]],
        "other": sum(count for _, count in ordered[limit:]),
        "missing": missing,
    }


def expected(rows) -> dict:
    held = lambda name: [r[name] for r in rows if r[name] is not None]  # noqa: E731
    missing = lambda name: len(rows) - len(held(name))  # noqa: E731

    def stats(name, total=None):
        values = held(name)
        answer = {"type": "stats", "count": len(values), "nulls": missing(name), "min": min(values, default=None), "max": max(values, default=None)}
        if total:
            answer |= {"sum": total(values) if values else None, "avg": pytest.approx(total(values) / len(values), rel=1e-12) if values else None}
        return answer

    def buckets(name, kind, bounds):
        counts = collections.Counter(bounds(value) for value in held(name))
        return {"type": kind, "buckets": [{"from": a, "to": b, "count": n} for (a, b), n in sorted(counts.items())], "missing": missing(name)}

    def month(moment):
        start = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return timestamp(start), timestamp((start + datetime.timedelta(days=32)).replace(day=1))

    def week(moment):
        start = moment.replace(hour=0, minute=0, second=0, microsecond=0) - datetime.timedelta(days=moment.weekday())
        return timestamp(start), timestamp(start + datetime.timedelta(days=7))

    def decade(year):
        start = (year - 5) // 10 * 10 + 5
        return start, start + 10

    at = stats("at")
    at |= {"min": at["min"] and timestamp(at["min"]), "max": at["max"] and timestamp(at["max"])}
    between = lambda low, high: sum(low <= year < high for year in held("year"))  # noqa: E731
    return {
        "categories": terms(rows, "category", 3),
        "lives": terms(rows, "live"),
        "tags": terms(rows, "tags"),
        "sizes": terms(rows, "sizes", 2),
        "titles": terms(rows, "title"),
        "year": stats("year", sum),
        # exact, then rounded once: what fsum gives
        "price": stats("price", math.fsum),
        "at": at,
        "decades": buckets("year", "histogram", decade),
        "months": buckets("at", "histogram", month),
        "days": buckets("at", "histogram", week),
        "eras": {
            "type": "range",
            "buckets": [
                {"key": "old", "to": 2000, "count": between(0, 2000)},
                {"from": 2000, "to": 2010, "count": between(2000, 2010)},
                {"from": 2005, "count": between(2005, 9999)},
            ],
            "missing": missing("year"),
        },
    }


# (filter, full_text, what they mean)
SELECTIONS = [
    (None, None, lambda r: True),
    ({"field": "year", "op": "gte", "value": 2010}, None, lambda r: (r["year"] or 0) >= 2010),
    ({"field": "tags", "op": "contains", "value": "x"}, None, lambda r: "x" in (r["tags"] or [])),
    ({"field": "at", "op": "lt", "value": "2024-01-01"}, None, lambda r: r["at"] is not None and r["at"] < datetime.datetime(2024, 1, 1, tzinfo=UTC)),
    (None, "lake river", lambda r: bool({"lake", "river"} & set(f"{r['body']} {r['title']}".split()))),
    (None, {"field": "body", "query": "lake"}, lambda r: "lake" in (r["body"] or "").split()),
    (None, {"fields": ["title", "body"], "query": "cloud", "weights": {"title": 0}}, lambda r: "cloud" in (r["body"] or "").split()),
    ({"field": "live", "op": "eq", "value": True}, {"field": "title", "query": "Lake"}, lambda r: r["live"] is True and r["title"] == "lake"),
    ({"field": "year", "op": "gt", "value": 9000}, None, lambda r: False),
    (None, "nothingofthis", lambda r: False),
]


@pytest.fixture(scope="module")
def quiet():
    """A cluster that flushes only when told to."""
    config = {"elacsym.flush_interval": "1h", "elacsym.flush_rows": 10_000_000, "autovacuum": "off", "timezone": "UTC", "max_prepared_transactions": 2}
    with Cluster("aggregates", config=config) as cluster:
        yield cluster.start()


@pytest.fixture
def conn(quiet, request):
    name = f"a{abs(hash(request.node.name)) % 10**8}"
    quiet.create_database(name)
    with quiet.connect(name) as connection:
        connection.dbname = name
        yield connection
    quiet.sql(f'DROP DATABASE "{name}" WITH (FORCE)')


COLUMNS = "body text, title text, category text, year int, price float8, live bool, at timestamptz, tags text[], sizes int8[]"
KEYS = "v vector_l2_ops, body bm25_ops (stemming = false, stopwords = false), title bm25_ops (stemming = false, stopwords = false), category, year, price, live, at, tags, sizes"


def insert(conn, i, values, table="docs"):
    names = list(values)
    conn.execute(f"INSERT INTO {table} (id, v, {', '.join(names)}) VALUES (%s, %s, {', '.join(['%s'] * len(names))})", [i, f"[{i},1]", *values.values()])


def documents(rows: dict) -> str:
    clean = lambda value: timestamp(value) if isinstance(value, datetime.datetime) else value  # noqa: E731
    return json.dumps([{"id": i, "vector": [i, 1], "attributes": {k: clean(v) for k, v in r.items()}} for i, r in rows.items()])


def load(conn, spread: str, rows: int = ROWS, seed: int = 1) -> dict:
    """A table with an index and a namespace with the same rows; returns them by id."""
    rng = random.Random(seed)
    conn.execute(f"CREATE TABLE docs (id int PRIMARY KEY, v vector(2), {COLUMNS})")
    conn.execute(f"CREATE INDEX docs_idx ON docs USING elacsym ({KEYS})")
    conn.execute("SELECT elacsym.create_namespace('ns', %s)", [json.dumps({"vector_dim": 2, "attributes": ATTRIBUTES})])
    cuts = {"buffered": [], "flushed": [rows], "half": [rows // 2], "segments": range(0, rows + 1, rows // 6)}[spread]
    data = {}
    for i in range(1, rows + 1):
        data[i] = row(rng)
        insert(conn, i, data[i])
        conn.execute("SELECT elacsym.upsert('ns', %s::jsonb)", [documents({i: data[i]})])
        if i in cuts:
            conn.execute("SELECT elacsym.flush('ns'), elacsym.flush('docs_idx')")
    return data


def count(conn, target, filter=None, text=None) -> int:
    return conn.execute("SELECT elacsym.count(%s, %s, %s)", [target, filter and json.dumps(filter), text and json.dumps(text)]).fetchone()[0]


def facets(conn, target, wanted=None, filter=None, text=None) -> dict:
    return conn.execute(
        "SELECT elacsym.facets(%s, %s, %s, %s)", [target, json.dumps(wanted or FACETS), filter and json.dumps(filter), text and json.dumps(text)]
    ).fetchone()[0]


def check(conn, data, targets=("ns", "docs_idx")):
    for filter, text, means in SELECTIONS:
        rows = [r for r in data.values() if means(r)]
        for target in targets:
            assert count(conn, target, filter, text) == len(rows), (target, filter, text)
            found, wanted = facets(conn, target, None, filter, text), expected(rows)
            # jsonb writes a float that is whole as an integer, of as many digits as tell it from other floats
            found["price"] = {key: float(value) if isinstance(value, int) and key in ("sum", "min", "max") else value for key, value in found["price"].items()}
            for name in wanted:
                assert found[name] == wanted[name], (target, filter, text, name)


@pytest.mark.parametrize("spread", SPREADS)
def test_counts_and_facets_are_exact_wherever_the_rows_are(conn, spread):
    data = load(conn, spread)
    check(conn, data)
    rng = random.Random(9)
    # what is deleted, changed (HOT or not) or written again counts once, as it is now
    for i in range(3, ROWS, 17):
        conn.execute("DELETE FROM docs WHERE id = %s", [i])
        conn.execute("SELECT elacsym.delete('ns', ARRAY[%s::bigint])", [i])
        del data[i]
    for i in [i for i in data if i % 13 == 0]:
        data[i] = row(rng)
        conn.execute(f"UPDATE docs SET {', '.join(f'{k} = %s' for k in data[i])} WHERE id = %s", [*data[i].values(), i])
        conn.execute("SELECT elacsym.upsert('ns', %s::jsonb)", [documents({i: data[i]})])
    check(conn, data)
    conn.execute("VACUUM docs")
    check(conn, data, ["docs_idx"])
    conn.execute("SELECT elacsym.flush('ns'), elacsym.flush('docs_idx')")
    check(conn, data)


def test_each_transaction_counts_what_it_sees(conn, quiet):
    load(conn, "half", 60)
    with quiet.connect(conn.dbname) as other, quiet.connect(conn.dbname) as old:
        old.autocommit = False
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        for target in ("ns", "docs_idx"):
            assert count(old, target) == 60
        with other.transaction():
            insert(other, 61, row(random.Random(1)))
            other.execute("DELETE FROM docs WHERE id <= 10")
            other.execute("SELECT elacsym.upsert('ns', '[{\"id\": 61}]'::jsonb), elacsym.delete('ns', ARRAY[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]::bigint[])")
            for target in ("ns", "docs_idx"):
                assert (count(other, target), count(conn, target), count(old, target)) == (51, 60, 60)
        for target in ("ns", "docs_idx"):
            assert (count(other, target), count(conn, target), count(old, target)) == (51, 51, 60)
        conn.execute("SELECT elacsym.flush('ns'), elacsym.flush('docs_idx')")
        for target in ("ns", "docs_idx"):
            assert (count(conn, target), count(old, target)) == (51, 60)
        old.rollback()
        # after a rollback everything is as before
        with pytest.raises(ZeroDivisionError), conn.transaction():
            conn.execute("DELETE FROM docs; SELECT elacsym.delete('ns', array_agg(g)) FROM generate_series(1, 100) g")
            assert (count(conn, "ns"), count(conn, "docs_idx")) == (0, 0)
            raise ZeroDivisionError
        assert (count(conn, "ns"), count(conn, "docs_idx")) == (51, 51)


def test_numbers_and_dates_of_an_index_that_namespaces_do_not_have(conn):
    conn.execute("CREATE TABLE t (id int, amount numeric, f real, d date, u uuid, i2 int2)")
    conn.execute("CREATE INDEX t_idx ON t USING elacsym (amount, f, d, u, i2)")
    conn.execute(
        "INSERT INTO t SELECT i, i / 10.0, (CASE i WHEN 1 THEN 'NaN' WHEN 2 THEN '-Infinity' ELSE i::text END)::real, date '2024-01-30' + i,"
        " ('00000000-0000-4000-8000-00000000000' || i % 2)::uuid, i FROM generate_series(1, 9) i"
    )
    wanted = {
        "amount": {"type": "stats", "field": "amount"},
        "f": {"type": "terms", "field": "f", "limit": 1},
        "d": {"type": "histogram", "field": "d", "interval": "month"},
        "u": {"type": "terms", "field": "u"},
        "i2": {"type": "stats", "field": "i2"},
    }
    for _ in range(2):
        found = facets(conn, "t_idx", wanted)
        assert found["amount"] == {"type": "stats", "count": 9, "nulls": 0, "min": 0.1, "max": 0.9, "sum": 4.5, "avg": 0.5}
        assert found["f"] == {"type": "terms", "buckets": [{"value": "-Infinity", "count": 1}], "other": 8, "missing": 0}
        assert [(b["from"], b["count"]) for b in found["d"]["buckets"]] == [("2024-01-01T00:00:00Z", 1), ("2024-02-01T00:00:00Z", 8)]
        assert [b["count"] for b in found["u"]["buckets"]] == [5, 4]
        assert (found["i2"]["sum"], found["i2"]["avg"]) == (45, 5)
        conn.execute("SELECT elacsym.flush('t_idx')")


def test_expressions_and_predicates_of_an_index(conn):
    conn.execute("CREATE TABLE t (id int, name text, n int)")
    conn.execute("INSERT INTO t SELECT i, chr(97 + i % 3) || repeat('x', CASE WHEN i > 50 THEN 9000 ELSE 0 END), i FROM generate_series(1, 60) i")
    conn.execute("CREATE INDEX t_idx ON t USING elacsym ((upper(left(name, 1))), (n % 4), name) WHERE n > 20")
    conn.execute("INSERT INTO t VALUES (61, 'zebra', 61), (62, NULL, 62), (0, 'unseen', 0)")
    fields = [f for (f,) in conn.execute("SELECT attname FROM pg_attribute WHERE attrelid = 't_idx'::regclass ORDER BY attnum")]
    assert count(conn, "t_idx") == 42
    found = facets(conn, "t_idx", {"a": {"type": "terms", "field": fields[0]}, "b": {"type": "stats", "field": fields[1]}, "c": {"type": "terms", "field": "name", "limit": 100}})
    by_sql = lambda what: dict(conn.execute(f"SELECT {what}, count(*) FROM t WHERE n > 20 GROUP BY 1").fetchall())  # noqa: E731
    as_dict = lambda facet: {b["value"]: b["count"] for b in facet["buckets"]} | {None: facet["missing"]}  # noqa: E731
    assert as_dict(found["a"]) == by_sql("upper(left(name, 1))")
    assert found["b"]["sum"] == sum(n * c for n, c in by_sql("n % 4").items())
    # long texts are whole
    assert as_dict(found["c"]) == by_sql("name")


def test_a_partitioned_index_counts_all_of_it(conn):
    conn.execute("CREATE TABLE t (id int, k int, body text) PARTITION BY RANGE (id)")
    conn.execute("CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (50)")
    conn.execute("CREATE TABLE t2 (body text, gone int, k int, id int)")
    conn.execute("ALTER TABLE t2 DROP COLUMN gone; ALTER TABLE t ATTACH PARTITION t2 FOR VALUES FROM (50) TO (200)")
    conn.execute("CREATE INDEX t_idx ON t USING elacsym (k, body bm25_ops)")
    conn.execute("INSERT INTO t SELECT i, i % 5, CASE WHEN i % 2 = 0 THEN 'lake' ELSE 'river' END FROM generate_series(0, 99) i")
    conn.execute("SELECT elacsym.flush('t1_k_body_idx')")
    assert (count(conn, "t_idx"), count(conn, "t2_k_body_idx")) == (100, 50)
    assert count(conn, "t_idx", {"field": "k", "op": "lt", "value": 2}, "lake") == 20
    found = facets(conn, "t_idx", {"k": {"type": "terms", "field": "k", "limit": 1}, "s": {"type": "stats", "field": "k"}})
    assert found["k"] == {"type": "terms", "buckets": [{"value": 0, "count": 20}], "other": 80, "missing": 0}
    assert found["s"]["sum"] == 200


DENIED = psycopg.errors.InsufficientPrivilege


def test_who_may_count_what(conn, quiet):
    alice, bob = f"{conn.dbname}_alice", f"{conn.dbname}_bob"
    conn.execute(f"CREATE ROLE {alice}; CREATE ROLE {bob} LOGIN; GRANT USAGE, CREATE ON SCHEMA public TO {alice}")
    data = load(conn, "half", 90)
    conn.execute(f"ALTER TABLE docs OWNER TO {alice}")
    with quiet.connect(conn.dbname, user=bob) as his:
        for target in ("ns", "docs_idx"):
            for call in (lambda: count(his, target), lambda: facets(his, target)):
                with pytest.raises(DENIED):
                    call()
        # single columns: all that are indexed
        conn.execute(f"GRANT SELECT (v, body, title, category, year, price, live, at, tags) ON docs TO {bob}")
        with pytest.raises(DENIED):
            count(his, "docs_idx")
        conn.execute(f"GRANT SELECT (sizes) ON docs TO {bob}")
        check(his, data, ["docs_idx"])
        # row-level security
        conn.execute("ALTER TABLE docs ENABLE ROW LEVEL SECURITY")
        assert (count(his, "docs_idx"), count(conn, "docs_idx")) == (0, 90)
        conn.execute("CREATE POLICY young ON docs USING (year >= 2005)")
        check(his, {i: r for i, r in data.items() if (r["year"] or 0) >= 2005}, ["docs_idx"])
        his.execute("SET row_security = off")
        with pytest.raises(DENIED):
            count(his, "docs_idx")
    conn.execute(f"DROP OWNED BY {alice}, {bob} CASCADE; DROP ROLE {alice}, {bob}")


def test_a_user_function_in_an_index_runs_as_the_tables_owner(conn, quiet):
    """As when the index is built: whoever counts must not lend the owner of an index their rights."""
    owner = f"{conn.dbname}_owner"
    conn.execute(f"CREATE ROLE {owner}; GRANT CREATE, USAGE ON SCHEMA public TO {owner}; SET ROLE {owner}")
    conn.execute("CREATE FUNCTION who(int) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN current_user; END $$")
    conn.execute("CREATE TABLE t (id int); INSERT INTO t VALUES (1), (2); CREATE INDEX t_idx ON t USING elacsym ((who(id)))")
    conn.execute("RESET ROLE")
    assert facets(conn, "t_idx", {"w": {"type": "terms", "field": "who"}})["w"]["buckets"] == [{"value": owner, "count": 2}]
    assert conn.execute("SELECT current_user").fetchone() == ("postgres",)
    conn.execute(f"DROP OWNED BY {owner} CASCADE; DROP ROLE {owner}")


def test_many_rows_in_several_answers_of_the_engine(conn):
    conn.execute("CREATE TABLE big (id int, k int)")
    conn.execute("INSERT INTO big SELECT i, i % 1000 FROM generate_series(1, 60000) i")
    conn.execute("CREATE INDEX big_idx ON big USING elacsym (k)")
    conn.execute("DELETE FROM big WHERE id <= 10000")
    assert count(conn, "big_idx") == 50_000
    found = facets(conn, "big_idx", {"k": {"type": "terms", "field": "k", "limit": 1}, "h": {"type": "histogram", "field": "k", "interval": 1}})
    assert (found["k"]["buckets"], found["k"]["other"]) == ([{"value": 0, "count": 50}], 49_950)
    assert len(found["h"]["buckets"]) == 1000
    # a search on the same connection while another one streams, here in a policy, disturbs nothing
    role = f"{conn.dbname}_few"
    conn.execute("CREATE TABLE few (n int); INSERT INTO few SELECT generate_series(1, 10); CREATE INDEX few_idx ON few USING elacsym (n)")
    conn.execute(f"CREATE ROLE {role}; GRANT SELECT ON big, few TO {role}; ALTER TABLE big ENABLE ROW LEVEL SECURITY")
    conn.execute(f"CREATE POLICY p ON big USING (k < (SELECT elacsym.count('few_idx'))); SET ROLE {role}")
    assert count(conn, "big_idx") == 500
    conn.execute(f"RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}")


F = {"f": {"type": "terms", "field": "category"}}
WRONG = {
    "unknown target": ("count('nope')", "42704", '"nope"'),
    "not an index of ours": ("count('docs_pkey')", "22023", "docs_pkey"),
    "a table": ("count('docs')", "22023", "docs"),
    "null target": ("count(NULL)", "22004", "target"),
    "null facets": ("facets('ns', NULL)", "22004", "facets"),
    "no facets": ("facets('ns', '{}')", "22023", "empty"),
    "unknown type": ('facets(\'ns\', \'{"f": {"type": "sum", "field": "year"}}\')', "22023", '"sum"'),
    "unknown field": ('facets(\'docs_idx\', \'{"f": {"type": "terms", "field": "nope"}}\')', "42704", '"nope"'),
    "no numbers": ('facets(\'docs_idx\', \'{"f": {"type": "stats", "field": "category"}}\')', "22000", '"category"'),
    "limit": ('facets(\'ns\', \'{"f": {"type": "terms", "field": "year", "limit": 0}}\')', "22003", "10000"),
    "interval": ('facets(\'ns\', \'{"f": {"type": "histogram", "field": "at", "interval": 5}}\')', "22023", "interval"),
    "wrong filter": ("count('ns', '{\"field\": \"nope\", \"op\": \"eq\", \"value\": 1}')", "42704", '"nope"'),
    "empty text": ("count('ns', full_text => '\"\"')", "22023", "empty"),
    "text of no field": ('count(\'docs_idx\', full_text => \'{"field": "category", "query": "x"}\')', "22023", '"category"'),
    "too many buckets": ('facets(\'wide_idx\', \'{"f": {"type": "histogram", "field": "n", "interval": 1}}\')', "53000", "10000 buckets"),
}


@pytest.fixture(scope="module")
def wrong(quiet):
    quiet.create_database("a_wrong")
    with quiet.connect("a_wrong") as connection:
        load(connection, "half", 10)
        connection.execute("CREATE TABLE wide (n int); INSERT INTO wide SELECT generate_series(1, 10001); CREATE INDEX wide_idx ON wide USING elacsym (n)")
        yield connection


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_an_error_that_names_it(wrong, case):
    call, state, part = WRONG[case]
    with pytest.raises(psycopg.Error) as caught:
        wrong.execute(f"SELECT elacsym.{call}")
    assert (caught.value.sqlstate, part in caught.value.diag.message_primary) == (state, True), caught.value
