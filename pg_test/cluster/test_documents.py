"""Documents of a namespace beyond upsert, delete and fetch: patches, conditional writes, writes by filter, scans; alone, beside other
sessions, across flushes, crashes and an outage of object storage."""

import itertools
import json
import threading
import time
from contextlib import ExitStack

import psycopg
import pytest

from harness import Cluster, Moto, wait_until

pytestmark = pytest.mark.every_pg

SCHEMA = {
    "vector_dim": 2,
    "vector_metric": "l2",
    "attributes": {
        "a": "int",
        "b": "int",
        "state": "string",
        "body": {"type": "string", "full_text": True},
        "tags": "array_string",
    },
}
# Nothing is flushed unless a test says so.
NO_FLUSH = {"elacsym.flush_interval": "1h", "elacsym.flush_rows": 10_000_000, "autovacuum": "off"}
NOT_EXISTS = {"type": "not_exists"}


@pytest.fixture(scope="module")
def quiet_cluster():
    with Cluster("documents", config=NO_FLUSH) as cluster:
        yield cluster.start()


@pytest.fixture
def q(quiet_cluster, request):
    """A connection to a fresh database with the namespace `ns`."""
    name = f"n{abs(hash(request.node.name)) % 10**8}"
    quiet_cluster.create_database(name)
    with quiet_cluster.connect(name) as conn:
        create(conn)
        conn.dbname = name
        yield conn
    quiet_cluster.sql(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def other(quiet_cluster, q):
    with quiet_cluster.connect(q.dbname) as conn:
        yield conn


def create(conn, name="ns", schema=None):
    conn.execute("SELECT elacsym.create_namespace(%s, %s)", [name, json.dumps(schema or SCHEMA)])


def call(conn, function, *arguments, name="ns"):
    """elacsym.function(namespace, …): lists and objects are jsonb, lists of integers ids."""
    marks, values = ["%s"], [name]
    for argument in arguments:
        ids = isinstance(argument, list) and all(isinstance(i, int) for i in argument) and "delete" in function
        marks.append("%s::bigint[]" if ids else "%s::jsonb")
        values.append(argument if ids or argument is None else json.dumps(argument))
    return conn.execute(f"SELECT elacsym.{function}({', '.join(marks)})", values).fetchone()[0]


def doc(id, vector=None, **attributes):
    return {"id": id, **({"vector": vector} if vector else {}), "attributes": attributes}


def state(conn, name="ns"):
    """id → (vector, attributes)"""
    rows = conn.execute("SELECT id, vector::text, attributes FROM elacsym.scan(%s, include_vector => true)", [name]).fetchall()
    keys = [row[0] for row in rows]
    fetched = conn.execute("SELECT id, vector::text, attributes FROM elacsym.fetch(%s, %s)", [name, keys]).fetchall()
    assert fetched == rows and keys == sorted(keys)
    return {id: (vector and json.loads(vector), attributes) for id, vector, attributes in rows}


def attributes(conn, id=1, name="ns"):
    rows = conn.execute("SELECT attributes FROM elacsym.fetch(%s, %s)", [name, [id]]).fetchall()
    return rows[0][0] if rows else None


def buffered(conn):
    return conn.execute("SELECT count(*) FROM elacsym.wal").fetchone()[0]


def flush(conn, name="ns"):
    conn.execute("SELECT elacsym.flush(%s)", [name])


def flush_all(conn):
    """Patches wait for transactions that are older, whoever runs them."""
    wait_until(lambda: (flush(conn), buffered(conn))[1] == 0, "every entry to be flushed", 20)


def field(name, op, value=None):
    return {"field": name, "op": op, **({} if value is None else {"value": value})}


def background(work):
    """Runs it in a thread; returns a function that waits for its result."""
    result = {}

    def run():
        try:
            result["value"] = work()
        except Exception as error:
            result["error"] = error

    thread = threading.Thread(target=run)
    thread.start()

    def wait(timeout=20):
        thread.join(timeout)
        assert not thread.is_alive(), "still waiting"
        if "error" in result:
            raise result["error"]
        return result["value"]

    wait.thread = thread
    return wait


def wait_for_waiting(conn, pid):
    waits = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s"
    wait_until(lambda: conn.execute(waits, [pid]).fetchone()[0], "the other session to wait for a lock")


# Patches


@pytest.mark.parametrize("flushes", ["never", "before", "after", "always"])
def test_a_patch_changes_what_it_names_and_nothing_else(q, flushes):
    call(q, "upsert", [doc(1, [1, 1], a=1, b=2, body="red apple"), doc(2, [2, 2], a=1), doc(3), doc(4, [4, 4], a=4)])
    if flushes in ("before", "always"):
        flush_all(q)
    call(q, "delete", [4])
    expected = {1: ([1, 1], {"a": 1, "b": 2, "body": "red apple"}), 2: ([2, 2], {"a": 1}), 3: (None, {})}

    def patch(*patches):
        assert call(q, "patch", list(patches)) == len({p["id"] for p in patches})
        for p in patches:
            if p["id"] not in expected:
                continue
            vector, values = expected[p["id"]]
            values = {k: v for k, v in {**values, **p.get("attributes", {})}.items() if v is not None}
            expected[p["id"]] = (p.get("vector", vector), values)
        if flushes == "always":
            flush_all(q)
        assert state(q) == expected

    patch({"id": 1, "attributes": {"a": 7, "state": "new"}}, {"id": 3, "attributes": {"tags": ["x"]}})
    patch({"id": 2, "vector": [5, 5]}, {"id": 1, "attributes": {"b": None}})
    patch({"id": 1, "vector": None}, {"id": 99, "attributes": {"a": 1}}, {"id": 4, "attributes": {"a": 1}})
    patch({"id": 1, "attributes": {"body": "green pear", "a": 8}}, {"id": 1, "attributes": {"a": 9, "state": None}}, {"id": 3})
    if flushes == "after":
        flush_all(q)
    assert state(q) == expected == {1: (None, {"a": 9, "body": "green pear"}), 2: ([5, 5], {"a": 1}), 3: (None, {"tags": ["x"]})}
    found = lambda *arms: [r[0] for r in q.execute(f"SELECT id FROM elacsym.query('ns', {', '.join(arms)})").fetchall()]
    assert found("full_text => '\"pear\"'") == [1] and found("full_text => '\"apple\"'") == []
    assert found("'[5,5]'") == [2]
    assert found("'[0,0]'", "filter => '{\"field\": \"a\", \"op\": \"eq\", \"value\": 1}'") == [2]
    if flushes == "always":
        assert q.execute("SELECT sum(rows - dead_rows) FROM elacsym.segments").fetchone()[0] == 3


def test_a_patch_that_is_wrong_anywhere_changes_nothing(q):
    call(q, "upsert", [doc(1, a=1), doc(2, a=2)])
    for wrong, code in [
        ([{"id": 1, "attributes": {"a": 5}}, {"id": 2, "attributes": {"a": "x"}}], "22000"),
        ([{"id": 1, "attributes": {"a": 5}}, {"id": 2, "attributes": {"unknown": 1}}], "42704"),
        ([{"id": 1, "attributes": {"a": 5}}, {"attributes": {"a": 1}}], "22023"),
        ([{"id": 1, "attributes": {"a": 5}}, {"id": 2, "vector": [1]}], "22000"),
        ([{"id": 1, "attributes": {"a": 5}}, {"id": 2, "a": 1}], "22023"),
        (7, "22023"),
    ]:
        with pytest.raises(psycopg.Error) as error:
            call(q, "patch", wrong)
        assert error.value.sqlstate == code, error.value
    assert state(q) == {1: (None, {"a": 1}), 2: (None, {"a": 2})} and buffered(q) == 2


def test_patches_belong_to_their_transaction(q, other):
    call(q, "upsert", [doc(1, a=1, b=1)])
    flush_all(q)
    with q.transaction():
        call(q, "patch", [doc(1, a=2)])
        assert attributes(q) == {"a": 2, "b": 1}
        assert attributes(other) == {"a": 1, "b": 1}
        with pytest.raises(ZeroDivisionError), q.transaction():
            call(q, "patch", [doc(1, b=9)])
            assert attributes(q) == {"a": 2, "b": 9}
            raise ZeroDivisionError
        assert attributes(q) == {"a": 2, "b": 1}
        call(q, "upsert", [doc(2, a=1)])
        call(q, "patch", [doc(2, b=3)])
        call(q, "delete", [1])
        call(q, "patch", [doc(1, b=4)])
        assert state(q) == {2: (None, {"a": 1, "b": 3})}
        # Also of what the same transaction flushes: here others may still write what is older.
        flush(q)
        assert state(q) == {2: (None, {"a": 1, "b": 3})}
    flush_all(q)
    assert state(other) == {2: (None, {"a": 1, "b": 3})}


# What two transactions do to document 1, which is there with a = 1, b = 1
WRITES = {
    "patch": lambda c: call(c, "patch", [doc(1, a=2)]),
    "upsert": lambda c: call(c, "upsert", [doc(1, a=3, state="new")]),
    "delete": lambda c: call(c, "delete", [1]),
}


def after(writes):
    document = {"a": 1, "b": 1}
    for write in writes:
        if write == "delete":
            document = None
        elif write == "upsert":
            document = {"a": 3, "state": "new"}
        elif document is not None:
            document = {**document, "a": 2} if write == "patch" else {**document, "b": 5}
    return document


@pytest.mark.parametrize("first", WRITES)
def test_entries_count_in_the_order_in_which_they_were_written_whoever_commits_last(q, other, quiet_cluster, first):
    """INV-3: a slow transaction writes first and commits last, with flushes at every place."""
    for flushes in itertools.product([False, True], repeat=3):
        call(q, "upsert", [doc(1, a=1, b=1)])
        flush_all(q)
        with other.transaction():
            WRITES[first](other)
            call(q, "patch", [doc(1, b=5)])
            if flushes[0]:
                flush(q)
                assert buffered(q) == 1, "the patch waits for the older transaction"
            assert attributes(q) == {"a": 1, "b": 5}
            call(q, "patch", [doc(1, state="x")])
            if flushes[1]:
                flush(q)
            assert attributes(q) == {"a": 1, "b": 5, "state": "x"}
        expected = after([first, "later"])
        expected = expected and {**expected, "state": "x"}
        assert attributes(q) == expected, (first, flushes)
        if flushes[2]:
            flush_all(q)
        assert attributes(q) == expected, (first, flushes)
        call(q, "delete", [1])


def test_no_patch_of_many_at_once_is_lost(quiet_cluster, q):
    threads, rounds = 6, 40
    schema = {"attributes": {f"t{i}": "int" for i in range(threads)}}
    create(q, "many", schema)
    call(q, "upsert", [doc(i) for i in range(5)], name="many")
    stop = threading.Event()

    def patch(thread):
        with quiet_cluster.connect(q.dbname) as conn:
            for round in range(1, rounds + 1):
                with conn.transaction():
                    call(conn, "patch", [{"id": i, "attributes": {f"t{thread}": round}} for i in range(5)], name="many")

    def flushes():
        with quiet_cluster.connect(q.dbname) as conn:
            while not stop.is_set():
                flush(conn, "many")

    flusher = background(flushes)
    workers = [background(lambda i=i: patch(i)) for i in range(threads)]
    for worker in workers:
        worker(60)
    stop.set()
    flusher()
    expected = {i: (None, {f"t{t}": rounds for t in range(threads)}) for i in range(5)}
    assert state(q, "many") == expected
    wait_until(lambda: (flush(q, "many"), buffered(q))[1] == 0, "every entry to be flushed", 20)
    assert state(q, "many") == expected


def test_a_patch_of_a_bulk_write_and_a_bulk_write_over_a_patch(new_cluster):
    cluster = new_cluster(config={**NO_FLUSH, "elacsym.flush_rows": 50})
    cluster.create_database("b")
    with cluster.connect("b") as q, cluster.connect("b") as other:
        create(q)
        call(q, "upsert", [doc(i, a=i) for i in range(100)])
        assert buffered(q) == 0
        call(q, "patch", [doc(i, b=i) for i in range(0, 100, 10)])
        assert attributes(q, 10) == {"a": 10, "b": 10}
        settled = "SELECT bool_and(generation = manifest_generation) FROM elacsym.namespaces"
        wait_until(lambda: q.execute(settled).fetchone()[0], "the manifest, which is written under the flush lock")
        with q.transaction():
            wait_until(lambda: (call(q, "upsert", [doc(i, a=-i) for i in range(60)]), buffered(q))[1] == 10, "a bulk write")
            call(other, "patch", [doc(20, state="other"), doc(70, state="other")])
            call(q, "patch", [doc(30, b=1)])
            assert attributes(q, 10) == {"a": -10} and attributes(q, 20) == {"a": -20, "state": "other"}
            assert attributes(other, 20) == {"a": 20, "b": 20, "state": "other"}
        for _ in range(2):
            found = [attributes(other, i) for i in (10, 20, 30, 70)]
            assert found == [{"a": -10}, {"a": -20, "state": "other"}, {"a": -30, "b": 1}, {"a": 70, "b": 70, "state": "other"}]
            flush_all(q)


def test_the_worker_flushes_patches_once_older_transactions_are_over(new_cluster):
    cluster = new_cluster(config={"elacsym.flush_interval": "100ms"})
    cluster.create_database("w")
    with cluster.connect("w") as conn, cluster.connect("w") as slow:
        create(conn)
        call(conn, "upsert", [doc(1, a=1, b=1)])
        wait_until(lambda: buffered(conn) == 0, "the flush")
        with slow.transaction():
            slow.execute("SELECT pg_current_xact_id()")
            call(conn, "patch", [doc(1, a=2)])
            call(conn, "upsert", [doc(2, a=2)])
            wait_until(lambda: buffered(conn) == 1, "the flush of the other document")
            time.sleep(1)
            assert buffered(conn) == 1 and state(conn) == {1: (None, {"a": 2, "b": 1}), 2: (None, {"a": 2})}
        wait_until(lambda: buffered(conn) == 0, "the flush of the patch", 15)
        assert state(conn) == {1: (None, {"a": 2, "b": 1}), 2: (None, {"a": 2})}


@pytest.mark.parametrize("point", ["upsert.after_insert", "flush.after_read", "flush.after_upload", "flush.after_publish_before_commit", "flush.after_commit"])
def test_patches_survive_a_crash_at_any_step(new_cluster, point):
    """INV-5, INV-1."""
    cluster = new_cluster(config={"elacsym.flush_interval": "50ms", "elacsym.fault_point": ""})
    cluster.create_database("c")
    with cluster.connect("c") as conn:
        create(conn)
        call(conn, "upsert", [doc(1, a=1, b=1), doc(2, a=2)])
        wait_until(lambda: buffered(conn) == 0, "the flush")
    in_backend = point == "upsert.after_insert"
    acknowledged = False
    try:
        with cluster.connect("c") as conn:
            if in_backend:
                conn.execute(f"SET elacsym.fault_point = '{point}'")
            else:
                cluster.write_config(**{"elacsym.fault_point": point})
                cluster.reload()
                time.sleep(0.3)
            call(conn, "patch", [doc(1, a=5), doc(2, b=6)])
            acknowledged = True
            wait_until(lambda: not cluster.processes(), "the server to die at the fault point", 30)
    except psycopg.OperationalError:
        pass
    wait_until(lambda: not cluster.processes(), "the server to die at the fault point", 30)
    # A dead postmaster that nobody has waited for yet still counts as alive for these.
    for lock in [cluster.data / "postmaster.pid", *cluster.socket_dir.iterdir()]:
        lock.unlink(missing_ok=True)
    cluster.write_config(**{"elacsym.fault_point": ""})
    cluster.start()
    with cluster.connect("c") as conn:
        new = {1: (None, {"a": 5, "b": 1}), 2: (None, {"a": 2, "b": 6})}
        old = {1: (None, {"a": 1, "b": 1}), 2: (None, {"a": 2})}
        found = state(conn)
        if in_backend:
            assert not acknowledged and found == old
        else:
            assert found == new if acknowledged else found in (old, new)
        wait_until(lambda: buffered(conn) == 0, "the flush", 20)
        assert state(conn) == found


def test_patches_commit_while_object_storage_is_away(new_cluster):
    """INV-6. A store of its own: it stops answering."""
    with Moto() as moto, ExitStack() as stack:
        url = {"elacsym.storage_url": f"s3://{moto.create_bucket('patches')}/x"}
        cluster = new_cluster(config={**NO_FLUSH, **moto.settings, **url}, env=moto.env)
        cluster.create_database("p")
        conn = stack.enter_context(cluster.connect("p"))
        create(conn)
        call(conn, "upsert", [doc(1, [1, 1], a=1, b=1)])
        flush(conn)
        cluster.restart()
        conn = stack.enter_context(cluster.connect("p"))
        moto.pause()
        try:
            conn.execute("SET statement_timeout = '10s'")
            assert call(conn, "patch", [doc(1, a=2)]) == 1
            call(conn, "upsert", [doc(2, a=3)])
            call(conn, "patch", [doc(2, b=4)])
            with pytest.raises(psycopg.Error) as error:
                conn.execute("SET statement_timeout = '3s'")
                attributes(conn, 1)
            assert error.value.sqlstate in ("58000", "57014"), error.value
        finally:
            moto.resume()
        conn.execute("SET statement_timeout = 0")
        expected = {1: ([1, 1], {"a": 2, "b": 1}), 2: (None, {"a": 3, "b": 4})}
        assert state(conn) == expected
        flush_all(conn)
        assert state(conn) == expected


# Conditional writes


@pytest.mark.parametrize("flushed", [False, True])
def test_conditional_writes_look_at_the_present_document(q, flushed):
    version = lambda op, value: field("a", op, value)

    def step():
        if flushed:
            flush_all(q)

    assert call(q, "upsert_if", [doc(1, a=1), doc(2, a=1)], NOT_EXISTS) == 2
    step()
    assert call(q, "upsert_if", [doc(1, a=9), doc(3, a=1)], NOT_EXISTS) == 1
    step()
    assert call(q, "upsert_if", [doc(1, a=2), doc(4, a=2)], version("lt", 2)) == 1
    assert call(q, "upsert_if", [doc(1, a=2)], version("lt", 2)) == 0
    step()
    newer = {"type": "or", "conditions": [NOT_EXISTS, version("lt", 5)]}
    assert call(q, "upsert_if", [doc(1, a=5), doc(5, a=5)], newer) == 2
    assert call(q, "upsert_if", [doc(1, a=6), doc(5, a=6)], newer) == 0
    step()
    assert call(q, "patch_if", [doc(1, b=1), doc(2, b=1), doc(99, b=1)], version("eq", 5)) == 1
    assert call(q, "patch_if", [doc(99, b=1)], NOT_EXISTS) == 0
    step()
    assert call(q, "patch_if", [{**doc(2, state="x"), "if": version("eq", 1)}, {**doc(3, state="y"), "if": version("eq", 2)}, doc(5, state="z")], version("gte", 5)) == 2
    step()
    assert call(q, "delete_if", [2, 3, 5, 77], version("ne", 5)) == 2
    step()
    assert state(q) == {1: (None, {"a": 5, "b": 1}), 5: (None, {"a": 5, "state": "z"})}
    # Own uncommitted writes are there, also those of the same statement.
    with q.transaction():
        call(q, "upsert", [doc(6, a=1)])
        assert call(q, "patch_if", [doc(6, a=2)], version("eq", 1)) == 1
        assert call(q, "patch_if", [doc(6, a=3)], version("eq", 1)) == 0
        call(q, "delete", [6])
        assert call(q, "upsert_if", [doc(6, a=4)], NOT_EXISTS) == 1
    counts = q.execute("SELECT elacsym.patch_if('ns', jsonb_build_object('id', 6, 'attributes', jsonb_build_object('a', i + 1)), jsonb_build_object('field', 'a', 'op', 'eq', 'value', i)) FROM generate_series(4, 8) i").fetchall()
    assert counts == [(1,)] * 5 and attributes(q, 6) == {"a": 9}


def test_wrong_conditions_change_nothing(q):
    call(q, "upsert", [doc(1, a=1)])
    for arguments, code in [
        (("upsert_if", [doc(1, a=2)], None), "22023"),
        (("upsert_if", [doc(1, a=2), doc(1, a=3)], NOT_EXISTS), "22023"),
        (("upsert_if", [doc(1, a=2)], field("unknown", "eq", 1)), "42704"),
        (("upsert_if", [doc(1, a=2)], field("a", "eq", "x")), "22000"),
        (("upsert_if", [doc(2, a=2), {**doc(1, a=2), "if": {"type": "never"}}], NOT_EXISTS), "22023"),
        (("upsert_if", [doc(2, a=2), doc(1, a="x")], NOT_EXISTS), "22000"),
        (("patch_if", [doc(1, a=2)], {"type": "not", "conditions": []}), "22023"),
        (("delete_if", [1], 5), "22023"),
        (("delete_if", [1], None), "22004"),
        (("delete_where", None), "22004"),
        (("delete_where", field("unknown", "eq", 1)), "42704"),
        (("patch_where", {"type": "and", "conditions": []}, {"a": 1}), "22023"),
        (("patch_where", {"type": "and", "conditions": []}, None), "22004"),
        (("patch_where", {"type": "and", "conditions": []}, {"id": 1, "attributes": {"a": 1}}), "22023"),
    ]:
        with pytest.raises(psycopg.Error) as error:
            call(q, *arguments)
        assert error.value.sqlstate == code, (arguments, error.value)
    assert state(q) == {1: (None, {"a": 1})} and buffered(q) == 1
    with q.transaction():
        q.execute("SET TRANSACTION READ ONLY")
        for arguments in [("patch", []), ("upsert_if", [], NOT_EXISTS), ("patch_if", [], NOT_EXISTS), ("delete_if", [], NOT_EXISTS), ("delete_where", {}), ("patch_where", {}, {})]:
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), q.transaction():
                call(q, *arguments)


