"""Wrong input: each case gives one clear error (SQLSTATE, the part of the message that names the offending thing) and changes
nothing."""

import json
from pathlib import Path

import psycopg
import pytest

from harness import Cluster, Moto, give_to_pg_user, wait_until

pytestmark = pytest.mark.every_pg

NULL_VALUE, INVALID, RANGE, MISMATCH = "22004", "22023", "22003", "22000"
UNDEFINED, DUPLICATE, DENIED, READ_ONLY, UNAVAILABLE = "42704", "42710", "42501", "25006", "58000"


def create(schema):
    return f"SELECT elacsym.create_namespace('new', '{json.dumps(schema)}')"


def documents(value):
    return f"SELECT elacsym.upsert('ns', $j${json.dumps(value)}$j$::jsonb)"


def document(**more):
    return documents([{"id": 1, **more}])


def attribute(**value):
    return document(attributes=value)


def query(arguments):
    return f"SELECT * FROM elacsym.query('ns', {arguments})"


def filtered(condition):
    return query(f"'[1,2,3]', filter => $j${json.dumps(condition)}$j$")


def text(value):
    return query(f"full_text => $j${json.dumps(value)}$j$")


def condition(field="year", op="eq", **value):
    return filtered({"field": field, "op": op, **value})


CASES = {
    # create_namespace
    "create: null name": ("SELECT elacsym.create_namespace(NULL, '{}')", NULL_VALUE, 'argument "name" must not be null'),
    "create: null schema": ("SELECT elacsym.create_namespace('new', NULL)", NULL_VALUE, 'argument "schema" must not be null'),
    "create: duplicate": ("SELECT elacsym.create_namespace('ns', '{\"vector_dim\": 3}')", DUPLICATE, 'namespace "ns" already exists'),
    "create: empty name": ("SELECT elacsym.create_namespace('', '{\"vector_dim\": 3}')", INVALID, "namespace name is empty"),
    "create: long name": ("SELECT elacsym.create_namespace(repeat('x', 200), '{\"vector_dim\": 3}')", RANGE, "namespace name of 200 bytes"),
    "create: control character": ("SELECT elacsym.create_namespace(E'a\\nb', '{\"vector_dim\": 3}')", INVALID, "control character"),
    "create: bad JSON": ("SELECT elacsym.create_namespace('new', '{\"vector_dim\"')", "22P02", "invalid input syntax for type json"),
    "create: schema is an array": (create([]), INVALID, "schema must be a JSON object, not an array"),
    "create: empty schema": (create({}), INVALID, 'neither "vector_dim" nor "attributes"'),
    "create: unknown key": (create({"vector_dim": 3, "dims": 4}), INVALID, 'unknown key "dims"'),
    "create: zero dimensions": (create({"vector_dim": 0}), RANGE, '"vector_dim" must be an integer from 1 to 16000, not 0'),
    "create: too many dimensions": (create({"vector_dim": 16001}), RANGE, "not 16001"),
    "create: unknown metric": (create({"vector_dim": 3, "vector_metric": "hamming"}), INVALID, '"hamming" is not known'),
    "create: unknown type": (create({"attributes": {"a": "text"}}), INVALID, 'attribute "a" has unknown type "text"'),
    "create: unknown language": (create({"attributes": {"a": {"type": "string", "full_text": {"language": "klingon"}}}}), INVALID, 'language "klingon"'),
    "create: full text on a number": (create({"attributes": {"a": {"type": "int", "full_text": True}}}), INVALID, "of type int cannot have full text"),
    "create: reserved attribute": (create({"attributes": {"id": "int"}}), INVALID, 'attribute name "id" is reserved'),
    "create: number beyond the parser": ("SELECT elacsym.create_namespace('new', '{\"vector_dim\": 1e400}')", INVALID, 'argument "schema" cannot be read'),
    "create: nested too deep": ("SELECT elacsym.create_namespace('new', (repeat('[', 200) || repeat(']', 200))::jsonb)", INVALID, 'argument "schema" cannot be read'),
    # drop, flush
    "drop: unknown": ("SELECT elacsym.drop_namespace('nope')", UNDEFINED, 'namespace "nope" does not exist'),
    "drop: null": ("SELECT elacsym.drop_namespace(NULL)", NULL_VALUE, 'argument "name" must not be null'),
    "compact: unknown": ("SELECT elacsym.compact('nope')", UNDEFINED, 'namespace "nope" does not exist'),
    "flush: unknown": ("SELECT elacsym.flush('nope')", UNDEFINED, 'namespace "nope" does not exist'),
    "flush: null": ("SELECT elacsym.flush(NULL)", NULL_VALUE, 'argument "target" must not be null'),
    # upsert
    "upsert: unknown namespace": ("SELECT elacsym.upsert('nope', '[]')", UNDEFINED, 'namespace "nope" does not exist'),
    "upsert: null namespace": ("SELECT elacsym.upsert(NULL, '[]')", NULL_VALUE, 'argument "namespace" must not be null'),
    "upsert: null documents": ("SELECT elacsym.upsert('ns', NULL::jsonb)", NULL_VALUE, 'argument "documents" must not be null'),
    "upsert: a number": (documents(7), INVALID, "not a number"),
    "upsert: an array in an array": (documents([[]]), INVALID, "a document must be a JSON object, not an array"),
    "upsert: no id": (documents([{"vector": [1, 2, 3]}]), INVALID, 'a document has no "id"'),
    "upsert: id is a string": (documents([{"id": "1"}]), MISMATCH, "document id must be a 64-bit integer"),
    "upsert: id is a fraction": (documents([{"id": 1.5}]), MISMATCH, "document id must be a 64-bit integer"),
    "upsert: id too large": (documents([{"id": 2**63}]), MISMATCH, "document id must be a 64-bit integer"),
    "upsert: unknown key": (document(title="x"), INVALID, 'document has unknown key "title"'),
    "upsert: the second document is wrong": (documents([{"id": 1}, {"id": 2, "vector": [1]}]), MISMATCH, "expected 3 dimensions, not 1"),
    "upsert: wrong dimension": (document(vector=[1, 2]), MISMATCH, "expected 3 dimensions, not 2"),
    "upsert: vector is a string": (document(vector="[1,2,3]"), MISMATCH, '"vector" must be an array of numbers'),
    "upsert: string in a vector": (document(vector=[1, "NaN", 3]), MISMATCH, "a string at dimension 2"),
    "upsert: too large for a float": (document(vector=[1, 1e39, 3]), RANGE, "at dimension 2 is out of range"),
    "upsert: zero vector and cosine": (document(vector=[0, 0, 0]), RANGE, "a zero vector has no cosine distance"),
    "upsert: unknown attribute": (attribute(nope=1), UNDEFINED, 'attribute "nope" does not exist'),
    "upsert: attributes is an array": (document(attributes=[1]), INVALID, '"attributes" must be a JSON object'),
    "upsert: string for int": (attribute(year="2020"), MISMATCH, 'attribute "year" is of type int, not a string'),
    "upsert: fraction for int": (attribute(year=1.5), MISMATCH, 'attribute "year" is of type int'),
    "upsert: int out of range": (attribute(year=2**63), MISMATCH, 'attribute "year" is of type int'),
    "upsert: number for string": (attribute(title=5), MISMATCH, 'attribute "title" is of type string, not a number'),
    "upsert: number for bool": (attribute(published=1), MISMATCH, 'attribute "published" is of type bool'),
    "upsert: null in an array": (attribute(tags=["a", None]), MISMATCH, 'attribute "tags" is an array of strings'),
    "upsert: long indexed string": ("SELECT elacsym.upsert('ns', jsonb_build_object('id', 1, 'attributes', jsonb_build_object('label', repeat('x', 9000))))", RANGE, 'attribute "label"'),
    "upsert: 10 MB of text": ("SELECT elacsym.upsert('ns', jsonb_build_object('id', 1, 'attributes', jsonb_build_object('title', repeat('word ', 2000000))))", RANGE, "is larger than 8388608"),
    "upsert row: null id": ("SELECT elacsym.upsert('ns', NULL, '[1,2,3]')", NULL_VALUE, 'argument "id" must not be null'),
    "upsert row: wrong dimension": ("SELECT elacsym.upsert('ns', 1, '[1,2]')", MISMATCH, "expected 3 dimensions, not 2"),
    "upsert row: NaN": ("SELECT elacsym.upsert('ns', 1, '[1,NaN,2]')", "22P02|22000", "NaN"),
    "upsert row: infinity": ("SELECT elacsym.upsert('ns', 1, '[1,Infinity,2]')", "22P02|22000", "infin"),
    "upsert row: one row of many": ("SELECT elacsym.upsert('ns', i, CASE WHEN i < 9 THEN '[1,2,3]' ELSE '[1]' END::vector) FROM generate_series(1, 9) i", MISMATCH, "expected 3 dimensions, not 1"),
    # delete, fetch
    "delete: null ids": ("SELECT elacsym.delete('ns', NULL)", NULL_VALUE, 'argument "ids" must not be null'),
    "delete: a null id": ("SELECT elacsym.delete('ns', '{1,NULL}')", NULL_VALUE, "a null at position 2"),
    "delete: unknown namespace": ("SELECT elacsym.delete('nope', '{1}')", UNDEFINED, 'namespace "nope" does not exist'),
    "fetch: null ids": ("SELECT * FROM elacsym.fetch('ns', NULL)", NULL_VALUE, 'argument "ids" must not be null'),
    "fetch: unknown attribute": ("SELECT * FROM elacsym.fetch('ns', '{1}', true, '{nope}')", UNDEFINED, 'attribute "nope" does not exist'),
    # query
    "query: unknown namespace": ("SELECT * FROM elacsym.query('nope', '[1,2,3]')", UNDEFINED, 'namespace "nope" does not exist'),
    "query: null namespace": ("SELECT * FROM elacsym.query(NULL, '[1,2,3]')", NULL_VALUE, 'argument "namespace" must not be null'),
    "query: nothing to search for": ("SELECT * FROM elacsym.query('ns')", INVALID, 'a query needs "vector", "full_text", "queries" or "order_by"'),
    "query: k = 0": (query("'[1,2,3]', top_k => 0"), RANGE, "top_k must be from 1 to 10000, not 0"),
    "query: k < 0": (query("'[1,2,3]', top_k => -5"), RANGE, "not -5"),
    "query: k = 10^6": (query("'[1,2,3]', top_k => 1000000"), RANGE, "not 1000000"),
    "query: wrong dimension": (query("'[1,2]'"), MISMATCH, "expected 3 dimensions, not 2"),
    "query: zero vector": (query("'[0,0,0]'"), RANGE, "zero vector"),
    "query: no vectors here": ("SELECT * FROM elacsym.query('words', '[1,2]')", MISMATCH, "this namespace has no vectors"),
    "query: no full text here": ("SELECT * FROM elacsym.query('vectors', full_text => '\"x\"')", INVALID, "no full-text attributes"),
    "query: unknown result attribute": (query("'[1,2,3]', include_attributes => '{nope}'"), UNDEFINED, 'attribute "nope" does not exist'),
    "query: null result attribute": (query("'[1,2,3]', include_attributes => '{NULL}'"), NULL_VALUE, '"include_attributes" must not contain nulls'),
    "query: unknown fusion": (query("'[1,2,3]', fusion => 'linear'"), INVALID, 'fusion "linear" is not known'),
    "query: rrf_k = 0": (query("'[1,2,3]', rrf_k => 0"), RANGE, "rrf_k must be from 1"),
    "query: negative weight": (query("'[1,2,3]', vector_weight => -1"), RANGE, "vector_weight must be a finite number of 0 or more, not -1"),
    "query: NaN weight": (query("'[1,2,3]', text_weight => 'NaN'"), RANGE, "text_weight"),
    "query: both weights 0": (query("'[1,2,3]', text_weight => 0, vector_weight => 0"), INVALID, "both 0"),
    "query: no candidates": (query("'[1,2,3]', candidates => 0"), RANGE, "candidates must be from 1"),
    "query: effort 0": (query("'[1,2,3]', effort => 0"), RANGE, "effort must be greater than 0"),
    "query: effort NaN": (query("'[1,2,3]', effort => 'NaN'"), RANGE, "effort must be greater than 0"),
    # full_text
    "text: empty": (text("  "), INVALID, "full_text query is empty"),
    "text: a number": (text(5), INVALID, "full_text must be a string or an object"),
    "text: no query": (text({"field": "title"}), INVALID, 'full_text has no "query"'),
    "text: unknown key": (text({"query": "x", "fuzzy": 1}), INVALID, 'unknown key "fuzzy"'),
    "text: unknown field": (text({"query": "x", "field": "nope"}), UNDEFINED, 'attribute "nope" does not exist'),
    "text: field without full text": (text({"query": "x", "field": "year"}), INVALID, 'attribute "year" has no full text'),
    "text: no fields": (text({"query": "x", "fields": []}), INVALID, '"fields" of full_text is empty'),
    "text: field twice": (text({"query": "x", "fields": ["title", "title"]}), INVALID, '"title" twice'),
    "text: both forms": (text({"query": "x", "field": "title", "fields": ["title"]}), INVALID, 'both "field" and "fields"'),
    "text: negative weight": (text({"query": "x", "weights": {"title": -1}}), RANGE, 'weight of "title"'),
    "text: weight of another field": (text({"query": "x", "field": "title", "weights": {"body": 1}}), INVALID, '"body", which is not searched'),
    "text: 100 KB": (query("full_text => to_jsonb(repeat('word ', 20000))"), RANGE, "full_text query of 100000 bytes"),
    # filter
    "filter: an array": (filtered([]), INVALID, "a filter must be a JSON object"),
    "filter: unknown operator": (condition(op="like", value="x"), INVALID, 'filter operator "like" is not known'),
    "filter: unknown group": (filtered({"type": "xor", "conditions": []}), INVALID, '"xor" is not known'),
    "filter: unknown field": (condition("nope", value=1), UNDEFINED, 'attribute "nope" does not exist'),
    "filter: field not indexed": (condition("title", value="x"), INVALID, 'attribute "title" is not indexed'),
    "filter: wrong type": (condition(value="x"), MISMATCH, 'attribute "year" is of type int'),
    "filter: no value": (condition(), INVALID, "has no value"),
    "filter: in without an array": (condition(op="in", value=5), MISMATCH, "takes an array"),
    "filter: contains on a number": (condition(op="contains", value="x"), MISMATCH, "operator contains does not apply"),
    "filter: eq on an array": (condition("tags", value=["a"]), MISMATCH, "operator eq does not apply"),
    "filter: gt on a bool": (condition("published", "gt", value=True), MISMATCH, "operator gt does not apply"),
    "filter: not with two": (filtered({"type": "not", "conditions": [{"field": "year", "op": "eq", "value": 1}] * 2}), INVALID, "exactly one condition"),
    # circumstances
    "read-only transaction": ("SET LOCAL transaction_read_only = on; SELECT elacsym.upsert('ns', 9, '[1,2,3]')", READ_ONLY, "cannot execute elacsym.upsert()"),
    "read-only create": ("SET LOCAL transaction_read_only = on; SELECT elacsym.create_namespace('new', '{\"vector_dim\": 3}')", READ_ONLY, "cannot execute elacsym.create_namespace()"),
    "no privilege to write": ("SET LOCAL ROLE elacsym_test_nobody; SELECT elacsym.upsert('ns', 9, '[1,2,3]')", DENIED, 'permission denied for namespace "ns"'),
    "no privilege to read": ("SET LOCAL ROLE elacsym_test_nobody; SELECT * FROM elacsym.query('ns', '[1,2,3]')", DENIED, 'permission denied for namespace "ns"'),
    "no privilege to drop": ("SET LOCAL ROLE elacsym_test_nobody; SELECT elacsym.drop_namespace('ns')", DENIED, 'permission denied for namespace "ns"'),
}

