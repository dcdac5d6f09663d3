"""Soak: writers and readers go on while flushes, compactions, VACUUM and garbage collection do. At the end nothing is lost, and what
all of it took is within its bounds.

The short form is part of `make test`; the long one (`ELACSYM_LONG=1`) has 100,000 rows of 384 dimensions, rewrites five times as many in
20 minutes (ELACSYM_SOAK_SECONDS: in so many seconds as many as then come), and looks at times too.
"""

import os
import re
import time

import pytest

from harness import BackgroundLoad, wait_until
from harness.index_answers import same
from soak.watch import Watch, bound, percentile, resident, stored
from soak.workload import READERS, SHARED, WRITERS, Shape, Workload

SHORT = Shape(live=8_000, churn=40_000, seconds=40, dim=64, flush_rows=500, cache_memory=16, build_memory=32)
SECONDS = int(os.environ.get("ELACSYM_SOAK_SECONDS", "1200"))
LONG = Shape(live=100_000, churn=500_000 * SECONDS // 1200, seconds=SECONDS, dim=384, flush_rows=10_000, cache_memory=256, build_memory=256)
# Bytes in storage beyond those of live rows, and memory beyond what settings say.
STORED, MEMORY = 2.2, 1.2
# Of reads during compactions, against all others.
SLOWER = 2
RETENTION = 10
# Default of elacsym.result_cache, and what an engine may take whatever its settings are, in MB.
RESULT_CACHE, SMALLEST = 16, 256
MIB = 1 << 20


def soak(new_cluster, shape: Shape, timed: bool) -> None:
    cluster = new_cluster(
        "soak",
        start=False,
        config={
            "elacsym.compaction": "on",
            "elacsym.object_retention": f"{RETENTION}s",
            "elacsym.flush_rows": shape.flush_rows,
            "elacsym.cache_memory": f"{shape.cache_memory}MB",
            "elacsym.build_memory": f"{shape.build_memory}MB",
            "autovacuum_naptime": "5s",
            "max_wal_size": "4GB",
        },
    )
    objects = cluster.directory / "objects"
    objects.mkdir()
    objects.chmod(0o777)
    cluster.write_config(**{"elacsym.storage_url": f"file://{objects}"})
    cluster.start()
    cluster.create_database("d")
    work = Workload(cluster, "d", shape)
    with cluster.connect("d") as conn:
        work.prepare(conn)
        with Watch(cluster, "d", objects) as watch:
            work.began = time.monotonic()
            with (
                BackgroundLoad(cluster, work.write, threads=WRITERS, dbname="d", reconnect=False) as writers,
                BackgroundLoad(cluster, work.read, threads=READERS, dbname="d", reconnect=False, pause=0.01) as readers,
            ):
                # a slow machine gets twice the time
                wait_until(lambda: work.churned >= shape.churn or writers.errors or readers.errors or watch.problem, "the churn", 2 * shape.seconds + 60, 0.1)
            took = time.monotonic() - work.began
            assert not writers.errors and not readers.errors and not watch.problem, (writers.errors, readers.errors, watch.problem)
            conn.execute("VACUUM docs")
            wait_until(lambda: settled(conn, watch, shape), "merging to settle", 120, 0.2)
            settling = time.monotonic() - work.began - took
            # what is live by now, and what waits for nothing
            wait_until(lambda: nudge(conn) or stored(objects) <= STORED * live_bytes(watch, conn), "what was replaced to be deleted", RETENTION + 60, 0.5)
        watch.samples.append(watch.look(conn))
        report(watch, work, shape, took, settling)
        print(engine_parts(conn))
        nothing_is_lost(conn, work)
        few_segments(watch, shape)
        memory_is_bounded(watch, shape)
        if timed:
            reads_are_not_slower(watch, work)
    assert cluster.engine_pids() == [watch.engine], "the engine has lived through it"


def settled(conn, watch: Watch, shape: Shape) -> bool:
    namespaces, _, _ = watch.look(conn)
    return all(buffered == 0 and segments <= bound(rows, shape.flush_rows) for segments, rows, buffered, _ in namespaces.values())


def nudge(conn) -> None:
    """Brings a worker, which else looks at garbage within the hour."""
    conn.execute("SELECT elacsym.create_namespace('nudge', '{\"attributes\": {\"n\": \"int\"}}')")
    conn.execute("SELECT elacsym.drop_namespace('nudge')")


def live_bytes(watch: Watch, conn) -> int:
    return sum(int(of[3]) for of in watch.look(conn)[0].values())


def nothing_is_lost(conn, work: Workload) -> None:
    """INV-1, INV-3, INV-5: table, index and namespace hold what was acknowledged last, and nothing else."""
    model = {id: version for mine in work.model for id, version in mine.items()}
    assert dict(conn.execute("SELECT id, version FROM docs").fetchall()) == model
    assert conn.execute("SELECT count(*) FROM docs, LATERAL made(id, version) m WHERE (docs.v, docs.body, docs.n) IS DISTINCT FROM (m.v, m.body, m.n)").fetchone() == (0,)
    assert conn.execute("SELECT * FROM elacsym.verify('docs_idx') LIMIT 5").fetchall() == []
    assert len(same(conn, f"SELECT v <=> '{work.pool[7]}', id FROM docs ORDER BY 1")) == len(model)
    same(conn, "SELECT id FROM docs WHERE body @@@ 'w3'")
    same(conn, "SELECT id FROM docs WHERE n = 7")
    conn.execute("CREATE TEMP TABLE held (id bigint, vector vector, attributes jsonb)")
    after = None
    while True:
        conn.execute("INSERT INTO held SELECT id, vector, attributes FROM elacsym.scan('ns', after_id => %s, \"limit\" => 2000, include_vector => true)", [after])
        last = conn.execute("SELECT max(id) FROM held").fetchone()[0]
        if last == after:
            break
        after = last
    differ = f"""SELECT count(*), count(*) FILTER (WHERE d.id IS NULL OR h.id IS NULL OR h.vector <> d.v OR h.attributes <> jsonb_build_object('body', d.body, 'n', d.n))
                   FROM (SELECT * FROM docs WHERE id % {SHARED} = 0) d FULL JOIN held h USING (id)"""
    assert conn.execute(differ).fetchone() == (sum(1 for id in model if id % SHARED == 0), 0)


def few_segments(watch: Watch, shape: Shape) -> None:
    for name, (segments, rows, _, _) in watch.samples[-1][0].items():
        assert segments <= bound(rows, shape.flush_rows), (name, segments)
    assert watch.compacting, "nothing was merged"


def memory_of(shape: Shape) -> int:
    """What its settings allow the engine, in bytes (docs/operations.md)."""
    return (shape.cache_memory + shape.build_memory + RESULT_CACHE) * MIB


def memory_is_bounded(watch: Watch, shape: Shape) -> None:
    most = max(memory for _, _, memory in watch.samples)
    # the program alone, and the least of what it keeps, are more than the little that the short form allows
    assert most <= max(MEMORY * memory_of(shape), SMALLEST * MIB), f"{most // MIB} MiB of {memory_of(shape) // MIB}"


def split(watch: Watch, work: Workload) -> tuple[list[float], list[float]]:
    """Seconds of the reads during compactions, and of the others."""
    during, others = [], []
    for began, seconds in work.reads:
        (during if watch.during_compaction(began, seconds) else others).append(seconds)
    return during, others


def reads_are_not_slower(watch: Watch, work: Workload) -> None:
    during, others = split(watch, work)
    assert len(during) > 1000 and len(others) > 1000, (len(during), len(others))
    assert percentile(during, 99) <= SLOWER * percentile(others, 99), (percentile(during, 99), percentile(others, 99))


def report(watch: Watch, work: Workload, shape: Shape, took: float, settling: float) -> None:
    """The figures, for whoever runs it with -s or looks at a failure."""
    print(f"\nchurn: {work.churned} rows in {took:.0f} s over {shape.live}; merging settled in {settling:.0f} s; {watch.looks} looks, {len(watch.compacting)} at a compaction")
    for what, seconds in zip(("during compactions", "without"), split(watch, work)):
        if seconds:
            print(f"reads {what}: {len(seconds)}, p50 {percentile(seconds, 50) * 1e3:.1f} ms, p99 {percentile(seconds, 99) * 1e3:.1f} ms, most {max(seconds) * 1e3:.0f} ms")
    for name, (segments, rows, _, _) in watch.samples[-1][0].items():
        counts = [namespaces[name][0] for namespaces, _, _ in watch.samples]
        within = sum(1 for namespaces, _, _ in watch.samples if namespaces[name][0] <= bound(namespaces[name][1], shape.flush_rows))
        print(
            f"segments of {name}: {segments} for {rows} rows (bound {bound(rows, shape.flush_rows)}); "
            f"meanwhile median {percentile(counts, 50)}, most {max(counts)}, within the bound {100 * within // len(counts)} % of the time"
        )
    ratios = [of_storage / max(1, sum(int(of[3]) for of in namespaces.values())) for namespaces, of_storage, _ in watch.samples]
    print(f"storage: {ratios[-1]:.2f} of the live bytes at the end ({watch.samples[-1][1] // MIB} MiB), {percentile(ratios, 50):.2f} in the median, {max(ratios):.2f} at most")
    memory = [of_engine for _, _, of_engine in watch.samples]
    print(f"memory of the engine: {max(memory) // MIB} MiB at most, {percentile(memory, 50) // MIB} in the median, {resident(watch.engine) // MIB} at the end; settings {memory_of(shape) // MIB}")


def engine_parts(conn) -> str:
    """What the engine says it keeps, in MiB."""
    metrics = conn.execute("SELECT elacsym.metrics()").fetchone()[0]
    kept = re.findall(r'^elacsym_(?:engine_kept_bytes\{what="(\w+)"\}|(cache)_bytes\{tier="memory"\}) (\d+)', metrics, re.M)
    return "of it: " + ", ".join(f"{what or cache} {int(bytes) / MIB:.1f}" for what, cache, bytes in kept)


def test_nothing_is_lost_and_everything_is_bounded(new_cluster):
    soak(new_cluster, SHORT, timed=False)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_nothing_is_lost_and_everything_is_bounded_for_long(new_cluster):
    soak(new_cluster, LONG, timed=True)
