"""What every client does and what must come of it: the data, the steps, the exact answers.

A client is a class with the methods of `Client`, each in that client's own idiom; `run` drives it and returns what it saw.
Scripts that run in a process of their own (Node.js, the stores) take the same steps and print the same results as JSON.
`check` compares the results with what is computed here, and `App.check_plans` asks the server how it runs the very statements
that the client sent.
"""

import dataclasses
import json
import math
import os
import random
import re
from typing import Any, Protocol

# The access method under test. `hnsw` (the real pgvector, PostgreSQL 16 or 18) proves the suite itself: then text and
# attribute columns stay out of the index, and there is no hybrid search and no verify().
AM = os.environ.get("ELACSYM_TEST_AM", "elacsym")
OURS = AM == "elacsym"

DIM = 32
ROWS = 1500  # the index must be chosen from 1,000 rows on
K = 10
CATEGORIES = ("db", "web", "ml", "os")
MOVED, NOWHERE = (700, 701, 702), (ROWS + 1, ROWS + 2)
WORDS = "index vector postgres query storage object engine cache segment merge filter rank page table".split()

OPERATOR = {"cosine": "<=>", "l2": "<->", "ip": "<#>"}
OPCLASS = {"cosine": "vector_cosine_ops", "l2": "vector_l2_ops", "ip": "vector_ip_ops"}

# column → operator class (None: its type's default) of the columns beside the vector
ATTRIBUTES = {"body": "bm25_ops", "category": None, "year": None} if OURS else {}
OPTIONS = {"recall_target": 0.95} if OURS else {"m": 16, "ef_construction": 64}


def index_columns(metric: str) -> str:
    """The columns of the index as SQL."""
    columns = {"embedding": OPCLASS[metric]} | ATTRIBUTES
    return ", ".join(f"{c} {o}" if o else c for c, o in columns.items())


def index_options() -> str:
    """The options of the index as SQL, without WITH."""
    return ", ".join(f"{k} = {v}" for k, v in OPTIONS.items())


# Hybrid search as the documentation shows it; {q}, {words} are the client's placeholders, and `id` the primary key.
HYBRID = """SELECT t.id, s.score FROM elacsym.search('{index}', {q}, {words}, k => 5) s
    JOIN {table} t ON t.ctid = s.ctid ORDER BY s.score DESC"""
HYBRID_KEYS = "SELECT key, score FROM elacsym.search_keys('{index}', {q}, {words}, k => 5) ORDER BY score DESC"


@dataclasses.dataclass
class Row:
    """One row of the table `items`."""

    id: int
    body: str
    category: str
    year: int
    embedding: list[float] | None


def _rows() -> tuple[list[Row], list[float]]:
    generator = random.Random(20)

    def point() -> list[float]:
        # multiples of 1/8 are the same in float4, in float8 and in every text form
        return [round(generator.gauss(0, 1) * 8) / 8 for _ in range(DIM)]

    query = point()
    rows = []
    for i in range(1, ROWS + 1):
        body = " ".join(generator.choices(WORDS, k=40)) + (" zebra" if i % 300 == 0 else "")
        category = generator.choice(CATEGORIES) if i % 199 else "rare"
        rows.append(Row(i, body, category, 1995 + i % 30, point()))
    # the nearest row has the rare word too: hybrid search must put it first
    rows[299].embedding = [x + (0.125 if i == 0 else 0) for i, x in enumerate(query)]
    rows += [Row(i, "without a vector", "db", 2012, None) for i in NOWHERE]
    return rows, query


DATA, QUERY = _rows()
# where the rows of MOVED go: to the query's place, each a little farther
MOVED_TO = {id: [x + (0.25 * n if i == 1 else 0) for i, x in enumerate(QUERY)] for n, id in enumerate(MOVED)}

# name → condition; each client writes them in its own idiom
FILTERS = {
    "all": lambda r: True,
    "category": lambda r: r.category == "db",
    "years": lambda r: 2010 <= r.year < 2015,
    "either": lambda r: r.category in ("web", "ml"),
    "rare": lambda r: r.category == "rare",  # fewer than K
    "like": lambda r: "zebra" in r.body,  # nothing that an index could take over
    "moved": lambda r: r.category == "moved",
}
UNCHANGED = ("all", "category", "years", "either", "rare", "like")  # asked before anything is changed


def distance(metric: str, a: list[float], b: list[float]) -> float:
    """As pgvector defines it."""
    dot = sum(x * y for x, y in zip(a, b))
    if metric == "ip":
        return -dot
    if metric == "l2":
        return math.dist(a, b)
    return 1 - dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


class Client(Protocol):
    """The steps. `nearest` returns the K nearest (id, distance) for a name of FILTERS."""

    def create(self) -> None: ...
    def insert(self, rows: list[Row]) -> None: ...
    def nearest(self, query: list[float], where: str) -> list[tuple[int, float]]: ...
    def generic(self, query: list[float]) -> list[tuple[int, float]]: ...
    def update(self, id: int, embedding: list[float], category: str) -> None: ...
    def delete(self, ids: list[int]) -> None: ...
    def hybrid(self, query: list[float], words: str) -> list[tuple[int, float]]: ...
    def hybrid_keys(self, query: list[float], words: str) -> list[tuple[str, float]]: ...


