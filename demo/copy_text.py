"""Prints the demo's data in COPY's text format: copy_text.py sections|questions|qrels. Needs only Python 3."""

import gzip
import json
import struct
import sys
from pathlib import Path

DATA = Path(__file__).parent / "pgdocs"
DIMENSIONS = 384
ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def records(name: str):
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as f:
        yield from map(json.loads, f)


def embeddings(name: str):
    """One vector a record, in the text form of the type `vector`."""
    row = struct.Struct(f"<{DIMENSIONS}e")
    for values in row.iter_unpack((DATA / f"{name}_emb.f16").read_bytes()):
        # a half float has 11 significant bits: seven digits keep it exactly
        yield "[" + ",".join(f"{v:.7g}" for v in values) + "]"


def copy(*columns) -> None:
    sys.stdout.write("\t".join(str(c).translate(ESCAPES) for c in columns) + "\n")


def main(what: str) -> None:
    if what == "sections":
        for record, vector in zip(records("corpus"), embeddings("corpus"), strict=True):
            copy(record.pop("id"), vector, json.dumps(record, ensure_ascii=False))
    elif what == "questions":
        for record, vector in zip(records("queries"), embeddings("queries"), strict=True):
            copy(record["id"], record["text"], record["type"], vector)
    elif what == "qrels":
        sys.stdout.writelines((DATA / "qrels.tsv").read_text().splitlines(keepends=True)[1:])
    else:
        sys.exit(f"copy_text.py: no data called {what}")


if __name__ == "__main__":
    main(sys.argv[1])
