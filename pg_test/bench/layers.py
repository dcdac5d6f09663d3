"""What a query costs, layer by layer: processor time of session and engine, and instructions of each layer under Callgrind.

`scripts/layers.sh` runs it; docs/performance.md says how to read it. Everything is warm and in one segment, one session asks prepared statements
one after the other. The data directory is kept and used again, so that two builds can be compared."""

import argparse
import collections
import dataclasses
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

from harness import STATE, Cluster
from harness.env import as_pg_user, pg_path
from harness.wait import wait_until

from . import copying, processes
from .data import TEXT_KINDS, Generated
from .load import DOCS, load_docs
from .server import DATABASE, Server, settings

TABLE, INDEX = "layers", "layers_idx"
# So many values of `bucket` that each has about 50 rows: what a selective filter leaves.
ROWS_OF_BUCKET = 50
WARM = 200
# Queries of the run under Callgrind that the other one is compared with.
SHORT = 20


@dataclasses.dataclass(frozen=True)
class Case:
    """A statement: $1 is a vector, $2 are words, $3 is a bucket."""

    key: str
    title: str
    sql: str


SEARCH = f"SELECT d.id, s.score FROM elacsym.search('{INDEX}'::regclass, {{}}) s JOIN {TABLE} d ON d.ctid = s.ctid ORDER BY s.score DESC"
CASES = (
    Case("floor", "a row by its primary key, with the same parameters", f"SELECT id FROM {TABLE} WHERE id = vector_dims($1) + length($2) * 0 + $3"),
    Case("scan", "ORDER BY embedding <=> $1 LIMIT 10", f"SELECT id FROM {TABLE} ORDER BY embedding <=> $1 LIMIT 10"),
    Case("scan_text", "WHERE body @@@ $2 ORDER BY body <@> $2 LIMIT 10", f"SELECT id FROM {TABLE} WHERE body @@@ $2 ORDER BY body <@> $2 LIMIT 10"),
    Case("scan_filter", "WHERE bucket = $3 ORDER BY embedding <=> $1 LIMIT 10", f"SELECT id FROM {TABLE} WHERE bucket = $3 ORDER BY embedding <=> $1 LIMIT 10"),
    Case("search_vector", "elacsym.search(), vector", SEARCH.format("$1, NULL, k => 10")),
    Case("search_text", "elacsym.search(), text", SEARCH.format("NULL, $2, k => 10")),
    Case("search_both", "elacsym.search(), vector and text", SEARCH.format("$1, $2, k => 10")),
)

@dataclasses.dataclass(frozen=True)
class Layer:
    """What functions of this name cost, with all that they call, less the layers below it."""

    name: str
    function: str
    above: str = ""


BACKEND = (
    Layer("start and end of the executor", r"^(standard_ExecutorStart|standard_ExecutorEnd)$"),
    Layer("end of the transaction", r"^CommitTransactionCommand$"),
    Layer("scan or search()", r"(am::scan::amgettuple|elacsym_search_wrapper)$"),
    Layer("columns of the index", r"am::columns::Columns::of$", "scan or search()"),
    Layer("privileges", r"IndexSearch::open$", "scan or search()"),
    Layer("view: snapshot, catalog, buffer", r"am::view::IndexView::read$", "scan or search()"),
    Layer("request, reply, waiting", r"pg::client::call$", "scan or search()"),
    Layer("which rows are visible", r"HeapRows::visible$", "scan or search()"),
    Layer("ranking", r"rank::pages::Ranking<I>::(block|add|finish)$", "scan or search()"),
    Layer("the order, computed once more", r"^(elacsym_vector_cosine_distance|elacsym_bm25_distance.*)$"),
)
ENGINE = (
    Layer("request decoding", r"frame::Decoder::take$"),
    Layer("reply encoding", r"write_reply::\{\{closure\}\}$"),
    Layer("schema and checks", r"engine::(query::check|scan::check|view::.*Engine::schema)$"),
    Layer("view", r"Engine::resolve::\{\{closure\}\}$"),
    Layer("query preparation", r"PreparedQuery::new$"),
    Layer("centroid search", r"ranking::Ranking::(new|get)$"),
    Layer("postings from the cache", r"VectorSource>::posting(s|_pieces)::\{\{closure\}\}$"),
    Layer("list scan", r"ivf::scan::Scan::list$"),
    Layer("centroids of the lists", r"ranking::Probes::probe$"),
    Layer("row codes from the cache", r"VectorSource>::row_codes::\{\{closure\}\}$"),
    Layer("refinement", r"Searcher<H,A>::compare_codes$"),
    Layer("vectors from the cache", r"VectorSource>::vectors::\{\{closure\}\}$"),
    Layer("rerank", r"distance::Target::distance$"),
    Layer("terms and statistics", r"text::segment::TextSegment::(stats|plan_dictionaries|plan_postings)$"),
    Layer("text search", r"text::segment::TextSegment::search_with_ties$"),
    Layer("filter", r"text::segment::TextSegment::filter$"),
    Layer("keys of the rows", r"engine::(arms::Run|scan::Scan)::identified::\{\{closure\}\}$"),
)


