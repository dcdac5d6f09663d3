"""`elacsym.alter_namespace`: attributes come, change, are renamed and go; every query is right at every moment."""

import json
import threading

import psycopg
import pytest

pytestmark = pytest.mark.every_pg

SCHEMA = {
    "vector_dim": 2,
    "attributes": {"body": {"type": "string", "indexed": False}, "year": {"type": "int", "indexed": False}, "draft": {"type": "bool"}},
}
BODIES = ["the quick brown fox", "lazy dogs sleep", "a fox and a dog", "nothing of the sort", "foxes are quick"]


def fill(conn, name, start=0):
    docs = [
        {"id": start + i, "vector": [1, i], "attributes": {"body": body, "year": 2000 + i, "draft": i % 2 == 0}}
        for i, body in enumerate(BODIES)
    ]
    conn.execute("SELECT elacsym.upsert(%s, %s::jsonb)", (name, json.dumps(docs)))


def alter(conn, name, **changes):
    conn.execute("SELECT elacsym.alter_namespace(%s, %s::jsonb)", (name, json.dumps(changes)))


def found(conn, name, text, field="body"):
    rows = conn.execute(
        "SELECT id, text_score FROM elacsym.query(%s, full_text => %s::jsonb, top_k => 100)",
        (name, json.dumps({"field": field, "query": text})),
    ).fetchall()
    return {id: score for id, score in rows}


def filtered(conn, name, filter):
    rows = conn.execute("SELECT id FROM elacsym.scan(%s, %s::jsonb)", (name, json.dumps(filter))).fetchall()
    return [id for (id,) in rows]


@pytest.fixture(params=["buffered", "flushed", "half"])
def namespace(conn, request):
    """A namespace of ten documents with two of each body, in the buffer, in a segment, or half and half."""
    conn.execute("SELECT elacsym.create_namespace('changing', %s::jsonb)", (json.dumps(SCHEMA),))
    fill(conn, "changing")
    if request.param == "half":
        conn.execute("SELECT elacsym.flush('changing')")
    fill(conn, "changing", start=10)
    if request.param == "flushed":
        conn.execute("SELECT elacsym.flush('changing')")
    return "changing"


def test_full_text_of_an_existing_attribute_finds_old_and_new_documents(conn, namespace):
    with pytest.raises(psycopg.Error, match="full text"):
        found(conn, namespace, "fox")
    alter(conn, namespace, alter={"body": {"full_text": True}})
    assert set(found(conn, namespace, "fox")) == {0, 2, 4, 10, 12, 14}
    assert filtered(conn, namespace, {"field": "body", "op": "match", "value": "+fox -dog"}) == [0, 4, 10, 14]
    # The same scores as a namespace that had it from the start.
    attributes = SCHEMA["attributes"] | {"body": {"type": "string", "full_text": True}}
    conn.execute("SELECT elacsym.create_namespace('from_start', %s::jsonb)", (json.dumps(SCHEMA | {"attributes": attributes}),))
    fill(conn, "from_start")
    fill(conn, "from_start", start=10)
    for text in ("fox", "quick dog", "sort"):
        assert found(conn, namespace, text) == pytest.approx(found(conn, "from_start", text), rel=1e-5)
    # Documents written from now on, and what a flush makes of all of it.
    conn.execute("SELECT elacsym.upsert(%s, %s::jsonb)", (namespace, json.dumps({"id": 50, "attributes": {"body": "one more fox"}})))
    assert 50 in found(conn, namespace, "fox")
    before = found(conn, namespace, "fox")
    conn.execute("SELECT elacsym.flush(%s)", (namespace,))
    assert found(conn, namespace, "fox") == pytest.approx(before, rel=1e-5)


def test_another_analysis_holds_for_old_documents_too(conn, namespace):
    alter(conn, namespace, alter={"body": {"full_text": {"stemming": False}}})
    assert set(found(conn, namespace, "dog")) == {2, 12}
    alter(conn, namespace, alter={"body": {"full_text": {"stemming": True}}})
    assert set(found(conn, namespace, "dog")) == {1, 2, 11, 12}
    alter(conn, namespace, alter={"body": {"full_text": False}})
    with pytest.raises(psycopg.Error, match="full text"):
        found(conn, namespace, "dog")


def test_filters_of_an_existing_attribute(conn, namespace):
    with pytest.raises(psycopg.Error, match="not indexed"):
        filtered(conn, namespace, {"field": "year", "op": "gte", "value": 2003})
    alter(conn, namespace, alter={"year": {"indexed": True}})
    assert filtered(conn, namespace, {"field": "year", "op": "gte", "value": 2003}) == [3, 4, 13, 14]
    assert filtered(conn, namespace, {"type": "not", "conditions": [{"field": "year", "op": "lt", "value": 2004}]}) == [4, 14]


def test_new_attributes_are_null_in_old_documents(conn, namespace):
    alter(conn, namespace, add={"rating": {"type": "float"}, "note": {"type": "string", "full_text": True}})
    assert len(filtered(conn, namespace, {"field": "rating", "op": "is_null"})) == 10
    assert found(conn, namespace, "anything", field="note") == {}
    conn.execute("SELECT elacsym.patch(%s, %s::jsonb)", (namespace, json.dumps({"id": 3, "attributes": {"rating": 4.5, "note": "anything goes"}})))
    assert filtered(conn, namespace, {"field": "rating", "op": "gt", "value": 4}) == [3]
    assert set(found(conn, namespace, "anything", field="note")) == {3}
    attributes = conn.execute("SELECT attributes FROM elacsym.fetch(%s, '{3}')", (namespace,)).fetchone()[0]
    assert attributes["rating"] == 4.5 and attributes["body"] == BODIES[3]