STATE = """
    SELECT (SELECT array_agg(n ORDER BY n.name) FROM elacsym.namespace n)::text,
           (SELECT array_agg(w ORDER BY w.seq) FROM elacsym.wal w)::text,
           (SELECT array_agg(s ORDER BY s.id) FROM elacsym.segment s)::text,
           (SELECT count(*) FROM elacsym.garbage)"""


@pytest.fixture(scope="module")
def errors_cluster():
    with Cluster("errors", config={"elacsym.flush_interval": "1h"}) as cluster:
        yield cluster.start()


@pytest.fixture(scope="module")
def errors_conn(errors_cluster):
    errors_cluster.sql("CREATE ROLE elacsym_test_nobody")
    errors_cluster.create_database("e")
    with errors_cluster.connect("e") as conn:
        attributes = {
            "title": {"type": "string", "full_text": True},
            "body": {"type": "string", "full_text": True},
            "label": "string",
            "year": "int",
            "published": "bool",
            "tags": "array_string",
        }
        conn.execute("SELECT elacsym.create_namespace('ns', %s)", [json.dumps({"vector_dim": 3, "attributes": attributes})])
        conn.execute("SELECT elacsym.create_namespace('words', '{\"attributes\": {\"title\": {\"type\": \"string\", \"full_text\": true}}}')")
        conn.execute("SELECT elacsym.create_namespace('vectors', '{\"vector_dim\": 2}')")
        conn.execute(documents([{"id": 1, "vector": [1, 2, 3], "attributes": {"title": "one", "year": 1}}]))
        conn.execute("SELECT elacsym.flush('ns')")
        wait_until(lambda: conn.execute("SELECT bool_and(generation = manifest_generation) FROM elacsym.namespaces").fetchone()[0], "the manifest", 15)
        conn.execute(documents([{"id": 2, "vector": [3, 2, 1], "attributes": {"title": "two", "year": 2}}]))
        yield conn


