"""More than one server: partitions, a standby that answers, and shards behind postgres_fdw, against one table with the same rows.

`scripts/scale_out.sh` runs it; docs/scaling.md says what it is for. All servers share one machine here, so it tells what a way of spreading costs,
not what it gains: latency and processor time of a query, the log that a standby gets, and that the answers are the same."""

import argparse
import contextlib
import itertools
import json
import statistics
import threading
import time
from pathlib import Path

import numpy as np
import psycopg

from harness import Cluster
from harness.wait import wait_until

from . import copying, processes
from .data import Generated
from .load import ITEMS, load_items
from .measure import percentile
from .server import DATABASE, Server, settings

K = 10
QUERY = "SELECT id FROM {} ORDER BY embedding <=> $1 LIMIT {}"
# Sequential scans, and sorts of all rows, are never what is meant here; a foreign scan has no other choice.
BY_INDEX = "SET enable_seqscan = off"
# Enough for both to lag behind a checkpoint or a flush.
LOAD_SECONDS = 20


class Asker:
    """One session with one prepared statement."""

    def __init__(self, cluster: Cluster, title: str, statement: str, pids=None):
        self.title = title
        self.conn = cluster.connect(DATABASE, prepare_threshold=None)
        self.conn.execute(BY_INDEX)
        self.conn.execute(f"PREPARE asked (vector) AS {statement}".encode())
        # processes whose time counts besides the session's own
        self.pids = pids or (lambda: cluster.engine_pids())
        self.seconds: list[float] = []
        self.cpu = 0.0

    def ask(self, vector: str) -> list[int]:
        return [row[0] for row in self.conn.execute(f"EXECUTE asked ('{vector}')").fetchall()]

    def measure(self, vectors: list[str]) -> list[list[int]]:
        pids = [self.conn.info.backend_pid, *self.pids()]
        cpu, answers = processes.on_processor(pids), []
        for vector in vectors:
            began = time.perf_counter()
            answers.append(self.ask(vector))
            self.seconds.append(time.perf_counter() - began)
        self.cpu += processes.on_processor(pids) - cpu
        return answers

    def figures(self) -> dict:
        ordered = sorted(self.seconds)
        return {
            "what": self.title,
            "p50_ms": percentile(ordered, 0.5) * 1e3,
            "p99_ms": percentile(ordered, 0.99) * 1e3,
            "cpu_ms": self.cpu / len(ordered) * 1e3,
        }


def text(vector: np.ndarray) -> str:
    return "[" + ",".join(f"{value:.7g}" for value in vector) + "]"


def in_turns(askers: list[Asker], vectors: list[str], rounds: int) -> dict[str, list[list[int]]]:
    """All of them, block by block; the answers of each."""
    answers = {}
    for asker in askers:
        asker.measure(vectors)
        asker.seconds.clear()
        asker.cpu = 0.0
    for round_ in range(rounds):
        for asker in askers[:: 1 if round_ % 2 else -1]:
            answers[asker.title] = asker.measure(vectors)
    return answers


def agreement(found: list[list[int]], expected: list[list[int]]) -> float:
    """The share of rows that both have."""
    return statistics.mean(len(set(a) & set(b)) / max(1, len(b)) for a, b in zip(found, expected, strict=True))


def partitions(server: Server, count: int) -> None:
    server.conn.execute(f"CREATE TABLE parts (id bigint, embedding vector, bucket integer, region integer) PARTITION BY HASH (id)")
    for i in range(count):
        server.conn.execute(f"CREATE TABLE parts_{i} PARTITION OF parts FOR VALUES WITH (MODULUS {count}, REMAINDER {i})")
    server.conn.execute(f"INSERT INTO parts SELECT * FROM {ITEMS}")
    server.conn.execute("VACUUM ANALYZE parts")
    dim = server.value(f"SELECT vector_dims(embedding) FROM {ITEMS} LIMIT 1")
    server.conn.execute(f"ALTER TABLE parts ALTER COLUMN embedding TYPE vector({dim})")
    server.conn.execute("CREATE INDEX parts_idx ON parts USING elacsym (embedding vector_cosine_ops, bucket)")


