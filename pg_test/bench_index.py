"""Figures of the index access method: build, bytes, WAL, insert rates, VACUUM, search. `scripts/pytest.sh` must have run once.

Run: ELACSYM_PG_CONFIG=… python pg_test/bench_index.py [rows] [dimensions]
"""

import random
import sys
import time

import numpy as np

from harness import Cluster

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
DIM = int(sys.argv[2]) if len(sys.argv) > 2 else 384
WORDS = [f"word{i}" for i in range(5000)]


def timed(what, action):
    start = time.perf_counter()
    result = action()
    print(f"{what}: {time.perf_counter() - start:.2f} s", flush=True)
    return result


def literal(vector):
    return "[" + ",".join(f"{x:.5f}" for x in vector) + "]"


def main():
    rng = np.random.default_rng(1)
    centers = rng.normal(size=(200, DIM)).astype(np.float32)
    vectors = centers[rng.integers(0, 200, ROWS)] + rng.normal(scale=0.6, size=(ROWS, DIM)).astype(np.float32)
    random.seed(1)
    config = {"shared_buffers": "1GB", "maintenance_work_mem": "512MB", "max_wal_size": "8GB", "elacsym.build_memory": "512MB"}
    with Cluster("bench", config=config) as cluster:
        cluster.init()
        cluster.start()
        cluster.create_database("b")
        with cluster.connect("b") as conn:
            lsn = lambda: int(conn.execute("SELECT pg_current_wal_insert_lsn() - '0/0'").fetchone()[0])  # noqa: E731
            conn.execute(f"CREATE TABLE t (id int PRIMARY KEY, embedding vector({DIM}), body text, year int)")
            conn.execute("ALTER TABLE t SET (autovacuum_enabled = off)")

            def load():
                with conn.cursor() as cur, cur.copy("COPY t FROM STDIN") as copy:
                    for i, vector in enumerate(vectors):
                        copy.write_row((i, literal(vector), " ".join(random.choices(WORDS, k=20)), 2000 + i % 25))

            timed(f"COPY of {ROWS} rows without an index", load)
            conn.execute("ANALYZE t")
            before = lsn()
            timed("CREATE INDEX (vector, text, attribute)",
                  lambda: conn.execute("CREATE INDEX t_search ON t USING elacsym (embedding vector_cosine_ops, body bm25_ops, year)"))
            segments, rows, size = conn.execute("SELECT segments, rows, bytes FROM elacsym.indexes").fetchone()
            heap = conn.execute("SELECT pg_table_size('t')").fetchone()[0]
            print(f"WAL of the build: {lsn() - before} bytes; {segments} segments, {rows} rows, {size / 1e6:.1f} MB in object storage"
                  f" ({size / rows:.0f} bytes a row); table {heap / 1e6:.1f} MB; index relation {conn.execute('SELECT pg_relation_size(%s::regclass)', ['t_search']).fetchone()[0]} bytes")

            def search(k=10, n=200, extra=""):
                times, found = [], 0
                for q in range(n):
                    query = vectors[q * 37 % ROWS] + 0.3
                    start = time.perf_counter()
                    conn.execute(f"SELECT id FROM t {extra} ORDER BY embedding <=> '{literal(query)}' LIMIT {k}").fetchall()
                    times.append(time.perf_counter() - start)
                print(f"search {extra or 'unfiltered'}: median {np.median(times) * 1e3:.2f} ms, p99 {np.quantile(times, 0.99) * 1e3:.2f} ms")

            search()
            search(extra="WHERE year = 2003")

            new = [(ROWS + i, literal(vectors[i] + 0.01), "fresh words " + WORDS[i % 5000], 2025) for i in range(4000)]
            before = lsn()

            def single():
                for row in new[:1000]:
                    conn.execute("INSERT INTO t VALUES (%s, %s, %s, %s)", row)

            start = time.perf_counter()
            single()
            print(f"INSERT row by row, one transaction each: {1000 / (time.perf_counter() - start):.0f} rows/s, {(lsn() - before) / 1000:.0f} bytes of WAL a row")
            before, start = lsn(), time.perf_counter()
            with conn.transaction():
                for row in new[1000:2000]:
                    conn.execute("INSERT INTO t VALUES (%s, %s, %s, %s)", row)
            print(f"INSERT row by row, one transaction: {1000 / (time.perf_counter() - start):.0f} rows/s, {(lsn() - before) / 1000:.0f} bytes of WAL a row")
            before, start = lsn(), time.perf_counter()
            with conn.transaction(), conn.cursor() as cur:
                for at in range(2000, 4000, 500):
                    batch = new[at:at + 500]
                    values = ",".join(["(%s,%s,%s,%s)"] * len(batch))
                    cur.execute(f"INSERT INTO t VALUES {values}", [v for row in batch for v in row])
            print(f"INSERT in batches of 500: {2000 / (time.perf_counter() - start):.0f} rows/s, {(lsn() - before) / 2000:.0f} bytes of WAL a row")
            conn.execute("CREATE TABLE plain AS SELECT * FROM t WITH NO DATA")
            before = lsn()
            conn.execute("INSERT INTO plain SELECT * FROM t WHERE id >= %s", [ROWS])
            print(f"the same rows into a table without the index: {(lsn() - before) / 4000:.0f} bytes of WAL a row")
            search()
            conn.execute("DELETE FROM t WHERE id % 10 = 0")
            before = lsn()
            timed("VACUUM after deleting 10 %", lambda: conn.execute("VACUUM t"))
            print(f"WAL of the VACUUM: {(lsn() - before) / 1e6:.1f} MB")
            search()


if __name__ == "__main__":
    main()