@pytest.mark.parametrize("case", CASES)
def test_wrong_input_is_one_clear_error_and_changes_nothing(errors_conn, case):
    sql, states, message = CASES[case]
    before = errors_conn.execute(STATE).fetchone()
    with pytest.raises(psycopg.Error) as raised, errors_conn.transaction():
        # one statement after the other, so that SET LOCAL works
        for statement in sql.split("; ") if sql.startswith("SET LOCAL") else [sql]:
            errors_conn.execute(statement)
    assert raised.value.sqlstate in states.split("|"), raised.value
    assert message.lower() in str(raised.value.diag.message_primary).lower()
    assert errors_conn.execute(STATE).fetchone() == before


def test_there_are_enough_cases():
    assert len(CASES) >= 40


@pytest.mark.parametrize(
    "settings,message",
    [
        ({"elacsym.storage_url": "s3://no-such-bucket/x"}, "bucket"),
        ({"elacsym.storage_url": "s3://bucket/x", "elacsym.s3_endpoint": "http://127.0.0.1:9"}, ""),
    ],
    ids=["missing bucket", "unreachable endpoint"],
)
def test_storage_that_does_not_work_is_a_clear_error_and_writes_go_on(new_cluster, moto, settings, message):
    """INV-6."""
    config = {**moto.settings, "elacsym.flush_interval": "1h", **settings}
    cluster = new_cluster(config=config, env=moto.env)
    cluster.create_database("s")
    with cluster.connect("s") as conn:
        conn.execute("SELECT elacsym.create_namespace('ns', '{\"vector_dim\": 2}')")
        conn.execute("SELECT elacsym.upsert('ns', 1, '[1,2]')")
        with pytest.raises(psycopg.Error) as raised:
            conn.execute("SET statement_timeout = '100s'; SELECT elacsym.flush('ns')")
        assert raised.value.sqlstate in ("58000", "42704", "22023", "42501"), raised.value
        assert message in str(raised.value)
        assert raised.value.diag.message_hint
        conn.execute("SELECT elacsym.upsert('ns', 2, '[2,1]')")
        assert conn.execute("SELECT id FROM elacsym.query('ns', '[2,1]')").fetchall() == [(2,), (1,)]
        assert conn.execute("SELECT segments, buffered FROM elacsym.namespaces").fetchone() == (0, 2)


