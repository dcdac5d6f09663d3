"""Runs SQL regress files as pg_regress does: psql -X -a -q reading the file from its standard input, in a fresh database each,
output compared with expected/NAME.out. Needs only Python and psql.

The file itself says CREATE EXTENSION. Where majors, or pgvector and its stand-in, rightly differ, expected/NAME_1.out … NAME_9.out are
further right outputs. A first line `-- requires: standin` (or `pgvector`) restricts a file to that kind of extension "vector".

As a program (`make installcheck`): python3 runner.py [--update] [NAME…], against the server that PGHOST, PGPORT and PGUSER name.
"""

import argparse
import difflib
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable

HERE = Path(__file__).resolve().parent
FILES = sorted((HERE / "sql").glob("*.sql"))

# what pg_regress gives its sessions
ENV = {"PGTZ": "PST8PDT", "PGDATESTYLE": "Postgres, MDY", "PGOPTIONS": "-c intervalstyle=postgres_verbose"}
PSQL = ["-X", "-a", "-q", "-v", "HIDE_TABLEAM=on", "-v", "HIDE_TOAST_COMPRESSION=on"]


def requirement(file: Path) -> str | None:
    """`standin` or `pgvector` when the file is for that extension only."""
    match = re.match(r"-- requires: (\w+)", file.read_text())
    return match[1] if match else None


def compare(name: str, got: str, results: Path, update: bool = False) -> str | None:
    """None when `got` is one of the expected outputs (or became it with `update`); otherwise the smallest diff."""
    results.mkdir(parents=True, exist_ok=True)
    (results / f"{name}.out").write_text(got)
    expected = [f for f in [HERE / "expected" / f"{name}.out", *sorted((HERE / "expected").glob(f"{name}_[0-9].out"))] if f.exists()]
    if any(f.read_text() == got for f in expected):
        return None
    if update:
        (HERE / "expected" / f"{name}.out").write_text(got)
        return None
    if not expected:
        return f"no expected/{name}.out; the output is in {results / name}.out: read it, and take it with --update"
    diffs = [difflib.unified_diff(f.read_text().splitlines(True), got.splitlines(True), f"expected/{f.name}", f"{results / name}.out") for f in expected]
    diff = min(("".join(d) for d in diffs), key=len)
    (results / f"{name}.diff").write_text(diff)
    return diff


def run_in_fresh_database(file: Path, psql: Callable[..., str]) -> str:
    """`psql(arguments, env, input)` runs psql and returns what it prints."""
    dbname = f"regress_{file.stem}"

    def admin(statement: str) -> None:
        out = psql(["-X", "-q", "-d", "postgres", "-c", "SET client_min_messages = warning", "-c", statement], {}, "")
        if out.strip():
            raise RuntimeError(out)

    admin(f'DROP DATABASE IF EXISTS "{dbname}"')
    admin(f'CREATE DATABASE "{dbname}" TEMPLATE template0 ENCODING \'UTF8\' LOCALE \'C\'')  # neither template1 nor the locale is part of the output
    try:
        return psql([*PSQL, "-d", dbname], ENV, file.read_text())
    finally:
        admin(f'DROP DATABASE IF EXISTS "{dbname}" WITH (FORCE)')


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help="take what the server prints as the expected output")
    parser.add_argument("--psql", default="psql", help="the psql to use")
    parser.add_argument("--results", type=Path, default=HERE.parents[1] / "target" / "installcheck")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()

    def psql(arguments, env, text):
        return subprocess.run([args.psql, *arguments], input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **env}).stdout

    # comments are kept per object: pgvector's own says what it is
    comment = psql(["-X", "-A", "-t", "-d", "postgres", "-c", "SELECT comment FROM pg_available_extensions WHERE name = 'vector'"], {}, "")
    kind = "standin" if "elacsym" in comment.lower() else "pgvector"
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for file in FILES:
        if args.names and file.stem not in args.names:
            continue
        if requirement(file) not in (None, kind):
            counts["skipped"] += 1
            print(f"skipped {file.stem}: for {requirement(file)} only")
            continue
        started = time.monotonic()
        try:
            diff = compare(file.stem, run_in_fresh_database(file, psql), args.results, args.update)
        except RuntimeError as e:
            diff = str(e)
        counts["failed" if diff else "passed"] += 1
        print(f"{'FAILED' if diff else 'ok':7} {file.stem} ({time.monotonic() - started:.1f} s)", flush=True)
        if diff:
            print(diff[:6000])
    print(", ".join(f"{n} {what}" for what, n in counts.items()))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
