"""What a run does: each option is an argument or an environment variable BENCH_…; the argument wins."""

import argparse
import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness import REPO

# vacuum runs only when asked for: HNSW has to mend its whole graph.
PARTS = ("search", "filters", "clients", "insert", "vacuum", "text", "hybrid")
DEFAULT_PARTS = tuple(part for part in PARTS if part != "vacuum")
METRICS = ("cosine", "l2", "ip")

# name, default, what it is
TABLE = (
    ("data", "generated arxiv", "data sets: generated, generated:ROWSxDIM, arxiv, scifact, or a path to .fvecs or .parquet files"),
    ("rows", "100000", "rows of `generated`; more than a file has means all of it"),
    ("dim", "384", "dimensions of `generated`"),
    ("texts", "20000", "documents of the text and hybrid parts, at most as many as the set has"),
    ("queries", "500", "queries that recall is measured with"),
    ("k", "10", "rows asked for"),
    ("seconds", "2", "time that each point of a curve is measured for"),
    ("contenders", "", "keys of the contenders to run, besides elacsym; default: all that are found"),
    ("parts", " ".join(DEFAULT_PARTS), "parts of the run: " + ", ".join(PARTS)),
    ("metric", "cosine", "distance: " + ", ".join(METRICS)),
    ("seed", "1", "seed of `generated`"),
    ("shared_buffers", "", "default: a quarter of the memory, at most 8GB"),
    ("build_memory", "512MB", "elacsym.build_memory"),
    ("render", "", "a kept result (JSON) to write the page from; nothing is measured"),
    ("out", str(REPO / "docs" / "performance.md"), "file whose generated part is written; pictures go to a directory of that name beside it"),
)


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of one run."""

    data: tuple[str, ...]
    rows: int
    dim: int
    texts: int
    queries: int
    k: int
    seconds: float
    contenders: tuple[str, ...]
    parts: tuple[str, ...]
    metric: str
    seed: int
    shared_buffers: str
    build_memory: str
    render: str
    out: Path


def words(value: str) -> tuple[str, ...]:
    return tuple(value.replace(",", " ").split())


CONVERT = {
    "data": lambda value: tuple(value.split()),
    "contenders": words,
    "parts": words,
    "seconds": float,
    "out": Path,
    **dict.fromkeys(("rows", "dim", "texts", "queries", "k", "seed"), int),
}


def parse(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Options:
    """The options that arguments and environment say; a wrong one ends the program with the reason."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    for name, default, meaning in TABLE:
        parser.add_argument("--" + name.replace("_", "-"), default=environment.get("BENCH_" + name.upper()) or default, help=f"{meaning} (default {default or 'none'})")
    given = vars(parser.parse_args(arguments))
    # where relative paths start: the script changes the directory
    start = Path(environment.get("BENCH_FROM", "."))
    try:
        options = Options(**{name: CONVERT.get(name, str)(value) for name, value in given.items()})
    except ValueError as error:
        parser.error(str(error))
    data = tuple(str(start / word) if word.endswith((".fvecs", ".parquet")) else word for word in options.data)
    render = str(start / options.render) if options.render else ""
    options = dataclasses.replace(options, data=data, render=render, out=start / options.out)
    for name in ("rows", "dim", "texts", "queries", "k", "seconds"):
        if getattr(options, name) <= 0:
            parser.error(f"{name}: must be above 0")
    if options.metric not in METRICS:
        parser.error(f"metric: {options.metric!r} is none of {', '.join(METRICS)}")
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"parts: {', '.join(sorted(unknown))}: there are {', '.join(PARTS)}")
    return options
