"""INV-5, INV-1: whatever was acknowledged by COMMIT survives a kill -9 of the whole server between any two steps of upsert →
commit → read → upload → publish → manifest → merge → clean-up: nothing lost, nothing twice.

Each write goes to a namespace and to a model table in one transaction; after every crash the two must say the same."""

import contextlib
import json
import os
import random
import time

import psycopg
import pytest

from harness import ClusterError, wait_until

LONG = bool(os.environ.get("ELACSYM_LONG"))
ROUNDS = 20 if LONG else 3

SCHEMA = {"vector_dim": 4, "attributes": {"version": "int", "words": {"type": "string", "full_text": True}}}

# where the server dies → whether that is in the writer's own session (else in the maintenance worker)
POINTS = {
    "upsert.after_insert": True,
    "flush.after_read": False,
    "flush.after_upload": False,
    "flush.after_publish_before_commit": False,
    "flush.after_commit": False,
    "manifest.after_put": False,
    "manifest.after_commit": False,
    "gc.after_delete": False,
    "gc.after_commit": False,
    "compaction.after_read": False,
    "compaction.after_upload": False,
    "compaction.after_publish_before_commit": False,
    "compaction.after_commit": False,
}
COMPACT_POINTS = ["compaction.after_read", "compaction.after_upload", "compaction.after_publish_before_commit"]
BACKEND_POINTS = ["flush.after_read", "flush.after_upload", "flush.after_publish_before_commit"]
BULK_POINTS = ["bulk.after_upload", "bulk.after_publish_before_commit"]


class Model:
    """A namespace and the table that says what must be in it."""

    def __init__(self, cluster, seed):
        self.cluster, self.random, self.version = cluster, random.Random(seed), 0
        cluster.create_database("c")
        with self.connect() as conn:
            conn.execute("CREATE TABLE model (id bigint PRIMARY KEY, version int)")
            conn.execute("SELECT elacsym.create_namespace('ns', %s)", [json.dumps(SCHEMA)])

    def connect(self):
        return self.cluster.connect("c")

    def write(self, conn):
        """One transaction: some documents new or replaced, some deleted."""
        self.version += 1
        ids = self.random.sample(range(200), 12)
        with conn.transaction():
            self.put(conn, ids[:8])
            with contextlib.suppress(ZeroDivisionError), conn.transaction():
                self.put(conn, ids[6:10])
                if self.random.random() < 0.3:
                    raise ZeroDivisionError  # rolls the savepoint back
            conn.execute("DELETE FROM model WHERE id = ANY (%s)", [ids[10:]])
            conn.execute("SELECT elacsym.delete('ns', %s)", [ids[10:]])

    def put(self, conn, ids):
        v = self.version
        conn.execute(
            "INSERT INTO model SELECT i, %s FROM unnest(%s::bigint[]) i ON CONFLICT (id) DO UPDATE SET version = excluded.version", [v, ids]
        )
        documents = [{"id": i, "vector": [i, 1, v, 1], "attributes": {"version": v, "words": f"all v{v}"}} for i in ids]
        conn.execute("SELECT elacsym.upsert('ns', %s::jsonb)", [json.dumps(documents)])

    def check(self):
        """The namespace has exactly the model's documents, for fetch, for a vector query and for a text query."""
        with self.connect() as conn:
            model = dict(conn.execute("SELECT id, version FROM model").fetchall())
            fetched = conn.execute("SELECT id, (attributes ->> 'version')::int FROM elacsym.fetch('ns', (SELECT array_agg(i) FROM generate_series(0, 199) i))").fetchall()
            assert sorted(fetched) == sorted(model.items())
            for arm in ("'[1,1,1,1]', effort => 'infinity'", "full_text => '\"all\"'"):
                found = conn.execute(f"SELECT id, (attributes ->> 'version')::int FROM elacsym.query('ns', {arm}, top_k => 1000, include_attributes => '{{version}}')").fetchall()
                assert sorted(found) == sorted(model.items())
            for root, keys in conn.execute("SELECT replace(root, 'pgdata:', current_setting('data_directory') || '/'), objects FROM elacsym.segments").fetchall():
                for key in keys:
                    assert os.path.exists(os.path.join(root, key)), f"{key} is referred to and gone"

    def settled(self):
        with self.connect() as conn:
            return conn.execute("SELECT bool_and(buffered = 0 AND generation = manifest_generation) FROM elacsym.namespaces").fetchone()[0]


