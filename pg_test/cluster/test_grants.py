"""Who may use a namespace: the owner's role, superusers, and whom they grant it."""

import json

import psycopg
import pytest

from harness import Cluster

pytestmark = pytest.mark.every_pg

ROLES = ["owner", "member", "reader", "writer", "team", "player", "nobody"]
READS = [
    "SELECT count(*) FROM elacsym.fetch('ns', '{1}')",
    "SELECT count(*) FROM elacsym.query('ns', '[1,1]')",
    "SELECT count(*) FROM elacsym.scan('ns')",
]
WRITES = [
    "SELECT elacsym.upsert('ns', '{\"id\": 1, \"vector\": [1, 1]}')",
    "SELECT elacsym.upsert('ns', 1, '[1,1]')",
    "SELECT elacsym.patch('ns', '{\"id\": 1, \"attributes\": {\"a\": 1}}')",
    "SELECT elacsym.delete('ns', '{7}')",
    "SELECT elacsym.flush('ns')",
    "SELECT elacsym.compact('ns')",
]
BOTH = [
    "SELECT elacsym.upsert_if('ns', '{\"id\": 1, \"vector\": [1, 1]}', '{\"type\": \"exists\"}')",
    "SELECT elacsym.patch_if('ns', '{\"id\": 1}', '{\"type\": \"exists\"}')",
    "SELECT elacsym.delete_if('ns', '{7}', '{\"type\": \"exists\"}')",
    "SELECT elacsym.delete_where('ns', '{\"field\": \"a\", \"op\": \"eq\", \"value\": 7}')",
    "SELECT elacsym.patch_where('ns', '{\"field\": \"a\", \"op\": \"eq\", \"value\": 7}', '{}')",
]
OWNS = [
    "SELECT elacsym.grant('ns', 'nobody', 'read'); SELECT elacsym.revoke('ns', 'nobody', 'read')",
    "SELECT elacsym.revoke('ns', 'nobody', 'write')",
    "BEGIN; SELECT elacsym.drop_namespace('ns'); ROLLBACK",
]


@pytest.fixture(scope="module")
def grants_cluster():
    with Cluster("grants", config={"elacsym.flush_interval": "1h"}) as cluster:
        cluster.start()
        for role in ROLES:
            cluster.sql(f"CREATE ROLE {role} LOGIN")
        cluster.sql("GRANT owner TO member; GRANT team TO player")
        yield cluster


@pytest.fixture
def c(grants_cluster, request):
    """Connections by role to a fresh database, where `owner` owns the namespace `ns`."""
    name = f"g{abs(hash(request.node.name)) % 10**8}"
    grants_cluster.create_database(name)
    connections = {role: grants_cluster.connect(name, user=role) for role in ["postgres", *ROLES]}
    schema = {"vector_dim": 2, "attributes": {"a": "int"}}
    connections["owner"].execute("SELECT elacsym.create_namespace('ns', %s)", [json.dumps(schema)])
    connections["owner"].execute(WRITES[0])
    yield connections
    for conn in connections.values():
        conn.close()
    grants_cluster.sql(f'DROP DATABASE "{name}" WITH (FORCE)')


def allowed(conn, statements):
    def works(statement):
        try:
            conn.execute(statement)
        except psycopg.errors.InsufficientPrivilege as error:
            conn.execute("ROLLBACK")
            assert str(error).startswith('permission denied for namespace "ns"') and error.diag.message_hint, error
            return False
        return True

    answers = {works(statement) for statement in statements}
    assert len(answers) == 1, (conn.info.user, answers)
    return answers.pop()


def rights(conn):
    """Which of reading, writing, both together and owning."""
    found = "".join(letter for letter, statements in zip("rwbo", (READS, WRITES, BOTH, OWNS)) if allowed(conn, statements))
    sees = conn.execute("SELECT count(*) FROM elacsym.namespaces").fetchone()[0] == 1
    segments = conn.execute("SELECT count(*) FROM elacsym.segments").fetchone()[0] > 0
    assert sees == segments == ("r" in found), (conn.info.user, found, sees, segments)
    return found


def all_rights(c):
    return {role: rights(conn) for role, conn in c.items()}


NONE = {"postgres": "rwbo", "owner": "rwbo", "member": "rwbo", "reader": "", "writer": "", "team": "", "player": "", "nobody": ""}


def grant(conn, role, privilege, function="grant"):
    conn.execute(f"SELECT elacsym.{function}('ns', %s, %s)", [role, privilege])


