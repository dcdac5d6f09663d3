"""rows.parquet is standard Parquet: another engine (DuckDB) reads the same rows and vectors."""

import json
import uuid
from pathlib import Path

import duckdb

SCHEMA = {
    "vector_dim": 8,
    "vector_metric": "l2",
    "attributes": {
        "title": {"type": "string", "full_text": True},
        "year": "int",
        "score": "float",
        "live": "bool",
        "tags": "array_string",
        "seen": "timestamp",
        "ref": "uuid",
        "sizes": "array_int",
    },
}


def test_duckdb_finds_the_same_rows_and_vectors(db):
    documents = {}
    for i in range(1, 501):
        document = {"id": i, "attributes": {"title": f"document number {i} é", "year": 1500 + i, "live": i % 2 == 0}}
        if i % 7:
            document["vector"] = [float((i * (j + 3)) % 17) / 4 - 1 for j in range(8)]
        if i % 3:
            document["attributes"] |= {"score": i / 8, "tags": [f"t{i % 5}", "all"], "sizes": [i, -i], "ref": str(uuid.UUID(int=i)), "seen": f"1999-12-31T23:59:59.{i:06}Z"}
        documents[i] = document
    db.sql("SELECT elacsym.create_namespace('docs', %s)", [json.dumps(SCHEMA)])
    db.sql("SELECT elacsym.upsert('docs', %s::jsonb)", [json.dumps(list(documents.values()))])
    assert db.value("SELECT elacsym.flush('docs')") in (500, 0)  # 0: the maintenance worker was faster
    files = [
        str(Path(root) / path / "rows.parquet")
        for root, path in db.sql("SELECT replace(root, 'pgdata:', current_setting('data_directory') || '/'), path FROM elacsym.segments WHERE rows > 0")
    ]
    assert files
    rows = duckdb.connect().execute("SELECT id, vector, title, year, score, live, tags, sizes, ref, epoch_us(seen), typeof(seen) FROM read_parquet(?)", [files]).fetchall()
    assert len(rows) == 500
    for key, vector, title, year, score, live, tags, sizes, ref, seen, kind in rows:
        attributes = documents[key]["attributes"]
        assert vector == documents[key].get("vector")
        assert (title, year, live) == (attributes["title"], attributes["year"], attributes["live"])
        assert (score, tags, sizes) == (attributes.get("score"), attributes.get("tags"), attributes.get("sizes"))
        assert (ref, kind) == (uuid.UUID(int=key) if key % 3 else None, "TIMESTAMP WITH TIME ZONE")
        # microseconds since 1970
        assert seen == (946_684_799_000_000 + key if key % 3 else None)