def check_nothing_is_flushed(cluster, sqlstates, *parts):
    """`flush` fails with all of `parts` in its error; nothing has changed, writes and searches of the buffer go on."""
    cluster.create_database("s")
    with cluster.connect("s") as conn:
        conn.execute("SELECT elacsym.create_namespace('ns', '{\"vector_dim\": 2}')")
        conn.execute("SELECT elacsym.upsert('ns', 1, '[1,2]')")
        before = conn.execute(STATE).fetchone()
        with pytest.raises(psycopg.Error) as raised:
            conn.execute("SET statement_timeout = '100s'; SELECT elacsym.flush('ns')")
        assert raised.value.sqlstate in sqlstates, raised.value
        for part in parts:
            assert part in str(raised.value)
        assert raised.value.diag.message_hint
        assert conn.execute(STATE).fetchone() == before
        conn.execute("SELECT elacsym.upsert('ns', 2, '[2,1]')")
        assert conn.execute("SELECT id FROM elacsym.query('ns', '[2,1]')").fetchall() == [(2,), (1,)]


@pytest.fixture
def strict_s3():
    """An S3 server that checks signatures and policies, with a bucket and two users: one who may do everything, one who may not."""
    with Moto() as moto:
        moto.create_bucket("bucket")
        moto.keys_of = {"owner": moto.create_user("owner", allow="s3:*"), "stranger": moto.create_user("stranger")}
        moto.check_credentials()
        yield moto