def test_compare_and_set_counts_every_success_once(quiet_cluster, q):
    call(q, "upsert", [doc(i, a=0) for i in range(2)])
    threads, done, stop = 5, [], threading.Event()

    def count(thread):
        won = 0
        with quiet_cluster.connect(q.dbname) as conn:
            while won < 25:
                now = attributes(conn, thread % 2)["a"]
                won += call(conn, "patch_if", [doc(thread % 2, a=now + 1)], field("a", "eq", now))
        done.append(won)

    def disturb():
        with quiet_cluster.connect(q.dbname) as conn:
            while not stop.is_set():
                call(conn, "patch", [doc(0, b=1), doc(1, b=1)])
                flush(conn)

    disturber = background(disturb)
    for worker in [background(lambda i=i: count(i)) for i in range(threads)]:
        worker(90)
    stop.set()
    disturber()
    assert sum(done) == 25 * threads
    assert [attributes(q, i)["a"] for i in range(2)] == [75, 50]


def test_only_one_of_many_inserts_a_document_that_is_not_there(quiet_cluster, q):
    wins = []

    def insert(thread):
        with quiet_cluster.connect(q.dbname) as conn:
            wins.append(sum(call(conn, "upsert_if", [doc(i, a=thread)], NOT_EXISTS) for i in range(30)))

    for worker in [background(lambda i=i: insert(i)) for i in range(4)]:
        worker(60)
    assert sum(wins) == 30 and len(state(q)) == 30


