"""The table of cases: what is asked, in words of neither target. targets.py turns a case into SQL.

Families are written by hand and filled from the corpus; the random filters are seeded.
"""

import dataclasses
import datetime
import decimal
import functools
import itertools
import random

from . import corpus
from .corpus import ATTRIBUTES, COLUMNS, PRICES, TEXTS
from .oracle import MatchText

DEFAULT_RRF_K = 60
SEED = corpus.SEED + 1
# How deep the deepest random filter is nested.
DEPTH = 20
RANDOM_FILTERS = 90


@dataclasses.dataclass(frozen=True)
class Case:
    """One question. `effort` None: the default. `on_index_only`: it names columns that namespaces have no type for."""

    id: str
    metric: str = "cosine"
    vector: tuple[float, ...] | None = None
    text: str | None = None
    # field → weight; None: all full-text fields with the weights of the schema
    fields: dict[str, float] | None = None
    filter: dict | None = None
    k: int = 10
    effort: str | None = None
    rrf_k: int | None = None
    vector_weight: float | None = None
    text_weight: float | None = None
    candidates: int | None = None
    on_index_only: bool = False
    # those of docs/ranking.md
    fusion: str | None = None
    queries: tuple[dict, ...] | None = None
    modifiers: tuple[dict, ...] | None = None
    per: dict | None = None
    offset: int | None = None
    order_by: tuple[dict, ...] | None = None

    @property
    def family(self) -> str:
        return self.id.rsplit("-", 1)[0]

    def weights(self) -> dict[str, float]:
        """What each full-text field's score is multiplied with."""
        return {name: options.weight for name, options in TEXTS.items()} if self.fields is None else self.fields


def field(name: str, op: str, value=None) -> dict:
    return {"field": name, "op": op} | ({} if value is None else {"value": value})


def every(*conditions: dict) -> dict:
    return {"type": "and", "conditions": list(conditions)}


def some(*conditions: dict) -> dict:
    return {"type": "or", "conditions": list(conditions)}


def none_of(condition: dict) -> dict:
    return {"type": "not", "conditions": [condition]}


WORD = lambda words, sign="": (sign, "word", words)  # noqa: E731
PHRASE = lambda words, sign="": (sign, "phrase", words)  # noqa: E731
PREFIX = lambda words, sign="": (sign, "prefix", words)  # noqa: E731


class Cases:
    """Collects the cases; draws vectors, words and values from the corpus."""

    def __init__(self):
        self.rng = random.Random(SEED)
        self.documents = list(corpus.live(corpus.history()).values())
        self.made: list[Case] = []

    def add(self, family: str, **asked) -> None:
        number = sum(case.family == family for case in self.made)
        self.made.append(Case(id=f"{family}-{number}", **asked))

    def vector(self, near: bool = True) -> tuple[float, ...]:
        """Somebody's vector moved a little, or one far from all."""
        rng = self.rng
        if not near:
            return tuple(round(rng.gauss(0, 2), 3) for _ in range(corpus.DIM))
        some_vector = rng.choice([d.vector for d in self.documents if d.vector and any(d.vector)])
        return tuple(round(x + rng.gauss(0, 0.3), 3) for x in some_vector)

    def value(self, name: str):
        """A value that some document has."""
        return self.rng.choice([d.get(name) for d in self.documents if d.get(name) is not None])

    def words(self, count: int) -> str:
        return " ".join(self.rng.choices(corpus.WORDS[:100], k=count))


def vectors(c: Cases) -> None:
    for metric, effort, k in itertools.product(("cosine", "l2", "dot"), ("infinity", None), (1, 10, 100)):
        c.add(f"vector-{metric}", metric=metric, vector=c.vector(), k=k, effort=effort)
    for metric in ("cosine", "l2", "dot"):
        c.add(f"vector-{metric}", metric=metric, vector=c.vector(near=False), k=25)
        c.add(f"vector-{metric}", metric=metric, vector=c.vector(), k=5000, effort="infinity")
        c.add(f"vector-{metric}", metric=metric, vector=c.vector(), k=20, effort="infinity", filter=field("active", "eq", True))
        c.add(f"vector-{metric}", metric=metric, vector=c.vector(), k=20, filter=field("category", "eq", "zz"))
        # exactly a document's vector, and one that several have
        vectors = [d.vector for d in c.documents if d.vector and any(d.vector)]
        twice = next(v for v in vectors if vectors.count(v) > 1)
        c.add(f"vector-{metric}", metric=metric, vector=vectors[3], k=5)
        c.add(f"vector-{metric}", metric=metric, vector=twice, k=8, effort="infinity")
    c.add("vector-l2", metric="l2", vector=(0.0,) * corpus.DIM, k=12, effort="infinity")
    c.add("vector-dot", metric="dot", vector=(0.0,) * corpus.DIM, k=30, effort="infinity")


