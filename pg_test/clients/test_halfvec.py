"""halfvec, which the real pgvector brings: SQLAlchemy (column, and the expression index of pgvector's documentation), psycopg and asyncpg in binary.

The contract's vectors are exact in half precision, so the answers are those of the contract. The stand-in has no such type, and says so.
"""

import asyncio

import asyncpg
import pgvector.asyncpg
import pgvector.psycopg
import psycopg
import pytest
from pgvector import HalfVector
from pgvector.sqlalchemy import HALFVEC, VECTOR
from sqlalchemy import Index, cast, create_engine, select, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from harness import pg_major

import contract
from contract import AM, DIM, K, OURS, QUERY

pytestmark = pytest.mark.every_pg
HAS_HALFVEC = pg_major() >= 16  # there pgvector is the real one

ROWS = [(row.id, row.year, row.embedding) for row in contract.DATA if row.embedding]


def exact(rows):
    return [id for _, id in sorted((contract.distance("cosine", embedding, QUERY), id) for id, _, embedding in rows)[:K]]


NEAREST, NEAREST_OLD = exact(ROWS), exact(row for row in ROWS if row[1] < 2000)


def at_most_one_missed(found, nearest):
    assert len(found) == K and len(set(nearest) - set(found)) <= 1, (found, nearest)


class Base(DeclarativeBase):
    pass


class Half(Base):
    __tablename__ = "halves"
    id: Mapped[int] = mapped_column(primary_key=True)
    year: Mapped[int]
    embedding = mapped_column(HALFVEC(DIM))


class Full(Base):
    __tablename__ = "fulls"
    id: Mapped[int] = mapped_column(primary_key=True)
    year: Mapped[int]
    embedding = mapped_column(VECTOR(DIM))


HALF_OF = {Half: Half.embedding, Full: cast(Full.embedding, HALFVEC(DIM))}
Index("halves_search", Half.embedding, *[Half.year] * OURS, postgresql_using=AM, postgresql_ops={"embedding": "halfvec_cosine_ops"})
Index("fulls_search", HALF_OF[Full].label("half"), postgresql_using=AM, postgresql_ops={"half": "halfvec_cosine_ops"})


@pytest.fixture
def prepared(app):
    """The database with its extensions."""
    app.sql("CREATE EXTENSION vector")
    if OURS:
        app.sql("CREATE EXTENSION elacsym")
    return app


@pytest.mark.parametrize("model", [Half, Full])
def test_sqlalchemy(prepared, model):
    engine, half = create_engine(prepared.url("postgresql+psycopg")), HALF_OF[model]
    try:
        if not HAS_HALFVEC:
            with pytest.raises(ProgrammingError, match='type "halfvec" does not exist'):
                Base.metadata.create_all(engine)
            return
        Base.metadata.create_all(engine)
        with Session(engine) as session:
            session.add_all(model(id=id, year=year, embedding=embedding) for id, year, embedding in ROWS)
            session.execute(text("ANALYZE"))
            session.commit()
        near = half.cosine_distance(QUERY)
        with Session(engine) as session:
            at_most_one_missed(session.scalars(select(model.id).order_by(near).limit(K)).all(), NEAREST)
            at_most_one_missed(session.scalars(select(model.id).where(model.year < 2000).order_by(near).limit(K)).all(), NEAREST_OLD)
    finally:
        engine.dispose()
    assert prepared.check_plans(f"{model.__tablename__}_search") == 2
    prepared.check_integrity(f"{model.__tablename__}_search")


CREATE = f"CREATE TABLE items (id int PRIMARY KEY, year int, embedding halfvec({DIM}))"
CREATE_INDEX = f"CREATE INDEX items_search ON items USING {AM} (embedding halfvec_cosine_ops{', year' * OURS})"


def test_psycopg(prepared):
    with psycopg.connect(prepared.url(), autocommit=True) as connection:
        if not HAS_HALFVEC:
            with pytest.raises(psycopg.errors.UndefinedObject):
                connection.execute(CREATE)
            return
        pgvector.psycopg.register_vector(connection)
        connection.execute(CREATE)
        with connection.cursor().copy("COPY items FROM STDIN WITH (FORMAT binary)") as copy:
            copy.set_types(["int4", "int4", "halfvec"])
            for id, year, embedding in ROWS:
                copy.write_row([id, year, HalfVector(embedding)])
        connection.execute(CREATE_INDEX)
        prepared.analyze()
        for where, nearest in (("", NEAREST), ("WHERE year < 2000", NEAREST_OLD)):
            statement = f"SELECT id, embedding FROM items {where} ORDER BY embedding <=> %b LIMIT {K}"
            found = connection.execute(statement, [HalfVector(QUERY)], binary=True).fetchall()
            at_most_one_missed([id for id, _ in found], nearest)
            assert found[0][1].to_list() == next(embedding for id, _, embedding in ROWS if id == found[0][0])
    assert prepared.check_plans("items_search") == 2
    prepared.check_integrity("items_search")


async def through_asyncpg(app):
    connection = await asyncpg.connect(database=app.database, **app.parameters())
    try:
        if not HAS_HALFVEC:
            with pytest.raises(asyncpg.UndefinedObjectError):
                await connection.execute(CREATE)
            return
        await pgvector.asyncpg.register_vector(connection)
        await connection.execute(CREATE)
        await connection.execute(CREATE_INDEX)
        await connection.executemany("INSERT INTO items VALUES ($1, $2, $3)", [(id, year, HalfVector(embedding)) for id, year, embedding in ROWS])
        app.analyze()
        found = await connection.fetch(f"SELECT id FROM items ORDER BY embedding <=> $1 LIMIT {K}", HalfVector(QUERY))
        at_most_one_missed([row["id"] for row in found], NEAREST)
    finally:
        await connection.close()
    app.check_integrity("items_search")


def test_asyncpg(prepared):
    asyncio.run(through_asyncpg(prepared))
