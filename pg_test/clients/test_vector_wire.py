"""The type `vector` over the wire: the drivers' own codecs in text and binary, and COPY in both directions.

With the real pgvector or with the stand-in; the fixture `pg_environment` makes both drivers connect to the shared cluster.
"""

import asyncio
import os
import struct
from contextlib import contextmanager

import pytest

asyncpg = pytest.importorskip("asyncpg")
np = pytest.importorskip("numpy")
psycopg = pytest.importorskip("psycopg")
pytest.importorskip("pgvector")

from pgvector import Vector  # noqa: E402
from pgvector.asyncpg import register_vector as register_asyncpg  # noqa: E402
from pgvector.psycopg import register_vector as register_psycopg  # noqa: E402
from psycopg import sql  # noqa: E402

pytestmark = pytest.mark.every_pg

DATABASE = os.environ.get("PGDATABASE", "postgres")
SCRATCH = "elacsym_vector_wire"

# Values at the edges of float4, lengths around the header and beyond a page (stored out of line), and the longest.
VECTORS = [
    [1.0, 2.0, 3.0],
    [0.1, -0.2, 1e-45, 3.4028235e38, -0.0],
    [0.5],
    [float(i % 97) / 7 for i in range(3000)],
    [float(i % 11) for i in range(16000)],
]


def as_float4(values):
    return np.asarray(values, dtype=">f4").astype("<f4")


def elements(value):
    """The elements of whatever a driver's codec returns: an array or the client library's Vector."""
    return value.to_numpy() if isinstance(value, Vector) else np.asarray(value, dtype="<f4")


@pytest.fixture(scope="module", autouse=True)
def scratch_database(pg_environment):
    """A database of our own, with the extension where every client looks for it."""
    with psycopg.connect(dbname=DATABASE, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(SCRATCH)))
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(SCRATCH)))
        with psycopg.connect(dbname=SCRATCH, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            connection.execute("CREATE TABLE items (id bigserial PRIMARY KEY, embedding vector)")
            connection.execute("CREATE TABLE fixed (id bigserial PRIMARY KEY, embedding vector(3))")
        yield
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(SCRATCH)))


@contextmanager
def connected():
    with psycopg.connect(dbname=SCRATCH, autocommit=True) as connection:
        connection.execute("TRUNCATE items, fixed RESTART IDENTITY")
        register_psycopg(connection)
        yield connection


def stored(connection):
    rows = connection.execute("SELECT embedding FROM items ORDER BY id", binary=True).fetchall()
    return [None if row[0] is None else elements(row[0]) for row in rows]


def assert_same(actual, expected):
    assert len(actual) == len(expected)
    for got, wanted in zip(actual, expected):
        assert got.tobytes() == as_float4(wanted).tobytes()


def test_the_type_is_found_by_its_bare_name():
    with connected() as connection:
        schemas = connection.execute(
            "SELECT n.nspname FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.typname = 'vector'"
        ).fetchall()
        assert schemas == [("public",)]
        info = psycopg.types.TypeInfo.fetch(connection, "vector")
        assert info.oid == connection.execute("SELECT 'vector'::regtype::oid").fetchone()[0]
        assert info.array_oid


@pytest.mark.parametrize("parameter", ["%t", "%b"])
@pytest.mark.parametrize("result_is_binary", [False, True])
def test_psycopg_brings_back_what_it_sent(parameter, result_is_binary):
    with connected() as connection:
        for values in VECTORS:
            connection.execute(f"INSERT INTO items (embedding) VALUES ({parameter})", [Vector(values)])
        rows = connection.execute("SELECT embedding FROM items ORDER BY id", binary=result_is_binary).fetchall()
        assert_same([elements(row[0]) for row in rows], VECTORS)


@pytest.mark.parametrize("parameter", ["%t", "%b"])
def test_psycopg_sends_arrays_of_vectors(parameter):
    with connected() as connection:
        vectors = [Vector([1, 2]), Vector([3])]
        row = connection.execute(f"SELECT {parameter}::vector[]", [vectors], binary=True).fetchone()
        assert_same([elements(value) for value in row[0]], [[1, 2], [3]])


def test_psycopg_copies_binary_in_and_out():
    with connected() as connection:
        with connection.cursor().copy("COPY items (embedding) FROM STDIN WITH (FORMAT BINARY)") as copy:
            copy.set_types(["vector"])
            for values in VECTORS:
                copy.write_row([Vector(values)])
            copy.write_row([None])
        with connection.cursor().copy("COPY (SELECT id, embedding FROM items ORDER BY id) TO STDOUT WITH (FORMAT BINARY)") as copy:
            copy.set_types(["int8", "vector"])
            rows = list(copy.rows())
        assert [row[0] for row in rows] == list(range(1, len(VECTORS) + 2))
        assert rows[-1][1] is None
        assert_same([elements(row[1]) for row in rows[:-1]], VECTORS)


def test_psycopg_copies_text_in_and_out():
    with connected() as connection:
        with connection.cursor().copy("COPY items (embedding) FROM STDIN") as copy:
            for values in VECTORS:
                copy.write_row([Vector(values)])
        with connection.cursor().copy("COPY (SELECT embedding FROM items ORDER BY id) TO STDOUT") as copy:
            copy.set_types(["vector"])
            texts = [row[0] for row in copy.rows()]
        assert_same([elements(value) for value in texts], VECTORS)
        assert_same(stored(connection), VECTORS)


