"""Django with pgvector's field and operations: a migration with CreateModel and AddIndex, the ORM for the rest."""

import sys
import types

import django
import pytest
from django.conf import settings
from django.contrib.postgres.operations import CreateExtension
from django.db import connection, migrations, models, transaction
from django.db.migrations.state import ProjectState
from pgvector.django import CosineDistance, VectorExtension, VectorField

import contract
from contract import AM, ATTRIBUTES, HYBRID, HYBRID_KEYS, K, OPCLASS, OURS
from documentation import block

# The index class is the one of the documentation, in a module because migrations name it by its path.
documented = types.ModuleType("documented_django")
exec(block("django"), documented.__dict__)
sys.modules["documented_django"] = documented
documented.ElacsymIndex.__module__ = "documented_django"


@pytest.fixture
def item(app):
    """The model, on a connection to this test's database."""
    if not settings.configured:
        settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.postgresql"}}, DEFAULT_AUTO_FIELD="django.db.models.AutoField", USE_TZ=True)
        django.setup()
    connection.settings_dict.update(NAME=app.database, HOST=app.host, PORT=app.port, USER=app.user)

    class Item(models.Model):
        id = models.IntegerField(primary_key=True)
        body = models.TextField()
        category = models.CharField(max_length=20, null=True)
        year = models.IntegerField(null=True)
        embedding = VectorField(dimensions=contract.DIM, null=True)

        class Meta:
            app_label = "shop"
            db_table = "items"
            apps = ProjectState().apps  # a registry of its own

    yield Item
    connection.close()


def index():
    """The index of the documentation."""
    if OURS:
        return eval(block("django_index"), documented.__dict__)
    return documented.ElacsymIndex(name="items_search", fields=["embedding"], opclasses=[OPCLASS["cosine"]])


class Django:
    def __init__(self, item):
        self.objects = item.objects
        self.fields = [(f.name, f.clone()) for f in item._meta.fields]
        self.Item = item

    def create(self):
        class Migration(migrations.Migration):
            operations = [
                VectorExtension(),
                *([CreateExtension("elacsym")] if OURS else []),
                migrations.CreateModel("Item", self.fields, options={"db_table": "items"}),
                migrations.AddIndex("Item", index()),
            ]

        with connection.schema_editor(atomic=True) as editor:
            self.state = Migration("0001_initial", "shop").apply(ProjectState(), editor)

    def insert(self, rows):
        self.objects.bulk_create([self.Item(id=r.id, body=r.body, category=r.category, year=r.year, embedding=r.embedding) for r in rows], batch_size=500)

    def nearest(self, query, where):
        conditions = {
            "all": {},
            "category": {"category": "db"},
            "years": {"year__gte": 2010, "year__lt": 2015},
            "either": {"category__in": ["web", "ml"]},
            "rare": {"category": "rare"},
            "like": {"body__contains": "zebra"},
            "moved": {"category": "moved"},
        }
        near = self.objects.filter(**conditions[where]).annotate(distance=CosineDistance("embedding", query)).order_by("distance")
        return list(near.values_list("id", "distance")[:K])

    def generic(self, query):
        with transaction.atomic():
            connection.cursor().execute("SET LOCAL plan_cache_mode = force_generic_plan")
            return [(item.id, None) for item in self.objects.order_by(CosineDistance("embedding", query))[:K]]

    def update(self, id, embedding, category):
        item = self.objects.get(id=id)
        item.embedding, item.category = embedding, category
        item.save()

    def delete(self, ids):
        self.objects.filter(id__in=ids).delete()

    def hybrid(self, query, words):
        statement = HYBRID.format(index="items_search", table="items", q="%s", words="%s")
        return [(item.id, item.score) for item in self.objects.raw(statement, [str(query), words])]

    def hybrid_keys(self, query, words):
        with connection.cursor() as cursor:
            cursor.execute(HYBRID_KEYS.format(index="items_search", q="%s", words="%s"), [str(query), words])
            return cursor.fetchall()


def test_django(app, item):
    client = Django(item)
    contract.check(contract.run(client, app))
    assert app.check_plans("items_search") >= 2
    app.check_integrity("items_search")


def test_django_sees_no_change_to_migrate(app, item):
    from django.db.migrations.autodetector import MigrationAutodetector

    client = Django(item)
    client.create()
    before, after = client.state, client.state.clone()
    after.models["shop", "item"].options["indexes"] = [index()]
    assert MigrationAutodetector(before, after)._detect_changes() == {}
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, "items")["items_search"]
    assert found["type"] == AM and found["columns"] == ["embedding", *ATTRIBUTES]
    with connection.schema_editor() as editor:
        migrations.RemoveIndex("Item", "items_search").database_forwards("shop", editor, before, _without_index(before))
    assert app.sql("SELECT count(*) FROM pg_class WHERE relname = 'items_search'") == [(0,)]


def _without_index(state):
    state = state.clone()
    migrations.RemoveIndex("Item", "items_search").state_forwards("shop", state)
    return state
