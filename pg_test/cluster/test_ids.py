"""Ids of type uuid and text: every function that takes or returns ids, buffered and flushed, in both transaction outcomes; and that ids
of type int are as they were."""

import json
import uuid

import psycopg
import pytest

from harness import Cluster, wait_until

pytestmark = pytest.mark.every_pg

NO_FLUSH = {"elacsym.flush_interval": "1h", "elacsym.flush_rows": 10_000_000, "autovacuum": "off"}
ATTRIBUTES = {"n": "int", "body": {"type": "string", "full_text": True}}
WRONG_TYPE, MISMATCH, RANGE, NULL_VALUE, INVALID, UNDEFINED = "42804", "22000", "22003", "22004", "22023", "42704"

UUIDS = [
    "00000000-0000-0000-0000-000000000001",
    "0191e0a5-7cf8-7bd2-8f6e-5d6b2a6a0c11",
    "7fffffff-ffff-ffff-ffff-ffffffffffff",
    "80000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-fffffffffffe",
]
TEXTS = ["10", "9", "Zürich", "a b/c?d=e&f#g", "zürich \U0001f600"]
INTS = ["-9223372036854775808", "-1", "0", "7", "9223372036854775807"]
# In the order of the ids: of uuids their bytes, of texts their UTF-8 bytes.
IDS = {"uuid": UUIDS, "text": TEXTS, "int": INTS}


@pytest.fixture(scope="module")
def cluster():
    with Cluster("ids", config=NO_FLUSH) as cluster:
        yield cluster.start()


@pytest.fixture(params=["uuid", "text", "int"])
def kind(request):
    return request.param


@pytest.fixture
def ids(kind):
    assert IDS[kind] == sorted(IDS[kind], key=int if kind == "int" else str.encode)
    return IDS[kind]


@pytest.fixture
def q(cluster, kind, request):
    """A connection to a fresh database with the namespace `ns`, which holds three of the five ids."""
    name = f"i{abs(hash(request.node.name)) % 10**8}"
    cluster.create_database(name)
    with cluster.connect(name) as conn:
        create(conn, kind)
        written = call(conn, "upsert", [doc(kind, id, n, [n, 1]) for n, id in enumerate(IDS[kind][:3])])
        assert written == 3
        yield conn
    cluster.sql(f'DROP DATABASE "{name}" WITH (FORCE)')


def create(conn, kind, name="ns"):
    schema = {"id": kind, "vector_dim": 2, "vector_metric": "l2", "attributes": ATTRIBUTES}
    conn.execute("SELECT elacsym.create_namespace(%s, %s)", [name, json.dumps(schema)])


def doc(kind, id, n, vector=None):
    json_id = int(id) if kind == "int" else id
    return {"id": json_id, **({"vector": vector} if vector else {}), "attributes": {"n": n, "body": f"word{n} common"}}


def call(conn, function, *arguments, name="ns"):
    marks = ", ".join(["%s"] + ["%s::jsonb"] * len(arguments))
    return conn.execute(f"SELECT elacsym.{function}({marks})", [name, *map(json.dumps, arguments)]).fetchone()[0]


def state(conn):
    """id → n, in the order of scan_keys, which fetch_keys must confirm."""
    rows = conn.execute("SELECT id, vector::text, attributes FROM elacsym.scan_keys('ns', include_vector => true)").fetchall()
    keys = [row[0] for row in rows]
    fetched = conn.execute("SELECT id, vector::text, attributes FROM elacsym.fetch_keys('ns', %s::text[])", [keys]).fetchall()
    assert fetched == rows
    assert all("id" not in row[2] for row in rows)
    return {row[0]: row[2].get("n") for row in rows}


def flush(conn):
    """Patches wait for transactions that are older, whoever runs them."""

    def flushed():
        conn.execute("SELECT elacsym.flush('ns')")
        return conn.execute("SELECT count(*) FROM elacsym.wal").fetchone() == (0,)

    wait_until(flushed, "every entry to be flushed", 20)


def places(conn):
    """Buffered, then in a segment."""
    yield "buffered"
    flush(conn)
    yield "flushed"


def error(conn, statement, parameters=()):
    with pytest.raises(psycopg.Error) as raised, conn.transaction():
        conn.execute(statement, parameters)
    return raised.value.sqlstate, raised.value.diag.message_primary


