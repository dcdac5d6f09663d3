"""Filters of every operator on every attribute type, on namespaces and indexes, wherever the rows are, against plain Python."""

import datetime
import decimal
import json
import random
import time
import uuid

import psycopg
import pytest

from harness import Cluster

pytestmark = pytest.mark.every_pg

UTC = datetime.timezone.utc
ROWS = 240
SPREADS = ("buffered", "flushed", "half", "segments")

# name → (type of the column, type of the attribute of a namespace, None where there is none)
FIELDS = {
    "name": ('text COLLATE "C"', "string"),
    "n": ("int8", "int"),
    "small": ("int2", "int"),
    "price": ("float8", "float"),
    "amount": ("numeric", None),
    "live": ("bool", "bool"),
    "at": ("timestamptz", "timestamp"),
    "local": ("timestamp", "timestamp"),
    "day": ("date", None),
    "ref": ("uuid", "uuid"),
    "tags": ("text[]", "array_string"),
    "sizes": ("int8[]", "array_int"),
}
NAMESPACE_FIELDS = [name for name, (_, kind) in FIELDS.items() if kind]


def values(rng: random.Random) -> dict:
    day = datetime.date(2024, 1, 1) + datetime.timedelta(days=rng.randrange(60))
    moment = datetime.datetime(2024, 1, 1, tzinfo=UTC) + datetime.timedelta(hours=rng.randrange(48), microseconds=rng.choice([0, 0, 1]))
    row = {
        "name": rng.choice(["", "a", "ab", "abc", "b", "ä", "Z", "日本"]),
        "n": rng.choice([-(2**63), 2**63 - 1, *range(-3, 6)]),
        "small": rng.randrange(5),
        "price": rng.choice([-1.5, -0.0, 0.0, 0.1, 0.25, 1e300]),
        "amount": decimal.Decimal(rng.randrange(-20, 20)) / 4,
        "live": rng.random() < 0.5,
        "at": moment,
        "local": moment.replace(tzinfo=None) + datetime.timedelta(days=1),
        "day": day,
        "ref": uuid.UUID(int=rng.choice([0, 1, 2, 1 << 127, (1 << 128) - 1])),
        "tags": [rng.choice("xyz") for _ in range(rng.randrange(4))],
        "sizes": [rng.choice([-1, 0, 1, 2**40]) for _ in range(rng.randrange(4))],
    }
    return {name: None if rng.random() < 0.2 else value for name, value in row.items()}


def as_json(value):
    """As a user writes it in a filter or a document."""
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, decimal.Decimal):
        return float(value)
    return value


def comparable(value):
    return value.encode() if isinstance(value, str) else value


COMPARISONS = {
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
}


def holds(tree, row) -> bool:
    if "type" in tree:
        parts = [holds(t, row) for t in tree["conditions"]]
        return {"and": all, "or": any}[tree["type"]](parts) if tree["type"] != "not" else not parts[0]
    held, op, value = row[tree["field"]], tree["op"], tree.get("value")
    if op == "is_null":
        return (held is None) == (value is not False)
    if op in ("ne", "not_in"):
        return not holds({**tree, "op": {"ne": "eq", "not_in": "in"}[op]}, row)
    if held is None:
        return False
    if op == "eq":
        return held == value
    if op == "in":
        return held in value
    if op == "prefix":
        return held.startswith(value)
    if op == "contains":
        return value in held
    if op == "contains_any":
        return any(v in held for v in value)
    return COMPARISONS[op](comparable(held), comparable(value))


def dumped(tree) -> str:
    def clean(node):
        if isinstance(node, dict):
            return {key: clean(value) for key, value in node.items()}
        if isinstance(node, list):
            return [clean(value) for value in node]
        return as_json(node)

    return json.dumps(clean(tree))


def operators(name: str) -> list[str]:
    kind = FIELDS[name][0]
    if kind.endswith("[]"):
        return ["contains", "contains_any", "is_null"]
    ops = ["eq", "ne", "in", "not_in", "is_null"]
    if name != "live":
        ops += ["gt", "gte", "lt", "lte"]
    return ops + (["prefix"] if name == "name" else [])


def leaf(rng: random.Random, name: str, op: str) -> dict:
    def value():
        while True:
            if (found := values(rng)[name]) is not None:
                return found

    tree = {"field": name, "op": op}
    if op == "is_null":
        if rng.random() < 0.5:
            tree["value"] = rng.random() < 0.5
    elif op in ("in", "not_in"):
        tree["value"] = [value() for _ in range(rng.randrange(14))]
    elif op == "contains":
        tree["value"] = rng.choice([*(value() or []), "q" if name == "tags" else 7])
    elif op == "contains_any":
        tree["value"] = value()
    else:
        tree["value"] = value()
    return tree