def shard(cluster: Cluster, source: Cluster, number: int, count: int, dim: int) -> None:
    """A server of its own with every `count`-th row."""
    cluster.sql(f"CREATE DATABASE {DATABASE}")
    with cluster.connect(DATABASE) as conn, source.connect(DATABASE) as other:
        conn.execute("CREATE EXTENSION elacsym CASCADE")
        conn.execute(f"CREATE TABLE items (id bigint, embedding vector({dim}), bucket integer, region integer)")
        rows = f"COPY (SELECT * FROM {ITEMS} WHERE id % {count} = {number}) TO STDOUT (FORMAT BINARY)"
        with other.cursor().copy(rows) as read, conn.cursor().copy("COPY items FROM STDIN (FORMAT BINARY)") as write:
            for data in read:
                write.write(data)
        conn.execute("VACUUM ANALYZE items")
        conn.execute("CREATE INDEX items_idx ON items USING elacsym (embedding vector_cosine_ops, bucket)")


def coordinate(server: Server, shards: list[Cluster], dim: int) -> None:
    """A partitioned table whose partitions are foreign tables; ORDER BY is sent to each, because the operator belongs to an extension that both have."""
    conn = server.conn
    conn.execute("CREATE EXTENSION postgres_fdw")
    conn.execute(f"CREATE TABLE sharded (id bigint, embedding vector({dim}), bucket integer, region integer) PARTITION BY LIST ((id % {len(shards)}))")
    for i, cluster in enumerate(shards):
        conn.execute(
            f"CREATE SERVER shard_{i} FOREIGN DATA WRAPPER postgres_fdw OPTIONS "
            f"(host '{cluster.socket_dir}', port '{cluster.port}', dbname '{DATABASE}', extensions 'vector,elacsym', fetch_size '{K}', use_remote_estimate 'true')"
        )
        conn.execute(f"CREATE USER MAPPING FOR CURRENT_USER SERVER shard_{i} OPTIONS (user 'postgres', password_required 'false')")
        conn.execute(f"CREATE FOREIGN TABLE sharded_{i} PARTITION OF sharded FOR VALUES IN ({i}) SERVER shard_{i} OPTIONS (table_name 'items')")


def replicate(server: Server, standby: Cluster, vectors: list[str], rows: np.ndarray, first: int) -> dict:
    """Inserts on the primary for a while, with queries on both: how far behind the standby was, and what it was sent."""
    behind, queries, stop = [], [0, 0], threading.Event()

    def ask(cluster: Cluster, which: int) -> None:
        with contextlib.closing(Asker(cluster, "", QUERY.format(ITEMS, K)).conn) as conn:
            for vector in itertools.cycle(vectors):
                if stop.is_set():
                    return
                conn.execute(f"EXECUTE asked ('{vector}')").fetchall()
                queries[which] += 1

    def watch() -> None:
        with standby.connect("postgres") as conn, server.cluster.connect("postgres") as primary:
            while not stop.is_set():
                written = primary.execute("SELECT pg_current_wal_flush_lsn()").fetchone()[0]
                began = time.perf_counter()
                while conn.execute("SELECT pg_last_wal_replay_lsn() < %s::pg_lsn", [written]).fetchone()[0] and not stop.is_set():
                    time.sleep(0.001)
                behind.append(time.perf_counter() - began)
                time.sleep(0.02)

    threads = [threading.Thread(target=ask, args=(server.cluster, 0)), threading.Thread(target=ask, args=(standby, 1)), threading.Thread(target=watch)]
    for thread in threads:
        thread.start()
    before, began, written = server.wal_position(), time.perf_counter(), 0
    with server.connect() as conn:
        while time.perf_counter() - began < LOAD_SECONDS:
            block = rows[written % len(rows) :][:100]
            values = [(first + written + i, text(vector)) for i, vector in enumerate(block)]
            with conn.cursor() as cursor:
                cursor.executemany(f"INSERT INTO {ITEMS} VALUES (%s, %s, 0, 0)", values)
            written += len(block)
    took = time.perf_counter() - began
    stop.set()
    for thread in threads:
        thread.join()
    return {
        "rows": written,
        "rows_a_second": written / took,
        "wal_a_row": (server.wal_position() - before) / written,
        "behind_p50_ms": percentile(sorted(behind), 0.5) * 1e3,
        "behind_p99_ms": percentile(sorted(behind), 0.99) * 1e3,
        "queries_primary": queries[0] / took,
        "queries_standby": queries[1] / took,
    }