@pytest.mark.parametrize("write", WRITES)
def test_a_conditional_write_waits_for_a_write_of_the_same_document(q, other, write):
    call(q, "upsert", [doc(1, a=1, b=1)])
    pid = q.info.backend_pid
    with other.transaction():
        WRITES[write](other)
        waiting = background(lambda: call(q, "patch_if", [doc(1, b=9)], field("a", "eq", 1)))
        wait_for_waiting(other, pid)
    assert waiting() == 0, "it sees what was committed while it waited"
    call(q, "upsert", [doc(1, a=1, b=1)])
    with other.transaction(force_rollback=True):
        WRITES[write](other)
        waiting = background(lambda: call(q, "patch_if", [doc(1, b=9)], field("a", "eq", 1)))
        wait_for_waiting(other, pid)
    assert waiting() == 1 and attributes(q) == {"a": 1, "b": 9}


@pytest.mark.parametrize("write", WRITES)
def test_a_write_waits_for_a_conditional_write_of_the_same_document(q, other, write):
    call(q, "upsert", [doc(1, a=1, b=1)])
    pid = q.info.backend_pid
    with other.transaction():
        assert call(other, "upsert_if", [doc(1, a=7)], field("a", "eq", 1)) == 1
        waiting = background(lambda: WRITES[write](q))
        wait_for_waiting(other, pid)
    assert waiting() == 1
    assert attributes(q) == {"patch": {"a": 2}, "upsert": {"a": 3, "state": "new"}, "delete": None}[write]