def run(client: Client, app: "App") -> dict[str, list]:
    """Takes the client through all steps; returns step → what it answered."""
    client.create()
    client.insert(DATA)
    app.analyze()
    seen = {where: client.nearest(QUERY, where) for where in UNCHANGED}
    # the first five executions of a prepared statement are planned with their values
    seen["generic"] = client.generic(QUERY)
    for id in MOVED:
        client.update(id, MOVED_TO[id], "moved")
    seen["moved"] = client.nearest(QUERY, "moved")
    seen["all moved"] = client.nearest(QUERY, "all")
    client.delete([id for id, _ in seen["all moved"][:3]])
    seen["all deleted"] = client.nearest(QUERY, "all")
    if OURS:
        seen["hybrid"] = client.hybrid(QUERY, "zebra")
        seen["hybrid keys"] = client.hybrid_keys(QUERY, "zebra")
    return seen


def check(seen: dict[str, list], metric: str = "cosine", without: set[str] = frozenset()) -> None:
    """Every answer against the exact one; `without` names the questions that the client has no words for."""
    state = {r.id: dataclasses.replace(r) for r in DATA if r.embedding is not None}

    def nearest(step: str, where: str) -> None:
        exact = sorted((distance(metric, r.embedding, QUERY), r.id) for r in state.values() if FILTERS[where](r))
        answer = [(int(id), None if d is None else float(d)) for id, d in seen[step]]
        ids = [id for id, _ in answer]
        assert len(ids) == min(K, len(exact)), f"{step}: {len(ids)} rows, {min(K, len(exact))} expected: {ids}"
        assert len(set(ids)) == len(ids), f"{step}: a row twice in {ids}"
        assert all(id in state and FILTERS[where](state[id]) for id in ids), f"{step}: {ids} has rows that do not match"
        true = [distance(metric, state[id].embedding, QUERY) for id in ids]
        assert all(a <= b + 1e-6 for a, b in zip(true, true[1:])), f"{step}: {ids} is not in order: {true}"
        for (id, given), expected in zip(answer, true):
            assert given is None or math.isclose(given, expected, rel_tol=1e-4, abs_tol=1e-5), f"{step}: row {id}: {given}, not {expected}"
        assert ids[:1] == [id for _, id in exact[:1]], f"{step}: {ids[:1]} is not the nearest: {exact[:3]}"
        # at most one of ten missed; what is fewer than K rows is complete by the length above
        hits = len(set(ids) & {id for _, id in exact[:K]})
        assert hits >= min(K, len(exact)) - 1, f"{step}: {hits} of {exact[:K]} in {ids}"

    for step in UNCHANGED:
        if step not in without:
            nearest(step, step)
    nearest("generic", "all")
    for id in MOVED:
        state[id].embedding, state[id].category = MOVED_TO[id], "moved"
    nearest("moved", "moved")
    nearest("all moved", "all")
    for id, _ in seen["all moved"][:3]:
        del state[int(id)]
    nearest("all deleted", "all")
    if not OURS:
        return
    for step in ("hybrid", "hybrid keys"):
        ids, scores = [int(id) for id, _ in seen[step]], [float(s) for _, s in seen[step]]
        assert len(ids) == 5 and set(ids) <= state.keys(), f"{step}: {ids}"
        assert scores == sorted(scores, reverse=True), f"{step}: {scores}"
        best = min(state.values(), key=lambda r: distance(metric, r.embedding, QUERY))
        zebras = {r.id for r in state.values() if "zebra" in r.body}
        assert best.id in ids, f"{step}: the nearest, {best.id}, is not in {ids}"
        assert zebras & set(ids), f"{step}: no row with the word is in {ids}"
        if best.id in zebras:
            assert ids[0] == best.id, f"{step}: {best.id} is the nearest and has the word, but {ids[0]} is first"


@dataclasses.dataclass
class Statement:
    """A statement that a client sent, with its parameters as the server logged them."""

    text: str
    parameters: list[str | None]