def run(rows: int, dim: int, queries: int, rounds: int, say=print) -> dict:
    """Everything; figures, and the agreement of each way with the one table."""
    dataset = Generated(rows, dim, 0)
    vectors = [text(vector) for vector in dataset.queries(queries)]
    config = settings("1GB", "256MB", rows, dim) | {"elacsym.cache_memory": "512MB"}
    result = {"rows": rows, "dim": dim}
    with contextlib.ExitStack() as stack:
        cluster = Cluster("one", config=config | {"hot_standby_feedback": "on"})
        # what a standby reads must be where it reaches it
        objects = cluster.directory / "objects"
        objects.mkdir()
        objects.chmod(0o777)
        cluster.config["elacsym.storage_url"] = f"file://{objects}"
        stack.enter_context(cluster)
        server = Server(cluster.start())
        say("loading, one index")
        load_items(server, dataset)
        server.conn.execute(f"CREATE INDEX items_idx ON {ITEMS} USING elacsym (embedding vector_cosine_ops, bucket)")
        say("four partitions")
        partitions(server, 4)
        say("two shards")
        shards = [stack.enter_context(Cluster(f"shard{i}", config=config)).start() for i in range(2)]
        for i, other in enumerate(shards):
            shard(other, cluster, i, len(shards), dim)
        coordinate(server, shards, dim)
        say("a standby")
        standby = cluster.standby(config=dict(cluster.config))
        stack.callback(standby.destroy)
        standby.start()
        wait_until(lambda: standby.value("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [cluster.value("SELECT pg_current_wal_insert_lsn()")]), "the standby to catch up", 60)
        of_shards = lambda: [*(pid for other in shards for pid in [*other.engine_pids(), *(p.pid for p in other.processes() if "idle" in p.cmdline or "FETCH" in p.cmdline)])]  # noqa: E731
        one = Asker(cluster, "one table", QUERY.format(ITEMS, K))
        ways = [
            one,
            Asker(cluster, "four partitions, one server", QUERY.format("parts", K)),
            Asker(standby, "the standby", QUERY.format(ITEMS, K)),
            Asker(cluster, "two shards behind postgres_fdw", QUERY.format("sharded", K), of_shards),
            Asker(shards[0], "one of the shards alone", QUERY.format(ITEMS, K)),
        ]
        plan = "\n".join(line for (line,) in ways[3].conn.execute(f"EXPLAIN VERBOSE EXECUTE asked ('{vectors[0]}')").fetchall())
        result["plan"] = plan
        result["remote_order"] = plan.count("Remote SQL") == len(shards) and plan.count("ORDER BY (embedding ") == len(shards)
        say("queries, in turns")
        answers = in_turns(ways, vectors, rounds)
        result["ways"] = [way.figures() | {"same": agreement(answers[way.title], answers[one.title])} for way in ways if way is not ways[-1]]
        result["ways"].append(ways[-1].figures() | {"same": None})
        say("inserts on the primary, queries on both")
        result["replication"] = replicate(server, standby, vectors, dataset.inserts(2000), 10 * rows)
        for way in ways:
            way.conn.close()
        server.conn.close()
    return result


def table(result: dict) -> str:
    lines = ["| way | p50 ms | p99 ms | CPU ms | rows also found by one table |", "|---|---|---|---|---|"]
    for way in result["ways"]:
        same = "" if way["same"] is None else f"{way['same'] * 100:.1f} %"
        lines.append(f"| {way['what']} | {way['p50_ms']:.2f} | {way['p99_ms']:.2f} | {way['cpu_ms']:.2f} | {same} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scale_out", description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=None, help="JSON file for the figures")
    options = parser.parse_args()
    result = run(options.rows, options.dim, options.queries, options.rounds)
    print(table(result))
    print(json.dumps(result["replication"], indent=1))
    print(result["plan"])
    if options.out:
        options.out.write_text(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
