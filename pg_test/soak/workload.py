"""What the soak does: a table with an index and a namespace with a tenth of its rows, two kinds of threads that change and read them."""

import dataclasses
import json
import random
import threading
import time

# Vectors are a centre and some noise, so that they have the clusters that real ones have; each sum is another vector.
CENTRES, NOISES = 500, 1500
GROUPS = 20
WORDS = 2000
# Every tenth row is a document of the namespace too.
SHARED = 10
WRITERS = READERS = 2

MAKE = """
CREATE TABLE pool (id int PRIMARY KEY, v vector);
CREATE FUNCTION drawn(id bigint, version bigint, salt int, below int) RETURNS int IMMUTABLE LANGUAGE sql
    AS 'SELECT (hashint8extended(id * 1000003 + version, salt) & 2147483647)::int % below';
CREATE FUNCTION made(row_id bigint, version bigint, OUT v vector, OUT body text, OUT n int) STABLE LANGUAGE sql
    AS $$ SELECT a.v + b.v,
                 (SELECT string_agg('w' || least(drawn(row_id, version, 10 + i, {words}), drawn(row_id, version, 40 + i, {words})), ' ') FROM generate_series(1, 12) i),
                 (version % {groups})::int
            FROM pool a, pool b WHERE a.id = drawn(row_id, version, 1, {centres}) AND b.id = {centres} + drawn(row_id, version, 2, {noises}) $$;
CREATE TABLE docs (id bigint PRIMARY KEY, version bigint, v vector({dim}), body text, n int);
"""


@dataclasses.dataclass(frozen=True)
class Shape:
    """How much of everything."""

    live: int
    # rows that are updated, deleted or inserted in `seconds`
    churn: int
    seconds: float
    dim: int
    flush_rows: int
    # in MB
    cache_memory: int
    build_memory: int
    # rows of one transaction
    batch: int = 100


class Workload:
    """One database with its writers and readers. What was acknowledged is in `model`."""

    def __init__(self, cluster, database: str, shape: Shape, seed: int = 5):
        self.cluster, self.database, self.shape = cluster, database, shape
        rng = random.Random(seed)
        sizes = [1.0] * CENTRES + [0.3] * NOISES
        self.pool = [str([round(rng.gauss(0, size), 4) for _ in range(shape.dim)]) for size in sizes]
        # id → version; a writer has its own share, so that none waits for a row of another
        self.model: list[dict[int, int]] = [{} for _ in range(WRITERS)]
        self.random = [random.Random(f"{seed} writer {t}") for t in range(WRITERS)]
        self.asking = [random.Random(f"{seed} reader {t}") for t in range(READERS)]
        self.next_id = shape.live
        self.churned = 0
        # (began, seconds) of every read
        self.reads: list[tuple[float, float]] = []
        self.began = 0.0
        self.lock = threading.Lock()

    def prepare(self, conn) -> None:
        """Pool, table, index, namespace and the first rows."""
        shape = self.shape
        conn.execute(MAKE.format(words=WORDS, groups=GROUPS, centres=CENTRES, noises=NOISES, dim=shape.dim))
        with conn.cursor().copy("COPY pool FROM STDIN") as copy:
            for row in enumerate(self.pool):
                copy.write_row(row)
        conn.execute("ANALYZE pool")
        conn.execute(
            "INSERT INTO docs SELECT i, i %% %s, m.v, m.body, m.n FROM generate_series(0, %s) i, LATERAL made(i, i %% %s) m", [GROUPS, shape.live - 1, GROUPS]
        )
        conn.execute("VACUUM ANALYZE docs")
        conn.execute("CREATE INDEX docs_idx ON docs USING elacsym (v vector_cosine_ops, body bm25_ops, n)")
        schema = {"vector_dim": shape.dim, "vector_metric": "cosine", "attributes": {"body": {"type": "string", "full_text": True}, "n": "int"}}
        conn.execute("SELECT elacsym.create_namespace('ns', %s)", [json.dumps(schema)])
        self.put(conn, range(shape.live))
        for i in range(shape.live):
            self.model[i % WRITERS][i] = i % GROUPS

    def put(self, conn, ids) -> None:
        conn.execute(
            "SELECT count(elacsym.upsert('ns', id, v, jsonb_build_object('body', body, 'n', n))) FROM docs WHERE id = ANY (%s) AND id %% %s = 0",
            [list(ids), SHARED],
        )

    # -- writers -----------------------------------------------------------------------------------------------------------

    def write(self, conn, thread: int, number: int) -> None:
        """One transaction, when it is its time: so the churn takes the whole of the time, unless the machine is too slow."""
        if self.churned >= self.shape.churn:
            time.sleep(0.05)
            return
        ahead = self.shape.seconds * self.churned / self.shape.churn - (time.monotonic() - self.began)
        if ahead > 0:
            time.sleep(ahead)
        rng, mine, batch = self.random[thread], self.model[thread], self.shape.batch
        version = 1000 + number * WRITERS + thread
        ids = rng.sample(list(mine), batch)
        if rng.random() < 0.7:
            with conn.transaction():
                conn.execute(
                    "UPDATE docs SET version = %s, v = m.v, body = m.body, n = m.n FROM unnest(%s::bigint[]) i, LATERAL made(i, %s) m WHERE id = i",
                    [version, ids, version],
                )
                self.put(conn, ids)
            mine.update((i, version) for i in ids)
        else:
            gone = ids[: batch // 2]
            with self.lock:
                first, self.next_id = self.next_id, self.next_id + WRITERS * batch
            new = [i for i in range(first, first + WRITERS * batch) if i % WRITERS == thread][: batch // 2]
            with conn.transaction():
                conn.execute("DELETE FROM docs WHERE id = ANY (%s)", [gone])
                conn.execute("SELECT elacsym.delete('ns', %s)", [[i for i in gone if i % SHARED == 0]])
                conn.execute("INSERT INTO docs SELECT i, %s, m.v, m.body, m.n FROM unnest(%s::bigint[]) i, LATERAL made(i, %s) m", [version, new, version])
                self.put(conn, new)
            for i in gone:
                del mine[i]
            mine.update((i, version) for i in new)
        with self.lock:
            self.churned += batch

    # -- readers -----------------------------------------------------------------------------------------------------------

    def read(self, conn, thread: int, number: int) -> None:
        """One search of one of four kinds; INV-7: there are always enough rows, so it returns as many as were asked for."""
        rng = self.asking[thread]
        if number == 0:
            conn.execute("SET enable_seqscan = off; SET enable_sort = off")
        vector, n = rng.choice(self.pool), rng.randrange(GROUPS)
        words = f"w{rng.randrange(50)} w{rng.randrange(WORDS // 4)}"
        query, values = (
            ("SELECT id, n FROM docs ORDER BY v <=> %s LIMIT 10", [vector]),
            ("SELECT id, n FROM docs WHERE n = %s ORDER BY v <=> %s LIMIT 10", [n, vector]),
            ("SELECT id, n FROM docs WHERE body @@@ %s ORDER BY body <@> %s LIMIT 10", [words, words]),
            ("SELECT id, 0 FROM elacsym.query('ns', %s, full_text => to_jsonb(%s::text))", [vector, words]),
        )[kind := rng.randrange(4)]
        began = time.monotonic()
        found = conn.execute(query, values).fetchall()
        seconds = time.monotonic() - began
        self.reads.append((began, seconds))
        assert len({row[0] for row in found}) == 10, (query, values, found)
        assert kind != 1 or {row[1] for row in found} == {n}, (query, values, found)