def test_documents_come_back_in_the_order_of_their_ids_a_page_at_a_time(q, ids):
    q.execute("SELECT elacsym.upsert_key('ns', %s, '[9,9]', '{\"n\": 4}')", [ids[4]])
    for place in places(q):
        assert state(q) == {ids[0]: 0, ids[1]: 1, ids[2]: 2, ids[4]: 4}, place
        pages, after = [], None
        while page := q.execute('SELECT id FROM elacsym.scan_keys(\'ns\', after_id => %s, "limit" => 2)', [after]).fetchall():
            pages.append([id for (id,) in page])
            after = page[-1][0]
        assert pages == [ids[:2], [ids[2], ids[4]]], place
        after_missing = q.execute("SELECT id FROM elacsym.scan_keys('ns', after_id => %s)", [ids[3]]).fetchall()
        assert after_missing == [(ids[4],)], place
        some = json.dumps({"field": "n", "op": "gte", "value": 2})
        assert q.execute("SELECT id FROM elacsym.scan_keys('ns', %s)", [some]).fetchall() == [(ids[2],), (ids[4],)], place


def test_fetch_keys_returns_the_order_asked_for_each_once_and_leaves_out_what_is_missing(q, ids):
    for place in places(q):
        wanted = [ids[2], ids[3], ids[0], ids[2]]
        rows = q.execute("SELECT id, vector::text, attributes FROM elacsym.fetch_keys('ns', %s::text[])", [wanted]).fetchall()
        body = "word{} common".format
        expected = [(ids[2], "[2,1]", {"n": 2, "body": body(2)}), (ids[0], "[0,1]", {"n": 0, "body": body(0)})]
        assert rows == expected, place
        only_n = q.execute("SELECT * FROM elacsym.fetch_keys('ns', %s::text[], false, '{n}')", [[ids[1]]]).fetchall()
        assert only_n == [(ids[1], None, {"n": 1})], place
        assert q.execute("SELECT * FROM elacsym.fetch_keys('ns', '{}')").fetchall() == [], place


def test_query_keys_returns_ids_from_every_arm_and_order(q, ids):
    for place in places(q):
        near = q.execute("SELECT id, vector_rank, vector_distance FROM elacsym.query_keys('ns', '[2,1]')").fetchall()
        assert near == [(ids[2], 1, 0.0), (ids[1], 2, 1.0), (ids[0], 3, 2.0)], place
        text = q.execute("SELECT id, text_rank, attributes FROM elacsym.query_keys('ns', full_text => '\"word1\"', include_attributes => '{n}')")
        assert text.fetchall() == [(ids[1], 1, {"n": 1})], place
        both = q.execute("SELECT id FROM elacsym.query_keys('ns', '[2,1]', '\"word2\"', top_k => 1)").fetchall()
        assert both == [(ids[2],)], place
        order = json.dumps([{"field": "n", "direction": "desc"}])
        ordered = q.execute("SELECT id, score FROM elacsym.query_keys('ns', order_by => %s)", [order]).fetchall()
        assert ordered == [(ids[2], None), (ids[1], None), (ids[0], None)], place


def test_upserts_replace_and_deletes_remove_also_what_is_in_a_segment(q, kind, ids):
    flush(q)
    assert call(q, "upsert", [doc(kind, ids[1], 11), doc(kind, ids[3], 12), doc(kind, ids[3], 13)]) == 2
    assert q.execute("SELECT elacsym.delete_keys('ns', %s::text[])", [[ids[0], ids[4], ids[0]]]).fetchone() == (2,)
    for place in places(q):
        assert state(q) == {ids[1]: 11, ids[2]: 2, ids[3]: 13}, place
    assert q.execute("SELECT rows, dead_rows FROM elacsym.namespaces").fetchone() == (5, 2)


def test_a_rollback_undoes_writes(q, kind, ids):
    before = state(q)
    with pytest.raises(ZeroDivisionError), q.transaction():
        call(q, "upsert", doc(kind, ids[4], 5))
        q.execute("SELECT elacsym.delete_keys('ns', %s::text[])", [[ids[0]]])
        assert list(state(q)) == [ids[1], ids[2], ids[4]]
        raise ZeroDivisionError
    assert state(q) == before


def test_patches_name_documents_by_id(q, kind, ids):
    for _ in places(q):
        assert call(q, "patch", [{**doc(kind, ids[1], 0), "attributes": {"n": 50}}, {**doc(kind, ids[4], 0), "attributes": {"n": 50}}]) == 2
        assert state(q) == {ids[0]: 0, ids[1]: 50, ids[2]: 2}
        assert call(q, "patch", {**doc(kind, ids[1], 0), "attributes": {"n": 1}}) == 1
    flush(q)
    assert state(q) == {ids[0]: 0, ids[1]: 1, ids[2]: 2}