def at(directory: Path, config: dict) -> Cluster:
    """A cluster in this directory, which stays. Objects are named by their whole path, so it cannot be moved there later."""
    cluster = Cluster("layers", config=config)
    if not directory.exists():
        directory.parent.mkdir(parents=True, exist_ok=True)
        cluster.directory.rename(directory)
    else:
        shutil.rmtree(cluster.directory)
    cluster.directory, cluster.data, cluster.socket_dir, cluster.log_path = directory, directory / "data", directory / "s", directory / "log"
    return cluster


def build(cluster: Cluster, rows: int, dim: int) -> None:
    """The table and its index."""
    server = Server(cluster)
    dataset = Generated(rows, dim, rows)
    load_docs(server, dataset)
    buckets = max(1, rows // ROWS_OF_BUCKET)
    server.conn.execute(f"CREATE TABLE {TABLE} AS SELECT id, embedding, body, (id % {buckets})::int AS bucket FROM {DOCS}")
    server.conn.execute(f"DROP TABLE {DOCS}")
    server.conn.execute(f"ALTER TABLE {TABLE} ADD PRIMARY KEY (id)")
    server.conn.execute(f"CREATE INDEX {INDEX} ON {TABLE} USING elacsym (embedding vector_cosine_ops, body bm25_ops, bucket)")
    server.conn.execute(f"VACUUM ANALYZE {TABLE}")
    server.conn.execute("CHECKPOINT")
    server.conn.close()


class Session:
    """One case in a session of its own."""

    def __init__(self, cluster: Cluster, case: Case, arguments: list[list[bytes]]):
        self.conn = cluster.connect(DATABASE, prepare_threshold=None)
        self.conn.execute("SET enable_seqscan = off")
        self.pg = self.conn.pgconn
        self.pid = self.pg.backend_pid
        self.arguments = arguments
        types = [self.conn.execute("SELECT %s::regtype::oid", [t]).fetchone()[0] for t in ("vector", "text", "int4")]
        # The planner has chosen a generic plan after five executions.
        result = self.pg.prepare(b"q", case.sql.encode(), types)
        assert result.status == 1, result.error_message
        self.next = 0

    def run(self, count: int) -> int:
        """Asks that many queries; the rows they gave together."""
        rows = 0
        for _ in range(count):
            result = self.pg.exec_prepared(b"q", self.arguments[self.next % len(self.arguments)], [1, 1, 1], 1)
            assert result.status == 2, result.error_message
            rows += result.ntuples
            self.next += 1
        return rows


def arguments_of(dataset: Generated, count: int, buckets: int) -> list[list[bytes]]:
    vectors = [copying.vector(query) for query in dataset.queries(count)]
    kind = next(kind for kind, short in TEXT_KINDS.items() if short)
    words = [" ".join(words).encode() for words in dataset.questions(count)[kind]]
    return [[vector, text, (i * 37 % buckets).to_bytes(4, "big")] for i, (vector, text) in enumerate(zip(vectors, words))]


def switches(pids) -> int:
    """How often the threads have gone to sleep."""
    total = 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").glob("*"):
            found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", (thread / "status").read_text(), re.M)
            total += int(found[1])
    return total


def times(cluster: Cluster, cases, arguments, queries: int, rounds: int) -> dict:
    """Microseconds of processor time for each query, the least of some rounds: what else the machine does only adds."""
    engine = cluster.engine_pids()
    sessions = {case.key: Session(cluster, case, arguments) for case in cases}
    found = {}
    for key, session in sessions.items():
        session.run(WARM)
        found[key] = {"backend_us": [], "engine_us": [], "p50_us": [], "rows": 0}
    each = max(1, queries // rounds)
    for _ in range(rounds):
        for key, session in sessions.items():
            backend, in_engine = processes.on_processor([session.pid]), processes.on_processor(engine)
            slept, latencies = switches(engine), []
            rows = 0
            for _ in range(each):
                started = time.perf_counter()
                rows += session.run(1)
                latencies.append(time.perf_counter() - started)
            one = found[key]
            one["backend_us"].append((processes.on_processor([session.pid]) - backend) / each * 1e6)
            one["engine_us"].append((processes.on_processor(engine) - in_engine) / each * 1e6)
            one["p50_us"].append(sorted(latencies)[each // 2] * 1e6)
            one["engine_sleeps"] = (switches(engine) - slept) / each
            one["rows"] = rows / each
    for one in found.values():
        for name in ("backend_us", "engine_us", "p50_us"):
            one[name] = min(one[name])
    for session in sessions.values():
        session.conn.close()
    return found


class Profile:
    """Instructions by function, out of a file of Callgrind."""

    def __init__(self, path: Path):
        self.own: dict[str, int] = collections.defaultdict(int)
        # With all that it calls; what a recursive function calls of itself has a name of its own, with a number behind it.
        self.inclusive: dict[str, int] = collections.defaultdict(int)
        names: dict[str, str] = {}

        def name(text: str) -> str:
            number, _, rest = text.partition(" ")
            if rest:
                names[number] = rest
            return names[number]

        function, called, is_call = "", "", False
        for line in path.open(errors="replace"):
            if line.startswith("fn="):
                function = name(line[3:].rstrip())
            elif line.startswith("cfn="):
                called = name(line[4:].rstrip())
            elif line.startswith("calls="):
                is_call = True
            elif line[:1].isdigit() or line[:1] in "+-*":
                cost = int(line.split()[1])
                if not is_call:
                    self.own[function] += cost
                if not is_call or called != function:
                    self.inclusive[function] += cost
                is_call = False

    def total(self) -> int:
        return sum(self.own.values())

    def of(self, layer: Layer) -> int:
        return sum(cost for function, cost in self.inclusive.items() if re.search(layer.function, function))


def split(files: list[Path], layers, queries: int) -> dict[str, int]:
    """Instructions of one query by layer: what the long run has more than the short one. The rest is what no layer begins with."""
    short, long = (Profile(path) for path in files)
    whole = {layer.name: (long.of(layer) - short.of(layer)) / queries for layer in layers}
    found = {layer.name: round(whole[layer.name] - sum(whole[below.name] for below in layers if below.above == layer.name)) for layer in layers}
    found["rest"] = round((long.total() - short.total()) / queries - sum(whole[layer.name] for layer in layers if not layer.above))
    found["all"] = round((long.total() - short.total()) / queries)
    return found


def callgrind(cluster: Cluster, cases, arguments, queries: int, where: Path, engine: bool) -> dict[str, list[Path]]:
    """Runs each case under Callgrind, in the session or in the engine: the files of a short and of a long run, which differ by `queries` queries.
    What is only done at first is in both."""
    where.mkdir(parents=True, exist_ok=True)
    if as_pg_user():
        shutil.chown(where, "postgres")
    what = "engine" if engine else "backend"
    program = pg_path("pkglibdir") / "elacsym-engine" if engine else pg_path("bindir") / "postgres"
    wrapper = where / f"{what}.sh"
    wrapper.write_text(f'#!/bin/sh\nexec valgrind --tool=callgrind --callgrind-out-file={where}/{what}.%p --separate-threads=no {program} "$@"\n')
    wrapper.chmod(0o755)
    if cluster.is_running():
        cluster.stop()
    for old in where.glob(f"{what}.*[0-9]"):
        old.unlink()
    found: dict[str, list[Path]] = {}
    try:
        if engine:
            cluster.write_config(**{"elacsym.engine_path": str(wrapper)})
            cluster.start(timeout=300)
        else:
            cluster.run("pg_ctl", "-D", cluster.data, "-l", cluster.log_path, "-p", wrapper, "-w", "-t", 300, "start", timeout=320)
        socket = cluster.data / "pgsql_tmp_elacsym" / "engine.sock"
        # What the first session of a server does for all others is in neither run.
        wait_until(socket.exists, "the engine", 300)
        warm = Session(cluster, cases[0], arguments)
        warm.run(1)
        warm.conn.close()
        for case in cases:
            for count in (SHORT, SHORT + queries):
                wait_until(socket.exists, "the engine", 300)
                session = Session(cluster, case, arguments)
                session.run(count)
                pid = _engine(cluster) if engine else session.pid
                session.conn.close()
                if engine:
                    os.kill(pid, signal.SIGTERM)
                path = where / f"{what}.{pid}"
                wait_until(lambda: not Path(f"/proc/{pid}").exists() and path.exists(), f"{path.name}", 60)
                found.setdefault(case.key, []).append(path.rename(where / f"{what}.{case.key}.{count}"))
    finally:
        cluster.stop("fast")
        if engine:
            cluster.write_config(**{"elacsym.engine_path": None})
    return found


def show(side: str, found: dict[str, dict[str, int]]) -> None:
    """A table of instructions, in thousands."""
    names = list(dict.fromkeys(name for one in found.values() for name, cost in one.items() if cost))
    print(f"| {side}, 1,000 instructions | " + " | ".join(found) + " |")
    print("|---|" + "---|" * len(found))
    for name in names:
        print(f"| {name} | " + " | ".join(f"{one.get(name, 0) / 1000:.1f}" for one in found.values()) + " |")


def _engine(cluster: Cluster) -> int:
    """The engine under Callgrind: its process has another name."""
    return next(p.pid for p in cluster.processes() if p.cmdline.endswith("elacsym-engine") and "callgrind" in p.cmdline)


def main() -> int:
    parser = argparse.ArgumentParser(prog="layers", description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--queries", type=int, default=3000, help="queries of each case whose processor time is measured")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--callgrind", type=int, default=0, help="queries of each case under Callgrind; 0: none")
    parser.add_argument("--cases", default=" ".join(case.key for case in CASES))
    parser.add_argument("--out", type=Path, default=None, help="JSON file for the figures")
    options = parser.parse_args()
    cases = [case for case in CASES if case.key in options.cases.split()]
    kept = STATE / "layers" / f"{options.rows}x{options.dim}"
    cluster = at(kept, settings("", "1GB", options.rows, options.dim) | {"elacsym.flush_interval": "1h", "elacsym.result_cache": "0"})
    if not (kept / "built").exists():
        shutil.rmtree(cluster.data, ignore_errors=True)
        cluster.start()
        build(cluster, options.rows, options.dim)
        cluster.stop()
        (kept / "built").touch()
    cluster.write_config()
    dataset = Generated(options.rows, options.dim, options.rows)
    arguments = arguments_of(dataset, 500, max(1, options.rows // ROWS_OF_BUCKET))
    result = {"rows": options.rows, "dim": options.dim}
    try:
        cluster.start()
        result["segments"] = cluster.value(f"SELECT count(*) FROM elacsym.segments WHERE namespace = '{INDEX}'", dbname=DATABASE)
        if options.queries:
            result["times"] = times(cluster, cases, arguments, options.queries, options.rounds)
            print(f"{'case':16} {'backend µs':>11} {'engine µs':>10} {'p50 µs':>8} {'engine sleeps':>14} {'rows':>6}")
            for case in cases:
                one = result["times"][case.key]
                print(f"{case.key:16} {one['backend_us']:11.0f} {one['engine_us']:10.0f} {one['p50_us']:8.0f} {one['engine_sleeps']:14.1f} {one['rows']:6.1f}")
        if options.callgrind:
            for engine in (False, True):
                # So few that the short run has asked each, and brought what it reads into the caches.
                files = callgrind(cluster, cases, arguments[:SHORT], options.callgrind, kept / "callgrind", engine)
                side = "engine" if engine else "backend"
                result[side] = {key: split(pair, ENGINE if engine else BACKEND, options.callgrind) for key, pair in files.items()}
                show(side, result[side])
    finally:
        if cluster.is_running():
            cluster.stop()
    if options.out:
        options.out.write_text(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