def filters(c: Cases) -> None:
    def ask(*conditions: dict) -> None:
        for condition in conditions:
            c.add("filter", vector=c.vector(), filter=condition, k=c.rng.choice([3, 10, 40, 2000]))

    for value in ("db", "DB", "été", "日本", "", "nowhere"):
        ask(field("category", "eq", value))
    for value in ("x" * 300, "q'uote", 'dq"uote', "back\\slash", "a%b", " ", "tab\there", "Ångström"):
        ask(field("name", "eq", value))
    for op in ("ne", "gt", "gte", "lt", "lte"):
        ask(field("category", op, "db"), field("name", op, "ann"), field("name", op, "émile"), field("year", op, 2015))
        ask(field("big", op, 2**53), field("price", op, 20), field("price", op, 0.1 + 0.2))
    for name, values in (
        ("year", (-(2**31), 2**31 - 1, 0)),
        ("big", (2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63))),
        ("price", (0, 0.1, 1e-30, 1e30, PRICES[-1], PRICES[-2])),
    ):
        ask(*(field(name, "eq", value) for value in values))
    ask(field("active", "eq", True), field("active", "eq", False), field("active", "ne", True))
    ask(
        field("category", "in", ["db", "été", "nowhere"]),
        field("category", "not_in", ["db", "ml"]),
        field("category", "in", []),
        field("category", "not_in", []),
    )
    ask(
        field("year", "in", list(range(2000, 2010))),
        field("year", "not_in", [2020]),
        field("big", "in", [2**53, 2**63 - 1]),
        field("price", "in", [0.1, 0.3, 20]),
    )
    ask(field("year", "in", list(range(-5000, 5000))), field("name", "in", [f"n{i}" for i in range(9_998)] + ["anna", "日本"]), field("active", "in", [False]))
    for value in ("red", "a,b", "{}", "NULL", "", "grün", "x'y", "nobody"):
        ask(field("tags", "contains", value))
    ask(field("tags", "contains_any", ["red", "Blue"]), field("tags", "contains_any", ["nobody"]), field("tags", "contains_any", []))
    for value in ("ann", "A", "a", "日本", "é", "xxx", "a%", "", "zzz"):
        ask(field("name", "prefix", value))
    for name in ATTRIBUTES:
        ask(field(name, "is_null"), field(name, "is_null", False))
    ask(every(), some(), none_of(every()), none_of(some()))
    ask(every(field("year", "gte", 2000), field("year", "lt", 2010), field("active", "eq", True)))
    ask(some(field("category", "eq", "food"), field("tags", "contains", "blue"), field("price", "lt", 0)))
    ask(none_of(field("price", "gt", 10)), none_of(field("tags", "contains", "red")), none_of(field("name", "prefix", "a")))
    ask(every(field("category", "ne", "db"), none_of(some(field("active", "is_null"), field("active", "eq", True)))))


