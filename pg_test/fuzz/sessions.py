"""Sessions that change table `t` at random, beside each other, and note every statement with its outcome."""

import random
import threading
import time

import psycopg

from .tables import Table, quoted

# What concurrency may cost a session. Everything else is a failure.
EXPECTED = (
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.LockNotAvailable,
)
# Many rows for a small table: every page is filled, freed and filled again.
MOST_IDS = 400


class Log:
    """Statements in the order in which they ended."""

    def __init__(self):
        self.lines: list[str] = []
        self._start = time.monotonic()
        self._lock = threading.Lock()

    def add(self, who: str, sql: str, outcome: str) -> None:
        with self._lock:
            self.lines.append(f"{time.monotonic() - self._start:8.3f} {who}: {sql}; -- {outcome}")


class Session:
    """One connection with a random life of its own."""

    def __init__(self, number: int, connect, table: Table, seed: str, log: Log):
        self.name, self.table, self.log = f"s{number}", table, log
        self.rng = random.Random(f"{seed}/{number}")
        self.connection = connect()
        self.next_id = 1_000_000 * (number + 1)
        self.failures: list[str] = []
        self.engine_killed = False
        self.savepoints = self.prepared = 0
        self.run("SET lock_timeout = '1s'")
        self.run("SET statement_timeout = '60s'")
        if self.rng.random() < 0.5:
            # finds the rows that it changes through our indexes
            self.run("SET enable_seqscan = off")

    # -- statements

    @property
    def in_transaction(self) -> bool:
        return self.connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE

    def run(self, sql: str) -> bool:
        """Runs it; an expected error ends the transaction."""
        try:
            self.connection.execute(sql)
        except EXPECTED as e:
            self.failed(sql, e)
            return False
        except psycopg.Error as e:
            self.failed(sql, e)
            # a session that asks while the engine is killed again and again may be told so
            if not (self.engine_killed and e.sqlstate == "58000"):
                self.failures.append(f"{self.name}: {sql}\n{type(e).__name__}: {e}")
            return False
        self.log.add(self.name, sql, "ok")
        return True

    def failed(self, sql: str, error: Exception) -> None:
        """Notes it and ends the transaction."""
        self.log.add(self.name, sql, f"{type(error).__name__}: {str(error).splitlines()[0]}")
        self.savepoints = 0
        if not self.connection.closed and self.in_transaction:
            self.connection.execute("ROLLBACK")
            self.log.add(self.name, "ROLLBACK", "after the error")

    def copy(self, ids: list[int]) -> None:
        names = ["id", "grp", "v", "body"]
        rows = [(i, self.rng.choice([None, 1, 5]), self.table.vector(self.rng), "copied river text") for i in ids]
        sql = f"COPY t ({', '.join(names)}) FROM STDIN -- {rows}"
        try:
            with self.connection.cursor().copy(f"COPY t ({', '.join(names)}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
            self.log.add(self.name, sql, "ok")
        except EXPECTED as e:
            self.failed(sql, e)

    # -- life

    def burst(self, statements: int) -> None:
        for _ in range(statements):
            if self.failures:
                return
            self.step()
        # some transactions stay open over the comparison
        if self.in_transaction and self.rng.random() < 0.5:
            self.finish()

    def finish(self) -> None:
        self.savepoints = 0
        how = self.rng.random()
        if how < 0.1:
            self.prepare()
        else:
            self.run("COMMIT" if how < 0.72 else "ROLLBACK")

    def prepare(self) -> None:
        """In two phases, with something in between."""
        self.prepared += 1
        name = quoted(f"{self.name}_{self.prepared}")
        if not self.run(f"PREPARE TRANSACTION {name}"):
            return
        if self.rng.random() < 0.5:
            self.maintain()
            if self.in_transaction:
                self.run("ROLLBACK")
        self.run(f"{self.rng.choice(['COMMIT', 'COMMIT', 'ROLLBACK'])} PREPARED {name}")

    def step(self) -> None:
        rng = self.rng
        if self.in_transaction:
            what = rng.random()
            if what < 0.12:
                self.finish()
            elif what < 0.2:
                self.savepoints += 1
                self.run(f"SAVEPOINT s{self.savepoints}")
            elif what < 0.3 and self.savepoints:
                verb = "ROLLBACK TO" if rng.random() < 0.7 else "RELEASE"
                self.run(f"{verb} s{self.savepoints}")
                self.savepoints -= verb == "RELEASE"
            elif what < 0.35:
                self.run(f"SELECT elacsym.flush({quoted(rng.choice(self.table.indexes).name)})")
            elif what < 0.38:
                # the engine learns what only this transaction sees
                self.run(f"SELECT count(*) FROM t WHERE {rng.choice(self.table.indexes).indexed_condition(rng)}")
            else:
                self.change()
            return
        what = rng.random()
        if what < 0.3:
            self.run("BEGIN ISOLATION LEVEL " + rng.choice(["READ COMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]))
        elif what < 0.42:
            self.maintain()
        else:
            self.change()

    def new_ids(self, count: int) -> list[int]:
        self.next_id += count
        return list(range(self.next_id - count, self.next_id))

    def some(self) -> str:
        rng = self.rng
        return rng.choice([
            f"id % 13 = {rng.randint(0, 12)}",
            f"grp = {rng.randint(0, 8)} AND id % 3 = {rng.randint(0, 2)}",
            f"id IN (SELECT id FROM t ORDER BY id OFFSET {rng.randint(0, 100)} LIMIT {rng.randint(1, 8)})",
            rng.choice(self.table.indexes).indexed_condition(rng),
            rng.choice(self.table.indexes).indexed_condition(rng) + f" AND id % 4 = {rng.randint(0, 3)}",
            f"id BETWEEN {rng.randint(0, 60)} AND {rng.randint(20, 90)}",
        ])

    def change(self) -> None:
        rng, table = self.rng, self.table
        what = rng.random()
        if what < 0.2:
            self.run(f"INSERT INTO t VALUES {table.row(rng, self.new_ids(1)[0])}")
        elif what < 0.35:
            rows = ", ".join(table.row(rng, i) for i in self.new_ids(rng.randint(2, 12)))
            self.run(f"INSERT INTO t VALUES {rows}")
        elif what < 0.4:
            self.copy(self.new_ids(rng.randint(1, 15)))
        elif what < 0.5:
            ids = rng.sample(range(100), rng.randint(1, 8))
            rows = ", ".join(table.row(rng, i) for i in ids)
            action = rng.choice(["DO NOTHING", f"(id) DO UPDATE SET {table.assignments(rng)}"])
            self.run(f"INSERT INTO t VALUES {rows} ON CONFLICT {action}")
        elif what < 0.75:
            self.run(f"UPDATE t SET {table.assignments(rng)} WHERE {self.some()}")
        elif what < 0.8 and table.plain:
            name = rng.choice(table.plain)
            self.run(f"UPDATE t SET {name} = {name} WHERE {self.some()}")
        elif what < 0.97:
            self.run(f"DELETE FROM t WHERE {self.some()}")
        else:
            # keeps the table small, and empties pages
            self.run(f"DELETE FROM t WHERE id IN (SELECT id FROM t ORDER BY random() OFFSET {MOST_IDS})")

    def maintain(self) -> None:
        rng = self.rng
        index = rng.choice(self.table.indexes).name
        common = [
            "VACUUM t", "VACUUM (PARALLEL 0) t", "VACUUM (FREEZE) t", "VACUUM (INDEX_CLEANUP on) t", "VACUUM (INDEX_CLEANUP off) t", "ANALYZE t",
            f"SELECT elacsym.flush({quoted(index)})",
        ]
        rare = [
            f"REINDEX INDEX {index}", f"REINDEX INDEX CONCURRENTLY {index}", "VACUUM FULL t", "CLUSTER t USING t_pkey",
            f"ALTER TABLE t ALTER COLUMN grp TYPE {rng.choice(['int4', 'int4 USING grp + 0'])}", "ALTER TABLE t SET (fillfactor = 70)", "TRUNCATE t",
            f"ALTER INDEX {index} SET TABLESPACE pg_default", "REINDEX TABLE t",
        ]
        if rng.random() < 0.82:
            self.run(rng.choice(common))
            return
        sql = rng.choice(rare)
        if sql == "TRUNCATE t" and rng.random() < 0.6:
            return
        if "CONCURRENTLY" not in sql and "VACUUM" not in sql and "CLUSTER" not in sql and rng.random() < 0.5:
            self.run("BEGIN")
            if self.run(sql) and rng.random() < 0.7:
                self.change()
            if self.in_transaction:
                self.finish()
        else:
            self.run(sql)


def burst(sessions: list[Session], statements: int) -> None:
    """All sessions at the same time; returns when each has paused."""
    threads = [threading.Thread(target=session.burst, args=(statements,)) for session in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
