"""Every specification in specs/, run by PostgreSQL's isolationtester, as pg_isolation_regress does; `--update` takes its output.

isolationtester comes with Debian's server headers."""

import os
import subprocess
from pathlib import Path

import pytest

from harness import STATE, pg_major
from harness.env import pg_path

HERE = Path(__file__).parent
TESTER = pg_path("pkglibdir") / "pgxs" / "src" / "test" / "isolation" / "isolationtester"


@pytest.mark.parametrize("spec", sorted((HERE / "specs").glob("*.spec")), ids=lambda f: f.stem)
def test_isolation(spec, db, request):
    # isolationtester waits for a session that is blocked as long as the server says it is
    dsn = db.dsn()
    done = subprocess.run(
        [str(TESTER), dsn], stdin=spec.open(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
        env={**{k: v for k, v in os.environ.items() if not k.startswith("PG")}, "PGISOLATIONTIMEOUT": "60"},
    )  # fmt: skip
    results = STATE / "results" / f"isolation-{pg_major()}"
    results.mkdir(parents=True, exist_ok=True)
    (results / f"{spec.stem}.out").write_text(done.stdout)
    assert done.returncode == 0, done.stdout
    expected = HERE / "expected" / f"{spec.stem}.out"
    if request.config.getoption("--update"):
        expected.write_text(done.stdout)
    assert done.stdout == expected.read_text()
