"""Fixtures for every test here. See README.md beside this file."""

import itertools
import os
import re
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import ELACSYM_INSTALLED, PG_CONFIG, SHARED_DATA, Cluster, Moto, pg_major  # noqa: E402

LONG = bool(os.environ.get("ELACSYM_LONG"))
# Files that take longest begin first: of two workers none should be left with one of them at the end.
SLOW_FIRST = ("quality", "fuzz", "conformance", "soak")


def pytest_addoption(parser):
    parser.addoption("--update", action="store_true", help="regress: take what the server prints as the expected output")


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes minutes; runs with `make test-long` (ELACSYM_LONG=1)")
    config.addinivalue_line("markers", "every_pg: runs on every PostgreSQL of the matrix, not only on 15")


def pytest_sessionstart(session):
    # a run that is told to end takes its clusters along
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("SIGTERM", returncode=143))
    if not os.environ.get("ELACSYM_KEEP"):
        Cluster.remove_leftovers()


def pytest_report_header(config):
    return f"PostgreSQL {pg_major()}: {PG_CONFIG}"


def pytest_collection_modifyitems(config, items):
    if not ELACSYM_INSTALLED:
        pytest.exit(f"elacsym is not installed in the PostgreSQL of {PG_CONFIG}: use scripts/pytest.sh", returncode=4)
    items.sort(key=lambda item: item.path.parent.name not in SLOW_FIRST)
    for item in items:
        if "long" in item.keywords and not LONG:
            item.add_marker(pytest.mark.skip(reason="long: make test-long"))


@pytest.fixture
def new_cluster(request):
    """A function that makes a cluster (arguments as for Cluster), started unless `start=False`; all end with the test."""
    clusters = []

    def make(name: str | None = None, start: bool = True, **kwargs) -> Cluster:
        cluster = Cluster(name or _short(request.node.name), **kwargs)
        clusters.append(cluster)
        cluster.init()
        return cluster.start() if start else cluster

    yield make
    for cluster in reversed(clusters):
        _report_log(request, cluster)
        cluster.destroy()


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory):
    """One cluster for all tests that neither restart nor reconfigure it; use it through `db`."""
    with Cluster("shared") as cluster:
        yield cluster.start()


@pytest.fixture(scope="session")
def pg_environment(shared_cluster):
    """PGHOST, PGPORT and PGUSER name the shared cluster, for drivers that are given no address; whatever they named before is not touched."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith("PG")]:
            patch.delenv(name)
        patch.setenv("PGHOST", str(shared_cluster.socket_dir))
        patch.setenv("PGPORT", str(shared_cluster.port))
        patch.setenv("PGUSER", "postgres")
        yield


_numbers = itertools.count(1)


@pytest.fixture
def db(request, shared_cluster):
    """A fresh database with the extension on the shared cluster: has connect(), sql(), value(), psql() and `name`."""
    name = f"t{next(_numbers)}_{_short(request.node.name)}"
    shared_cluster.create_database(name)
    yield Database(shared_cluster, name)
    shared_cluster.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.fixture
def conn(db):
    """A psycopg connection (autocommit) to a fresh database with the extension."""
    with db.connect() as connection:
        yield connection


@pytest.fixture(scope="session")
def moto():
    """One S3 server for the session. Take a bucket of your own from `bucket`; start your own Moto() to stop or pause it."""
    with Moto() as server:
        yield server


@pytest.fixture
def bucket(request, moto):
    """A fresh bucket on the session's S3 server."""
    return moto.create_bucket(f"b{next(_numbers)}-{_short(request.node.name).replace('_', '-')}")


@pytest.fixture
def shared_data() -> Path:
    """The directory of the data sets that are not in the repository; skips the test where they are not there."""
    if SHARED_DATA is None:
        pytest.skip("no shared data beside the clone (ELACSYM_SHARED_DATA)")
    return SHARED_DATA


class Database:
    """One database of a cluster."""

    def __init__(self, cluster: Cluster, name: str):
        self.cluster, self.name = cluster, name

    def connect(self, **kwargs):
        return self.cluster.connect(self.name, **kwargs)

    def sql(self, query, params=None, **kwargs):
        return self.cluster.sql(query, params, self.name, **kwargs)

    def value(self, query, params=None, **kwargs):
        return self.cluster.value(query, params, self.name, **kwargs)

    def psql(self, script, **kwargs):
        return self.cluster.psql(script, self.name, **kwargs)

    def dsn(self):
        return self.cluster.dsn(self.name)


def _short(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower().removeprefix("test_"))[:20].strip("_")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call":
        item.failed = report.failed
        shared = item.funcargs.get("shared_cluster")
        if report.failed and shared is not None:
            report.sections.append(("server log", shared.log()[-4000:]))
    return report


def _report_log(request, cluster):
    if getattr(request.node, "failed", False):
        print(f"---- the end of the log of {cluster.directory.name}:\n{cluster.log()[-4000:]}")
