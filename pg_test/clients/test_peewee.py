"""Peewee with pgvector's field; the index by Model.add_index(); L2 distance."""

import contextlib

import peewee
from pgvector.peewee import VectorField

import contract
from contract import AM, ATTRIBUTES, HYBRID, HYBRID_KEYS, K, OPCLASS, OURS


class Peewee:
    def __init__(self, app):
        self.db = peewee.PostgresqlDatabase(app.database, **app.parameters())

        class Item(peewee.Model):
            id = peewee.IntegerField(primary_key=True)
            body = peewee.TextField()
            category = peewee.CharField(null=True)
            year = peewee.IntegerField(null=True)
            embedding = VectorField(dimensions=contract.DIM, null=True)

            class Meta:
                database = self.db
                table_name = "items"

        # as pgvector's manual has it, with our columns after the first
        columns = [f"{c} {o}" if o else c for c, o in ({"embedding": OPCLASS["l2"]} | ATTRIBUTES).items()]
        Item.add_index(*columns, name="items_search", using=AM)
        self.Item = Item
        self.conditions = {
            "all": [],
            "category": [Item.category == "db"],
            "years": [Item.year.between(2010, 2014)],
            "either": [Item.category.in_(["web", "ml"])],
            "rare": [Item.category == "rare"],
            "like": [Item.body.contains("zebra")],  # ILIKE
            "moved": [Item.category == "moved"],
        }

    def close(self):
        self.db.close()

    def create(self):
        self.db.execute_sql("CREATE EXTENSION IF NOT EXISTS vector")
        if OURS:
            self.db.execute_sql("CREATE EXTENSION IF NOT EXISTS elacsym")
        self.db.create_tables([self.Item])

    def insert(self, rows):
        values = [{"id": r.id, "body": r.body, "category": r.category, "year": r.year, "embedding": r.embedding} for r in rows]
        with self.db.atomic():
            for batch in peewee.chunked(values, 500):
                self.Item.insert_many(batch).execute()

    def nearest(self, query, where):
        distance = self.Item.embedding.l2_distance(query)
        rows = self.Item.select(self.Item.id, distance.alias("distance"))
        if self.conditions[where]:
            rows = rows.where(*self.conditions[where])
        return list(rows.order_by(distance).limit(K).tuples())

    def generic(self, query):
        with self.db.atomic():
            self.db.execute_sql("SET LOCAL plan_cache_mode = force_generic_plan")
            return self.nearest(query, "all")

    def update(self, id, embedding, category):
        item = self.Item.get_by_id(id)
        item.embedding, item.category = embedding, category
        item.save()

    def delete(self, ids):
        self.Item.delete().where(self.Item.id.in_(ids)).execute()

    def hybrid(self, query, words):
        return self.db.execute_sql(HYBRID.format(index="items_search", table="items", q="%s", words="%s"), (str(query), words)).fetchall()

    def hybrid_keys(self, query, words):
        return self.db.execute_sql(HYBRID_KEYS.format(index="items_search", q="%s", words="%s"), (str(query), words)).fetchall()


def test_peewee(app):
    with contextlib.closing(Peewee(app)) as client:
        contract.check(contract.run(client, app), "l2")
    assert app.check_plans("items_search", metric="l2") >= 1
    app.check_integrity("items_search")