def test_a_role_may_do_what_was_granted_to_it_and_nothing_else(c):
    c["owner"].execute("SELECT elacsym.flush('ns')")
    assert all_rights(c) == NONE
    grant(c["owner"], "reader", "read")
    grant(c["member"], "writer", "write")
    grant(c["postgres"], "team", "read")
    grant(c["owner"], "team", "write")
    grant(c["owner"], "team", "write")
    assert all_rights(c) == NONE | {"reader": "r", "writer": "w", "team": "rwb", "player": "rwb"}
    grant(c["owner"], "team", "read", "revoke")
    grant(c["owner"], "writer", "write", "revoke")
    grant(c["owner"], "writer", "write", "revoke")
    assert all_rights(c) == NONE | {"reader": "r", "team": "w", "player": "w"}
    grant(c["owner"], "public", "read")
    assert all_rights(c) == {r: (set(NONE[r]) and "rwbo") or ("rwb" if r in ("team", "player") else "r") for r in NONE}
    grant(c["owner"], "public", "read", "revoke")
    assert rights(c["nobody"]) == "" and rights(c["reader"]) == "r"


def test_a_grant_belongs_to_its_transaction_and_counts_at_once(c):
    with c["owner"].transaction(force_rollback=True):
        grant(c["owner"], "reader", "read")
        assert not allowed(c["reader"], READS)
    assert not allowed(c["reader"], READS)
    with c["owner"].transaction():
        grant(c["owner"], "reader", "read")
    with c["reader"].transaction():
        assert c["reader"].execute(READS[0]).fetchone() == (1,)
        grant(c["owner"], "reader", "read", "revoke")
        with pytest.raises(psycopg.errors.InsufficientPrivilege), c["reader"].transaction():
            c["reader"].execute(READS[0])
    c["owner"].execute("SELECT elacsym.grant('ns', r, 'read'), elacsym.grant('ns', r, 'read') FROM unnest('{reader,writer,reader}'::text[]) r")
    assert c["owner"].execute("SELECT * FROM elacsym.grants ORDER BY role").fetchall() == [("ns", "reader", "read"), ("ns", "writer", "read")]


def test_grants_are_shown_to_the_owner_and_to_whom_they_were_made(c):
    grant(c["owner"], "reader", "read")
    grant(c["owner"], "team", "write")
    shown = lambda role: c[role].execute("SELECT role, privilege FROM elacsym.grants ORDER BY role").fetchall()
    every = [("reader", "read"), ("team", "write")]
    assert [shown(role) for role in ("postgres", "owner", "member", "reader", "player", "nobody")] == [every, every, every, every[:1], every[1:], []]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        c["reader"].execute("SELECT * FROM elacsym.namespace_grant")


def test_wrong_grants_are_errors(c):
    for arguments, code in [
        (("ns", "reader", "execute"), "22023"),
        (("ns", "stranger", "read"), "42704"),
        (("other", "reader", "read"), "42704"),
        ((None, "reader", "read"), "22004"),
        (("ns", None, "read"), "22004"),
        (("ns", "reader", None), "22004"),
    ]:
        for function in ("grant", "revoke"):
            with pytest.raises(psycopg.Error) as error:
                c["owner"].execute(f"SELECT elacsym.{function}(%s, %s, %s)", arguments)
            assert error.value.sqlstate == code, (arguments, error.value)


def test_renamed_roles_keep_grants_and_dropped_ones_harm_nothing(c, grants_cluster):
    grants_cluster.sql("CREATE ROLE brief LOGIN; CREATE ROLE brief_owner LOGIN")
    grant(c["owner"], "brief", "read")
    grants_cluster.sql("ALTER ROLE brief RENAME TO brief2")
    assert ("ns", "brief2", "read") in c["owner"].execute("SELECT * FROM elacsym.grants").fetchall()
    with grants_cluster.connect(c["owner"].info.dbname, user="brief2") as conn:
        assert allowed(conn, READS)
        conn.execute("RESET ROLE")
    with grants_cluster.connect(c["owner"].info.dbname, user="brief_owner") as conn:
        conn.execute("SELECT elacsym.create_namespace('orphan', '{\"attributes\": {\"a\": \"int\"}}')")
    grants_cluster.sql("DROP ROLE brief2; DROP ROLE brief_owner")
    assert rights(c["owner"]) == "rwbo" and rights(c["nobody"]) == ""
    assert c["owner"].execute("SELECT count(*) FROM elacsym.grants").fetchone()[0] == 1
    grant(c["owner"], "reader", "read")
    assert allowed(c["reader"], READS)
    root = c["postgres"]
    root.execute("SELECT elacsym.upsert('orphan', '{\"id\": 1}')")
    assert root.execute("SELECT count(*) FROM elacsym.namespaces").fetchone()[0] == 2
    root.execute("SELECT elacsym.drop_namespace('orphan'), elacsym.drop_namespace('ns')")
    assert root.execute("SELECT count(*) FROM elacsym.namespace_grant").fetchone()[0] == 0
