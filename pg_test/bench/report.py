"""The report: Markdown between two marker lines of a page, and what to say on the terminal."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from .curves import Reading, at_recall

BEGIN = "<!-- from here on written by make bench -->"
END = "<!-- up to here written by make bench -->"
RECALLS = (0.95, 0.99)
OURS = "elacsym"


class NoMarkers(Exception):
    """The page has no place for the report."""


def insert(page: str, generated: str) -> str:
    """The page with everything between the markers replaced."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise NoMarkers(f"the page has no lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{generated.strip()}\n\n{END}{after}"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; the first column is to the left, numbers to the right."""
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join("---" if i == 0 else "--:" for i in range(len(head))) + "|"]
    lines += ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def number(value: float | None) -> str:
    """Three significant digits, thousands separated; a dash for nothing."""
    if value is None:
        return "—"
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{min(9, 2 - math.floor(math.log10(abs(value))))}f}"


def size(count: float | None) -> str:
    """Bytes in the unit that suits."""
    if count is None:
        return "—"
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000 or unit == "GB":
            return f"{number(count) if unit != 'B' else f'{count:.0f}'} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def reading(value: Reading | None, greater_is_better: bool = True) -> str:
    """A value read off a curve; where it is a bound, the side on which the true one lies."""
    if value is None:
        return "not reached"
    side = ("≥ " if greater_is_better else "≤ ") if value.bound else ""
    return side + number(value.value)


def ratio(ours: float, theirs: float) -> str:
    """How many times the first is of the second."""
    return f"{number(ours / theirs)} ×"


def fraction(ours: float, theirs: float) -> str:
    """The same of costs: below one as one over a number."""
    return ratio(ours, theirs) if ours > theirs else "1/" + number(theirs / ours)


def render(result: dict, pictures: dict[str, str]) -> str:
    """The whole generated part. `pictures`: what `picture_key` names → path from the page."""
    parts = [_machine(result)]
    for one in result["sets"]:
        parts.append(f"### {one['name']}")
        parts.append(
            f"{one['about']}; {one['rows']:,} rows of {one['dim']} dimensions, distance {one['metric']}, k = {one['k']}, {one['queries']} queries."
            + (f" Texts: {one['text_rows']:,} documents." if one.get("text_rows") else "")
        )
        if one.get("build"):
            parts += ["#### Build", _build(one)]
        if one.get("search"):
            parts += ["#### Search, one client, warm", _search(one, pictures)]
        if one.get("filters"):
            parts += ["#### Search with a filter", _filters(one, pictures)]
        if one.get("clients"):
            parts += ["#### Many clients", _clients(one)]
        if one.get("insert"):
            parts += ["#### Insert", _insert(one)]
        if one.get("vacuum"):
            rows = [[v["contender"], number(v["seconds"]), number(v["cpu"]), size(v["wal"])] for v in one["vacuum"]]
            parts += ["#### VACUUM after deleting every tenth row", table(["index", "seconds", "CPU s", "WAL"], rows)]
        for part, title in (("text", "#### Text"), ("hybrid", "#### Hybrid")):
            if one.get(part):
                parts += [title, _latencies(one, part)]
    return "\n\n".join(parts)


def _machine(result: dict) -> str:
    machine = result["machine"]
    lines = [
        f"Measured on {result['date']} at commit {result['commit']}: {machine['cpu']}, {machine['cores']} cores, {size(machine['memory'])} of memory,"
        f" {machine['system']}; {result['postgresql']}; " + ", ".join(f"{name} {version}" for name, version in result["extensions"].items()) + ".",
        "Settings: " + ", ".join(f"`{name} = {value}`" for name, value in result["settings"].items()) + f". Each point: {result['seconds']:g} s.",
    ]
    if result["missing"]:
        lines.append("Not run: " + "; ".join(f"{title} ({reason})" for title, reason in result["missing"].items()) + ".")
    return "\n\n".join(lines)


def _build(one: dict) -> str:
    rows = []
    for b in one["build"]:
        other = b["bytes"].get("rows")
        documents = b.get("documents", one["rows"])
        rows.append(
            [b["contender"] + (f" ({documents:,} documents)" if "documents" in b else ""), number(b["seconds"]), number(b["cpu"]), size(b["wal"]), size(b["peak_memory"]),
             size(b["bytes"]["index"]), number(b["bytes"]["index"] / documents), size(other) if other else "—"]
        )  # fmt: skip
    head = ["index", "seconds", "CPU s", "WAL", "memory, peak", "index", "bytes a row", "rows in object storage"]
    statements = "\n".join(s + ";" for b in one["build"] for s in b["statements"])
    return table(head, rows) + f"\n\n<details><summary>Statements</summary>\n\n```\n{statements}\n```\n\n</details>"


def by_contender(points: Sequence[dict]) -> dict[str, list[dict]]:
    """Points under their contender's title, in order."""
    grouped: dict[str, list[dict]] = {}
    for point in points:
        grouped.setdefault(point["contender"], []).append(point)
    return grouped