def test_dropped_attributes_are_gone_and_stay_gone(conn, namespace):
    alter(conn, namespace, drop=["draft"])
    with pytest.raises(psycopg.Error, match='"draft" does not exist'):
        filtered(conn, namespace, {"field": "draft", "op": "eq", "value": True})
    assert all("draft" not in row[0] for row in conn.execute("SELECT attributes FROM elacsym.scan(%s)", (namespace,)))
    # Another attribute of that name has none of the old values.
    alter(conn, namespace, add={"draft": {"type": "string"}})
    assert len(filtered(conn, namespace, {"field": "draft", "op": "is_null"})) == 10
    conn.execute("SELECT elacsym.flush(%s)", (namespace,))
    assert all("draft" not in row[0] for row in conn.execute("SELECT attributes FROM elacsym.scan(%s)", (namespace,)))


def test_renamed_attributes_keep_their_values(conn, namespace):
    alter(conn, namespace, rename={"draft": "unfinished"})
    assert filtered(conn, namespace, {"field": "unfinished", "op": "eq", "value": True}) == [0, 2, 4, 10, 12, 14]
    conn.execute("SELECT elacsym.flush(%s)", (namespace,))
    assert filtered(conn, namespace, {"field": "unfinished", "op": "eq", "value": True}) == [0, 2, 4, 10, 12, 14]


def test_a_rolled_back_change_never_was(conn, namespace):
    before = conn.execute("SELECT schema FROM elacsym.namespaces WHERE name = %s", (namespace,)).fetchone()
    with pytest.raises(ZeroDivisionError), conn.transaction():
        alter(conn, namespace, alter={"body": {"full_text": True}}, drop=["year"])
        assert set(found(conn, namespace, "fox")) == {0, 2, 4, 10, 12, 14}
        raise ZeroDivisionError
    assert conn.execute("SELECT schema FROM elacsym.namespaces WHERE name = %s", (namespace,)).fetchone() == before
    with pytest.raises(psycopg.Error, match="full text"):
        found(conn, namespace, "fox")


@pytest.mark.parametrize(
    "changes, state, part",
    [
        ([], "22023", '"changes" must be a JSON object'),
        ({"remove": ["year"]}, "22023", "remove"),
        ({"drop": ["nothing"]}, "42704", '"nothing" does not exist'),
        ({"add": {"year": {"type": "int"}}}, "42710", '"year" already exists'),
        ({"alter": {"body": {"indexed": True}}}, "22023", "cannot be indexed"),
        ({"alter": {"year": {"full_text": True}}}, "22023", "cannot have full text"),
    ],
)
def test_wrong_changes_change_nothing(conn, namespace, changes, state, part):
    before = conn.execute("SELECT schema FROM elacsym.namespaces WHERE name = %s", (namespace,)).fetchone()
    with pytest.raises(psycopg.Error, match=part) as error:
        conn.execute("SELECT elacsym.alter_namespace(%s, %s::jsonb)", (namespace, json.dumps(changes)))
    assert error.value.sqlstate == state
    assert conn.execute("SELECT schema FROM elacsym.namespaces WHERE name = %s", (namespace,)).fetchone() == before


def test_only_the_owner_changes_a_schema(conn, namespace):
    conn.execute("CREATE ROLE somebody")
    try:
        conn.execute("SET ROLE somebody")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            alter(conn, namespace, drop=["year"])
    finally:
        conn.execute("RESET ROLE")
        conn.execute("DROP ROLE somebody")


def test_nobody_waits_for_an_open_change(conn, namespace, db):
    """Readers and writers of other sessions go on, with the schema that is committed."""
    with db.connect() as other:
        with conn.transaction():
            alter(conn, namespace, alter={"body": {"full_text": True}}, add={"rating": {"type": "float"}})
            other.execute("SET statement_timeout = '5s'")
            assert len(filtered(other, namespace, {"field": "draft", "op": "eq", "value": True})) == 6
            fill(other, namespace, start=20)
            with pytest.raises(psycopg.Error, match="full text"):
                found(other, namespace, "fox")
        assert len(found(other, namespace, "fox")) == 9


def test_queries_are_right_while_schemas_change_and_documents_are_written(conn, namespace, db):
    stop, failures = threading.Event(), []

    def write():
        with db.connect() as connection:
            start = 100
            while not stop.is_set():
                fill(connection, namespace, start)
                connection.execute("SELECT elacsym.flush(%s)", (namespace,))
                start += 10

    def read():
        with db.connect() as connection:
            while not stop.is_set():
                # Of every five documents in the snapshot two are drafts … never more, never fewer.
                with connection.transaction():
                    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                    total = len(connection.execute("SELECT 1 FROM elacsym.scan(%s, \"limit\" => 10000)", (namespace,)).fetchall())
                    drafts = len(connection.execute(
                        "SELECT 1 FROM elacsym.scan(%s, %s::jsonb, \"limit\" => 10000)",
                        (namespace, json.dumps({"field": "draft", "op": "eq", "value": True})),
                    ).fetchall())
                if drafts * 5 != total * 3:
                    failures.append((total, drafts))

    def guarded(work):
        def run():
            try:
                work()
            except Exception as error:  # noqa: BLE001: reported by the test
                failures.append(error)
        return threading.Thread(target=run)

    threads = [guarded(write), guarded(read)]
    for thread in threads:
        thread.start()
    for round in range(6):
        alter(conn, namespace, alter={"body": {"full_text": round % 2 == 0}}, add={f"extra{round}": {"type": "int"}})
        if round % 2 == 0:
            hits = found(conn, namespace, "fox")
            assert len(hits) % 3 == 0 and {0, 2, 4} <= set(hits)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures, failures[:3]