@pytest.fixture
def model(new_cluster, request):
    # a second: what a query of `check` reads must not be merged away and deleted under its hands
    config = {"elacsym.flush_interval": "50ms", "elacsym.object_retention": "1s", "elacsym.fault_point": "", "elacsym.compaction": "on"}
    return Model(new_cluster(config=config), request.node.name)


def dies(cluster):
    """Waits for the server to have died of the fault point."""
    wait_until(lambda: not cluster.processes(), "the server to die at the fault point", 30)


def start(cluster):
    # a dead postmaster that nobody has waited for yet still counts as alive for these
    for lock in [cluster.data / "postmaster.pid", *cluster.socket_dir.iterdir()]:
        lock.unlink(missing_ok=True)
    cluster.write_config(**{"elacsym.fault_point": ""})
    cluster.start()


@pytest.mark.parametrize("point", POINTS)
def test_nothing_is_lost_and_nothing_is_there_twice_after_a_crash_at(model, point):
    cluster = model.cluster
    for _ in range(ROUNDS):
        with model.connect() as conn:
            for _ in range(3):
                model.write(conn)
            if POINTS[point]:
                conn.execute("SET elacsym.fault_point = %s" % f"'{point}'")
            else:
                cluster.write_config(**{"elacsym.fault_point": point})
                cluster.reload()
            # the last ones may or may not have been acknowledged: the model, in the same transaction, knows
            with contextlib.suppress(psycopg.Error):
                for _ in range(40):
                    model.write(conn)
                    time.sleep(0.05)
        dies(cluster)
        start(cluster)
        model.check()
        with model.connect() as conn:
            model.write(conn)
        wait_until(model.settled, "maintenance to have caught up", 30)
        model.check()


@pytest.mark.parametrize("point", BACKEND_POINTS)
def test_crash_in_flush_by_hand_at(model, point):
    cluster = model.cluster
    for _ in range(ROUNDS):
        with model.connect() as conn:
            conn.execute("SET elacsym.fault_point = %s" % f"'{point}'")
            with contextlib.suppress(psycopg.Error), conn.transaction():
                model.write(conn)
                conn.execute("SELECT elacsym.flush('ns')")
        dies(cluster)
        start(cluster)
        model.check()


@pytest.mark.parametrize("point", COMPACT_POINTS)
def test_crash_in_compact_by_hand_at(model, point):
    cluster = model.cluster
    for _ in range(ROUNDS):
        with model.connect() as conn:
            # the dead rows of the last write make the rewrite of even one segment worth while
            for _ in range(3):
                model.write(conn)
            conn.execute("SELECT elacsym.flush('ns')")
            conn.execute("SET elacsym.fault_point = %s" % f"'{point}'")
            with contextlib.suppress(psycopg.Error):
                for _ in range(40):
                    model.write(conn)
                    conn.execute("SELECT elacsym.flush('ns')")
                    conn.execute("SELECT elacsym.compact('ns')")
        dies(cluster)
        start(cluster)
        model.check()
    wait_until(model.settled, "maintenance to have caught up", 30)
    model.check()


@pytest.mark.parametrize("point", BULK_POINTS)
def test_crash_in_bulk_upsert_at(model, point):
    cluster = model.cluster
    # the eight documents of a write are a bulk, except while the worker is flushing
    cluster.write_config(**{"elacsym.flush_rows": 8})
    cluster.reload()
    for _ in range(ROUNDS):
        with model.connect() as conn:
            for _ in range(3):
                model.write(conn)
            conn.execute("SET elacsym.fault_point = %s" % f"'{point}'")
            with contextlib.suppress(psycopg.Error):
                for _ in range(40):
                    model.write(conn)
                    time.sleep(0.05)
        dies(cluster)
        start(cluster)
        model.check()
    wait_until(model.settled, "maintenance to have caught up", 30)
    model.check()


def test_kill_of_every_process_at_any_moment(model):
    cluster = model.cluster
    for _ in range(ROUNDS):
        with model.connect() as conn:
            end = time.monotonic() + model.random.uniform(0.1, 0.7)
            while time.monotonic() < end:
                model.write(conn)
            with contextlib.suppress(ClusterError):
                cluster.kill9(everything=model.random.random() < 0.5)
        start(cluster)
        model.check()


def test_kill_of_the_engine_costs_a_wait(model):
    cluster = model.cluster
    # the pause before a restart grows, but stays below the time a call waits for an engine
    for _ in range(ROUNDS):
        with model.connect() as conn:
            model.write(conn)
            cluster.kill_engine()
            model.write(conn)
        model.check()
    wait_until(model.settled, "maintenance to have caught up", 30)
    model.check()