def texts(c: Cases) -> None:
    title, body, code = {"title": 1.0}, {"body": 1.0}, {"code": 1.0}
    for words in ("postgres", "searching", "stored stores storing", "the of and", "nothingofthis", "Happiness", "CAFÉS", "данные 日本", "2023 42 x1", "wi-fi"):
        c.add("text-body", text=words, fields=body, k=15)
        c.add("text-title", text=words, fields=title, k=40)
    for k in (1, 3, 100, 5000):
        c.add("text-body", text="vector search index", fields=body, k=k)
    for words in ("x1", "X1", "AB-12", "ab-12", "getUserName", "getusername", "user_name", "a A", "the", "µ0"):
        c.add("text-code", text=words, fields=code, k=60)
    for words in ("Häuser", "läuft", "der die das", "Straßen suchen", "Bäckerei brot", "zuege"):
        c.add("text-german", text=words, fields={"remark": 1.0}, k=50)
    c.add("text-body", text="search search search index", fields=body)
    c.add("text-body", text=c.words(40), fields=body, k=30)
    c.add("text-body", text=corpus.TOO_LONG, fields=body)
    c.add("text-body", text=corpus.LONGEST, fields=body)
    for weights in (
        {"title": 2.0, "body": 1.0},
        {"title": 1.0, "body": 3.5},
        {"title": 0.0, "body": 1.0},
        {"title": 1.0, "body": 1.0, "remark": 1.0, "code": 1.0},
        {"remark": 10.0, "code": 0.25},
    ):
        for words in ("postgres index", "universities organize generations", "Straße 日本 x1"):
            c.add("text-fields", text=words, fields=weights, k=20)
    for words in ("vector", "lake index", "index suche x1"):
        c.add("text-weights", text=words, k=25)
    for condition in (
        field("active", "eq", True),
        field("year", "lt", 2000),
        field("tags", "contains", "green"),
        field("category", "eq", "zz"),
        field("name", "eq", "nobody"),
        none_of(field("price", "gt", 0)),
    ):
        c.add("text-filter", text="storage query", fields=body, filter=condition, k=12)
        c.add("text-filter", text="table of rows", fields={"title": 2.0, "body": 1.0}, filter=condition, k=2000)


def text_matches(c: Cases) -> None:
    found = [
        [WORD("postgres")], [WORD("searching"), WORD("lakes")], [WORD("search", "+"), WORD("index", "+")], [WORD("search", "+"), WORD("index")],
        [WORD("search"), WORD("index", "-")], [WORD("search", "-")], [WORD("search", "-"), PHRASE("the index", "-")], [WORD("the")], [WORD("the", "-")],
        [WORD("the", "+"), WORD("cats")], [PHRASE("search index")], [PHRASE("searches indexing")], [PHRASE("index the vector")], [PHRASE("index of vector")],
        [PHRASE("of vector")], [PHRASE("search search")], [PHRASE("storage query database", "+")], [PHRASE("vector storage"), WORD("baking")],
        [PHRASE("vector storage", "+"), WORD("query", "-")], [PREFIX("data")], [PREFIX("databases")], [PREFIX("relat")], [PREFIX("RELAT", "+"), WORD("index", "-")],
        [PREFIX("runs")], [PREFIX("x")], [PREFIX("日"), PREFIX("caf")], [PREFIX("the")], [PREFIX("wi-f")], [WORD("wi-fi")], [WORD("wi-fi", "+"), WORD("e-mail")],
        [WORD("nothingofthis")], [WORD("nothingofthis", "-")], [WORD("über")], [WORD("STRASSE")], [WORD("данных")], [WORD("naïve"), PHRASE("日本 данные")],
    ]  # fmt: skip
    for parts in found:
        c.add("match-body", vector=c.vector(), filter=field("body", "match", MatchText.of(*parts)), k=2000, effort="infinity")
    for name, parts in (("title", [WORD("search")]), ("title", [PREFIX("gen"), PHRASE("postgres vector")]), ("remark", [WORD("Häuser", "+")]), ("remark", [PHRASE("der das")]),
                        ("code", [WORD("X1")]), ("code", [PREFIX("get")]), ("code", [PREFIX("GET")]), ("code", [PHRASE("x1 y2", "+")]), ("code", [WORD("a", "-")])):  # fmt: skip
        c.add("match-others", vector=c.vector(), filter=field(name, "match", MatchText.of(*parts)), k=2000, effort="infinity")
    search = field("body", "match", MatchText.of(WORD("search", "+")))
    for condition in (
        none_of(search),
        every(search, field("active", "eq", True)),
        some(search, field("body", "match", MatchText.of(WORD("tomato")))),
        none_of(some(search, field("title", "match", MatchText.of(PREFIX("i"))))),
    ):
        c.add("match-nested", vector=c.vector(), filter=condition, k=2000, effort="infinity")
        c.add("match-nested", text="vector", fields={"title": 1.0}, filter=condition, k=50)


