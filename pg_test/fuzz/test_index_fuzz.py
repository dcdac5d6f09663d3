"""Randomized differential test of the index: four sessions change a random table, then index and table are asked the same.

A failure prints its seed and the statements; `ELACSYM_FUZZ_SEED=<seed> scripts/pytest.sh 15 fuzz` runs it again (what the
sessions do is decided by the seed, how they interleave is not). ELACSYM_FUZZ_SECONDS: how long the long form runs.
"""

import os
import random
import time
from pathlib import Path

import psycopg
import pytest

from fuzz.comparison import Comparison
from fuzz.sessions import EXPECTED, Log, Session, burst
from fuzz.tables import Table
from harness import pg_major
from harness.env import STATE

SESSIONS = 4
BURSTS = 6
STATEMENTS = 14
QUESTIONS = 7
ROWS = 90
# Enough for several lists of the vector index.
MANY_ROWS = 2500
GIVEN = os.environ.get("ELACSYM_FUZZ_SEED")


class Scenario:
    """One table, its sessions and their bursts."""

    def __init__(self, cluster, seed: str, parallel: bool = False):
        self.cluster, self.seed = cluster, seed
        self.rng = random.Random(seed)
        self.table = Table(self.rng)
        self.log = Log()
        self.database = f"fuzz_{seed.replace('-', '_')}"
        self.options = "-c client_min_messages=warning"
        if parallel:
            name = "force_parallel_mode" if pg_major() < 16 else "debug_parallel_query"
            self.options += f" -c {name}=regress -c parallel_setup_cost=0 -c parallel_tuple_cost=0 -c min_parallel_table_scan_size=0"
        self.asked = self.by_index = 0

    def connect(self) -> psycopg.Connection:
        return self.cluster.connect(self.database, options=self.options)

    def run(self) -> None:
        try:
            self._run()
            print(f"seed {self.seed}: {len(self.log.lines)} statements, the index answered {self.by_index} of {self.asked} questions")
        except BaseException as e:
            path = Path(STATE) / "logs" / f"fuzz-{pg_major()}-{self.seed}.sql"
            path.parent.mkdir(exist_ok=True)
            path.write_text("\n".join(self.log.lines) + "\n")
            tail = "\n".join(line[:600] for line in self.log.lines[-60:])
            raise AssertionError(f"seed {self.seed}: {e}\nall statements: {path}\nthe last ones:\n{tail}") from e

    def _run(self) -> None:
        rng, table = self.rng, self.table
        self.cluster.create_database(self.database)
        sessions = []
        try:
            main = Session(9, self.connect, table, self.seed, self.log)
            sessions.append(main)
            # before or after there are rows
            steps = [f"CREATE {index.ddl}" for index in table.indexes]
            if rng.random() < 0.5:
                steps = [step.replace("CREATE INDEX", "CREATE INDEX CONCURRENTLY") for step in steps]
            rows = "INSERT INTO t VALUES " + ", ".join(table.row(rng, i) for i in range(MANY_ROWS if rng.random() < 0.15 else ROWS))
            steps.insert(rng.randint(0, len(steps)), rows)
            for step in [table.ddl, *steps]:
                main.run(step)
            sessions += [Session(i, self.connect, table, self.seed, self.log) for i in range(SESSIONS)]
            self.check(sessions)
            for _ in range(BURSTS):
                killed = rng.random() < 0.15
                for session in sessions:
                    session.engine_killed = killed
                if killed:
                    self.log.add("main", "kill -9 of the engine", str(self.cluster.kill_engine()))
                burst(sessions[1:], STATEMENTS)
                self.check(sessions)
            for session in sessions[1:]:
                if session.in_transaction:
                    session.finish()
            main.run("VACUUM t")
            self.check(sessions)
        finally:
            for session in sessions:
                session.connection.close()
            self.roll_back_prepared()
            self.cluster.sql(f'DROP DATABASE "{self.database}" WITH (FORCE)')
        assert self.by_index > self.asked / 2, f"the index answered {self.by_index} of {self.asked} questions"

    def roll_back_prepared(self) -> None:
        for (name,) in self.cluster.sql("SELECT gid FROM pg_prepared_xacts WHERE database = %s", (self.database,)):
            self.cluster.sql(f"ROLLBACK PREPARED '{name}'", dbname=self.database)

    def check(self, sessions: list[Session]) -> None:
        failures = [failure for session in sessions for failure in session.failures]
        assert not failures, "\n".join(failures)
        main = sessions[0]
        self.drop_invalid(main)
        for session in sessions[1:]:
            if session.in_transaction:
                try:
                    self.compare(session, QUESTIONS // 2)
                except EXPECTED as e:
                    session.failed("the questions above", e)
        try:
            self.compare(main, QUESTIONS)
        except psycopg.errors.LockNotAvailable:
            # somebody paused after DDL
            for session in sessions[1:]:
                if session.in_transaction:
                    session.finish()
            self.compare(main, QUESTIONS)
        for index in self.table.indexes:
            problems = main.connection.execute(f"SELECT * FROM elacsym.verify('{index.name}')").fetchall()
            self.log.add("main", f"SELECT * FROM elacsym.verify('{index.name}')", repr(problems[:3]))
            assert not problems, f"verify('{index.name}'): {len(problems)} problems: {problems[:10]}"

    def compare(self, session: Session, questions: int) -> None:
        comparison = Comparison(session.connection, session.name, self.table, self.rng, self.log)
        try:
            comparison.everything(questions)
        finally:
            self.asked += comparison.asked
            self.by_index += comparison.by_index

    def drop_invalid(self, main: Session) -> None:
        """What a REINDEX CONCURRENTLY that waited too long leaves."""
        names = main.connection.execute("SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 't'::regclass AND NOT indisvalid").fetchall()
        for (name,) in names:
            # an open transaction may hold it: then another time
            main.run(f"DROP INDEX {name}")


@pytest.fixture
def cluster(new_cluster):
    return new_cluster(
        "fuzz",
        config={"elacsym.flush_interval": "200ms", "elacsym.compaction": "on", "deadlock_timeout": "50ms", "autovacuum_naptime": "1s", "max_prepared_transactions": 5, "max_connections": 40},
    )


def seeds(first: int, count: int) -> list[str]:
    return [GIVEN] if GIVEN else [str(i) for i in range(first, first + count)]


@pytest.mark.parametrize("seed", seeds(1, 6))
def test_index_and_table_agree(cluster, seed):
    Scenario(cluster, seed).run()


@pytest.mark.parametrize("seed", seeds(101, 2))
def test_index_and_table_agree_in_parallel_workers(cluster, seed):
    Scenario(cluster, seed, parallel=True).run()


@pytest.mark.every_pg
@pytest.mark.parametrize("seed", seeds(201, 2))
def test_index_and_table_agree_on_every_server(cluster, seed):
    Scenario(cluster, seed).run()


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_index_and_table_agree_for_long(cluster):
    end = time.monotonic() + float(os.environ.get("ELACSYM_FUZZ_SECONDS", "1800"))
    seed = int(GIVEN or 1000)
    while time.monotonic() < end:
        Scenario(cluster, str(seed), parallel=seed % 4 == 0).run()
        seed += 1
