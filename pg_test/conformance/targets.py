"""The two targets: how documents get there, and how a case is asked. All SQL is text that can be pasted."""

import datetime
import decimal
import json
import re
import uuid
from collections.abc import Sequence

import psycopg

from .corpus import ATTRIBUTES, COLUMNS, DIM, TEXTS, Document, Write
from .queries import Case

OPERATORS = {"cosine": "<=>", "l2": "<->", "dot": "<#>"}
CLASSES = {"cosine": "vector_cosine_ops", "l2": "vector_l2_ops", "dot": "vector_ip_ops"}
SEGMENTS = 10
SCORES_AT_MOST = 100
LAYOUTS = ("buffered", "flushed", "half", "segments")


def pieces(writes: Sequence[Write], layout: str) -> list[tuple[Sequence[Write], bool]]:
    """The history cut into what is written before each flush; the last piece may stay in the buffer."""
    if layout == "buffered":
        return [(writes, False)]
    if layout == "flushed":
        return [(writes, True)]
    if layout == "half":
        middle = len(writes) // 2
        return [(writes[:middle], True), (writes[middle:], False)]
    bounds = [len(writes) * i // SEGMENTS for i in range(SEGMENTS + 1)]
    return [(writes[a:b], True) for a, b in zip(bounds, bounds[1:])]


def groups(writes: Sequence[Write]):
    """Runs of upserts of different documents, and runs of deletes: each can be one statement."""
    run: list[Write] = []
    for write in writes:
        if run and ((write.document is None) != (run[0].document is None) or write.id in {w.id for w in run}):
            yield run
            run = []
        run.append(write)
    if run:
        yield run


def literal(value) -> str:
    """A value as a constant of SQL."""
    match value:
        case None:
            return "NULL"
        case bool():
            return str(value).lower()
        case int() | float() | decimal.Decimal():
            return f"'{value!r}'" if isinstance(value, float) else f"'{value}'"
        case tuple():
            return "'[" + ",".join(map(repr, value)) + "]'"
        case list():
            return "ARRAY[" + ", ".join(map(literal, value)) + "]"
        case str() | uuid.UUID() | datetime.date():
            return "'" + str(value).replace("'", "''") + "'"
    raise TypeError(f"no constant for {value!r}")


def as_json(value) -> str:
    """JSON as it is put into SQL: times and UUIDs are strings, decimals are numbers with all their digits."""

    def simple(other):
        if isinstance(other, decimal.Decimal):
            return f"<decimal {other}>"
        return other.isoformat() if isinstance(other, datetime.date) else str(other)

    return re.sub(r'"<decimal ([^>]*)>"', r"\1", json.dumps(value, ensure_ascii=False, default=simple))


class Namespace:
    """Documents in a namespace."""

    kind = "namespace"

    def __init__(self, metric: str, layout: str):
        self.name, self.metric, self.layout = f"{layout}_{metric}", metric, layout

    def build(self, conn: psycopg.Connection, writes: Sequence[Write]) -> None:
        texts = {name: {"type": "string", "full_text": {k: v for k, v in vars(o).items()}} for name, o in TEXTS.items()}
        schema = {"vector_dim": DIM, "vector_metric": self.metric, "attributes": texts | {name: {"type": kind} for name, (kind, _) in ATTRIBUTES.items()}}
        conn.execute(f"SELECT elacsym.create_namespace({literal(self.name)}, {literal(json.dumps(schema))})".encode())
        for piece, flush in pieces(writes, self.layout):
            for run in groups(piece):
                if run[0].document is None:
                    conn.execute("SELECT elacsym.delete(%s, %s)", [self.name, [w.id for w in run]])
                else:
                    conn.execute("SELECT elacsym.upsert(%s, %s::jsonb)", [self.name, as_json([self._json(w.document) for w in run])])
            if flush:
                conn.execute("SELECT elacsym.flush(%s)", [self.name])

    def _json(self, document: Document) -> dict:
        names = [*TEXTS, *ATTRIBUTES]
        return {"id": document.id, "vector": document.vector_for(self.metric), "attributes": {name: document.get(name) for name in names}}

    def counted(self, writes: Sequence[Write]) -> list[Document]:
        """Rows of segments, dead or alive, and what lives in the buffer."""
        counted: list[Document] = []
        for piece, _ in pieces(writes, self.layout):
            last = {w.id: w.document for w in piece}
            counted += [d for d in last.values() if d is not None]
        return counted

    def order(self, conn: psycopg.Connection) -> None:
        """Equal rows come by id."""
        return None

    def shape(self, conn: psycopg.Connection) -> tuple[int, int]:
        """Segments, and rows in the buffer."""
        return conn.execute("SELECT segments, buffered FROM elacsym.namespaces WHERE name = %s", [self.name]).fetchone()

    def question(self, case: Case) -> str:
        arguments = [literal(self.name)]
        if case.vector is not None:
            arguments.append(f"vector => {literal(case.vector)}")
        if case.text is not None:
            arguments.append(f"full_text => {literal(json.dumps(full_text(case), ensure_ascii=False))}")
        arguments += common_arguments(case, "top_k")
        return f"SELECT id, score, vector_rank, vector_distance, text_rank, text_score FROM elacsym.query({', '.join(arguments)})"


class Index:
    """Rows of a table with an index."""

    kind = "index"

    def __init__(self, metric: str, layout: str):
        self.table, self.metric, self.layout = f"docs_{layout}_{metric}", metric, layout
        self.name = f"{self.table}_search"
        self.columns = {name: sql for name, (_, sql) in ATTRIBUTES.items()} | COLUMNS

    @property
    def built_at_the_end(self) -> bool:
        """CREATE INDEX on the finished table; where text is asked too, the rows go through the buffer, so that it is known which rows count."""
        return self.layout == "flushed" and self.metric != "cosine"

    def build(self, conn: psycopg.Connection, writes: Sequence[Write]) -> None:
        definitions = [
            "id bigint PRIMARY KEY",
            f"embedding vector({DIM})",
            *(f"{name} text" for name in TEXTS),
            *(f"{name} {sql}" for name, sql in self.columns.items()),
        ]
        conn.execute(f"CREATE TABLE {self.table} ({', '.join(definitions)})".encode())
        if not self.built_at_the_end:
            conn.execute(self._create_index())
        names = ["id", "embedding", *TEXTS, *self.columns]
        update = ", ".join(f"{name} = EXCLUDED.{name}" for name in names[1:])
        for number, (piece, flush) in enumerate(pieces(writes, self.layout)):
            for run in groups(piece):
                if run[0].document is None:
                    conn.execute(f"DELETE FROM {self.table} WHERE id = ANY (%s)".encode(), [[w.id for w in run]])
                    continue
                rows = ", ".join(self._row(w.document) for w in run)
                conn.execute(f"INSERT INTO {self.table} ({', '.join(names)}) VALUES {rows} ON CONFLICT (id) DO UPDATE SET {update}".encode())
            if flush and not self.built_at_the_end:
                conn.execute("SELECT elacsym.flush(%s)", [self.name])
            if self.layout == "segments" and number == SEGMENTS // 2:
                # places of dead rows are used again by what follows
                conn.execute(f"VACUUM {self.table}".encode())
        if self.built_at_the_end:
            conn.execute(self._create_index())
        conn.execute(f"ANALYZE {self.table}".encode())

    def _create_index(self) -> bytes:
        texts = [
            f"{name} bm25_ops (language = '{o.language}', stemming = {o.stemming}, stopwords = {o.remove_stopwords}, case_sensitive = {o.case_sensitive},"
            f" k1 = {o.k1}, b = {o.b}, weight = {o.weight})"
            for name, o in TEXTS.items()
        ]
        keys = [f"embedding {CLASSES[self.metric]}", *texts, *self.columns]
        return f"CREATE INDEX {self.name} ON {self.table} USING elacsym ({', '.join(keys)})".encode()

    def _row(self, document: Document) -> str:
        values = [str(document.id), literal(document.vector), *(literal(document.get(name)) for name in TEXTS)]
        for name, sql in self.columns.items():
            value = document.get(name)
            values.append(literal(value) if not isinstance(value, list) else f"{literal(value)}::{sql}")
        return f"({', '.join(values)})"

    def counted(self, writes: Sequence[Write]) -> list[Document]:
        """Every version of every row: nothing tells the index of dead ones but VACUUM, and segments keep theirs."""
        return [w.document for w in writes if w.document is not None]

    def order(self, conn: psycopg.Connection) -> dict[int, object]:
        """Equal rows come by their place in the heap."""
        rows = conn.execute(f"SELECT id, ctid::text FROM {self.table}".encode()).fetchall()
        return {id_: tuple(int(part) for part in place.strip("()").split(",")) for id_, place in rows}

    def shape(self, conn: psycopg.Connection) -> tuple[int, int]:
        return conn.execute("SELECT segments, buffered FROM elacsym.indexes WHERE index = %s::regclass", [self.name]).fetchone()

    def question(self, case: Case) -> str:
        """elacsym.search() or search_keys()."""
        arguments = [literal(self.name)]
        if case.vector is not None:
            arguments.append(f"query_vector => {literal(case.vector)}")
        if case.text is not None:
            arguments.append(f"query_text => {literal(case.text)}")
        if case.fields is not None:
            arguments.append(f"fields => {literal(json.dumps(case.fields))}")
        arguments += common_arguments(case, "k")
        values = "s.score, s.vector_rank, s.vector_distance, s.text_rank, s.text_score"
        if case.k % 2:
            return f"SELECT s.key::bigint, {values} FROM elacsym.search_keys({', '.join(arguments)}) s"
        return (
            f"SELECT d.id, {values} FROM elacsym.search({', '.join(arguments)}) WITH ORDINALITY s JOIN {self.table} d ON d.ctid = s.ctid ORDER BY s.ordinality"
        )

    def statement(self, case: Case) -> str | None:
        """The same as a SELECT with WHERE, ORDER BY an operator and LIMIT: (id, distance or negated score); None for what operators do not say,
        and for very many scores, each of which PostgreSQL asks the engine for."""
        if case.family.startswith("ranking"):
            return None
        where = [] if case.filter is None else [self._condition(case.filter)]
        if case.vector is not None and case.text is None:
            value = f"embedding {OPERATORS[case.metric]} {literal(case.vector)}"
            # rows without a vector come last, and before them, under cosine, vectors of zeros: they have no direction
            where.append(f"{value} <> 'NaN'" if case.metric == "cosine" else "embedding IS NOT NULL")
        elif case.text is not None and case.vector is None and case.k <= SCORES_AT_MOST and len(case.weights()) == 1 and case.text.replace(" ", "").isalnum():
            (name,) = case.weights()
            value = f"{name} <@> {literal(case.text)}"
            where.append(f"{name} @@@ {literal(case.text)}")
        else:
            return None
        return f"SELECT id, {value} FROM {self.table} WHERE {' AND '.join(where)} ORDER BY {value} LIMIT {case.k}"

    def _condition(self, condition: dict) -> str:
        """A filter as SQL. What may be NULL counts as false, as it does at the top of a WHERE; only under a negation must that be said."""
        if "type" in condition:
            parts = [self._condition(c) for c in condition["conditions"]]
            if condition["type"] == "not":
                return f"({parts[0]}) IS NOT TRUE"
            joined = f" {condition['type'].upper()} ".join(parts)
            return f"({joined})" if parts else str(condition["type"] == "and").lower()
        name, op, value = condition["field"], condition["op"], condition.get("value")
        sql = "text" if name in TEXTS else self.columns[name]
        constant = "" if value is None or isinstance(value, list) else literal(value)
        array = f"{literal(value)}::{sql.removesuffix('[]')}[]" if isinstance(value, list) else ""
        match op:
            case "is_null":
                return f"{name} IS {'NOT ' if value is False else ''}NULL"
            case "eq" | "gt" | "gte" | "lt" | "lte":
                return f"{name} {dict(eq='=', gt='>', gte='>=', lt='<', lte='<=')[op]} {constant}"
            case "ne":
                return f"{name} IS DISTINCT FROM {constant}"
            case "in":
                return f"{name} = ANY ({array})"
            case "not_in":
                return f"({name} = ANY ({array})) IS NOT TRUE"
            case "contains":
                return f"{name} @> ARRAY[{constant}]::{sql}"
            case "contains_any":
                return f"{name} && {array}"
            case "prefix":
                return f"starts_with({name}, {constant})"
            case "match":
                return f"{name} @@@ {constant}"
        raise ValueError(op)


def common_arguments(case: Case, k: str) -> list[str]:
    """Those that both functions have."""
    arguments = [f"{k} => {case.k}"]
    if case.filter is not None:
        arguments.append(f"filter => {literal(as_json(case.filter))}")
    for name in ("vector_weight", "text_weight", "rrf_k", "candidates"):
        if getattr(case, name) is not None:
            arguments.append(f"{name} => {getattr(case, name)!r}")
    for name in ("queries", "modifiers", "per", "order_by"):
        if getattr(case, name) is not None:
            arguments.append(f"{name} => {literal(as_json(getattr(case, name)))}")
    if case.offset is not None:
        arguments.append(f'"offset" => {case.offset}')
    if case.fusion is not None:
        arguments.append(f"fusion => '{case.fusion}'")
    if case.effort is not None:
        arguments.append(f"effort => '{case.effort}'")
    return arguments


def full_text(case: Case):
    """The three forms of full_text."""
    if case.fields is None:
        return case.text
    if case.fields == {"body": 1.0}:
        return {"field": "body", "query": case.text}
    return {"fields": list(case.fields), "query": case.text, "weights": case.fields}


def aggregate(function: str, target: Namespace | Index, case: Case, *arguments: str) -> str:
    """elacsym.count() or facets() over what the filter and the text of a case match."""
    arguments = (literal(target.name), *arguments)
    if case.filter is not None:
        arguments += (f"filter => {literal(as_json(case.filter))}",)
    if case.text is not None:
        arguments += (f"full_text => {literal(as_json(full_text(case)))}",)
    return f"SELECT elacsym.{function}({', '.join(arguments)})"