def test_writers_that_do_not_look_do_not_wait_for_each_other(q, other):
    call(q, "upsert", [doc(1, a=1)])
    q.execute("SET lock_timeout = '2s'")
    with other.transaction():
        for write in WRITES.values():
            write(other)
        for write in WRITES.values():
            write(q)


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_with_one_snapshot_a_concurrent_change_is_a_serialization_failure(q, other, level):
    call(q, "upsert", [doc(1, a=1), doc(2, a=1)])
    for change in [lambda: call(other, "patch", [doc(1, b=1)]), lambda: call(other, "delete", [1]), lambda: call(other, "upsert", [doc(1, a=1)])]:
        for write in [
            lambda: call(q, "patch_if", [doc(1, a=2)], field("a", "eq", 1)),
            lambda: call(q, "delete_if", [1], field("a", "eq", 1)),
            lambda: call(q, "delete_where", field("a", "eq", 1)),
            lambda: call(q, "patch_where", field("a", "eq", 1), {"attributes": {"a": 2}}),
        ]:
            call(q, "upsert", [doc(1, a=1)])
            q.execute(f"BEGIN ISOLATION LEVEL {level}")
            assert attributes(q) == {"a": 1}
            change()
            with pytest.raises(psycopg.errors.SerializationFailure):
                write()
            q.execute("ROLLBACK")
    # What did not change, or only moved into a segment, is fine; so are own changes.
    call(q, "upsert", [doc(1, a=1)])
    q.execute(f"BEGIN ISOLATION LEVEL {level}")
    assert attributes(q) == {"a": 1}
    call(other, "upsert", [doc(3, a=1)])
    flush(other)
    assert call(q, "patch_if", [doc(1, a=2)], field("a", "eq", 1)) == 1
    assert call(q, "patch_if", [doc(1, a=3)], field("a", "eq", 2)) == 1
    assert call(q, "delete_where", field("a", "eq", 1)) == 1
    q.execute("COMMIT")
    assert state(q) == {1: (None, {"a": 3}), 3: (None, {"a": 1})}