def any_leaf(rng, fields) -> dict:
    name = rng.choice(fields)
    return leaf(rng, name, rng.choice(operators(name)))


def tree(rng: random.Random, fields, depth: int) -> dict:
    """One path of that many groups, with leaves beside it."""
    node = any_leaf(rng, fields)
    for _ in range(depth):
        kind = rng.choice(["and", "or", "not"])
        node = {"type": kind, "conditions": [node] if kind == "not" else [any_leaf(rng, fields), node]}
    return node


@pytest.fixture(scope="module")
def quiet():
    """A cluster that flushes only when told to."""
    with Cluster("filters", config={"elacsym.flush_interval": "1h", "elacsym.flush_rows": 10_000_000, "timezone": "UTC"}) as cluster:
        yield cluster.start()


class World:
    """The same rows in a table with an index and in a namespace, wherever `spread` wants them."""

    def __init__(self, conn, spread: str):
        self.conn, self.rng = conn, random.Random(len(spread))
        columns = ", ".join(f"{name} {kind}" for name, (kind, _) in FIELDS.items())
        conn.execute(f"CREATE TABLE t (id int PRIMARY KEY, v vector(2), {columns})")
        conn.execute(f"CREATE INDEX t_idx ON t USING elacsym (v vector_l2_ops, {', '.join(FIELDS)})")
        schema = {"vector_dim": 2, "vector_metric": "l2", "attributes": {name: kind for name, (_, kind) in FIELDS.items() if kind}}
        conn.execute("SELECT elacsym.create_namespace('ns', %s)", [json.dumps(schema)])
        self.rows = {}
        cuts = {"buffered": [], "flushed": [ROWS], "half": [ROWS // 2], "segments": range(0, ROWS + 1, ROWS // 8)}[spread]
        for i in range(1, ROWS + 1):
            self.write(i)
            if i in cuts:
                conn.execute("SELECT elacsym.flush('ns'), elacsym.flush('t_idx')")
        # rows that are gone or changed must be so everywhere
        for i in range(5, ROWS, 37):
            conn.execute("DELETE FROM t WHERE id = %s", [i])
            conn.execute("SELECT elacsym.delete('ns', ARRAY[%s::bigint])", [i])
            del self.rows[i]
        for i in range(7, ROWS, 41):
            conn.execute("DELETE FROM t WHERE id = %s", [i])
            self.write(i)

    def write(self, i: int):
        row = self.rows[i] = values(self.rng)
        names = ", ".join(row)
        self.conn.execute(
            f"INSERT INTO t (id, v, {names}) VALUES (%s, %s, {', '.join(['%s'] * len(row))})",
            [i, f"[{i},1]", *row.values()],
        )
        attributes = {name: as_json(row[name]) for name in NAMESPACE_FIELDS}
        self.conn.execute("SELECT elacsym.upsert('ns', %s::jsonb)", [json.dumps([{"id": i, "vector": [i, 1], "attributes": attributes}])])

    def expected(self, filter) -> list[int]:
        return sorted(i for i, row in self.rows.items() if holds(filter, row))

    def check(self, filter, namespace: bool):
        wanted, text = self.expected(filter), dumped(filter)
        found = self.conn.execute(
            "SELECT d.id FROM elacsym.search('t_idx', '[1,1]', filter => %s::jsonb, k => 1000, effort => 'infinity') s JOIN t d ON d.ctid = s.ctid", [text]
        ).fetchall()
        assert sorted(i for (i,) in found) == wanted, text
        assert self.conn.execute("SELECT elacsym.count('t_idx', %s)", [text]).fetchone() == (len(wanted),), text
        if namespace:
            found = self.conn.execute("SELECT id FROM elacsym.query('ns', '[1,1]', filter => %s, top_k => 1000)", [text]).fetchall()
            assert sorted(i for (i,) in found) == wanted, text
            assert self.conn.execute("SELECT elacsym.count('ns', %s)", [text]).fetchone() == (len(wanted),), text
        return wanted


@pytest.fixture(params=SPREADS, scope="module")
def world(quiet, request):
    name = f"f_{request.param}"
    quiet.create_database(name)
    with quiet.connect(name) as conn:
        yield World(conn, request.param)
    quiet.sql(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_every_operator_on_every_type(world):
    rng = random.Random(1)
    some = 0
    for name in FIELDS:
        for op in operators(name):
            for _ in range(4):
                some += bool(world.check(leaf(rng, name, op), name in NAMESPACE_FIELDS))
    assert some > 200


def test_trees_20_deep_and_random_ones(world):
    rng = random.Random(2)
    for depth in [20] * 10 + [1, 2, 3, 5] * 5:
        world.check(tree(rng, NAMESPACE_FIELDS, depth), True)
        world.check(tree(rng, list(FIELDS), depth), False)


def test_a_filter_and_plain_sql_together(world):
    rng = random.Random(3)
    for _ in range(20):
        filter = tree(rng, list(FIELDS), 2)
        found = world.conn.execute(
            "SELECT d.id FROM elacsym.search('t_idx', '[1,1]', filter => %s::jsonb, k => 1000, effort => 'infinity') s JOIN t d ON d.ctid = s.ctid"
            " WHERE d.small >= 2 AND d.tags && '{x}'",
            [dumped(filter)],
        ).fetchall()
        wanted = [i for i in world.expected(filter) if (row := world.rows[i])["small"] is not None and row["small"] >= 2 and "x" in (row["tags"] or [])]
        assert sorted(i for (i,) in found) == wanted


def sql_of(filter) -> str | None:
    """The same condition as SQL that the index takes, as psycopg's literals."""
    name, op, value = filter["field"], filter["op"], filter.get("value")
    kind = FIELDS[name][0].split(" ")[0]
    literal = lambda v: psycopg.sql.Literal(v).as_string(None) + f"::{kind}"  # noqa: E731
    if op == "is_null":
        return f"{name} IS {'' if value is not False else 'NOT '}NULL"
    if op in ("contains", "contains_any"):
        return f"{name} && " + literal([value] if op == "contains" else value)
    if op == "in":
        return f"{name} = ANY (ARRAY[{', '.join(map(literal, value))}]::{kind}[])"
    signs = {"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
    return f"{name} {signs[op]} {literal(value)}" if op in signs else None


def test_sql_conditions_find_the_same_through_the_index(world):
    rng = random.Random(4)
    with world.conn.transaction():
        world.conn.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
        for name in FIELDS:
            for op in operators(name):
                filter = leaf(rng, name, op)
                if (condition := sql_of(filter)) is None:
                    continue
                query = f"SELECT id FROM t WHERE {condition} AND small < 3 ORDER BY v <-> '[1,1]'"
                plan = "\n".join(r for (r,) in world.conn.execute("EXPLAIN " + query))
                assert "t_idx" in plan, plan
                wanted = [i for i in world.expected(filter) if (world.rows[i]["small"] or 0) < 3 and world.rows[i]["small"] is not None]
                assert sorted(i for (i,) in world.conn.execute(query)) == wanted, query


def test_ten_thousand_values_in_a_list(world):
    for name, some in (
        ("n", [2**40 + i for i in range(9_998)]),
        ("name", [f"nobody {i}" for i in range(9_998)]),
        ("ref", [uuid.UUID(int=(7 << 64) + i) for i in range(9_998)]),
        ("at", [datetime.datetime(1999, 1, 1, tzinfo=UTC) + datetime.timedelta(minutes=i) for i in range(9_998)]),
        ("price", [i + 0.5 for i in range(9_998)]),
    ):
        held = [row[name] for row in world.rows.values() if row[name] is not None][:2]
        started = time.monotonic()
        assert world.check({"field": name, "op": "in", "value": some + held}, True)
        world.check({"field": name, "op": "not_in", "value": some + held}, True)
        took = time.monotonic() - started
        print(f"10,000 values for {name}: 8 calls in {took * 1000:.0f} ms")
        assert took < 20


def test_documents_come_back_as_they_were_written(world):
    stored = dict(world.conn.execute("SELECT id, attributes FROM elacsym.fetch('ns', %s)", [sorted(world.rows)]).fetchall())
    assert sorted(stored) == sorted(world.rows)
    for i, row in world.rows.items():
        back = {name: row[name] for name in NAMESPACE_FIELDS if row[name] is not None}
        read = dict(stored[i])
        for name in ("at", "local"):
            if name in read:
                assert read[name].endswith("Z")
                moment = datetime.datetime.fromisoformat(read[name].replace("Z", "+00:00"))
                read[name] = moment if name == "at" else moment.replace(tzinfo=None)
        if "ref" in read:
            read["ref"] = uuid.UUID(read["ref"])
        if "price" in read:
            # jsonb writes whole numbers as integers
            read["price"] = float(read["price"])
        assert read == back


def test_infinite_times_of_an_index_are_found(quiet):
    quiet.create_database("f_infinite")
    with quiet.connect("f_infinite") as conn:
        conn.execute("CREATE TABLE t (id int, at timestamptz, day date); CREATE INDEX t_idx ON t USING elacsym (at, day)")
        conn.execute("INSERT INTO t VALUES (1, 'infinity', '-infinity'), (2, '-infinity', 'infinity'), (3, '2024-01-01', '2024-01-01'), (4, '294276-12-31', '5874897-12-31'), (5, '4713-01-01 BC', '4713-01-01 BC')")
        count = lambda field, op, value: conn.execute("SELECT elacsym.count('t_idx', %s)", [json.dumps({"field": field, "op": op, "value": value})]).fetchone()[0]  # noqa: E731
        for _ in range(2):
            assert count("at", "eq", "-infinity") == 1
            assert count("at", "gt", "2024-01-01") == 2
            assert count("day", "gt", "9999-12-31") == 2
            assert count("day", "lt", "0001-01-01") == 2
            assert count("at", "gte", "-infinity") == 5
            with conn.transaction():
                conn.execute("SET LOCAL enable_seqscan = off")
                found = lambda where: sorted(i for (i,) in conn.execute(f"SELECT id FROM t WHERE {where}"))  # noqa: E731
                assert found("at = 'infinity'") == [1]
                assert found("at < 'infinity'") == [2, 3, 4, 5]
                assert found("day = 'infinity'") == [2]
                assert found("day <> 'infinity'") == [1, 3, 4, 5]
                assert found("day < '4713-01-02 BC'") == [1, 5]
                assert found("at = '294276-12-31'") == [4]
            conn.execute("SELECT elacsym.flush('t_idx')")
        assert conn.execute("SELECT * FROM elacsym.verify('t_idx')").fetchall() == []
        facet = conn.execute("SELECT elacsym.facets('t_idx', '{\"f\": {\"type\": \"stats\", \"field\": \"at\"}}') -> 'f'").fetchone()[0]
        assert (facet["min"], facet["max"]) == ("-infinity", "infinity")
    quiet.sql("DROP DATABASE f_infinite WITH (FORCE)")


WRONG = {
    "no timestamp": ({"field": "at", "op": "eq", "value": "soon"}, "22000", "soon"),
    "a number for a timestamp": ({"field": "at", "op": "gt", "value": 1}, "22000", '"at"'),
    "a year beyond the range": ({"field": "at", "op": "gt", "value": "10000-01-01"}, "22000", "10000-01-01"),
    "no uuid": ({"field": "ref", "op": "eq", "value": "123"}, "22000", "123"),
    "prefix of a uuid": ({"field": "ref", "op": "prefix", "value": "0"}, "22000", "prefix"),
    "equality of arrays": ({"field": "sizes", "op": "eq", "value": [1]}, "22000", "array_int"),
    "a string in ints": ({"field": "sizes", "op": "contains", "value": "1"}, "22000", "a number"),
    "order of bools": ({"field": "live", "op": "gt", "value": True}, "22000", "gt"),
    "unknown field": ({"field": "nope", "op": "eq", "value": 1}, "42704", '"nope"'),
    "unknown operator": ({"field": "n", "op": "like", "value": 1}, "22023", "like"),
    "a fraction for an int": ({"field": "n", "op": "eq", "value": 1.5}, "22000", "1.5"),
    "too many values": ({"field": "n", "op": "in", "value": [1] * 65_537}, "22003", "65536"),
    "not of two": ({"type": "not", "conditions": [{"field": "n", "op": "is_null"}] * 2}, "22023", "exactly one"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("target", ["ns", "t_idx"])
def test_wrong_filters_are_errors(world, case, target):
    filter, state, part = WRONG[case]
    with pytest.raises(psycopg.Error) as caught:
        world.conn.execute("SELECT elacsym.count(%s, %s)", [target, json.dumps(filter)])
    assert (caught.value.sqlstate, part in caught.value.diag.message_primary) == (state, True), caught.value


def test_nesting_has_an_end(world):
    node = {"field": "n", "op": "is_null"}
    for _ in range(90):
        node = {"type": "not", "conditions": [node]}
    with pytest.raises(psycopg.Error) as caught:
        world.conn.execute("SELECT elacsym.count('ns', %s)", [json.dumps(node)])
    assert caught.value.sqlstate in ("22023", "22003")