def hybrids(c: Cases) -> None:
    words = ("vector search", "baking bread", "relational databases", "the", "nothingofthis", "running lakes x1")
    fields = {"title": 2.0, "body": 1.0}
    for text in words:
        c.add("hybrid", vector=c.vector(), text=text, fields=fields, effort="infinity")
        c.add("hybrid", vector=c.vector(), text=text, fields={"body": 1.0}, k=3)
    for vector_weight, text_weight in ((0.0, 1.0), (1.0, 0.0), (2.0, 1.0), (0.3, 0.7), (1000.0, 0.001)):
        c.add("hybrid-weights", vector=c.vector(), text="storage index", fields=fields, vector_weight=vector_weight, text_weight=text_weight, effort="infinity")
    for rrf_k in (1, 10, 1000):
        c.add("hybrid-rrf", vector=c.vector(), text="transactions log", fields=fields, rrf_k=rrf_k, k=20, effort="infinity")
    for candidates, k in ((1, 1), (1, 10), (5, 4), (20, 20), (300, 10), (10000, 5000)):
        family = "hybrid-candidates" if candidates >= k else "ranking-candidates"
        c.add(family, vector=c.vector(), text="postgres query", fields=fields, candidates=candidates, k=k, effort="infinity")
    for condition in (
        field("active", "eq", True),
        field("category", "in", ["db", "zz"]),
        field("name", "prefix", "日本"),
        field("category", "eq", "nowhere"),
        none_of(field("tags", "contains", "red")),
        field("body", "match", MatchText.of(WORD("query", "+"))),
    ):
        c.add("hybrid-filter", vector=c.vector(), text="postgres query", fields=fields, filter=condition, effort="infinity")
        c.add("hybrid-filter", vector=c.vector(), text="cats", fields=fields, filter=condition, k=400)


def random_filters(c: Cases) -> None:
    for number in range(RANDOM_FILTERS):
        depth = DEPTH if number % 9 == 0 else number % 6
        condition = tree(c, depth, list(ATTRIBUTES) + ["body", "title"])
        form = number % 3
        if form == 0:
            c.add("random", vector=c.vector(), filter=condition, k=c.rng.choice([5, 50, 2000]), effort="infinity")
        elif form == 1:
            c.add("random", text=c.words(2), fields={"body": 1.0}, filter=condition, k=c.rng.choice([5, 50, 2000]))
        else:
            c.add("random", vector=c.vector(), text=c.words(2), fields={"title": 2.0, "body": 1.0}, filter=condition, effort="infinity")


def tree(c: Cases, depth: int, names: list[str]) -> dict:
    """A filter that is nested exactly so deep."""
    rng = c.rng
    if depth == 0:
        return leaf(c, rng.choice(names))
    kind = rng.choice(["and", "or", "or", "not"])
    deep = tree(c, depth - 1, names)
    if kind == "not":
        return none_of(deep)
    others = [leaf(c, rng.choice(names)) for _ in range(rng.choice([0, 1, 1, 2]))]
    return {"type": kind, "conditions": rng.sample([deep, *others], 1 + len(others))}


def leaf(c: Cases, name: str) -> dict:
    """One condition that some documents meet."""
    rng = c.rng
    if name in TEXTS:
        return field(
            name,
            "match",
            MatchText.of(
                *((sign, "word", word) for sign, word in zip(rng.choice([("", ""), ("+", ""), ("-", "-"), ("+", "-")]), rng.choices(corpus.WORDS[:60], k=2)))
            ),
        )
    if rng.random() < 0.12:
        return field(name, "is_null", rng.choice([None, True, False]))
    kind = ATTRIBUTES[name][0] if name in ATTRIBUTES else COLUMNS[name]
    if kind.startswith("array"):
        values = c.value(name) or (["red"] if kind == "array_string" else [1])
        return field(name, "contains", rng.choice(values)) if rng.random() < 0.5 else field(name, "contains_any", [*values, *(c.value(name))])
    if kind == "bool":
        return field(name, rng.choice(["eq", "ne"]), rng.random() < 0.5)
    if kind == "string" and rng.random() < 0.2:
        value = c.value(name)
        return field(name, "prefix", value[: rng.randint(0, max(1, len(value)))])
    if rng.random() < 0.25:
        return field(name, rng.choice(["in", "not_in"]), [c.value(name) for _ in range(rng.randint(0, 4))])
    return field(name, rng.choice(["eq", "ne", "gt", "gte", "lt", "lte"]), c.value(name))