# Writes by filter


@pytest.mark.parametrize("layout", ["buffered", "flushed", "half"])
def test_writes_by_filter_count_exactly_and_touch_nothing_else(q, layout):
    documents = [doc(i, [i, 0] if i % 3 else None, a=i % 10, state="odd" if i % 2 else "even", body=f"word{i % 4} all") for i in range(200)]
    call(q, "upsert", documents[:100])
    if layout != "buffered":
        flush_all(q)
    call(q, "upsert", documents[100:])
    if layout == "flushed":
        flush_all(q)
    expected = {d["id"]: (d.get("vector"), d["attributes"]) for d in documents}
    assert call(q, "patch_where", field("a", "lt", 3), {"attributes": {"b": 1, "state": None}}) == 60
    for i, (vector, values) in list(expected.items()):
        if values["a"] < 3:
            expected[i] = (vector, {k: v for k, v in {**values, "b": 1}.items() if k != "state"})
    assert state(q) == expected
    assert call(q, "delete_where", {"type": "and", "conditions": [field("b", "eq", 1), field("a", "gte", 1)]}) == 40
    expected = {i: d for i, d in expected.items() if not (d[1].get("b") == 1 and d[1]["a"] >= 1)}
    assert state(q) == expected
    assert call(q, "patch_where", field("body", "match", "word1"), {"vector": None}) == 40
    expected = {i: (None if i % 4 == 1 else d[0], d[1]) for i, d in expected.items()}
    assert state(q) == expected
    assert call(q, "delete_where", field("a", "eq", 77)) == 0
    assert call(q, "delete_where", {"type": "and", "conditions": []}) == len(expected)
    assert state(q) == {}


