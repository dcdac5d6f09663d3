"""The process model: engine, supervisor, launcher and maintenance workers, under kill, stop, cancel, reload and wrong set-up."""

import contextlib
import os
import re
import shutil
import signal
import stat
import threading
import time

import psycopg
import pytest

from harness import Cluster
from harness.env import give_to_pg_user, pg_path
from harness.wait import wait_until

ASK = "SELECT pid FROM elacsym.stat_engine"


@pytest.fixture
def cluster(new_cluster):
    cluster = new_cluster()
    cluster.sql("CREATE EXTENSION elacsym CASCADE")
    return cluster


@contextlib.contextmanager
def stopped(pid: int):
    """SIGSTOP: the process is there and does not answer."""
    os.kill(pid, signal.SIGSTOP)

    def states():
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/stat") as f:
                yield f.read().rpartition(")")[2].split()[0]

    # the signal is one thread's; the others run on until that one has got a processor
    wait_until(lambda: set(states()) == {"T"}, "every thread of the engine to stop")
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


class Load:
    """Sessions that ask the engine in a loop until told to stop; `errors` holds what they got instead of answers."""

    def __init__(self, cluster: Cluster, sessions: int = 6):
        self.errors: list[psycopg.Error] = []
        self.answers = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(cluster,), daemon=True) for _ in range(sessions)]

    def _run(self, cluster):
        try:
            with cluster.connect() as conn:
                while not self._stop.is_set():
                    try:
                        conn.execute(ASK)
                        self.answers += 1
                    except psycopg.Error as e:
                        self.errors.append(e)
                        if conn.closed:
                            return
        except psycopg.Error as e:
            self.errors.append(e)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        wait_until(lambda: self.answers > 20, "the load to run")
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=20)
            assert not thread.is_alive(), "a session hangs"