def types(c: Cases) -> None:
    """Every operator on times, UUIDs and arrays of numbers."""
    for name in ("day", "seen", "local", "uid", "numbers", "keys"):
        value = c.value(name)
        if ATTRIBUTES[name][0].startswith("array"):
            conditions = [field(name, "contains", (c.value(name) or [1])[0]), field(name, "contains_any", [*c.value(name), *c.value(name)])]
        else:
            conditions = [field(name, op, value) for op in ("eq", "ne", "gt", "gte", "lt", "lte")]
            conditions += [field(name, "in", [c.value(name), c.value(name)]), field(name, "not_in", [value])]
        for condition in [*conditions, field(name, "is_null"), field(name, "is_null", False)]:
            c.add("types", vector=c.vector(), filter=condition, k=30, effort="infinity")
    c.add("types", vector=c.vector(), filter=field("day", "lt", datetime.date(1970, 1, 1)), k=30, effort="infinity")
    c.add("types", text="search", fields={"body": 1.0}, filter=field("seen", "in", [c.value("seen") for _ in range(10_000)]), k=30)


def columns(c: Cases) -> None:
    """Types that only the columns of a table have, among them those whose values an index does not hold in full."""
    for name in COLUMNS:
        value = c.value(name)
        conditions = [field(name, op, value) for op in ("eq", "ne", "gt", "lte")] + [
            field(name, "in", [c.value(name), c.value(name)]),
            field(name, "not_in", [value]),
        ]
        for condition in [*conditions, field(name, "is_null"), field(name, "is_null", False)]:
            c.add("columns", vector=c.vector(), filter=condition, k=30, effort="infinity", on_index_only=True)
    search = field("body", "match", MatchText.of(WORD("search", "+")))
    exact = [field("amount", op, decimal.Decimal(f"900719925474099{digit}")) for op in ("eq", "ne", "gt", "gte", "lt", "lte") for digit in (2, 3)]
    exact += [field("note", op, corpus.NOTES[place]) for op in ("eq", "ne", "gt", "gte", "lt", "lte", "prefix") for place in (3, 4, 7, 9)]
    exact += [field("amount", "not_in", [decimal.Decimal("9007199254740993"), decimal.Decimal("0.10")]), field("note", "in", corpus.NOTES[-4:])]
    for number, condition in enumerate(exact):
        c.add("columns-exact", vector=c.vector(), filter=condition, k=(30, 2000)[number % 2], effort="infinity", on_index_only=True)
        c.add("columns-exact", vector=c.vector(), filter=none_of(condition), k=(2000, 30)[number % 2], effort="infinity", on_index_only=True)
        c.add("columns-exact", text="vector search", fields={"body": 1.0}, filter=condition, k=20, on_index_only=True)
        c.add("columns-exact", vector=c.vector(), filter=none_of(some(every(condition, search), field("year", "lt", 2000))), k=60, effort="infinity", on_index_only=True)
    for depth in (1, 2, 3, 5, 8, 12, 16, DEPTH):
        c.add("columns-random", vector=c.vector(), filter=tree(c, depth, list(COLUMNS) + list(ATTRIBUTES)), k=30, effort="infinity", on_index_only=True)


