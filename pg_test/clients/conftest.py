"""Fixtures of the client tests."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import REPO, STATE, Cluster, PgBouncer  # noqa: E402

import contract  # noqa: E402
from documentation import block  # noqa: E402

# The settings that make pgvector's answers as complete as ours must be by default
PGVECTOR_SETTINGS = {"hnsw.ef_search": "40", "hnsw.iterative_scan": "strict_order"}
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def client_cluster():
    """A cluster that logs every statement, so that a test can look at what its client really sent."""
    config = {"log_statement": "all"} | ({} if contract.OURS else PGVECTOR_SETTINGS)
    with Cluster("clients", config=config, tcp=True) as cluster:
        yield cluster.start()


@pytest.fixture(scope="session")
def pgbouncer(client_cluster):
    """PgBouncer in transaction mode in front of that cluster."""
    with PgBouncer(client_cluster) as bouncer:
        yield bouncer


@pytest.fixture
def app(request, client_cluster):
    """A database of the test's own, empty: the client creates the extensions itself."""
    name = f"app{next(_numbers)}_" + re.sub(r"[^a-z0-9]+", "_", request.node.name.lower()).strip("_")[:30]
    client_cluster.create_database(name, extension=False)
    app = contract.App(client_cluster, name)
    yield app
    client_cluster.sql(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def pooled_app(app, pgbouncer):
    """The same, reached through PgBouncer."""
    app.port = pgbouncer.port
    return app


@pytest.fixture(scope="session")
def run_node(tmp_path_factory):
    """A function that runs a script of node/ against an app and returns what it printed, as JSON."""
    installed = STATE / "node"
    assert (installed / "node_modules").is_dir(), "the Node.js clients are not installed: scripts/setup.sh test"
    # beside node_modules, because that is where Node.js looks for packages
    scripts = installed / "scripts"
    shutil.rmtree(scripts, ignore_errors=True)
    shutil.copytree(REPO / "pg_test/clients/node", scripts, ignore=shutil.ignore_patterns("package*.json", "prisma"))

    def run(app: contract.App, script: str, metric: str = "cosine", **env) -> dict:
        code = block(script, missing_ok=True)
        if code is not None:
            (scripts / f"documented_{script}.mjs").write_text(code)
        return _run_script([STATE / "venv/bin/node", scripts / f"{script}.mjs"], app, metric, env)

    return run


@pytest.fixture(scope="session")
def run_store():
    """A function that runs a script of stores/ against an app: these need packages that contradict the other clients'."""
    python = STATE / "venv-stores/bin/python"
    assert python.exists(), "the store clients are not installed: scripts/setup.sh test"

    def run(app: contract.App, script: str, **env) -> dict:
        return _run_script([python, Path(__file__).parent / "stores" / f"{script}.py"], app, "cosine", env)

    return run


def _run_script(command: list, app: contract.App, metric: str, env: dict) -> dict:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    environment |= {"DATABASE_URL": app.url(), **env}
    done = subprocess.run(
        [str(c) for c in command], env=environment, input=json.dumps(contract.data_as_json(metric)), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"{command[-1].name} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
    return json.loads(done.stdout.splitlines()[-1])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    app = item.funcargs.get("app") if hasattr(item, "funcargs") else None
    if report.when == "call" and report.failed and app is not None:
        last = (f"{s.text[:300]} {[(p or 'NULL')[:60] for p in s.parameters]}" for s in app.statements()[-8:])
        report.sections.append(("the last statements that reached the server", "\n".join(last)))
        report.sections.append(("server log", app.cluster.log(app.log_start)[-3000:]))
    return report
