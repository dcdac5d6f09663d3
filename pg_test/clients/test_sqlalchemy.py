"""SQLAlchemy 2 with pgvector's types: declarative models, the index in `__table_args__`, create_all()."""

import contextlib

import pytest
from pgvector.sqlalchemy import VECTOR
from sqlalchemy import Index, NullPool, Text, bindparam, create_engine, delete, insert, select, text, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import contract
from contract import AM, ATTRIBUTES, HYBRID, HYBRID_KEYS, K, OPCLASS, OPTIONS, OURS


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "items"
    id: Mapped[int] = mapped_column(primary_key=True)
    body: Mapped[str] = mapped_column(Text)
    category: Mapped[str | None]  # varchar
    year: Mapped[int | None]
    embedding: Mapped[list[float] | None] = mapped_column(VECTOR(contract.DIM))
    __table_args__ = (
        Index(
            "items_search",
            "embedding",
            *ATTRIBUTES,
            postgresql_using=AM,
            postgresql_with=OPTIONS,
            postgresql_ops={"embedding": OPCLASS["cosine"]} | {c: o for c, o in ATTRIBUTES.items() if o},
        ),
    )


CONDITIONS = {
    "all": [],
    "category": [Item.category == "db"],
    "years": [Item.year >= 2010, Item.year < 2015],
    "either": [Item.category.in_(["web", "ml"])],
    "rare": [Item.category == "rare"],
    "like": [Item.body.like("%zebra%")],
    "moved": [Item.category == "moved"],
}


class SqlAlchemy:
    def __init__(self, app, pooled=False):
        options = {"poolclass": NullPool, "connect_args": {"prepare_threshold": None}} if pooled else {}
        self.engine = create_engine(app.url("postgresql+psycopg"), **options)

    def close(self):
        self.engine.dispose()

    def create(self):
        with Session(self.engine) as session:
            session.execute(text("CREATE EXTENSION IF NOT EXISTS vector"))
            if OURS:
                session.execute(text("CREATE EXTENSION IF NOT EXISTS elacsym"))
            session.commit()
        Base.metadata.create_all(self.engine)
        Base.metadata.create_all(self.engine)  # looks what is there first

    def insert(self, rows):
        with Session(self.engine) as session:
            values = [{"id": r.id, "body": r.body, "category": r.category, "year": r.year, "embedding": r.embedding} for r in rows]
            session.execute(insert(Item), values[:1000])
            session.add_all(Item(**v) for v in values[1000:])
            session.commit()

    def nearest(self, query, where):
        distance = Item.embedding.cosine_distance(query)
        with Session(self.engine) as session:
            return session.execute(select(Item.id, distance).where(*CONDITIONS[where]).order_by(distance).limit(K)).all()

    def generic(self, query):
        with Session(self.engine) as session:
            session.execute(text("SET LOCAL plan_cache_mode = force_generic_plan"))
            items = session.scalars(select(Item).order_by(Item.embedding.cosine_distance(query)).limit(K)).all()
            return [(item.id, None) for item in items]

    def update(self, id, embedding, category):
        with Session(self.engine) as session:
            item = session.get(Item, id)
            item.embedding, item.category = embedding, category
            session.commit()

    def delete(self, ids):
        with Session(self.engine) as session:
            session.execute(delete(Item).where(Item.id.in_(ids)))
            session.commit()

    def hybrid(self, query, words):
        statement = text(HYBRID.format(index="items_search", table="items", q=":q", words=":words")).bindparams(bindparam("q", type_=VECTOR))
        with Session(self.engine) as session:
            return session.execute(statement, {"q": query, "words": words}).all()

    def hybrid_keys(self, query, words):
        with Session(self.engine) as session:
            found = session.execute(text(HYBRID_KEYS.format(index="items_search", q=":q", words=":words")), {"q": str(query), "words": words}).all()
            # the keys lead to the objects
            items = {str(i.id): i for i in session.scalars(select(Item).where(Item.id.in_([int(key) for key, _ in found])))}
            return [(items[key].id, score) for key, score in found]


def through(app, pooled=False):
    with contextlib.closing(SqlAlchemy(app, pooled)) as client:
        contract.check(contract.run(client, app))
        assert app.check_plans("items_search") >= 2
        app.check_integrity("items_search")
        return client


@pytest.mark.every_pg
def test_sqlalchemy(app):
    through(app)


def test_sqlalchemy_through_pgbouncer(pooled_app):
    through(pooled_app, pooled=True)


def test_sqlalchemy_reads_its_index_back(app):
    from sqlalchemy import inspect

    with contextlib.closing(SqlAlchemy(app)) as client:
        client.create()
        (index,) = inspect(client.engine).get_indexes("items")
        assert index["name"] == "items_search" and index["column_names"] == ["embedding", *ATTRIBUTES]
        assert index["dialect_options"]["postgresql_using"] == AM
        assert {k: float(v) for k, v in index["dialect_options"]["postgresql_with"].items()} == OPTIONS
        with client.engine.begin() as connection:
            connection.execute(update(Item).values(year=1))
        Base.metadata.drop_all(client.engine)
        assert app.sql("SELECT count(*) FROM pg_class WHERE relname = 'items_search'") == [(0,)]