class App:
    """A database of its own for one client: how to reach it, what was sent to it, and whether it is still right."""

    def __init__(self, cluster, database: str, host: str = "127.0.0.1", port: int | None = None):
        self.cluster, self.database = cluster, database
        self.host, self.port, self.user = host, port or cluster.port, "postgres"
        self.log_start = cluster.log_size()

    def url(self, scheme: str = "postgresql") -> str:
        """A connection URL."""
        return f"{scheme}://{self.user}@{self.host}:{self.port}/{self.database}"

    def parameters(self) -> dict[str, Any]:
        """Keyword arguments of most drivers."""
        return {"host": self.host, "port": self.port, "user": self.user}

    def sql(self, query: str, params=None) -> list[tuple]:
        """A statement of the test's own; never through PgBouncer."""
        return self.cluster.sql(query, params, self.database)

    def analyze(self) -> None:
        """What autovacuum would do within a minute."""
        self.sql("ANALYZE")

    def statements(self) -> list[Statement]:
        """Everything that clients sent to this database, from the server's log (log_statement = all)."""
        found = []
        entry = re.compile(r"^\d{4}-\S+ \S+ \S+ \[(\d+)\] client backend (\S+) (\w+):  (.*)", re.S)
        lines = self.cluster.log(self.log_start).split("\n")
        entries: list[str] = []
        for line in lines:
            if line.startswith("\t") and entries:
                entries[-1] += "\n" + line[1:]
            else:
                entries.append(line)
        last: dict[str, Statement] = {}
        for pid, database, level, text in (m.groups() for m in map(entry.match, entries) if m):
            if database != self.database:
                continue
            if level == "LOG" and (m := re.match(r"(?:statement|execute [^:]*): (.*)", text, re.S)):
                last[pid] = Statement(m[1], [])
                found.append(last[pid])
            elif level == "DETAIL" and (m := re.match(r"[Pp]arameters: (.*)", text, re.S)) and pid in last:
                values = re.findall(r"\$\d+ = (?:(NULL)|'((?:[^']|'')*)')", m[1])
                last[pid].parameters = [None if null else value.replace("''", "'") for null, value in values]
        return found

    def check_plans(self, *index: str, metric: str = "cosine", unfiltered: str | None = None) -> int:
        """EXPLAIN of every search that was sent shows the index (one of them), planned for its values and generically; returns their number.

        pgvector may lose to sorting when a filter is selective, or when the planner must guess the limit (then it takes a tenth of the
        table): there only what has neither filter nor guess counts. `unfiltered` is a pattern: what does not match it filters by what the
        index does not know.
        """
        searches = {}
        for s in self.statements():
            order = re.search(r"\bORDER BY\b.*\bLIMIT\b", s.text, re.S | re.I)
            if order and s.text.lstrip()[:6].upper() == "SELECT" and OPERATOR[metric] in s.text and "elacsym.search" not in s.text:
                if self._must_use_index(s.text, unfiltered):
                    searches.setdefault(s.text, s)
        with self.cluster.connect(self.database) as conn:
            for s in searches.values():
                guessed = re.search(r"\bLIMIT\s+\$", s.text, re.I)
                for mode in ("auto", "force_generic_plan") if OURS or not guessed else ("auto",):
                    conn.execute(f"SET plan_cache_mode = {mode}")
                    conn.execute(f"PREPARE search AS {s.text.rstrip().rstrip(';')}".encode())
                    values = ", ".join("NULL" if p is None else "'" + p.replace("'", "''") + "'" for p in s.parameters)
                    plan = conn.execute(f"EXPLAIN (FORMAT JSON) EXECUTE search{f'({values})' if values else ''}".encode()).fetchone()[0]
                    conn.execute("DEALLOCATE search")
                    assert indexes_of(plan) & set(index), f"{mode}: {index} is not used:\n{s.text}\n{s.parameters}\n{json.dumps(plan, indent=1)[:3000]}"
        return len(searches)

    @staticmethod
    def _must_use_index(text: str, unfiltered: str | None) -> bool:
        text = re.sub(r"\s+", " ", text)
        if unfiltered is not None:
            return bool(re.search(unfiltered, text, re.I))
        if re.search(r"\bI?LIKE\b", text, re.I):
            return False  # may well be cheaper with a sequential scan
        return OURS or not re.search(r"\bWHERE\b", text, re.I)

    def check_integrity(self, *indexes: str) -> None:
        """The index agrees with its table."""
        for index in indexes:
            access_method = self.sql("SELECT amname FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE c.oid = %s::regclass", [index])[0][0]
            assert access_method == AM, f"{index} is of access method {access_method}"
            if OURS:
                assert self.sql("SELECT * FROM elacsym.verify(%s)", [index]) == []


def indexes_of(plan: Any) -> set[str]:
    """The names of the indexes in an EXPLAIN (FORMAT JSON)."""
    if isinstance(plan, str):
        plan = json.loads(plan)
    names: set[str] = set()
    for node in plan if isinstance(plan, list) else [plan]:
        names |= {node["Index Name"]} if "Index Name" in node else set()
        names |= indexes_of(node.get("Plans", [])) | (indexes_of([node["Plan"]]) if "Plan" in node else set())
    return names


def data_as_json(metric: str) -> dict[str, Any]:
    """What a script in another process needs to take the same steps."""
    return {
        "am": AM,
        "ours": OURS,
        "metric": metric,
        "operator": OPERATOR[metric],
        "opclass": OPCLASS[metric],
        "attributes": ATTRIBUTES,
        "options": OPTIONS,
        "indexColumns": index_columns(metric),
        "indexOptions": index_options(),
        "dim": DIM,
        "k": K,
        "rows": [dataclasses.asdict(r) for r in DATA],
        "query": QUERY,
        "moved": [{"id": id, "embedding": MOVED_TO[id]} for id in MOVED],
        "hybrid": HYBRID,
        "hybridKeys": HYBRID_KEYS,
    }