@pytest.mark.parametrize(
    "who,message",
    [
        ("unknown key", 'bucket "bucket" at {endpoint} refused the credentials'),
        ("wrong secret", 'bucket "bucket" at {endpoint} refused the credentials'),
        ("no policy", 'access to object store "s3://bucket/x" at {endpoint} is denied'),
    ],
)
def test_wrong_credentials_are_a_clear_error(new_cluster, strict_s3, who, message):
    """INV-6."""
    (key, secret), stranger = strict_s3.keys_of["owner"], strict_s3.keys_of["stranger"]
    wrong = {"unknown key": ("AKIAIOSFODNN7EXAMPLE", secret), "wrong secret": (key, "x" * 40), "no policy": stranger}[who]
    environment = lambda pair: {**strict_s3.env, "AWS_ACCESS_KEY_ID": pair[0], "AWS_SECRET_ACCESS_KEY": pair[1]}
    config = {**strict_s3.settings, "elacsym.flush_interval": "1h", "elacsym.storage_url": "s3://bucket/x"}
    cluster = new_cluster(config=config, env=environment(wrong))
    check_nothing_is_flushed(cluster, ["42501"], message.format(endpoint=strict_s3.endpoint))
    assert wrong[1] not in cluster.log()
    # the same server with the right ones
    cluster.stop()
    cluster.env = environment((key, secret))
    cluster.start()
    with cluster.connect("s") as conn:
        assert conn.execute("SELECT elacsym.flush('ns')").fetchone() == (2,)
        assert conn.execute("SELECT id FROM elacsym.query('ns', '[2,1]')").fetchall() == [(2,), (1,)]