def test_writes_by_filter_look_again_at_what_changed_while_they_waited(q, other):
    """As UPDATE … WHERE under READ COMMITTED."""
    call(q, "upsert", [doc(i, a=1) for i in range(1, 5)])
    flush_all(q)
    pid = q.info.backend_pid
    for write, rows in [(lambda: call(q, "patch_where", field("a", "eq", 1), {"attributes": {"b": 1}}), 2), (lambda: call(q, "delete_where", field("a", "eq", 1)), 2)]:
        with other.transaction():
            call(other, "patch", [doc(1, a=2)])
            call(other, "delete", [2])
            call(other, "upsert", [doc(9, a=1)])
            waiting = background(write)
            wait_for_waiting(other, pid)
        assert waiting() == rows
        call(other, "delete", [9])
        if write() >= 0 and 2 not in state(q):
            call(q, "upsert", [doc(i, a=1) for i in range(1, 5)])


def test_more_documents_than_one_page_are_written_by_filter(q):
    create(q, "big", {"attributes": {"n": "int", "m": "int"}})
    q.execute("SELECT count(elacsym.upsert('big', i, NULL, jsonb_build_object('n', i % 100))) FROM generate_series(1, 25000) i")
    flush(q, "big")
    assert call(q, "patch_where", field("n", "lt", 90), {"attributes": {"m": 1}}, name="big") == 22_500
    assert call(q, "delete_where", field("m", "is_null"), name="big") == 2_500
    assert call(q, "patch_where", field("m", "eq", 1), {"attributes": {"m": 2}}, name="big") == 22_500
    wait_until(lambda: (flush(q, "big"), buffered(q))[1] == 0, "every entry to be flushed", 20)
    assert call(q, "delete_where", field("m", "eq", 2), name="big") == 22_500
    assert q.execute("SELECT count(*) FROM elacsym.scan('big')").fetchone()[0] == 0


