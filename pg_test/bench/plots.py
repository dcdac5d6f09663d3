"""Recall and queries per second as pictures."""

import re
from pathlib import Path

from .report import OURS, by_contender

COLOURS = {
    "elacsym": "#d1495b",
    "pgvector HNSW": "#00798c",
    "pgvector IVFFlat": "#66a182",
    "VectorChord": "#2e4057",
    "no index (exact)": "#8d8d8d",
}
MARKERS = "osD^vP*X"


def draw(result: dict, directory: Path) -> dict[str, str]:
    """One picture of each search and of each set of filters, in `directory`; what it shows → path from the page beside the directory."""
    import matplotlib  # only here: the tests of the rest do without it

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pictures = {}
    directory.mkdir(parents=True, exist_ok=True)
    for one in result["sets"]:
        charts = {"search": [one["search"]] if one.get("search") else [], "filters": one.get("filters") or []}
        for what, curves in charts.items():
            if not curves:
                continue
            columns = min(2, len(curves))
            lines = -(-len(curves) // columns)
            figure, axes = pyplot.subplots(lines, columns, figsize=(6.4 * columns, 4.4 * lines), squeeze=False, layout="constrained")
            for axis, curve in zip(axes.flat, curves):
                _curve(axis, curve["points"])
                axis.set_title(f"{one['name']}, {curve['name']}", fontsize=10)
            for axis in list(axes.flat)[len(curves) :]:
                axis.set_visible(False)
            file = directory / (re.sub(r"[^a-z0-9]+", "-", f"{one['name']} {what}".lower()).strip("-") + ".png")
            figure.savefig(file, dpi=110)
            pyplot.close(figure)
            pictures[f"{one['name']}/{what}"] = f"{directory.name}/{file.name}"
    return pictures


def _curve(axis, points: list[dict]) -> None:
    for i, (title, own) in enumerate(by_contender(points).items()):
        own = sorted(own, key=lambda p: p["recall"])
        axis.plot(
            [p["recall"] for p in own], [p["qps"] for p in own], label=title, color=COLOURS.get(title), marker=MARKERS[i % len(MARKERS)], markersize=5,
            linewidth=2.2 if title == OURS else 1.4,
        )  # fmt: skip
    axis.set_yscale("log")
    axis.set_xlabel("recall")
    axis.set_ylabel("queries per second, one client")
    least = min((p["recall"] for p in points), default=0.0)
    axis.set_xlim(max(0.0, min(0.8, least) - 0.01), 1.005)
    axis.grid(True, which="both", linewidth=0.3)
    axis.legend(fontsize=8)