def test_psycopg_orders_by_distance_to_typed_and_untyped_parameters():
    with connected() as connection:
        for values in ([1, 2, 3], [4, 5, 6], [1, 1, 1]):
            connection.execute("INSERT INTO items (embedding) VALUES (%s)", [Vector(values)])
        for operator, order in (("<->", [3, 1, 2]), ("<#>", [2, 1, 3]), ("<=>", [2, 3, 1]), ("<+>", [3, 1, 2])):
            for query in (Vector([1, 1, 1.25]), "[1,1,1.25]"):
                for prepare in (False, True):
                    rows = connection.execute(
                        f"SELECT id FROM items ORDER BY embedding {operator} %s LIMIT 5", [query], prepare=prepare
                    ).fetchall()
                    assert [row[0] for row in rows] == order, operator


def test_psycopg_reads_the_average_and_the_sum():
    with connected() as connection:
        connection.execute("INSERT INTO items (embedding) VALUES ('[1,2,3]'), ('[4,5,6]'), (NULL)")
        row = connection.execute("SELECT avg(embedding), sum(embedding) FROM items").fetchone()
        assert_same([elements(value) for value in row], [[2.5, 3.5, 4.5], [5, 7, 9]])


def message(dimensions, reserved, values):
    return struct.pack(f"!hh{len(values)}f", dimensions, reserved, *values)


def copy_binary(connection, table, field):
    """COPY of one row whose only field is these bytes."""
    header = b"PGCOPY\n\xff\r\n\x00" + struct.pack("!ii", 0, 0)
    with connection.cursor().copy(f"COPY {table} (embedding) FROM STDIN WITH (FORMAT BINARY)") as copy:
        copy.write(header + struct.pack("!hi", 1, len(field)) + field + struct.pack("!h", -1))


def test_the_binary_format_is_checked():
    """Code and message of every way to get the binary format wrong."""
    inf, nan = float("inf"), float("nan")
    cases = [
        ("items", message(0, 0, []), "22000", "vector must have at least 1 dimension"),
        ("items", message(16001, 0, [0.0] * 16001), "54000", "vector cannot have more than 16000 dimensions"),
        ("items", message(1, 1, [1.0]), "22000", "expected unused to be 0, not 1"),
        ("items", message(2, 0, [1.0, nan]), "22000", "NaN not allowed in vector"),
        ("items", message(2, 0, [-inf, 1.0]), "22000", "infinite value not allowed in vector"),
        ("items", message(2, 0, [1.0]), "08P01", "insufficient data left in message"),
        ("items", b"\x00", "08P01", "insufficient data left in message"),
        ("items", b"", "08P01", "insufficient data left in message"),
        ("items", message(1, 0, [1.0, 2.0]), "22P03", "incorrect binary data format"),
        ("fixed", message(2, 0, [1.0, 2.0]), "22000", "expected 3 dimensions, not 2"),
    ]
    with connected() as connection:
        for table, field, code, text in cases:
            with pytest.raises(psycopg.Error) as caught:
                copy_binary(connection, table, field)
            assert (caught.value.sqlstate, caught.value.diag.message_primary) == (code, text)
        copy_binary(connection, "fixed", message(3, 0, [1.0, 2.0, 3.0]))
        assert connection.execute("SELECT embedding::text FROM fixed").fetchall() == [("[1,2,3]",)]


def test_the_binary_output_is_the_documented_one():
    with connected() as connection:
        assert connection.execute("SELECT vector_send('[1,-2.5]')").fetchone()[0] == message(2, 0, [1.0, -2.5])


def run_asyncpg(scenario):
    async def connected_scenario():
        connection = await asyncpg.connect(database=SCRATCH)
        try:
            await connection.execute("TRUNCATE items, fixed RESTART IDENTITY")
            await register_asyncpg(connection)
            await scenario(connection)
        finally:
            await connection.close()

    asyncio.run(connected_scenario())


def test_asyncpg_brings_back_what_it_sent():
    async def scenario(connection):
        for values in VECTORS:
            await connection.execute("INSERT INTO items (embedding) VALUES ($1)", Vector(values))
        await connection.execute("INSERT INTO items (embedding) VALUES (NULL)")
        rows = await connection.fetch("SELECT embedding FROM items ORDER BY id")
        assert rows[-1][0] is None
        assert_same([elements(row[0]) for row in rows[:-1]], VECTORS)
        row = await connection.fetchrow("SELECT $1::vector[]", [Vector([1, 2]), Vector([3])])
        assert_same([elements(value) for value in row[0]], [[1, 2], [3]])

    run_asyncpg(scenario)


def test_asyncpg_copies_records_and_searches():
    async def scenario(connection):
        await connection.copy_records_to_table(
            "fixed", records=[(Vector([i, i, 0]),) for i in range(100)], columns=["embedding"]
        )
        rows = await connection.fetch("SELECT id FROM fixed ORDER BY embedding <-> $1, id LIMIT 3", Vector([41, 41, 0]))
        assert [row["id"] for row in rows] == [42, 41, 43]
        with pytest.raises(asyncpg.DataError, match="expected 3 dimensions, not 2"):
            await connection.execute("INSERT INTO fixed (embedding) VALUES ($1)", Vector([1, 2]))

    run_asyncpg(scenario)