def readings_table(points: Sequence[dict]) -> str:
    """Queries a second and processor time at each recall of RECALLS, and how many times the others' elacsym's is."""
    grouped = by_contender(points)
    head = ["contender"]
    for recall in RECALLS:
        head += [f"queries/s at {recall}", "elacsym is", f"CPU ms at {recall}", "elacsym uses"]
    rows = []
    for title, own in grouped.items():
        row = [title]
        for recall in RECALLS:
            for what, greater in (("qps", True), ("cpu_ms", False)):
                theirs, ours = at_recall(own, recall, what, greater), at_recall(grouped.get(OURS, []), recall, what, greater)
                row.append(reading(theirs, greater))
                if title == OURS or theirs is None or ours is None:
                    row.append("—")
                else:
                    about = "≈ " if ours.bound or theirs.bound else ""
                    row.append(about + (ratio if greater else fraction)(ours.value, theirs.value))
        rows.append(row)
    return table(head, rows)


def _points_table(points: Sequence[dict], filtered: bool) -> str:
    head = ["contender", "effort", "recall", "queries/s", "p50 ms", "p99 ms", "CPU ms", "backend's memory", "engine's"]
    if filtered:
        head.insert(3, "full answers")
    rows = []
    for p in points:
        row = [p["contender"], p["effort"] + (" (default)" if p["default"] else ""), f"{p['recall']:.4f}", number(p["qps"]), number(p["p50_ms"]), number(p["p99_ms"]),
               number(p["cpu_ms"]), size(p["memory"]["backend"]), size(p["memory"]["engine"]) if p["memory"]["engine"] else "—"]  # fmt: skip
        if filtered:
            row.insert(3, f"{p['full_answers']:.1%}")
        rows.append(row)
    return table(head, rows)


def _search(one: dict, pictures: dict[str, str]) -> str:
    points = one["search"]["points"]
    parts = [f"![recall and queries per second, {one['name']}]({pictures[one['name'] + '/search']})"] if f"{one['name']}/search" in pictures else []
    return "\n\n".join([*parts, readings_table(points), "<details><summary>All points</summary>", _points_table(points, False), "</details>"])


def _filters(one: dict, pictures: dict[str, str]) -> str:
    parts = [f"![recall and queries per second with filters, {one['name']}]({pictures[one['name'] + '/filters']})"] if f"{one['name']}/filters" in pictures else []
    for filtered in one["filters"]:
        parts += [
            f"**{filtered['name']}**: {filtered['share']:.2%} of the rows match `{filtered['sql']}`.",
            readings_table(filtered["points"]),
            "<details><summary>All points</summary>",
            _points_table(filtered["points"], True),
            "</details>",
        ]
    return "\n\n".join(parts)


def _clients(one: dict) -> str:
    rows = []
    for entry in sorted(one["clients"], key=lambda e: [c["contender"] for c in one["clients"]].index(e["contender"])):
        rows.append(
            [f"{entry['contender']}, {entry['effort']}", entry["clients"], number(entry["qps"]), number(entry["p50_ms"]), number(entry["p99_ms"]), number(entry["cpu_ms"]),
             size(entry["memory"]["backend"])]
        )  # fmt: skip
    return table(["contender, effort", "clients", "queries/s", "p50 ms", "p99 ms", "CPU ms a query", "a backend's memory"], rows)


def _insert(one: dict) -> str:
    ours = next((entry for entry in one["insert"] if entry["key"] == OURS), None)
    rows = []
    for entry in one["insert"]:
        batch, single = entry["batch"], entry["one"]
        rows.append(
            [entry["contender"], number(batch["rows_per_second"]), number(batch["rows_per_second_settled"]), number(batch["cpu_ms_per_row"]), number(batch["wal_bytes_per_row"]),
             "—" if not ours or entry is ours else ratio(ours["batch"]["rows_per_second"], batch["rows_per_second"]),
             number(single["rows_per_second"]), number(single["cpu_ms_per_row"])]
        )  # fmt: skip
    head = ["index", "rows/s, batches of 1,000", "with the flush", "CPU ms a row", "WAL bytes a row", "elacsym is", "commits/s, single rows", "CPU ms a row"]
    return table(head, rows)


def _latencies(one: dict, part: str) -> str:
    parts = []
    for kind in dict.fromkeys(entry["kind"] for entry in one[part]):
        entries = [entry for entry in one[part] if entry["kind"] == kind]
        ours = entries[0]
        rows = [
            [e["contender"], number(e["qps"]), number(e["p50_ms"]), number(e["p99_ms"]), number(e["cpu_ms"]), "—" if e is ours else ratio(e["cpu_ms"], ours["cpu_ms"]), number(e["answered"])]
            for e in entries
        ]
        parts += [f"**{kind}**", table(["contender", "queries/s", "p50 ms", "p99 ms", "CPU ms", "CPU, of the first", "rows answered"], rows)]
    return "\n\n".join(parts)


def write(page: Path, generated: str) -> None:
    """Replaces the generated part of the page."""
    page.write_text(insert(page.read_text(encoding="utf-8"), generated), encoding="utf-8")