# Scans


def test_scan_reads_all_by_ascending_id_in_pages(q):
    documents = {i * 7 - 300: {"a": i} for i in range(100)}
    call(q, "upsert", [doc(i, [i, 1], **values) for i, values in documents.items() if i % 2])
    flush_all(q)
    call(q, "upsert", [doc(i, [i, 1], **values) for i, values in documents.items() if i % 2 == 0])
    for limit in (1, 7, 99, 100, 1000):
        found, last = [], None
        while page := q.execute('SELECT id, attributes FROM elacsym.scan(\'ns\', NULL, %s, %s)', [last, limit]).fetchall():
            assert len(page) <= limit
            found += page
            last = page[-1][0]
        assert found == sorted(documents.items()), limit
    page = q.execute("SELECT id, vector::text, attributes FROM elacsym.scan('ns', '{\"field\": \"a\", \"op\": \"gte\", \"value\": 50}', after_id => 60, \"limit\" => 2, include_vector => true, include_attributes => '{b}')").fetchall()
    assert page == [(64, "[64,1]", {}), (71, "[71,1]", {})]
    assert q.execute("SELECT vector, attributes FROM elacsym.scan('ns', include_attributes => NULL, \"limit\" => 1)").fetchall() == [(None, None)]
    assert q.execute("SELECT count(*) FROM elacsym.scan('ns', after_id => 9223372036854775807)").fetchone()[0] == 0
    for limit in (0, -1, 10_001):
        with pytest.raises(psycopg.errors.NumericValueOutOfRange, match="limit must be from 1 to 10000"):
            q.execute("SELECT * FROM elacsym.scan('ns', \"limit\" => %s)", [limit])
    with pytest.raises(psycopg.errors.UndefinedObject):
        q.execute("SELECT * FROM elacsym.scan('nothing')")