@pytest.mark.parametrize(
    "content,sqlstate,message",
    [
        (b"[default]\naws_access_key_id = \xff\xfe\naws_secret_access_key = s3cr3t\n", "22023", "is not UTF-8: byte 31 is wrong"),
        (b"[default]\naws_access_key_id = only\n", "42501", 'no credentials for object store "s3://bucket/x"'),
        (None, "42501", "cannot be read"),
    ],
    ids=["invalid UTF-8", "no secret", "missing"],
)
def test_credentials_file_that_is_wrong_is_a_clear_error(new_cluster, strict_s3, content, sqlstate, message):
    config = {**strict_s3.settings, "elacsym.flush_interval": "1h", "elacsym.storage_url": "s3://bucket/x"}
    cluster = new_cluster(config=config, env={"AWS_EC2_METADATA_DISABLED": "true"}, start=False)
    file = cluster.directory / "credentials"
    if content is not None:
        file.write_bytes(content)
        give_to_pg_user(file)
    cluster.write_config(**{"elacsym.s3_credentials_file": str(file)})
    cluster.start()
    check_nothing_is_flushed(cluster, [sqlstate], message, *([str(file)] if sqlstate == "22023" else []))
    assert "s3cr3t" not in cluster.log()
    # mended, and read again at the next start
    key, secret = strict_s3.keys_of["owner"]
    file.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n")
    give_to_pg_user(file)
    cluster.restart()
    assert cluster.value("SELECT elacsym.flush('ns')", dbname="s") == 2


