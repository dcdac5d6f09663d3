"""Every file of regress/sql on the shared cluster: see runner.py. `--update` takes what the server prints as expected."""

import sys
from pathlib import Path

import pytest

from harness import STATE, pg_major
from harness.env import pg_path

sys.path.insert(0, str(Path(__file__).parent))
import runner  # noqa: E402

pytestmark = pytest.mark.every_pg


def _kind_of_vector() -> str:
    return "standin" if "elacsym" in (pg_path("sharedir") / "extension" / "vector.control").read_text().lower() else "pgvector"


@pytest.mark.parametrize("file", runner.FILES, ids=lambda f: f.stem)
def test_regress(file: Path, shared_cluster, request):
    if runner.requirement(file) not in (None, _kind_of_vector()):
        pytest.skip(f"for {runner.requirement(file)} only")

    def psql(arguments, env, text):
        host = {"PGHOST": str(shared_cluster.socket_dir), "PGPORT": str(shared_cluster.port), "PGUSER": "postgres"}
        return shared_cluster.run("psql", *arguments, env={**host, **env}, input=text, check=False)

    got = runner.run_in_fresh_database(file, psql)
    diff = runner.compare(file.stem, got, STATE / "results" / f"regress-{pg_major()}", request.config.getoption("--update"))
    if diff:
        pytest.fail(diff[:8000], pytrace=False)
