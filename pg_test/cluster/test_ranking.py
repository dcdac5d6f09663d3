"""Fusion, several queries in one call, modifiers, limits per group, pages, orders by attribute and evaluation: the same on an
index and on a namespace, buffered, flushed and half of each, against an oracle that starts from the lists of single arms."""

import json
import math
import random

import pytest

pytestmark = pytest.mark.every_pg

DIM = 4
ROWS = 90
AUTHORS = ["ann", "bob", "cid", "Dan", "élan"]
PLACES = ["buffered", "flushed", "half", "segments"]


def literal(vector):
    return "[" + ",".join(str(x) for x in vector) + "]"


def documents():
    rng = random.Random(11)
    rows = {}
    for key in range(1, ROWS + 1):
        rows[key] = {
            "vector": [round(rng.uniform(-1, 1), 3) for _ in range(DIM)] if rng.random() < 0.9 else None,
            "body": " ".join(f"w{rng.randrange(12)}" for _ in range(rng.randrange(1, 25))),
            "author": rng.choice(AUTHORS) if rng.random() < 0.85 else None,
            "clicks": rng.randrange(100) if rng.random() < 0.8 else None,
            "year": rng.randrange(2000, 2012) if rng.random() < 0.9 else None,
        }
    return rows


class Source:
    """A namespace or an index with the same rows; both have `rank(arguments) -> [row]`."""

    def __init__(self, conn, kind, place):
        self.conn, self.kind, self.rows = conn, kind, documents()
        keys = list(self.rows)
        conn.execute("SET elacsym.effort = 'infinity'")
        if kind == "namespace":
            schema = {"vector_dim": DIM, "vector_metric": "l2", "attributes": {
                "body": {"type": "string", "full_text": True}, "author": "string", "clicks": "int", "year": "int"}}
            conn.execute("SELECT elacsym.create_namespace('docs', %s)", [json.dumps(schema)])
        else:
            conn.execute(f"CREATE TABLE docs (id int PRIMARY KEY, embedding vector({DIM}), body text, author text COLLATE \"C\", clicks int, year int)")
            # Rows of an index that is built are in a segment.
            if place != "buffered":
                self.write(keys[: ROWS // 2] if place in ("half", "segments") else keys)
            conn.execute("CREATE INDEX docs_search ON docs USING elacsym (embedding vector_l2_ops, body bm25_ops, author, clicks, year)")
        if kind == "index" and place == "buffered":
            self.write(keys)
        elif kind == "index" and place == "half":
            self.write(keys[ROWS // 2 :])
        elif kind == "index" and place == "segments":
            for part in range(3):
                self.write(keys[ROWS // 2 :][part::3])
                conn.execute("SELECT elacsym.flush('docs_search')")
        elif kind == "namespace":
            parts = {"buffered": [keys], "flushed": [keys], "half": [keys[: ROWS // 2], keys[ROWS // 2 :]], "segments": [keys[i::4] for i in range(4)]}[place]
            for number, part in enumerate(parts):
                self.write(part)
                if place in ("flushed", "segments") or (place == "half" and number == 0):
                    conn.execute("SELECT elacsym.flush('docs')")
        if kind == "index":
            # Old versions and deleted rows must neither be found nor have ranks.
            for key in (3, 30, 60):
                conn.execute("UPDATE docs SET clicks = coalesce(clicks, 0) + 1 WHERE id = %s", [key])
                self.rows[key]["clicks"] = (self.rows[key]["clicks"] or 0) + 1
        for key in (5, 50, 80):
            conn.execute(f"DELETE FROM docs WHERE id = {key}" if kind == "index" else f"SELECT elacsym.delete('docs', '{{{key}}}')")
            del self.rows[key]

    def write(self, keys):
        for key in keys:
            row = self.rows[key]
            if self.kind == "index":
                self.conn.execute("INSERT INTO docs VALUES (%s, %s, %s, %s, %s, %s)",
                                  [key, row["vector"] and literal(row["vector"]), row["body"], row["author"], row["clicks"], row["year"]])
        if self.kind == "namespace":
            batch = [{"id": key, "vector": self.rows[key]["vector"],
                      "attributes": {name: self.rows[key][name] for name in ("body", "author", "clicks", "year")}} for key in keys]
            self.conn.execute("SELECT elacsym.upsert('docs', %s::jsonb)", [json.dumps(batch)])

    def call(self, columns, rows=10, vector=None, text=None, **arguments):
        given = {name: json.dumps(value) if value is not None and name in ("queries", "modifiers", "per", "order_by", "filter") else value for name, value in arguments.items()}
        if self.kind == "namespace":
            given |= {"vector": vector and literal(vector), "full_text": None if text is None else json.dumps(text), "top_k": rows}
        else:
            given |= {"query_vector": vector and literal(vector), "query_text": text, "k": rows}
        given = {name: value for name, value in given.items() if value is not None}
        casts = {"vector": "::vector", "query_vector": "::vector"} | {n: "::jsonb" for n in ("queries", "modifiers", "per", "order_by", "filter", "full_text")}
        casts |= {n: "::real" for n in ("vector_weight", "text_weight")}
        call = ", ".join(f'"{name}" => %s{casts.get(name, "")}' for name in given)
        if self.kind == "namespace":
            statement = f"SELECT id, {columns} FROM elacsym.query('docs', {call})"
        else:
            statement = f"SELECT key::int AS id, {columns} FROM elacsym.search_keys('docs_search', {call})"
        return self.conn.execute(statement, list(given.values())).fetchall()

    def ids(self, **arguments):
        return [row[0] for row in self.call("score", **arguments)]

    def list_of(self, arm, filter):
        """The whole list of one arm: [(id, value)]."""
        if "vector" in arm:
            rows = self.call("vector_distance", rows=1000, vector=arm["vector"], filter=filter)
            exact = sorted((math.dist(arm["vector"], row["vector"]), key) for key, row in self.rows.items() if row["vector"] and matches(row, filter))
            assert [key for key, _ in rows] == [key for _, key in exact]
            return rows
        return self.call("text_score", rows=1000, text=arm["text"], filter=filter)


def matches(row, filter):
    if filter is None:
        return True
    assert filter["op"] == "gte"
    return row[filter["field"]] is not None and row[filter["field"]] >= filter["value"]


@pytest.fixture(params=[(kind, place) for kind in ("namespace", "index") for place in PLACES], ids=lambda p: "-".join(p))
def source(request, conn):
    return Source(conn, *request.param)


def factor(row, modifiers):
    product = 1.0
    for m in modifiers or []:
        weight = m.get("weight", 1)
        if m["type"] == "boost":
            f = m["factor"] if matches(row, m["filter"]) else 1.0
        elif row[m["field"]] is None:
            f = m.get("missing", 0)
        elif m["type"] == "saturate":
            f = row[m["field"]] / (row[m["field"]] + m["k"])
        else:
            d = max(0, abs(row[m["field"]] - m["origin"]) - m.get("offset", 0)) / m["scale"]
            decay = m.get("decay", 0.5)
            f = {"gauss": decay ** (d * d), "exp": decay**d, "linear": max(0, 1 - (1 - decay) * d)}[m.get("function", "gauss")]
        product *= 1 - weight + weight * f
    return product


def counts(scores, fusion, rrf_k):
    low, high = min(scores, default=0), max(scores, default=0)
    mean = sum(scores) / len(scores) if scores else 0
    sigma = math.sqrt(sum((s - mean) ** 2 for s in scores) / len(scores)) if scores else 0
    for rank, score in enumerate(scores, 1):
        if fusion == "rrf":
            yield 1 / (rrf_k + rank)
        elif fusion == "minmax":
            yield (score - low) / (high - low) if high > low else 1.0
        else:
            yield min(1.0, max(0.0, (score - mean + 3 * sigma) / (6 * sigma))) if sigma > 1e-7 else 0.5


def oracle(source, arms, depth, fusion="rrf", rrf_k=60, modifiers=None, per=None, filter=None):
    """The whole list by its definition: [(id, score, places)]."""
    lists = [source.list_of(arm, filter) for arm in arms]
    result, seen = [], set()
    while True:
        block = {}
        for number, (arm, whole) in enumerate(zip(arms, lists)):
            part = whole[:depth]
            sign = -1 if "vector" in arm else 1
            for rank, ((key, value), count) in enumerate(zip(part, counts([sign * v for _, v in part], fusion, rrf_k)), 1):
                score, places = block.setdefault(key, (0.0, [None] * len(arms)))
                places[number] = (rank, value)
                block[key] = (score + arm.get("weight", 1.0) * count, places)
        new = [(key, score * factor(source.rows[key], modifiers), places) for key, (score, places) in block.items() if key not in seen]
        new.sort(key=lambda r: (-r[1], r[0]))
        seen |= {key for key, _, _ in new}
        result += new
        if all(len(whole) < depth for whole in lists):
            break
        depth *= 2
    return limited(source, result, per)


def limited(source, result, per):
    if not per:
        return result
    held, kept = {}, []
    for row in result:
        group = source.rows[row[0]][per["field"]]
        held[group] = held.get(group, 0) + 1
        if held[group] <= per.get("limit", 1):
            kept.append(row)
    return kept


def same(found, expected):
    """The same rows with the same scores in the same order, but for neighbours whose scores are equal to six digits."""
    assert len(found) == len(expected)
    assert [score for _, score, *_ in found] == pytest.approx([score for _, score, *_ in expected], rel=2e-5, abs=1e-7)
    by_id = {key: score for key, score, *_ in expected}
    for (key, score, *_), (other, *_) in zip(found, expected):
        assert key == other or by_id.get(key) == pytest.approx(score, rel=2e-5, abs=1e-7)


V1, V2 = [0.3, -0.2, 0.5, 0.1], [-0.7, 0.4, 0.0, 0.9]
T1, T2 = "w1 w4 w7", "w2"
MODIFIERS = [
    {"type": "decay", "field": "year", "origin": 2011, "scale": 5, "offset": 1, "function": "exp", "missing": 0.3},
    {"type": "saturate", "field": "clicks", "k": 20, "weight": 0.6},
    {"type": "boost", "filter": {"field": "year", "op": "gte", "value": 2006}, "factor": 1.7},
]


@pytest.mark.parametrize("fusion", ["rrf", "minmax", "distribution"])
def test_hybrid_by_each_fusion(source, fusion):
    arms = [{"vector": V1, "weight": 1.5}, {"text": T1, "weight": 0.5}]
    expected = oracle(source, arms, 100, fusion=fusion, rrf_k=20)
    rows = source.call("score, vector_rank, vector_distance, text_rank, text_score, arms", vector=V1, text=T1, fusion=fusion, rrf_k=20, vector_weight=1.5, text_weight=0.5)
    same(rows, expected[:10])
    places = {key: places for key, _, places in expected}
    for key, _, vector_rank, distance, text_rank, score, arms in rows:
        vector, text = places[key]
        assert ((vector_rank, distance), (text_rank, score)) == (vector or (None, None), text or (None, None))
        assert arms is None


@pytest.mark.parametrize("fusion", ["rrf", "minmax", "distribution"])
def test_several_queries_in_one_call(source, fusion):
    arms = [{"vector": V1, "weight": 0.8}, {"text": T1, "weight": 1.0}, {"vector": V2, "weight": 2}, {"text": T2, "field": "body"}, {"text": "nowhere"}]
    expected = oracle(source, arms, 100, fusion=fusion)
    rows = source.call("score, vector_rank, vector_distance, text_rank, text_score, arms", rows=50, vector=V1, text=T1, vector_weight=0.8, fusion=fusion, queries=arms[2:])
    same(rows, expected[:50])
    places = {key: places for key, _, places in expected}
    for key, _, vector_rank, distance, text_rank, score, found in rows:
        assert len(found) == 5 and found[4] is None
        for name, number in (("distance", 0), ("score", 1), ("distance", 2), ("score", 3)):
            place = places[key][number]
            assert found[number] is None if place is None else (found[number]["rank"], found[number][name]) == (place[0], pytest.approx(place[1], rel=1e-6))
        best = min([p for p in (places[key][0], places[key][2]) if p], default=(None, None), key=lambda p: p[0])
        assert (vector_rank, distance) == best
        best = min([p for p in (places[key][1], places[key][3]) if p], default=(None, None), key=lambda p: p[0])
        assert (text_rank, score) == best
    # Without the plain arguments, and with the vector as the text form of its type.
    only = source.ids(rows=20, queries=[{"vector": literal(V1), "weight": 0.8}, *arms[1:]], fusion=fusion)
    assert only == [row[0] for row in rows[:20]]


def test_modifiers_multiply_the_fused_score(source):
    arms = [{"vector": V1}, {"text": T1}]
    same(source.call("score", rows=60, vector=V1, text=T1, modifiers=MODIFIERS), oracle(source, arms, 600, modifiers=MODIFIERS)[:60])
    # A single arm is ranked by its fused score then.
    for arm in arms:
        for fusion in ("rrf", "minmax"):
            expected = oracle(source, [arm], 600, fusion=fusion, modifiers=MODIFIERS)
            same(source.call("score", rows=60, modifiers=MODIFIERS, fusion=fusion, **arm), expected[:60])


def test_a_limit_per_group_is_never_exceeded_and_leaves_nothing_out(source):
    for per in ({"field": "author"}, {"field": "author", "limit": 3}, {"field": "year", "limit": 2}):
        expected = oracle(source, [{"vector": V1}, {"text": T1}], 100, per=per)
        same(source.call("score", vector=V1, text=T1, per=per), expected[:10])
        single = source.ids(rows=100, vector=V1, per=per)
        assert single == [key for key, *_ in limited(source, source.list_of({"vector": V1}, None), per)]


@pytest.mark.parametrize("candidates", [None, 1, 7, 40])
def test_inv_7_pages_join_to_the_whole_list(source, candidates):
    filter = {"field": "clicks", "op": "gte", "value": 5}
    for arguments in (
        dict(vector=V1, text=T1),
        dict(vector=V1, text=T1, modifiers=MODIFIERS, per={"field": "author", "limit": 9}),
        dict(vector=V1),
        dict(text=T1, filter=filter),
        dict(queries=[{"vector": V2}, {"text": T2}], filter=filter, fusion="minmax"),
    ):
        whole = source.ids(rows=200, candidates=candidates or 200, **arguments)
        assert len(set(whole)) == len(whole) > 10
        pages = []
        for offset in range(0, len(whole) + 8, 8):
            page = source.ids(rows=8, offset=offset, candidates=candidates, **arguments)
            assert len(page) == min(8, max(0, len(whole) - offset))
            pages += page
        assert sorted(pages) == sorted(whole)
        if candidates is not None:
            assert pages == whole


def sort_key(order, row):
    parts = []
    for by in order:
        value, descending = row[by["field"]], by.get("direction") == "desc"
        nulls_first = by["nulls"] == "first" if "nulls" in by else descending
        null = (value is None) != nulls_first
        if isinstance(value, str):
            value = [(-b if descending else b) for b in value.encode()] + [1 if descending else -1]
        elif value is not None:
            value = [-value if descending else value]
        parts.append((null, value or []))
    return parts


def test_order_by_attributes(source):
    for order in (
        [{"field": "year"}],
        [{"field": "year", "direction": "desc"}],
        [{"field": "author", "direction": "desc", "nulls": "last"}, {"field": "clicks", "nulls": "first"}],
        [{"field": "clicks", "direction": "asc"}, {"field": "author", "direction": "desc"}],
    ):
        for filter in (None, {"field": "clicks", "op": "gte", "value": 30}):
            for per in (None, {"field": "author", "limit": 4}):
                rows = [(key, row) for key, row in self_matching(source, filter)]
                rows.sort(key=lambda item: (sort_key(order, item[1]), tie(source, item[0])))
                expected = [key for key, *_ in limited(source, [(key,) for key, _ in rows], per)]
                pages = [source.ids(rows=10, offset=offset, order_by=order, filter=filter, per=per) for offset in range(0, ROWS, 10)]
                found = sum(pages, [])
                assert [sort_key(order, source.rows[k]) for k in found] == [sort_key(order, source.rows[k]) for k in expected]
                if source.kind == "namespace":
                    assert found == expected
                else:
                    assert len(set(found)) == len(found)
    rows = source.call("score, vector_rank, text_rank, arms", rows=3, order_by="year")
    assert [row[1:] for row in rows] == [(None, None, None, None)] * 3


def self_matching(source, filter):
    return [(key, row) for key, row in source.rows.items() if matches(row, filter)]


def tie(source, key):
    # An index breaks ties by ctid, which is not known here.
    return key if source.kind == "namespace" else 0


def test_a_page_beyond_the_end_is_empty(source):
    assert source.ids(vector=V1, offset=1000) == []
    assert source.ids(order_by="year", offset=1000) == []
    assert source.ids(text="nowhere", per={"field": "author"}) == []


def judged(source, k):
    """Judgements of three queries, and what evaluate must say of them."""
    rng = random.Random(3)
    queries = [
        {"id": "a", "vector": V1, "text": T1},
        {"id": 2, "vector": V2, "text": T2},
        {"id": "c", "vector": V1, "text": "nowhere", "filter": {"field": "year", "op": "gte", "value": 2003}},
        {"id": "unjudged", "vector": V1},
        {"id": "nothing relevant", "vector": V1, "text": T1},
    ]
    qrels = {q: {str(key): rng.choice([0, 0, 0, 1, 2]) for key in source.rows} for q in ("a", "2", "c")}
    qrels["nothing relevant"] = {"7": 0}
    qrels["of another set"] = {"7": 1}
    figures = {}
    for arm in ("vector", "text", "fused"):
        sums = [0.0, 0.0, 0.0]
        for query in queries[:3]:
            arguments = {name: query[name] for name in ("vector", "text") if arm in (name, "fused")}
            grades = {int(d): g for d, g in qrels[str(query["id"])].items()}
            found = source.ids(rows=k, filter=query.get("filter"), **arguments)
            dcg = lambda gs: sum((2**g - 1) / math.log2(i + 2) for i, g in enumerate(gs))  # noqa: E731
            sums[0] += dcg([grades.get(d, 0) for d in found]) / dcg(sorted(grades.values(), reverse=True)[:k])
            sums[1] += sum(grades.get(d, 0) > 0 for d in found) / sum(g > 0 for g in grades.values())
            sums[2] += next((1 / (i + 1) for i, d in enumerate(found) if grades.get(d, 0) > 0), 0)
        figures[arm] = [s / 3 for s in sums]
    return queries, qrels, figures


def test_evaluate_measures_each_arm_and_their_fusion(source):
    target = "docs" if source.kind == "namespace" else "docs_search"
    for k in (3, 10):
        queries, qrels, expected = judged(source, k)
        arguments = [target, json.dumps(queries), json.dumps(qrels), k]
        rows = source.conn.execute("SELECT * FROM elacsym.evaluate(%s, %s, %s, %s)", arguments).fetchall()
        assert [row[:2] for row in rows] == [("vector", 3), ("text", 3), ("fused", 3)]
        for arm, _, *figures in rows:
            assert figures == pytest.approx(expected[arm], rel=1e-5), arm
        listed = [{"query": q, "document": d, "relevance": g} for q, of_query in qrels.items() for d, g in of_query.items()]
        arguments[2] = json.dumps(listed)
        assert source.conn.execute("SELECT * FROM elacsym.evaluate(%s, %s, %s, %s)", arguments).fetchall() == rows
    only = [{"id": "a", "text": T1}]
    rows = source.conn.execute("SELECT arm, queries FROM elacsym.evaluate(%s, %s, %s)", [target, json.dumps(only), json.dumps(qrels)]).fetchall()
    assert rows == [("text", 1)]
    everything = "SELECT * FROM elacsym.evaluate(%s, %s, %s, fusion => 'minmax', vector_weight => 0.3, candidates => 50, fields => '{\"body\": 2}', modifiers => %s, filter => %s)"
    filter = {"field": "year", "op": "gte", "value": 2001}
    rows = source.conn.execute(everything, [target, json.dumps(queries), json.dumps(qrels), json.dumps(MODIFIERS), json.dumps(filter)]).fetchall()
    assert [row[0] for row in rows] == ["vector", "text", "fused"] and all(0 < figure <= 1 for row in rows for figure in row[2:])


def test_decay_over_times_of_an_index(conn):
    conn.execute("CREATE TABLE posts (id int PRIMARY KEY, body text, at timestamptz, day date, wall timestamp)")
    conn.execute("INSERT INTO posts SELECT i, 'same words', now() - i * interval '1 day', current_date - i, localtimestamp - i * interval '1 day' FROM generate_series(0, 5) i")
    conn.execute("INSERT INTO posts VALUES (9, 'same words', NULL, NULL, NULL)")
    conn.execute("CREATE INDEX posts_search ON posts USING elacsym (body bm25_ops, at, day, wall)")

    def scores(**decay):
        modifiers = json.dumps([{"type": "decay", "function": "exp", **decay}])
        call = "SELECT key::int, score FROM elacsym.search_keys('posts_search', query_text => 'words', modifiers => %s, fusion => 'minmax')"
        return dict(conn.execute(call, [modifiers]).fetchall())

    expected = {i: 0.5 ** (i / 2) for i in range(6)} | {9: 0.0}
    for field, origin in (("at", "now"), ("day", "today"), ("wall", "now")):
        found = scores(field=field, origin=origin, scale="2 days")
        assert found == pytest.approx(expected, abs=1e-4), field
        assert scores(field=field, origin=origin, scale=2 * 86400) == pytest.approx(expected, abs=1e-4)
    seconds = conn.execute("SELECT extract(epoch FROM now() - interval '3 days')::float8").fetchone()[0]
    assert scores(field="at", origin=seconds, scale="36 hours", offset="1 day")[0] == pytest.approx(0.5 ** (2 / 1.5), abs=1e-3)
    assert scores(field="at", origin="now", scale="1 year", missing=1)[9] == 1.0


def test_times_in_a_namespace_are_seconds(conn):
    conn.execute("""SELECT elacsym.create_namespace('posts', '{"attributes": {"body": {"type": "string", "full_text": true}, "at": "int"}}')""")
    conn.execute("SELECT elacsym.upsert('posts', jsonb_agg(jsonb_build_object('id', i, 'attributes', jsonb_build_object('body', 'word', 'at', 1704067200 + i * 86400)))) FROM generate_series(0, 3) i")
    modifiers = [{"type": "decay", "field": "at", "origin": "2024-01-04 00:00:00+00", "scale": "1 day", "function": "exp"}]
    rows = conn.execute("""SELECT id, score FROM elacsym.query('posts', full_text => '"word"', modifiers => %s, fusion => 'minmax')""", [json.dumps(modifiers)]).fetchall()
    assert rows == [(3, 1.0), (2, 0.5), (1, 0.25), (0, 0.125)]


def test_partitions_are_ranked_together(conn):
    conn.execute("SET elacsym.effort = 'infinity'")
    conn.execute("CREATE TABLE docs (id int PRIMARY KEY, embedding vector(2), body text, grp int, year int) PARTITION BY RANGE (id)")
    for part in range(3):
        conn.execute(f"CREATE TABLE docs_{part} PARTITION OF docs FOR VALUES FROM ({part * 20}) TO ({part * 20 + 20})")
    conn.execute("CREATE INDEX docs_search ON docs USING elacsym (embedding vector_l2_ops, body bm25_ops, grp, year)")
    conn.execute("CREATE TABLE alone (LIKE docs)")
    conn.execute("CREATE INDEX alone_search ON alone USING elacsym (embedding vector_l2_ops, body bm25_ops, grp, year)")
    rng = random.Random(4)
    for key in range(60):
        row = [key, literal([rng.random(), rng.random()]), " ".join(f"w{rng.randrange(8)}" for _ in range(rng.randrange(1, 12))), rng.randrange(5), rng.randrange(2000, 2060)]
        for table in ("docs", "alone"):
            conn.execute(f"INSERT INTO {table} VALUES (%s, %s, %s, %s, %s)", row)
    conn.execute("ALTER TABLE alone ADD PRIMARY KEY (id)")
    for arguments in (
        "'[0.5,0.5]', 'w1 w2'",
        "'[0.5,0.5]', 'w1 w2', fusion => 'distribution'",
        "queries => '[{\"vector\": [0.1, 0.9]}, {\"vector\": [0.6, 0.4], \"weight\": 3}]', candidates => 4",
        "'[0.5,0.5]', 'w3', per => '{\"field\": \"grp\", \"limit\": 2}'",
        "queries => '[{\"vector\": [0.1, 0.9]}, {\"text\": \"w5 w6\"}]', modifiers => '[{\"type\": \"saturate\", \"field\": \"grp\", \"k\": 2}]'",
        "order_by => '[{\"field\": \"year\", \"direction\": \"desc\"}]', per => '{\"field\": \"grp\", \"limit\": 3}'",
        "order_by => '[{\"field\": \"grp\"}, {\"field\": \"year\"}]', \"offset\" => 25",
    ):
        pages = [
            conn.execute(f"SELECT key::int, score FROM elacsym.search_keys('{index}', {arguments}, k => 12)").fetchall() for index in ("docs_search", "alone_search")
        ]
        assert len(pages[0]) == len(pages[1]) > 5, arguments
        if "order_by" in arguments:
            years = [[conn.execute("SELECT grp, year FROM alone WHERE id = %s", [key]).fetchone() for key, _ in page] for page in pages]
            assert years[0] == years[1], arguments
        else:
            assert [score for _, score in pages[0]] == pytest.approx([score for _, score in pages[1]], rel=1e-5), arguments
    qrels = json.dumps({"q": {str(key): 1 for key in range(0, 60, 3)}})
    queries = json.dumps([{"id": "q", "vector": [0.5, 0.5], "text": "w1 w2"}])
    figures = [conn.execute("SELECT * FROM elacsym.evaluate(%s, %s, %s)", [index, queries, qrels]).fetchall() for index in ("docs_search", "alone_search")]
    assert figures[0] == figures[1] and len(figures[0]) == 3


def test_only_visible_and_allowed_rows_are_ranked_and_grouped(conn, db):
    conn.execute("SET elacsym.effort = 'infinity'")
    conn.execute("CREATE TABLE docs (id int PRIMARY KEY, embedding vector(2), body text, grp text, owner text)")
    conn.execute("CREATE INDEX docs_search ON docs USING elacsym (embedding vector_l2_ops, body bm25_ops, grp)")
    # The best rows of every arm are hidden: one in three is shown.
    conn.execute("INSERT INTO docs SELECT i, ARRAY[i, 0]::real[]::vector, repeat('w ', 600 - i) || 'filler', 'g' || i % 4, CASE WHEN i % 3 = 0 THEN 'reader' ELSE 'nobody' END FROM generate_series(1, 500) i")
    conn.execute("DELETE FROM docs WHERE id <= 90")
    conn.execute("CREATE ROLE reader_of_ranking")
    try:
        conn.execute("ALTER TABLE docs ENABLE ROW LEVEL SECURITY")
        conn.execute("CREATE POLICY own ON docs USING (owner = 'reader')")
        conn.execute("GRANT SELECT ON docs TO reader_of_ranking")
        conn.execute("GRANT USAGE ON SCHEMA public TO reader_of_ranking")
        conn.execute("SET ROLE reader_of_ranking")
        allowed = [i for i in range(91, 501) if i % 3 == 0]
        rows = conn.execute("SELECT key::int, vector_rank, text_rank FROM elacsym.search_keys('docs_search', '[0,0]', 'w', k => 20, candidates => 10)").fetchall()
        assert len(rows) == 20 and set(key for key, *_ in rows) <= set(allowed)
        assert {key: rank for key, rank, _ in rows}[allowed[0]] == 1
        assert sorted(rank for _, _, rank in rows if rank)[0] == 1
        pages = [conn.execute("SELECT key::int FROM elacsym.search_keys('docs_search', '[0,0]', k => 30, \"offset\" => %s)", [offset]).fetchall() for offset in range(0, 180, 30)]
        assert [key for page in pages for (key,) in page] == allowed
        ordered = [conn.execute("SELECT key::int FROM elacsym.search_keys('docs_search', k => 3, \"offset\" => %s, per => '{\"field\": \"grp\", \"limit\": 2}', order_by => '\"grp\"')", [offset]).fetchall() for offset in range(0, 12, 3)]
        groups = [key % 4 for page in ordered for (key,) in page]
        assert groups == [0, 0, 1, 1, 2, 2, 3, 3]
        judged = conn.execute("SELECT ndcg FROM elacsym.evaluate('docs_search', '[{\"id\": 1, \"vector\": [0,0]}]', '{\"1\": {\"93\": 1}}')").fetchall()
        assert judged == [(1.0,)]
    finally:
        conn.execute("RESET ROLE")
        conn.execute("DROP OWNED BY reader_of_ranking")
        conn.execute("DROP ROLE reader_of_ranking")


INVALID, MISMATCH, RANGE, UNDEFINED, NULL = "22023", "22000", "22003", "42704", "22004"

WRONG = {
    "queries: not an array": (dict(queries={"vector": V1}), INVALID, '"queries" must be an array'),
    "queries: empty": (dict(queries=[]), INVALID, '"queries" is empty'),
    "queries: not an object": (dict(queries=[1]), INVALID, "a query must be an object"),
    "queries: neither": (dict(queries=[{"weight": 1}]), INVALID, 'neither "vector" nor "text"'),
    "queries: both": (dict(queries=[{"vector": V1, "text": "x"}]), INVALID, 'both "vector" and "text"'),
    "queries: unknown key": (dict(queries=[{"vector": V1, "k": 1}]), INVALID, 'unknown key "k"'),
    "queries: unknown key of a text": (dict(queries=[{"text": "x", "slop": 1}]), INVALID, 'unknown key "slop"'),
    "queries: dimension": (dict(queries=[{"vector": [1]}]), MISMATCH, "expected 4 dimensions, not 1"),
    "queries: no vector": (dict(queries=[{"vector": "near"}]), MISMATCH, '"vector" must be an array of numbers'),
    "queries: text": (dict(queries=[{"text": 1}]), MISMATCH, '"text" of a query must be a string'),
    "queries: field": (dict(queries=[{"text": "x", "field": "author"}]), UNDEFINED, 'full-text attribute "author" does not exist'),
    "queries: no fields": (dict(queries=[{"text": "x", "fields": []}]), INVALID, '"fields" is empty'),
    "queries: field weight": (dict(queries=[{"text": "x", "fields": {"body": -1}}]), RANGE, 'weight of "body"'),
    "queries: weight": (dict(queries=[{"text": "x", "weight": -1}]), RANGE, "weight of a query"),
    "queries: weights 0": (dict(queries=[{"text": "x", "weight": 0}, {"text": "y", "weight": 0}]), INVALID, "weights of all queries are 0"),
    "queries: too many": (dict(queries=[{"text": "x"}] * 17), RANGE, "17 queries are more than 16"),
    "fusion": (dict(vector=V1, fusion="linear"), INVALID, 'fusion "linear" is not known'),
    "modifiers: type": (dict(vector=V1, modifiers=[{"type": "x"}]), INVALID, 'modifier type "x" is not known'),
    "modifiers: key": (dict(vector=V1, modifiers=[{"type": "saturate", "field": "clicks", "k": 1, "pivot": 2}]), INVALID, 'unknown key "pivot"'),
    "modifiers: field": (dict(vector=V1, modifiers=[{"type": "saturate", "field": "nope", "k": 1}]), UNDEFINED, 'attribute "nope" does not exist'),
    "modifiers: text": (dict(vector=V1, modifiers=[{"type": "saturate", "field": "author", "k": 1}]), MISMATCH, "does not apply to attribute"),
    "modifiers: scale": (dict(vector=V1, modifiers=[{"type": "decay", "field": "year", "origin": 1, "scale": 0}]), RANGE, '"scale" of decay must be above 0'),
    "modifiers: time": (dict(vector=V1, modifiers=[{"type": "decay", "field": "year", "origin": "soonish", "scale": 1}]), "22007", "soonish"),
    "modifiers: infinite time": (dict(vector=V1, modifiers=[{"type": "decay", "field": "year", "origin": "infinity", "scale": 1}]), RANGE, "is infinite"),
    "modifiers: interval": (dict(vector=V1, modifiers=[{"type": "decay", "field": "year", "origin": 1, "scale": "long"}]), "22007", "long"),
    "modifiers: factor": (dict(vector=V1, modifiers=[{"type": "boost", "filter": {"field": "year", "op": "is_null"}, "factor": -1}]), RANGE, '"factor" of boost'),
    "modifiers: filter": (dict(vector=V1, modifiers=[{"type": "boost", "filter": {"field": "body", "op": "eq", "value": "x"}, "factor": 1}]), INVALID, "not indexed"),
    "per: field": (dict(vector=V1, per={"field": "nope"}), UNDEFINED, 'attribute "nope" does not exist'),
    "per: full text": (dict(vector=V1, per={"field": "body"}), INVALID, 'attribute "body" is not indexed'),
    "per: limit": (dict(vector=V1, per={"field": "author", "limit": 0}), RANGE, '"limit" of per'),
    "offset: negative": (dict(vector=V1, offset=-1), RANGE, "offset must be from 0 to 100000, not -1"),
    "offset: too far": (dict(vector=V1, offset=100001), RANGE, "offset must be from 0 to 100000"),
    "order_by: with a query": (dict(vector=V1, order_by="year"), INVALID, '"order_by" does not go together with a query'),
    "order_by: with modifiers": (dict(order_by="year", modifiers=MODIFIERS), INVALID, '"modifiers" do not go together with "order_by"'),
    "order_by: direction": (dict(order_by={"field": "year", "direction": "up"}), INVALID, '"direction" of order_by must be "asc" or "desc"'),
    "order_by: key": (dict(order_by={"field": "year", "by": 1}), INVALID, 'unknown key "by"'),
    "order_by: full text": (dict(order_by="body"), INVALID, "is not indexed"),
    "order_by: empty": (dict(order_by=[]), INVALID, '"order_by" is empty'),
    "candidates": (dict(vector=V1, text="x", candidates=200001), RANGE, "candidates must be from 1 to 100000"),
    "nothing": (dict(), INVALID, '"order_by"'),
}


@pytest.mark.parametrize("kind", ["namespace", "index"])
def test_wrong_arguments_are_errors_that_name_them(conn, kind):
    import psycopg

    source = Source(conn, kind, "half")
    for name, (arguments, state, message) in WRONG.items():
        with pytest.raises(psycopg.Error) as caught:
            source.ids(**arguments)
        assert caught.value.sqlstate == state, f"{name}: {caught.value}"
        assert message in str(caught.value), name


def test_wrong_arguments_of_evaluate(conn):
    import psycopg

    source = Source(conn, "namespace", "buffered")
    good = [{"id": "a", "vector": V1}]
    qrels = {"a": {"1": 1}}
    for target, queries, judgements, state, message in (
        ("nope", good, qrels, UNDEFINED, '"nope" does not exist'),
        (None, good, qrels, NULL, '"target" must not be null'),
        ("docs", None, qrels, NULL, '"queries" must not be null'),
        ("docs", good, None, NULL, '"qrels" must not be null'),
        ("docs", {}, qrels, INVALID, '"queries" must be an array'),
        ("docs", [{"vector": V1}], qrels, INVALID, 'a query has no "id"'),
        ("docs", [{"id": [], "vector": V1}], qrels, MISMATCH, '"id" of a query'),
        ("docs", [{"id": "a"}], qrels, INVALID, 'neither "vector" nor "text"'),
        ("docs", good + good, qrels, INVALID, 'query id "a" is there twice'),
        ("docs", [{"id": "a", "vector": [1]}], qrels, MISMATCH, "expected 4 dimensions"),
        ("docs", [{"id": "a", "vector": V1, "k": 1}], qrels, INVALID, 'unknown key "k"'),
        ("docs", good, [], INVALID, "no query has a relevant document"),
        ("docs", good, {"a": {"1": 0}}, INVALID, "no query has a relevant document"),
        ("docs", good, {"a": 1}, INVALID, 'the judgements of query "a"'),
        ("docs", good, {"a": {"1": "high"}}, MISMATCH, 'relevance of document "1"'),
        ("docs", good, {"a": {"1": 31}}, RANGE, 'relevance of document "1" is 31'),
        ("docs", good, [{"query": "a", "document": 1, "grade": 1}], INVALID, 'unknown key "grade"'),
    ):
        given = [target, queries and json.dumps(queries) or (queries is not None and "{}" or None), judgements and json.dumps(judgements) or (judgements is not None and "[]" or None)]
        with pytest.raises(psycopg.Error) as caught:
            conn.execute("SELECT * FROM elacsym.evaluate(%s, %s, %s)", given)
        assert caught.value.sqlstate == state, f"{message}: {caught.value}"
        assert message in str(caught.value)
    assert source.ids(vector=V1)
