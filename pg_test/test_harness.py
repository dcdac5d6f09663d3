"""The harness itself: that it starts, kills and sees what it says it does."""

import time

import pytest

from harness import BackgroundLoad, Cluster, ClusterError

pytestmark = pytest.mark.every_pg


def test_cluster_starts_answers_and_leaves_no_process(new_cluster):
    cluster = new_cluster()
    assert cluster.value("SELECT 6 * 7") == 42
    assert cluster.psql("SELECT 1; SELECT 2;") == "1\n2\n"
    assert any(p.pid == cluster.postmaster_pid() for p in cluster.processes())
    cluster.stop()
    assert not cluster.is_running()
    assert cluster.processes() == []


@pytest.mark.parametrize("everything", [False, True])
def test_kill9_keeps_what_was_committed(new_cluster, everything):
    cluster = new_cluster()
    cluster.sql("CREATE TABLE t (i int)")
    with BackgroundLoad(cluster, lambda conn, thread, i: conn.execute("INSERT INTO t VALUES (1)"), threads=2) as load:
        time.sleep(0.3)
        cluster.kill9(everything)
        assert cluster.processes() == []
        cluster.start()
        time.sleep(0.3)
    assert load.errors and load.done > 0
    # an INSERT whose COMMIT was cut off may be there too
    assert load.done <= cluster.value("SELECT count(*) FROM t") <= load.done + 2


def test_failed_command_tells_why(new_cluster):
    cluster = new_cluster()
    with pytest.raises(ClusterError, match="syntax error"):
        cluster.psql("SELEC 1;")
    cluster.sql("DO $$ BEGIN RAISE WARNING 'mark one'; END $$")
    assert cluster.wait_for_log("mark o(ne)")[1] == "ne"


def test_config_can_be_changed(new_cluster):
    cluster = new_cluster(config={"work_mem": "5MB"})
    assert cluster.value("SHOW work_mem") == "5MB"
    cluster.write_config(work_mem="6MB")
    cluster.restart()
    assert cluster.value("SHOW work_mem") == "6MB"


def test_standby_follows(new_cluster):
    primary = new_cluster()
    primary.sql("CREATE TABLE t AS SELECT 1 AS i")
    with primary.standby() as standby:
        standby.start()
        assert standby.value("SELECT pg_is_in_recovery()")
        standby.promote()
        assert standby.value("SELECT count(*) FROM t") == 1


def test_moto_keeps_objects_apart_by_bucket(moto, bucket):
    moto.put(bucket, "a/b", b"bytes")
    assert moto.keys(bucket) == ["a/b"]
    assert moto.get(bucket, "a/b") == b"bytes"


def test_database_of_its_own(db):
    assert isinstance(db.cluster, Cluster)
    assert {"elacsym", "vector"} <= {name for (name,) in db.sql("SELECT extname FROM pg_extension")}
