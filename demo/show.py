"""Shows what the demo's three ways to search answered. Needs only Python 3; reads through psql.

    show.py PSQL [ARGUMENT…] -- OBJECT_DIRECTORY
"""

import json
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

WAYS = ["vector", "text", "hybrid"]
# nDCG@10 on this data, from pgdocs/README.md: exact cosine, BM25 and their fusion, computed without any database
REFERENCE = {"vector": "0.513", "text": "0.485-0.488", "hybrid": "0.547-0.582"}
# one of each kind, and one more where words and meaning part ways
SHOWN = [1, 27, 33, 70]
SHOWN_RESULTS = 5


def psql_json(psql: list[str], query: str):
    out = subprocess.run([*psql, "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", f"SELECT coalesce(json_agg(t), '[]') FROM ({query}) t"], check=True, capture_output=True, text=True)
    return json.loads(out.stdout)


def cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def human(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024 or unit == "MiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError


def heading(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}")


def questions(psql: list[str]) -> None:
    width = max(100, min(160, shutil.get_terminal_size((120, 40)).columns))
    column = (width - 6) // 3
    wanted = ",".join(map(str, SHOWN))
    rows = psql_json(psql, f"SELECT a.*, r.grade FROM answers a LEFT JOIN qrels r USING (question, section) WHERE question IN ({wanted}) ORDER BY question, way, rank")
    texts = psql_json(psql, f"SELECT id, text, type FROM questions WHERE id IN ({wanted}) ORDER BY id")
    times = {(t["question"], t["way"]): t["ms"] for t in psql_json(psql, f"SELECT * FROM timings WHERE question IN ({wanted})")}
    answers = defaultdict(list)
    for row in rows:
        answers[row["question"], row["way"]].append(row)
    heading(f"{len(texts)} of 80 questions, the best {SHOWN_RESULTS} sections each way   (** answers it, * related, by the judgements that come with the data)")
    for q in texts:
        heading(f"{q['text']}   [{q['type']}]")
        titles = [f"{way}, {times[q['id'], way]:.1f} ms" for way in WAYS]
        print(" │ ".join(f"{t:<{column}}" for t in titles))
        print("─┼─".join("─" * column for _ in WAYS))
        for i in range(SHOWN_RESULTS):
            cells = []
            for way in WAYS:
                found = answers[q["id"], way]
                cells.append(f"{'*' * (found[i]['grade'] or 0):<2} {found[i]['title']}" if i < len(found) else "")
            print(" │ ".join(f"{cut(c, column):<{column}}" for c in cells))


def quality(psql: list[str]) -> None:
    rows = psql_json(psql, "SELECT way, type, avg(ndcg) AS ndcg FROM ndcg GROUP BY GROUPING SETS ((way), (way, type))")
    times = {
        t["way"]: t
        for t in psql_json(psql, "SELECT way, percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) AS median, max(ms) AS slowest FROM timings GROUP BY way")
    }
    values = {(r["way"], r["type"]): r["ndcg"] for r in rows}
    heading("All 80 questions: nDCG@10 (1 = the best order possible)")
    types = ["lexical", "natural", "keyword"]
    print(f"{'':8} {'all':>7}  {'reference':<12} " + "".join(f"{t:>9}" for t in types) + f"{'median':>11}{'slowest':>11}")
    for way in WAYS:
        print(
            f"{way:8} {values[way, None]:7.3f}  {REFERENCE[way]:<12} "
            + "".join(f"{values[way, t]:9.3f}" for t in types)
            + f"{times[way]['median']:8.1f} ms{times[way]['slowest']:8.1f} ms"
        )
    print("reference: exact search, BM25 over title and body as one field, and their fusion, computed without a database (pgdocs/README.md)")


def where_the_bytes_are(psql: list[str], directory: Path) -> None:
    heading(f"Where the bytes are: {directory}")
    columns = ["segment", "rows", "vectors", "dead_rows", "bytes", "parquet_bytes", "index_bytes"]
    segments = psql_json(psql, f"SELECT {', '.join(columns)} FROM elacsym.segments WHERE namespace = 'manual' ORDER BY segment")
    files = sorted((f for f in directory.rglob("*") if f.is_file()), key=str)
    for file in files:
        print(f"{human(file.stat().st_size):>10}  {file.relative_to(directory)}")
    parquet = sum(f.stat().st_size for f in files if f.suffix == ".parquet")
    total = sum(f.stat().st_size for f in files)
    print(f"{human(total):>10}  in {len(files)} files, {human(parquet)} of it plain Parquet: DuckDB, Polars and Spark read it")
    left = psql_json(psql, "SELECT count(*) AS rows, pg_total_relation_size('elacsym.wal') AS size FROM elacsym.wal")[0]
    print(f"{left['rows']:>10}  rows left in the write buffer (table elacsym.wal: {human(left['size'])}, which VACUUM makes free for new rows)")
    print(f"\nview elacsym.segments, {len(segments)} row{'s' if len(segments) != 1 else ''}:")
    widths = [max(len(c), *(len(str(segment[c])) for segment in segments)) if segments else len(c) for c in columns]
    print("   " + "  ".join(f"{c:>{w}}" for c, w in zip(columns, widths)))
    for segment in segments:
        print("   " + "  ".join(f"{segment[c]!s:>{w}}" for c, w in zip(columns, widths)))


def main() -> None:
    split = sys.argv.index("--")
    psql, directory = sys.argv[1:split], Path(sys.argv[split + 1])
    questions(psql)
    where_the_bytes_are(psql, directory)
    quality(psql)


main()