def test_invalid_utf8_in_a_loaded_file_is_a_clear_error_and_changes_nothing(errors_conn):
    """COPY into a table whose trigger feeds upsert: the good rows before the bad one are rolled back with it."""
    errors_conn.execute("CREATE TABLE IF NOT EXISTS incoming (id bigint, title text)")
    errors_conn.execute("""
        CREATE OR REPLACE FUNCTION load() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM elacsym.upsert('ns', new.id, NULL, jsonb_build_object('title', new.title));
            RETURN NULL;
        END $$""")
    errors_conn.execute("CREATE OR REPLACE TRIGGER load BEFORE INSERT ON incoming FOR EACH ROW EXECUTE FUNCTION load()")
    before = errors_conn.execute(STATE).fetchone()
    file = Path(errors_conn.execute("SHOW data_directory").fetchone()[0]) / "rows.txt"
    file.write_bytes("71\tgood é\n72\talso good\n".encode() + b"73\tbad \xc3\x28 here\n74\tgood\n")
    give_to_pg_user(file)
    with pytest.raises(psycopg.errors.CharacterNotInRepertoire) as raised:
        errors_conn.execute(f"COPY incoming FROM '{file}' WITH (ENCODING 'UTF8')")
    assert "0xc3 0x28" in raised.value.diag.message_primary and "line 3" in raised.value.diag.context
    assert errors_conn.execute(STATE).fetchone() == before
    # a whole file as one argument
    with pytest.raises(psycopg.errors.CharacterNotInRepertoire):
        errors_conn.execute(f"SELECT elacsym.upsert('ns', pg_read_file('{file}')::jsonb)")
    assert errors_conn.execute(STATE).fetchone() == before
    file.write_bytes(b"71\tgood\n")
    with errors_conn.transaction(force_rollback=True):
        errors_conn.execute(f"COPY incoming FROM '{file}'")
        assert errors_conn.execute("SELECT attributes FROM elacsym.fetch('ns', '{71}')").fetchone() == ({"title": "good"},)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_text_of_another_encoding_is_a_clear_error_and_changes_nothing(errors_conn, errors_cluster, encoding):
    """A database of another encoding can hand over text that is not UTF-8; plain ASCII works there too."""
    name = f"e_{encoding.lower()}"
    errors_cluster.sql(f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    errors_cluster.sql("CREATE EXTENSION elacsym CASCADE", dbname=name)
    with errors_cluster.connect(name) as conn:
        conn.execute("SELECT elacsym.create_namespace('ns', '{\"attributes\": {\"title\": {\"type\": \"string\", \"full_text\": true}}}')")
        conn.execute("""SELECT elacsym.upsert('ns', '{"id": 1, "attributes": {"title": "plain"}}')""")
        before = conn.execute(STATE).fetchone()
        # é in LATIN1, and no UTF-8
        bad = "convert_from('\\xe9', 'LATIN1')" if encoding == "LATIN1" else "convert_from('\\xe9', 'SQL_ASCII')"
        for call in (
            f"elacsym.upsert('ns', jsonb_build_object('id', 2, 'attributes', jsonb_build_object('title', {bad})))",
            f"elacsym.upsert('ns', 2, NULL, jsonb_build_object('title', {bad}))",
            f"elacsym.upsert({bad}, '[]')",
            f"elacsym.create_namespace({bad}, '{{\"vector_dim\": 2}}')",
            f"elacsym.drop_namespace({bad})",
            f"elacsym.flush({bad})",
            f"elacsym.delete({bad}, '{{1}}')",
            f"(SELECT count(*) FROM elacsym.fetch('ns', '{{1}}', true, ARRAY['title', {bad}]))",
            f"(SELECT count(*) FROM elacsym.query('ns', full_text => to_jsonb({bad})))",
            f"(SELECT count(*) FROM elacsym.query('ns', full_text => '\"plain\"', fusion => {bad}))",
        ):
            with pytest.raises(psycopg.Error) as raised:
                conn.execute(f"SELECT {call}")
            assert raised.value.sqlstate in ("22023", "22021"), raised.value
            assert "UTF-8" in raised.value.diag.message_primary and "UTF8" in raised.value.diag.message_hint
            assert conn.execute(STATE).fetchone() == before
        assert conn.execute("SELECT attributes FROM elacsym.query('ns', full_text => '\"plain\"', include_attributes => '{title}')").fetchone() == ({"title": "plain"},)
