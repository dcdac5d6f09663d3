"""The same question asked of the index and of the table."""

import math
import random

import psycopg

from .tables import METRICS, Index, Table, quoted, text_query, words

BY_INDEX = {"enable_seqscan": "off", "enable_sort": "off", "elacsym.effort": "'infinity'"}
BY_BITMAP = {"enable_seqscan": "off", "enable_indexscan": "off"}
BY_TABLE = {"enable_indexscan": "off", "enable_bitmapscan": "off", "enable_indexonlyscan": "off"}
# Statistics of full text change when the maintenance worker flushes between two questions; it does so once.
ATTEMPTS = 3


class Difference(AssertionError):
    """The index answered something else than the table."""


class Comparison:
    """Asks through one connection, in its transaction if it is in one."""

    def __init__(self, connection: psycopg.Connection, who: str, table: Table, rng: random.Random, log):
        self.connection, self.who, self.table, self.rng, self.log = connection, who, table, rng, log
        # how many questions, and how many of them the index answered
        self.asked = self.by_index = 0

    def ask(self, query: str, settings: dict) -> tuple[str, list]:
        with self.connection.transaction():
            for name, value in settings.items():
                self.connection.execute(f"SET LOCAL {name} = {value}")
            plan = "\n".join(row[0] for row in self.connection.execute("EXPLAIN " + query))
            rows = self.connection.execute(query).fetchall()
            # a subtransaction of ours must leave no setting behind
            for name in settings:
                self.connection.execute(f"SET LOCAL {name} = DEFAULT")
        return plan, rows

    def everything(self, questions: int) -> None:
        for index in self.table.indexes:
            for _ in range(questions):
                kinds = [self.unordered, self.unordered]
                if index.metric:
                    kinds += [self.by_distance_of_each, self.by_distance_in_steps]
                    kinds += [self.by_distance, self.by_distance, self.search_vector]
                if index.texts:
                    kinds += [self.by_score, self.search_text]
                self.rng.choice(kinds)(index)

    def by_distance(self, index: Index) -> None:
        operator = METRICS[index.metric]
        distance = f"v {operator} {quoted(self.table.vector(self.rng))}"
        self.ordered(index, distance, index.condition(self.rng), exact=False)

    def by_distance_of_each(self, index: Index) -> None:
        """The index is scanned anew for each row of another table."""
        operator, where, k = METRICS[index.metric], index.condition(self.rng), self.rng.randint(1, 6)
        vectors = ", ".join(f"({i}, {quoted(self.table.vector(self.rng))}::vector)" for i in range(4))
        query = (
            f"SELECT q.n, l.d FROM (VALUES {vectors}) q (n, x), LATERAL (SELECT v {operator} q.x AS d FROM t WHERE {where}"
            f" ORDER BY v {operator} q.x LIMIT {k}) l ORDER BY q.n, l.d"
        )

        def compare():
            plan, fast = self.ask(query, {**BY_INDEX, "enable_sort": "on"})
            _, slow = self.ask(query, BY_TABLE)
            self.count(index, plan)
            if len(fast) != len(slow) or not all(a[0] == b[0] and same(a[1], b[1]) for a, b in zip(fast, slow)):
                return f"{fast[:30]}, the table says {slow[:30]}", plan
            return None

        self.attempt(query, compare)

    def by_distance_in_steps(self, index: Index) -> None:
        """A cursor is read while its transaction changes the table, which it must not notice."""
        operator, where = METRICS[index.metric], index.condition(self.rng)
        value = f"v {operator} {quoted(self.table.vector(self.rng))}"
        query = f"SELECT {value} AS d, id FROM t WHERE {where} ORDER BY {value}"

        def compare():
            run = self.connection.execute
            _, slow = self.ask(query, BY_TABLE)
            fast = []
            with self.connection.transaction(force_rollback=True):
                for name, setting in BY_INDEX.items():
                    run(f"SET LOCAL {name} = {setting}")
                run(f"DECLARE steps NO SCROLL CURSOR FOR {query}")
                for change in ("SELECT 1", f"INSERT INTO t (id, v) VALUES (-1, {quoted(self.table.vector(self.rng))})", "SELECT 2"):
                    fast += run(f"FETCH {self.rng.randint(1, 40)} FROM steps").fetchall()
                    run(change)
                run(f"SELECT elacsym.search('{index.name}', {quoted(self.table.vector(self.rng, zero=0))}, k => 3)")
                fast += run("FETCH ALL FROM steps").fetchall()
                run("CLOSE steps")
                for name in BY_INDEX:
                    run(f"SET LOCAL {name} = DEFAULT")
            if sorted(row[1] for row in fast) != sorted(row[1] for row in slow) or not all(same(a[0], b[0]) for a, b in zip(fast, slow)):
                return f"{len(fast)} rows {fast[:10]}, the table says {len(slow)} {slow[:10]}", "cursor"
            return None

        self.usable(query, compare)

    def by_score(self, index: Index) -> None:
        text = self.rng.choice(index.texts)
        query = f"elacsym.bm25query({quoted(words(self.rng, 1, 3))}, '{index.name}', {self.place(index, text)})"
        self.ordered(index, f"{text} <@> {query}", index.condition(self.rng), exact=False)

    def place(self, index: Index, text: str) -> int:
        keys = index.ddl.split(" USING elacsym (", 1)[1]
        before = keys.split(f"{text} bm25_ops", 1)[0]
        # commas outside parentheses
        depth = commas = 0
        for c in before:
            depth += (c == "(") - (c == ")")
            commas += c == "," and depth == 0
        return commas + 1

    def ordered(self, index: Index, value: str, where: str, exact: bool) -> None:
        limit = self.rng.choice([None, None, 1, 5, 10, 50])
        # A row is known by its ctid: whoever inserts a key that another has deleted since this snapshot sees both rows with it.
        base = f"SELECT {value} AS d, ctid, id, grp, note FROM t WHERE {where} ORDER BY {value}"
        query = base if limit is None else f"{base} LIMIT {limit}"
        settings = dict(BY_INDEX)
        approximate = self.rng.random() < 0.2
        if approximate:
            settings.pop("elacsym.effort")

        def compare():
            plan, fast = self.ask(query, settings)
            _, slow = self.ask(base, BY_TABLE)
            self.count(index, plan)
            wanted = len(slow) if limit is None else min(limit, len(slow))
            places = [row[1] for row in fast]
            if len(places) != len(set(places)):
                return f"a row came twice: {[row for row in fast if places.count(row[1]) > 1][:10]}", plan
            by_place = {row[1]: row for row in slow}
            wrong = [row for row in fast if row[1] not in by_place or row[1:] != by_place[row[1]][1:] or not same(row[0], by_place[row[1]][0])]
            if wrong:
                return f"rows that the table does not have: {wrong[:5]}", plan
            if len(fast) != wanted:
                missing = [row for row in slow if row[1] not in set(places)]
                return f"{len(fast)} rows instead of {wanted}, not there: {missing[:5]}", plan
            if not approximate:
                for i, (a, b) in enumerate(zip(fast, slow)):
                    if not same(a[0], b[0]):
                        return f"row {i} has {a[0]}, the table says {b[0]}", plan
            return None

        self.attempt(query, compare, ATTEMPTS if "<@>" in value else 1)

    def unordered(self, index: Index) -> None:
        where = index.indexed_condition(self.rng)
        query = self.rng.choice([f"SELECT id, grp, note FROM t WHERE {where}", f"SELECT count(*) FROM t WHERE {where}"])
        settings = self.rng.choice([BY_INDEX, BY_BITMAP])

        def compare():
            plan, fast = self.ask(query, settings)
            _, slow = self.ask(query, BY_TABLE)
            self.count(index, plan)
            if sorted(map(repr, fast)) != sorted(map(repr, slow)):
                more = [row for row in fast if row not in slow][:5]
                less = [row for row in slow if row not in fast][:5]
                return f"{len(fast)} rows, the table has {len(slow)}; too many: {more}; missing: {less}", plan
            return None

        self.attempt(query, compare)

    def search_vector(self, index: Index) -> None:
        operator = METRICS[index.metric]
        vector = quoted(self.table.vector(self.rng, zero=0))
        k = self.rng.choice([1, 5, 20, 100])
        distance = f"v {operator} {vector}"
        query = (
            f"SELECT s.vector_distance, t.id, {distance} FROM elacsym.search('{index.name}', {vector}, k => {k}, effort => 'Infinity') s"
            " JOIN t ON t.ctid = s.ctid ORDER BY s.vector_rank"
        )
        predicate = index.predicate or "true"
        slow_query = f"SELECT {distance}, id FROM t WHERE {predicate} AND v IS NOT NULL AND {distance} <> 'NaN' ORDER BY {distance} LIMIT {k}"

        def compare():
            _, fast = self.ask(query, {})
            _, slow = self.ask(slow_query, BY_TABLE)
            if any(not same(row[0], row[2]) for row in fast):
                return f"a distance is not that of the row: {fast[:5]}", "search()"
            if [round_(row[0]) for row in fast] != [round_(row[0]) for row in slow] and (
                len(fast) != len(slow) or not all(same(a[0], b[0]) for a, b in zip(fast, slow))
            ):
                return f"{len(fast)} rows {fast[:5]}, the table says {len(slow)} {slow[:5]}", "search()"
            return None

        self.usable(query, compare)

    def search_text(self, index: Index) -> None:
        text = self.rng.choice(index.texts)
        asked = words(self.rng, 1, 2)
        k = self.rng.choice([1, 5, 50])
        score = f"{text} <@> elacsym.bm25query({quoted(asked)}, '{index.name}', {self.place(index, text)})"
        fields = quoted(f'{{"{text}": 1.0}}')
        query = (
            f"SELECT -s.text_score, t.id, {score} FROM elacsym.search('{index.name}', NULL, {quoted(asked)}, k => {k}, fields => {fields}) s"
            " JOIN t ON t.ctid = s.ctid ORDER BY s.text_rank"
        )
        predicate = index.predicate or "true"
        slow_query = f"SELECT {score}, id FROM t WHERE {predicate} AND {score} < 0 ORDER BY {score} LIMIT {k}"

        def compare():
            _, fast = self.ask(query, {})
            _, slow = self.ask(slow_query, BY_TABLE)
            if any(not same(row[0], row[2]) for row in fast):
                return f"a score is not that of the row: {fast[:5]}", "search()"
            if len(fast) != len(slow) or not all(same(a[0], b[0]) for a, b in zip(fast, slow)):
                return f"{len(fast)} rows {fast[:5]}, the table says {len(slow)} {slow[:5]}", "search()"
            return None

        self.usable(query, compare, ATTEMPTS)

    def usable(self, query: str, compare, attempts: int = 1) -> None:
        try:
            self.attempt(query, compare, attempts)
        except psycopg.errors.ObjectNotInPrerequisiteState as e:
            # the planner would not use it either
            if "too young" not in str(e):
                raise

    def attempt(self, query: str, compare, attempts: int = 1) -> None:
        for _ in range(attempts):
            try:
                found = compare()
            except psycopg.Error as e:
                self.log.add(self.who, query, f"{type(e).__name__}: {e}")
                raise
            if found is None:
                self.log.add(self.who, query, "same")
                return
        what, plan = found
        self.log.add(self.who, query, what)
        raise Difference(f"{self.who}: {query}\n{what}\n{plan}")

    def count(self, index: Index, plan: str) -> None:
        self.asked += 1
        self.by_index += any(f"using {i.name}" in plan or f"on {i.name}" in plan for i in self.table.indexes)


def round_(value):
    return None if value is None else "NaN" if math.isnan(value) else round(value, 6)


def same(a, b) -> bool:
    """Equal up to the rounding of single precision."""
    if a is None or b is None:
        return a is b
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    # elements are up to 10, so products cancel down from 600
    return math.isclose(a, b, rel_tol=2e-5, abs_tol=2e-4)