def test_the_engine_is_a_process_of_its_own(cluster):
    """It holds no descriptor of PostgreSQL's, leads its own session, blocks no signal, and its socket is private."""
    pid = cluster.value(ASK)
    assert [pid] == cluster.engine_pids()
    assert os.getsid(pid) == pid
    with open(f"/proc/{pid}/status") as f:
        blocked = int(re.search(r"SigBlk:\s*(\w+)", f.read())[1], 16)
    assert blocked == 0
    # Every descriptor below the engine's own first (an epoll instance) came over the fork.
    fds = {int(fd): os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    assert fds[0].startswith("pipe:") and fds[1] == "/dev/null" and fds[2].startswith("pipe:")
    assert not [target for target in fds.values() if "/pg_" in target or "/base/" in target]
    postmaster_pipes = {
        os.readlink(f"/proc/{cluster.postmaster_pid()}/fd/{fd}") for fd in os.listdir(f"/proc/{cluster.postmaster_pid()}/fd")
    }
    assert not [t for t in fds.values() if t.startswith(("pipe:", "socket:")) and t in postmaster_pipes]
    socket = cluster.data / "pgsql_tmp_elacsym" / "engine.sock"
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700


def test_kill_9_of_the_engine_under_load_costs_a_short_wait(cluster):
    pid = cluster.value(ASK)
    with Load(cluster) as load:
        cluster.kill_engine()
        killed = time.monotonic()
        assert cluster.value(ASK) != pid
        took = time.monotonic() - killed
        before = load.answers
        wait_until(lambda: load.answers > before + 20, "the sessions to go on")
    assert took < 2, f"{took:.2f} s"
    print(f"first answer after the kill: {took * 1000:.0f} ms; {load.answers} answers, {len(load.errors)} errors")
    for error in load.errors:
        assert error.sqlstate == "58000", error
    assert cluster.value("SELECT 1") == 1
    cluster.wait_for_log(rf"elacsym engine \(PID {pid}\) was terminated by signal 9")


def test_an_engine_killed_again_and_again_comes_back(cluster):
    with cluster.connect() as conn:
        for _ in range(6):
            cluster.kill_engine()
            assert conn.execute(ASK).fetchone()
    assert cluster.value("SELECT starts FROM elacsym.stat_engine") >= 7


def test_fast_stop_under_load_leaves_nothing(cluster):
    with Load(cluster) as load:
        engine = cluster.engine_pids()
        seconds = cluster.stop("fast")
    assert seconds < 5, f"{seconds:.2f} s"
    assert engine and not cluster.processes()
    print(f"fast stop under load: {seconds:.2f} s")
    assert all(e.sqlstate in ("57P01", "58000", None) for e in load.errors), load.errors


def test_a_stop_does_not_wait_for_an_engine_that_hangs(cluster):
    pid = cluster.value(ASK)
    with stopped(pid):
        seconds = cluster.stop("fast")
    assert seconds < 5, f"{seconds:.2f} s"
    wait_until(lambda: not cluster.processes(), "the engine to be gone")


@pytest.mark.parametrize("mode", ["immediate", "kill -9"])
def test_no_engine_outlives_its_postmaster(cluster, mode):
    assert cluster.value(ASK)
    started = time.monotonic()
    if mode == "immediate":
        cluster.stop("immediate")
    else:
        cluster.kill9()
    wait_until(lambda: not cluster.processes(), "every process to end", timeout=5)
    print(f"{mode}: nothing left after {time.monotonic() - started:.2f} s")
    cluster.start()
    assert cluster.value(ASK)


def test_kill_9_of_the_supervisor_restarts_the_cluster_and_the_engine(cluster):
    engine = cluster.value(ASK)
    supervisor = next(p.pid for p in cluster.processes() if "elacsym supervisor" in p.cmdline)
    os.kill(supervisor, signal.SIGKILL)
    wait_until(lambda: engine not in cluster.engine_pids(), "the old engine to be gone")

    def answer():
        with contextlib.suppress(psycopg.Error):
            return cluster.value(ASK)

    assert wait_until(answer, "an answer", timeout=15) != engine
    assert len(cluster.engine_pids()) == 1


def test_cancel_acts_at_once_while_the_engine_does_not_answer(cluster):
    pid = cluster.value(ASK)
    with cluster.connect() as conn, stopped(pid):
        conn.execute("SET statement_timeout = '300ms'")
        started = time.monotonic()
        with pytest.raises(psycopg.errors.QueryCanceled):
            conn.execute(ASK)
        took = time.monotonic() - started
        assert 0.3 <= took < 0.4, f"{took:.3f} s"
        conn.execute("SET statement_timeout = 0")
        backend = conn.execute("SELECT pg_backend_pid()").fetchone()[0]
        cancelled_at = []

        def cancel():
            time.sleep(0.3)
            cancelled_at.append(time.monotonic())
            conn.cancel()

        thread = threading.Thread(target=cancel)
        thread.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            conn.execute(ASK)
        took = time.monotonic() - cancelled_at[0]
        thread.join()
        assert took < 0.1, f"{took:.3f} s"
        print(f"cancel took {took * 1000:.1f} ms")
        # Termination too.
        terminated = threading.Timer(0.2, lambda: cluster.sql(f"SELECT pg_terminate_backend({backend})"))
        terminated.start()
        with pytest.raises(psycopg.errors.AdminShutdown):
            conn.execute(ASK)
    assert cluster.value(ASK) == pid


def test_a_cancelled_session_goes_on_with_a_fresh_connection(cluster):
    pid = cluster.value(ASK)
    with cluster.connect() as conn:
        conn.execute("SET statement_timeout = '100ms'")
        for _ in range(5):
            with stopped(pid), pytest.raises(psycopg.errors.QueryCanceled):
                conn.execute(ASK)
            assert conn.execute("SELECT 1").fetchone() == (1,)
            conn.execute("SET statement_timeout = '5s'")
            assert conn.execute(ASK).fetchone() == (pid,)
            conn.execute("SET statement_timeout = '100ms'")


def test_reload_hands_settings_down(cluster):
    setting = "SELECT stats::text FROM elacsym.stat_engine"
    pid = cluster.value(ASK)
    offset = cluster.log_size()
    cluster.write_config(**{"elacsym.build_memory": "100MB"})
    cluster.reload()
    cluster.wait_for_log("new settings are in force", offset)
    assert cluster.value(ASK) == pid
    assert cluster.value(setting)
    # What the engine fixes at its start makes it start again.
    cluster.write_config(**{"elacsym.engine_threads": "2"})
    cluster.reload()
    wait_until(lambda: cluster.engine_pids() and pid not in cluster.engine_pids(), "another engine")
    assert cluster.value(ASK) != pid
    # A wrong value is refused by PostgreSQL and changes nothing.
    pid = cluster.value(ASK)
    offset = cluster.log_size()
    cluster.write_config(**{"elacsym.storage_url": "ftp://example"})
    cluster.reload()
    cluster.wait_for_log('invalid value for parameter "elacsym.storage_url"', offset)
    assert cluster.value("SHOW elacsym.storage_url") == ""
    assert cluster.value(ASK) == pid


def test_a_missing_engine_is_clear_in_the_log_and_in_sql_and_heals_by_reload(new_cluster):
    cluster = new_cluster(config={"elacsym.engine_path": "/nonexistent/elacsym-engine"})
    cluster.wait_for_log(r'could not start the elacsym engine "/nonexistent/elacsym-engine": No such file')
    cluster.sql("CREATE EXTENSION elacsym CASCADE")
    started = time.monotonic()
    with pytest.raises(psycopg.errors.SystemError) as caught:
        cluster.sql(ASK)
    assert time.monotonic() - started < 1, "nobody waits for what a person has to mend"
    assert caught.value.diag.message_primary == "the elacsym engine is not running"
    assert "executable" in caught.value.diag.message_detail
    assert "server log" in caught.value.diag.message_hint
    time.sleep(2)
    assert cluster.log().count("could not start the elacsym engine") == 1, "the log is not flooded"
    # There, but not executable.
    path = cluster.directory / "elacsym-engine"
    shutil.copy(pg_path("pkglibdir") / "elacsym-engine", path)
    path.chmod(0o644)
    give_to_pg_user(path)
    cluster.write_config(**{"elacsym.engine_path": str(path)})
    cluster.reload()
    cluster.wait_for_log("Permission denied")
    path.chmod(0o755)
    cluster.reload()
    wait_until(cluster.engine_pids, "the engine to start")
    assert cluster.value(ASK) == cluster.engine_pids()[0]


def test_an_engine_that_ends_at_once_is_restarted_with_pauses(new_cluster):
    cluster = new_cluster(config={"elacsym.engine_path": "/bin/false"})
    cluster.sql("CREATE EXTENSION elacsym CASCADE")
    started = time.monotonic()
    with pytest.raises(psycopg.errors.SystemError) as caught:
        cluster.sql(ASK)
    assert 4 < time.monotonic() - started < 7
    assert "right after each start" in caught.value.diag.message_detail
    assert 4 <= cluster.log().count("exited with exit code 1") <= 12
    assert cluster.stop() < 5


def test_not_preloaded_there_is_one_clear_error(new_cluster):
    cluster = new_cluster(preload=False)
    cluster.sql("CREATE EXTENSION elacsym CASCADE")
    assert cluster.value("SELECT '[1,2]'::vector <-> '[1,3]'::vector") == 1
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as caught:
        cluster.sql(ASK)
    assert caught.value.diag.message_primary == "elacsym is not loaded"
    assert "shared_preload_libraries" in caught.value.diag.message_hint
    with cluster.connect() as conn:
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            conn.execute(ASK)
        # The settings are there once the library is.
        assert conn.execute("SHOW elacsym.flush_rows").fetchone() == ("10000",)
        assert conn.execute("SELECT 1").fetchone() == (1,)
    assert not cluster.engine_pids()


def test_settings_know_units_ranges_and_who_may_change_them(cluster):
    assert cluster.value("SHOW elacsym.flush_bytes") == "16MB"
    assert cluster.value("SHOW elacsym.flush_interval") == "1s"
    cluster.sql("CREATE ROLE nobody LOGIN")
    with cluster.connect(user="nobody") as conn:
        conn.execute("SET elacsym.effort = 'Infinity'")
        for wrong, error in [
            ("SET elacsym.effort = 0", psycopg.errors.InvalidParameterValue),
            ("SET elacsym.storage_url = 'file:///tmp/x'", psycopg.errors.CantChangeRuntimeParam),
            ("SET elacsym.misspelt = 1", psycopg.errors.InvalidName),
            ("SET elacsym.fault_point = 'x'", psycopg.errors.InsufficientPrivilege),
            ("SHOW elacsym.engine_path", psycopg.errors.InsufficientPrivilege),
        ]:
            with pytest.raises(error):
                conn.execute(wrong)
    for wrong in ["file://relative", "s3://", "/just/a/path"]:
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            cluster.sql(f"ALTER SYSTEM SET elacsym.storage_url = '{wrong}'")


def test_a_fault_point_kills_the_whole_server(cluster):
    cluster.sql("SELECT elacsym.create_namespace('n', '{\"attributes\": {\"a\": {\"type\": \"int\"}}}')")
    cluster.write_config(**{"elacsym.fault_point": "flush.after_read"})
    cluster.reload()
    time.sleep(0.2)
    with contextlib.suppress(psycopg.Error):
        cluster.sql("""SELECT elacsym.upsert('n', '[{"id": 1, "attributes": {"a": 1}}]')""")
    wait_until(lambda: not cluster.processes(), "the server to be gone", timeout=10)


def test_without_room_for_the_supervisor_the_error_says_so(new_cluster):
    cluster = new_cluster(config={"max_worker_processes": 0})
    cluster.sql("CREATE EXTENSION elacsym CASCADE")
    with pytest.raises(psycopg.errors.SystemError) as caught:
        cluster.sql(ASK)
    assert "max_worker_processes" in caught.value.diag.message_detail


def test_the_log_pump_bounds_what_an_engine_writes_and_lets_nobody_forge_lines(new_cluster):
    cluster = new_cluster(start=False)
    engine = cluster.directory / "noisy"
    engine.write_text("""#!/bin/sh
printf 'LOG one\\nWARNING two\\nERROR three\\nno level\\n' >&2
printf 'LOG carriage\\rreturn\\033[31m \\303\\050 end\\n' >&2
head -c 20000 /dev/zero | tr '\\0' x >&2; echo >&2
printf 'LOG part' >&2; sleep 0.3; printf 'ial\\n' >&2
i=0; while [ $i -lt 1000 ]; do echo "LOG flood $i"; i=$((i+1)); done >&2
printf 'LOG unfinished' >&2
""")
    engine.chmod(0o755)
    give_to_pg_user(engine)
    cluster.write_config(**{"elacsym.engine_path": str(engine)})
    cluster.start()
    cluster.wait_for_log(r"more messages were dropped")
    log = cluster.log().split("elacsym engine started")[1]
    for line in [
        "LOG:  elacsym engine: one",
        "WARNING:  elacsym engine: two",
        "WARNING:  elacsym engine: three",
        "WARNING:  elacsym engine: no level",
        "LOG:  elacsym engine: carriage\\rreturn\\u{1b}[31m \ufffd( end",
        "LOG:  elacsym engine: partial\n",
    ]:
        assert line in log, f"{line!r} not in\n{log[:3000]}"
    assert "x [cut]" in log and "x" * 4096 in log and "x" * 4097 not in log
    assert log.count("flood") <= 200
    assert len(re.findall("dropped", log)) >= 1


def _maintenance(cluster):
    return [p for p in cluster.processes() if "elacsym maintenance" in p.cmdline]


def test_every_database_gets_a_look_after_a_start_and_workers_leave(new_cluster):
    cluster = new_cluster()
    for i in range(6):
        cluster.sql(f"CREATE DATABASE d{i}")
    cluster.restart()
    wait_until(lambda: not _maintenance(cluster) and "elacsym launcher" not in "".join(p.cmdline for p in cluster.processes()), "the workers to leave")
    assert "no background worker is free" not in cluster.log()
    assert cluster.log().count("FATAL") == 0


def test_commands_that_need_a_database_for_themselves_are_not_blocked(cluster):
    def busy(name):
        """A worker is in that database."""
        cluster.sql("SELECT elacsym.upsert('n', '[{\"id\": 1, \"attributes\": {\"a\": 1}}]')", dbname=name)
        wait_until(lambda: cluster.sql("SELECT 1 FROM pg_stat_activity WHERE datname = %s AND backend_type LIKE 'elacsym%%'", [name]), f"a worker in {name}")

    cluster.create_database("a")
    cluster.sql("SELECT elacsym.create_namespace('n', '{\"attributes\": {\"a\": {\"type\": \"int\"}}}')", dbname="a")
    for command in ["CREATE DATABASE b TEMPLATE a", "ALTER DATABASE a RENAME TO c", "ALTER DATABASE c SET TABLESPACE pg_default", "DROP DATABASE c"]:
        busy("c" if "c" in command.split()[:3] else "a")
        started = time.monotonic()
        cluster.sql(command)
        took = time.monotonic() - started
        assert took < 4, f"{command}: {took:.2f} s"
        print(f"{command}: {took * 1000:.0f} ms")
    # A command that fails gives the database back.
    with pytest.raises(psycopg.errors.DuplicateDatabase):
        cluster.sql("CREATE DATABASE postgres TEMPLATE b")
    cluster.sql("SELECT elacsym.upsert('n', '[{\"id\": 2, \"attributes\": {\"a\": 1}}]')", dbname="b")
    wait_until(lambda: cluster.value("SELECT count(*) FROM elacsym.wal", dbname="b") == 0, "the flush in the copy")


def test_maintenance_waits_for_a_free_worker_and_says_so(new_cluster):
    # Two slots: the supervisor has one, PostgreSQL's launcher of logical replication the other.
    cluster = new_cluster(config={"max_worker_processes": 2})
    cluster.sql("CREATE EXTENSION elacsym CASCADE")
    cluster.wait_for_log("no background worker is free")
    cluster.sql("SELECT elacsym.create_namespace('n', '{\"attributes\": {\"a\": {\"type\": \"int\"}}}')")
    cluster.sql("SELECT elacsym.upsert('n', '[{\"id\": 1, \"attributes\": {\"a\": 1}}]')")
    assert cluster.value("SELECT count(*) FROM elacsym.wal") == 1
    assert cluster.log().count("no background worker is free") == 1


def test_a_standby_has_an_engine_and_maintains_after_promotion(cluster):
    cluster.sql("SELECT elacsym.create_namespace('n', '{\"attributes\": {\"a\": {\"type\": \"int\"}}}')")
    standby = cluster.standby()
    try:
        standby.start()
        assert standby.value(ASK) in standby.engine_pids()
        assert not _maintenance(standby)
        standby.promote()
        standby.sql("SELECT elacsym.upsert('n', '[{\"id\": 1, \"attributes\": {\"a\": 1}}]')")
        wait_until(lambda: standby.value("SELECT count(*) FROM elacsym.wal") == 0, "a flush on the new primary")
        wait_until(lambda: not _maintenance(standby), "the worker to leave")
    finally:
        standby.destroy()


def test_base_backups_hold_neither_socket_nor_cache(cluster):
    standby = cluster.standby("backup")
    try:
        assert not (standby.data / "pgsql_tmp_elacsym").exists()
        assert (cluster.data / "pgsql_tmp_elacsym").exists()
    finally:
        standby.destroy()