def test_conditional_writes_look_at_the_document_of_the_id(q, kind, ids):
    missing, low = {"type": "not_exists"}, {"field": "n", "op": "lt", "value": 2}
    for place in places(q):
        assert call(q, "upsert_if", [doc(kind, ids[0], 70), doc(kind, ids[3], 3)], missing) == (1 if place == "buffered" else 0)
        changes = [{**doc(kind, id, 0), "attributes": {"body": "changed"}} for id in ids]
        assert call(q, "patch_if", changes, low) == 2
        assert q.execute("SELECT elacsym.delete_keys_if('ns', %s::text[], %s)", [[ids[2], ids[4]], json.dumps(low)]).fetchone() == (0,)
    high = json.dumps({"field": "n", "op": "gte", "value": 2})
    assert q.execute("SELECT elacsym.delete_keys_if('ns', %s::text[], %s)", [ids, high]).fetchone() == (2,)
    assert state(q) == {ids[0]: 0, ids[1]: 1}
    twice = [doc(kind, ids[0], 1), doc(kind, ids[0], 2)]
    code, message = error(q, "SELECT elacsym.upsert_if('ns', %s, %s)", [json.dumps(twice), json.dumps(missing)])
    assert code == INVALID and message.endswith("occurs twice") and ids[0] in message


def test_writes_by_filter_write_exactly_what_matches(q, ids):
    for _ in places(q):
        assert call(q, "patch_where", {"field": "n", "op": "gte", "value": 1}, {"attributes": {"body": "late"}}) == 2
    assert call(q, "delete_where", {"field": "n", "op": "eq", "value": 1}) == 1
    assert state(q) == {ids[0]: 0, ids[2]: 2}


