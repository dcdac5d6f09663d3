"""Loading elacsym changes nothing about commands that have nothing to do with it: their errors keep every field."""

import psycopg
import pytest

pytestmark = pytest.mark.every_pg

SETUP = """
CREATE TABLE t (i int CONSTRAINT positive CHECK (i > 0));
CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO t VALUES (-1); END $$;
"""
STATEMENTS = [
    "DO $$ BEGIN PERFORM 1 / 0; END $$",
    "EXPLAIN ANALYZE INSERT INTO t VALUES (-1)",
    "EXPLAIN (ANALYZE, VERBOSE) SELECT 1 / i FROM (VALUES (0)) v (i)",
    "EXPLAIN (VERBOSE) SELECT 1 / 0",
    "EXPLAIN ANALYZE SELECT nothing FROM t",
    "CALL p()",
    "CREATE TABLE u AS SELECT nothing FROM t",
    "ALTER TABLE t ADD CHECK (i > 'x')",
    "COPY t FROM STDIN",
]


def fields(cluster) -> list[dict]:
    found = []
    with cluster.connect() as conn:
        conn.execute(SETUP)
        for statement in STATEMENTS:
            with pytest.raises(psycopg.Error) as e:
                if statement.startswith("COPY"):
                    with conn.cursor() as cur, cur.copy(statement) as copy:
                        copy.write("x\n")
                else:
                    conn.execute(statement)
            diag = e.value.diag
            names = ("sqlstate message_primary message_detail message_hint statement_position internal_position internal_query context schema_name "
                     "table_name column_name datatype_name constraint_name source_function").split()  # fmt: skip
            found.append({"statement": statement} | {n: getattr(diag, n) for n in names})
    return found


def test_errors_of_commands_keep_context_position_and_names(new_cluster):
    with_elacsym = fields(new_cluster("with"))
    without = fields(new_cluster("without", preload=False))
    assert with_elacsym == without