def test_a_resumed_scan_misses_and_repeats_nothing_that_did_not_change(quiet_cluster, q):
    call(q, "upsert", [doc(i, a=0) for i in range(0, 2000, 2)])
    stop = threading.Event()

    def disturb():
        with quiet_cluster.connect(q.dbname) as conn:
            for round in itertools.count():
                if stop.is_set():
                    return
                odd = [round * 2 % 2000 + 1, round * 74 % 2000 + 1]
                call(conn, "upsert", [doc(i, a=1) for i in set(odd)])
                call(conn, "delete", [odd[0]])
                call(conn, "patch", [doc(odd[1], b=1)])
                if round % 5 == 0:
                    flush(conn)

    disturber = background(disturb)
    for _ in range(3):
        found, last = [], None
        while page := [r[0] for r in q.execute("SELECT id FROM elacsym.scan('ns', NULL, %s, 130)", [last]).fetchall()]:
            assert page == sorted(set(page)) and (last is None or page[0] > last)
            found += [i for i in page if i % 2 == 0]
            last = page[-1]
        assert found == list(range(0, 2000, 2))
    stop.set()
    disturber()


# Limits


def test_documents_of_eight_mebibytes(q):
    big = "lorem ipsum " * 690_000
    assert 7.8 * 2**20 < len(big) < 8 * 2**20
    create(q, "large", {"vector_dim": 16_000, "attributes": {"body": {"type": "string", "indexed": False}, "n": "int"}})
    vector = [1 + i % 7 for i in range(16_000)]
    q.execute("SELECT elacsym.upsert('large', 1, %s, jsonb_build_object('body', %s::text, 'n', 1))", [str(vector), big])
    call(q, "upsert", [{"id": 2, "vector": vector[::-1], "attributes": {"n": 2}}], name="large")
    for step in range(3):
        row = q.execute("SELECT vector::text, attributes ->> 'body', attributes -> 'n' FROM elacsym.fetch('large', '{1}')").fetchone()
        assert json.loads(row[0]) == vector and row[1] == big and row[2] == 1 + step
        assert q.execute("SELECT id, vector_distance < 1e-6 FROM elacsym.query('large', %s, top_k => 2)", [str(vector)]).fetchall() == [(1, True), (2, False)]
        if step == 0:
            call(q, "patch", [{"id": 1, "attributes": {"n": 2}}], name="large")
        if step == 1:
            wait_until(lambda: (flush(q, "large"), buffered(q))[1] == 0, "the flush", 30)
            call(q, "patch", [{"id": 1, "attributes": {"n": 3}}], name="large")
    call(q, "patch", [{"id": 2, "attributes": {"body": big}}], name="large")
    wait_until(lambda: (flush(q, "large"), buffered(q))[1] == 0, "the flush", 30)
    assert q.execute("SELECT id, length(attributes ->> 'body'), attributes -> 'n' FROM elacsym.scan('large')").fetchall() == [(1, len(big), 3), (2, len(big), 2)]
    for function in ("upsert", "patch"):
        with pytest.raises(psycopg.errors.NumericValueOutOfRange, match="is larger than 8388608"):
            q.execute(f"SELECT elacsym.{function}('large', %s::jsonb)", [json.dumps([doc(3, body="x" * 2**23)])])