def test_writes_by_filter_go_on_after_a_page(cluster, kind):
    """More matches than one page has."""
    name = f"many_{kind}"
    cluster.create_database(name)
    make = {"int": "g", "text": "'doc/' || g", "uuid": "md5(g::text)::uuid::text"}[kind]
    with cluster.connect(name) as conn:
        create(conn, kind)
        for part in range(2):
            rows = f"SELECT jsonb_agg(jsonb_build_object('id', {make}, 'attributes', jsonb_build_object('n', g %% 2))) FROM generate_series(%s::int, %s::int) g"
            conn.execute(f"SELECT elacsym.upsert('ns', ({rows}))", [part * 11_000 + 1, part * 11_000 + 11_000])
            if part == 0:
                flush(conn)
        assert call(conn, "patch_where", {"field": "n", "op": "eq", "value": 1}, {"attributes": {"n": 2}}) == 11_000
        assert call(conn, "delete_where", {"type": "and", "conditions": []}) == 22_000
        assert state(conn) == {}
    cluster.sql(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_evaluate_knows_documents_by_the_text_of_their_ids(q, ids):
    queries = json.dumps([{"id": "q", "text": "word1"}])
    for place in places(q):
        found = q.execute("SELECT arm, recall FROM elacsym.evaluate('ns', %s, %s)", [queries, json.dumps({"q": {ids[1]: 1}})]).fetchall()
        assert found == [("text", 1.0)], place
        found = q.execute("SELECT arm, recall FROM elacsym.evaluate('ns', %s, %s)", [queries, json.dumps({"q": {ids[0]: 1}})]).fetchall()
        assert found == [("text", 0.0)], place


def test_counts_and_facets_do_not_care(q):
    for place in places(q):
        assert q.execute("SELECT elacsym.count('ns')").fetchone() == (3,), place
        assert q.execute("SELECT elacsym.facets('ns', '{\"n\": {\"type\": \"stats\", \"field\": \"n\"}}') -> 'n' ->> 'count'").fetchone() == ("3",), place


def test_views_tell_the_type_of_ids_and_no_hidden_attribute(q, kind):
    flush(q)
    assert q.execute("SELECT id_type, attributes FROM elacsym.namespaces").fetchone() == (kind, ["body", "n"])
    least = int(INTS[0]) if kind == "int" else None
    assert q.execute("SELECT min_id FROM elacsym.segments").fetchone() == (least,)
    code, _ = error(q, "SELECT * FROM elacsym.fetch_keys('ns', '{}', include_attributes => '{id}')")
    assert code == UNDEFINED


def test_a_crash_keeps_ids(cluster, kind, ids):
    name = f"crash_{kind}"
    cluster.create_database(name)
    with cluster.connect(name) as conn:
        create(conn, kind)
        call(conn, "upsert", [doc(kind, id, n) for n, id in enumerate(ids)])
        flush(conn)
        call(conn, "upsert", [doc(kind, ids[2], 20)])
        conn.execute("SELECT elacsym.delete_keys('ns', %s::text[])", [[ids[4]]])
    cluster.stop("immediate")
    cluster.start()
    with cluster.connect(name) as conn:
        assert state(conn) == {ids[0]: 0, ids[1]: 1, ids[2]: 20, ids[3]: 3}
    cluster.sql(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_functions_with_bigint_ids_refuse_other_ids_and_say_what_to_use(q, kind, ids):
    statements = [
        "SELECT elacsym.upsert('ns', 1, '[1,2]')",
        "SELECT elacsym.delete('ns', '{1}')",
        "SELECT elacsym.delete_if('ns', '{1}', '{\"type\": \"exists\"}')",
        "SELECT * FROM elacsym.fetch('ns', '{1}')",
        "SELECT * FROM elacsym.scan('ns')",
        "SELECT * FROM elacsym.query('ns', '[1,2]')",
    ]
    for statement in statements:
        if kind == "int":
            q.execute(statement)
        else:
            assert error(q, statement) == (WRONG_TYPE, f"ids of this namespace are of type {kind}, not bigint"), statement
    if kind != "int":
        assert list(state(q)) == ids[:3]


def test_wrong_ids_are_named(q, kind):
    wrong_json = {"int": ["1", 1.5, 2**63, None, ["a"]], "uuid": [1, "x", "0191e0a5", None], "text": [1, "", "x" * 513, None]}[kind]
    for id in wrong_json:
        code, message = error(q, "SELECT elacsym.upsert('ns', %s)", [json.dumps({"id": id})])
        assert code in (MISMATCH, RANGE) and message.startswith("document id "), message
    wrong_text = {"int": "seven", "uuid": "7", "text": ""}[kind]
    for statement in [
        "SELECT elacsym.upsert_key('ns', %s, '[1,2]')",
        "SELECT elacsym.delete_keys('ns', ARRAY[%s])",
        "SELECT elacsym.delete_keys_if('ns', ARRAY[%s], '{\"type\": \"exists\"}')",
        "SELECT * FROM elacsym.fetch_keys('ns', ARRAY[%s])",
        "SELECT * FROM elacsym.scan_keys('ns', after_id => %s)",
    ]:
        code, message = error(q, statement, [wrong_text])
        assert code in (MISMATCH, RANGE) and message.startswith("document id "), (statement, message)
    assert error(q, "SELECT elacsym.delete_keys('ns', ARRAY['a', NULL])") == (NULL_VALUE, 'argument "ids" has a null at position 2')
    assert error(q, "SELECT elacsym.upsert_key('ns', NULL, '[1,2]')")[0] == NULL_VALUE


def test_a_uuid_is_one_however_it_is_written(cluster):
    cluster.create_database("spelling")
    with cluster.connect("spelling") as conn:
        create(conn, "uuid")
        plain = str(uuid.UUID(int=0x0191E0A57CF87BD28F6E5D6B2A6A0C11))
        for spelling in (plain, plain.upper(), plain.replace("-", "")):
            conn.execute("SELECT elacsym.upsert_key('ns', %s, '[1,2]')", [spelling])
            assert list(state(conn)) == [plain]
        spellings = [plain.upper(), plain.replace("-", "")]
        assert conn.execute("SELECT id FROM elacsym.fetch_keys('ns', %s::text[])", [spellings]).fetchall() == [(plain,)]
        assert conn.execute("SELECT elacsym.delete_keys('ns', %s::text[])", [spellings]).fetchone() == (1,)
        assert state(conn) == {}
    cluster.sql('DROP DATABASE "spelling" WITH (FORCE)')


def test_a_text_id_can_be_filtered_but_not_set(cluster):
    cluster.create_database("filtered")
    with cluster.connect("filtered") as conn:
        create(conn, "text")
        call(conn, "upsert", [doc("text", id, n) for n, id in enumerate(TEXTS)])
        for _ in places(conn):
            above = json.dumps({"field": "id", "op": "gte", "value": "Z"})
            assert conn.execute("SELECT id FROM elacsym.scan_keys('ns', %s)", [above]).fetchall() == [(id,) for id in TEXTS[2:]]
        for function in ("upsert", "patch"):
            code, message = error(conn, f"SELECT elacsym.{function}('ns', %s)", [json.dumps({"id": "a", "attributes": {"id": "b"}})])
            assert (code, message) == (UNDEFINED, 'attribute "id" does not exist')
    cluster.sql('DROP DATABASE "filtered" WITH (FORCE)')
