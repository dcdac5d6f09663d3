"""The steps of contract.py for a store in a process of its own: the data comes as JSON on stdin, the answers leave as JSON on stdout."""

import json
import os
import sys

CONTRACT = json.load(sys.stdin)
URL = os.environ["DATABASE_URL"]
GENERIC = "options=-cplan_cache_mode%3Dforce_generic_plan"
ROWS = [r for r in CONTRACT["rows"] if r["embedding"]]  # a document of a store always has a vector
BY_ID = {r["id"]: r for r in ROWS}
K = CONTRACT["k"]
UNCHANGED = ("all", "category", "years", "either", "rare")


def sqlalchemy_url(driver: str, query: str = "") -> str:
    """DATABASE_URL for SQLAlchemy."""
    return URL.replace("postgresql://", f"postgresql+{driver}://") + (f"?{query}" if query else "")


def hybrid(connection, index: str, table: str, id_column: str) -> dict[str, list]:
    """Hybrid search as raw SQL over a psycopg connection."""
    if not CONTRACT["ours"]:
        return {}
    values = [str(CONTRACT["query"]), "zebra"]
    by_ctid = CONTRACT["hybrid"].replace("t.id", f"t.{id_column}").format(index=index, table=table, q="%s", words="%s")
    by_key = CONTRACT["hybridKeys"].format(index=index, q="%s", words="%s")
    return {"hybrid": connection.execute(by_ctid, values).fetchall(), "hybrid keys": connection.execute(by_key, values).fetchall()}


def run(store) -> dict[str, list]:
    """All steps but hybrid search."""
    query = CONTRACT["query"]
    store.create()
    store.insert(ROWS)
    seen = {where: store.nearest(query, where) for where in UNCHANGED}
    seen["generic"] = store.generic(query)
    for moved in CONTRACT["moved"]:
        store.update({**BY_ID[moved["id"]], "embedding": moved["embedding"], "category": "moved"})
    seen["moved"] = store.nearest(query, "moved")
    seen["all moved"] = store.nearest(query, "all")
    store.delete([id for id, _ in seen["all moved"][:3]])
    seen["all deleted"] = store.nearest(query, "all")
    return seen