def rankings(c: Cases) -> None:
    """What docs/ranking.md offers. Deep enough that both arms are whole, but for the pages."""
    fields = {"title": 2.0, "body": 1.0}
    whole = {"fields": fields, "candidates": 5000, "effort": "infinity"}

    def vector_query(weight: float) -> dict:
        return {"vector": c.vector(), "weight": weight}

    def text_query(text: str, weight: float) -> dict:
        return {"text": text, "fields": {"body": 1.0}, "weight": weight}

    for fusion in ("minmax", "distribution"):
        for k, text in ((10, "vector search"), (50, "baking bread"), (2000, "lake index"), (10, "nothingofthis")):
            c.add("ranking-fusion", vector=c.vector(), text=text, k=k, fusion=fusion, **whole)
        c.add("ranking-fusion", vector=c.vector(), text="query", fusion=fusion, vector_weight=0.2, text_weight=3.0, filter=field("active", "eq", True), **whole)
        c.add("ranking-fusion", vector=c.vector(), text="query", fields=fields, fusion=fusion, candidates=40, k=20, effort="infinity")
    for fusion in (None, "minmax", "distribution"):
        c.add("ranking-queries", queries=(vector_query(1.0), vector_query(0.5)), fusion=fusion, **whole)
        c.add("ranking-queries", vector=c.vector(), text="postgres", queries=(vector_query(2.0), text_query("storage lake", 0.7)), k=30, fusion=fusion, **whole)
        c.add("ranking-queries", queries=(text_query("cats", 1.0), text_query("search", 1.0), text_query("flour", 2.0)), fusion=fusion, **whole)
    c.add("ranking-queries", queries=(text_query("cats search", 1.0),), k=40, **whole)
    modifiers = (
        {"type": "boost", "filter": field("category", "eq", "db"), "factor": 3.0},
        {"type": "boost", "filter": field("body", "match", MatchText.of(WORD("search", "+"))), "factor": 0.25, "weight": 0.5},
        {"type": "saturate", "field": "price", "k": 20},
        {"type": "saturate", "field": "price", "k": 20, "missing": 0.5, "weight": 0.8},
        {"type": "decay", "field": "year", "origin": 2015, "scale": 5},
        {"type": "decay", "field": "year", "origin": 2000, "scale": 10, "offset": 2, "decay": 0.3, "function": "exp", "weight": 0.9},
        {"type": "decay", "field": "price", "origin": 20, "scale": 40, "function": "linear", "missing": 1.0},
    )
    for modifier in modifiers:
        c.add("ranking-modifiers", vector=c.vector(), text="storage index", k=30, modifiers=(modifier,), **whole)
        c.add("ranking-modifiers", vector=c.vector(), k=20, modifiers=(modifier, modifiers[0]), candidates=5000, effort="infinity")
    c.add("ranking-modifiers", text="storage index", k=25, modifiers=modifiers[:4], fusion="minmax", **whole)
    for per in (
        {"field": "category", "limit": 2},
        {"field": "category"},
        {"field": "name", "limit": 1},
        {"field": "active", "limit": 5},
        {"field": "year", "limit": 3},
    ):
        c.add("ranking-per", vector=c.vector(), text="running query", per=per, k=25, **whole)
        c.add("ranking-per", vector=c.vector(), per=per, k=15, filter=field("year", "gte", 1995), effort="infinity")
    question = {"vector": c.vector(), "text": "vector search", "fields": fields, "effort": "infinity"}
    for offset in (0, 10, 20, 50, 130, 1000, 2000):
        c.add("ranking-pages", k=10, offset=offset, candidates=20, **question)
        c.add("ranking-pages", k=10, offset=offset, candidates=5000, per={"field": "name", "limit": 7}, **question)
        c.add("ranking-pages", vector=question["vector"], k=10, offset=offset, effort="infinity")
    for condition in (field("amount", "eq", decimal.Decimal("9007199254740993")), field("note", "gt", corpus.NOTES[7]), none_of(field("amount", "lt", decimal.Decimal("9007199254740993")))):
        boost = {"type": "boost", "filter": condition, "factor": 4.0, "weight": 0.5}
        c.add("ranking-columns", vector=c.vector(), text="storage index", k=30, modifiers=(boost, modifiers[0]), on_index_only=True, **whole)
        c.add("ranking-columns", vector=c.vector(), text="running query", k=25, filter=condition, per={"field": "category", "limit": 2}, on_index_only=True, **whole)
        c.add("ranking-columns", vector=c.vector(), k=7, offset=5, candidates=9, filter=condition, effort="infinity", on_index_only=True)
        c.add("ranking-columns", order_by=({"field": "year", "direction": "desc", "nulls": "last"},), k=40, offset=3, filter=condition, on_index_only=True)
    orders = (
        ({"field": "year", "direction": "desc", "nulls": "last"},), ({"field": "year"},), ({"field": "name"}, {"field": "price", "direction": "desc"}),
        ({"field": "active", "direction": "desc"}, {"field": "category", "nulls": "first"}, {"field": "big"}), ({"field": "price", "nulls": "first"},),
    )  # fmt: skip
    for order_by in orders:
        c.add("ranking-order", order_by=order_by, k=40)
        c.add("ranking-order", order_by=order_by, k=15, offset=30, filter=field("tags", "contains", "red"))
        c.add("ranking-order", order_by=order_by, k=30, per={"field": "category", "limit": 3})


@functools.cache
def cases() -> tuple[Case, ...]:
    """All cases, always the same."""
    c = Cases()
    for family in (vectors, filters, texts, text_matches, hybrids, random_filters, types, columns, rankings):
        family(c)
    return tuple(c.made)
