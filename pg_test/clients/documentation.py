"""The code of docs/clients.md, which the tests run as it stands there."""

import re
from pathlib import Path

from contract import AM

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/clients.md"

# What the document says → what pgvector wants in its place, when the suite is proved with that
WITH_PGVECTOR = {
    'suffix = "elacsym"': 'suffix = "hnsw"',
    'index_type: str = "elacsym"': 'index_type: str = "hnsw"',
    'extension_name: str = "elacsym"': 'extension_name: str = "vector"',
    "vector_cosine_ops, content bm25_ops, category, year": "vector_cosine_ops",
    "(recall_target = 0.95)": "(m = 16)",
    "SET elacsym.replace_hnsw = on": "SET hnsw.ef_search = 60",
    "CREATE EXTENSION IF NOT EXISTS elacsym": "CREATE EXTENSION IF NOT EXISTS vector",
    "USING elacsym (embedding vector_cosine_ops, body bm25_ops, category, year)": "USING hnsw (embedding vector_cosine_ops)",
}


def block(name: str, missing_ok: bool = False) -> str | None:
    """The code block below the comment `<!-- run: NAME -->`, for the access method under test."""
    found = re.search(rf"<!-- run: {re.escape(name)} -->\n+```\w*\n(.*?)```", DOCUMENT.read_text(), re.S)
    if found is None:
        if missing_ok:
            return None
        raise KeyError(f"{DOCUMENT.name} has no block {name!r}")
    code = found[1]
    if AM != "elacsym":
        for ours, theirs in WITH_PGVECTOR.items():
            code = code.replace(ours, theirs)
    return code
