"""One run: every data set, every contender that is here, every part; then the report."""

import json
import sys
import time
from pathlib import Path

from harness import STATE, Cluster

from . import clients, inserts, machine, parts, plots, report
from .contenders import HYBRID, KEYS, TEXT, VECTOR
from .data import SHARED_SETS, Absent, Dataset, open_dataset
from .filters import FILTERS, NONE
from .load import DOCS, ITEMS, load_docs, load_items
from .options import Options, parse
from .server import Server, settings
from .truth import cached

STARTED = time.monotonic()


class Refused(Exception):
    """The options ask for something that there is not."""


def say(text: str) -> None:
    """A line of progress."""
    seconds = int(time.monotonic() - STARTED)
    print(f"[{seconds // 60:02d}:{seconds % 60:02d}] {text}", flush=True)


def chosen(contenders, options: Options):
    """Those that the options name; elacsym's own always."""
    return [c for c in contenders if not options.contenders or c.key in options.contenders or c.key.startswith("elacsym")]


def present(server: Server, contenders, missing: dict[str, str]) -> list:
    """Those that the server has; the others are noted with the reason."""
    found = []
    for contender in contenders:
        if reason := contender.missing(server):
            missing[contender.title] = reason
        else:
            found.append(contender)
    return found


def run_set(options: Options, dataset: Dataset, missing: dict[str, str]) -> tuple[dict, dict]:
    """Everything about one data set, on a cluster of its own; and what it was measured on."""
    queries = dataset.queries(options.queries)
    one = {
        "name": dataset.name, "about": dataset.about, "rows": dataset.rows, "dim": dataset.dim, "metric": options.metric, "k": options.k,
        "queries": len(queries), "build": [], "filters": [],
    }  # fmt: skip
    say(f"{dataset.name}: exact answers to {len(queries)} queries")
    truths = cached(STATE / "bench", dataset, queries, options.metric, options.k, (NONE, *FILTERS))
    with Cluster("bench", config=settings(options.shared_buffers, options.build_memory, dataset.rows, dataset.dim)) as cluster:
        server = Server(cluster.start())
        if set(options.parts) & {"search", "filters", "clients", "insert", "vacuum"}:
            vectors(options, dataset, server, queries, truths, one, missing)
        if dataset.text_rows and set(options.parts) & {"text", "hybrid"}:
            texts(options, dataset, server, queries, one, missing)
        about = machine.describe(server)
        server.conn.close()
    return one, about


def vectors(options: Options, dataset: Dataset, server: Server, queries, truths, one: dict, missing: dict[str, str]) -> None:
    """Build, search, filters, clients, insert, vacuum."""
    say(f"{dataset.name}: loading {dataset.rows:,} vectors")
    load_items(server, dataset)
    contenders = present(server, chosen(VECTOR, options), missing)
    for contender in contenders:
        contender.prepare(server, ITEMS)
        if built := parts.build(server, contender, ITEMS, dataset.rows, options.metric, say):
            one["build"].append(built | {"bytes": contender.index_bytes(server, ITEMS)})
    common = (options.metric, options.k, options.seconds, dataset.rows, say)
    # the clients' effort is chosen by what the search has measured
    if {"search", "clients"} & set(options.parts):
        one["search"] = {"name": NONE.name, "points": parts.points(server, contenders, queries, truths[0], NONE, *common)}
    if "filters" in options.parts:
        for contender in contenders:
            contender.before_filters(server, ITEMS)
        for filter_, truth in zip(FILTERS, truths[1:]):
            points = parts.points(server, contenders, queries, truth, filter_, *common)
            one["filters"].append({"name": filter_.name, "sql": filter_.sql.removeprefix("WHERE ").strip(), "share": truth.share, "points": points})
    if "clients" in options.parts:
        one["clients"] = clients.measure(server, contenders, queries, one["search"]["points"], *common)
    if "insert" in options.parts:
        say("inserting")
        one["insert"] = inserts.measure(server, contenders, dataset, options.seconds)
    if "vacuum" in options.parts:
        one["vacuum"] = inserts.vacuum(server, contenders, say)
    for contender in contenders:
        server.conn.execute(f"DROP TABLE IF EXISTS {contender.table(ITEMS)}")


def texts(options: Options, dataset: Dataset, server: Server, queries, one: dict, missing: dict[str, str]) -> None:
    """Text and hybrid."""
    say(f"{dataset.name}: loading {dataset.text_rows:,} documents")
    load_docs(server, dataset)
    one["text_rows"] = dataset.text_rows
    contenders = present(server, chosen(TEXT, options), missing)
    hybrid = present(server, chosen(HYBRID, options), missing) if "hybrid" in options.parts else []
    hybrid = [c for c in hybrid if c.needs in {t.key for t in contenders}]
    for contender in contenders:
        contender.prepare(server, DOCS)
        if built := parts.build(server, contender, DOCS, dataset.text_rows, options.metric, say):
            title = contender.title + (" + vector" if contender.uses_engine else "")
            one["build"].append(built | {"contender": title, "bytes": contender.index_bytes(server, DOCS), "documents": dataset.text_rows})
    for contender in hybrid:
        parts.build(server, contender, DOCS, dataset.text_rows, options.metric, say)
    questions = dataset.questions(options.queries)
    if "text" in options.parts:
        one["text"] = parts.texts(server, contenders, questions, DOCS, options.k, options.seconds, say)
    if hybrid:
        one["hybrid"] = parts.hybrids(server, hybrid, queries, questions, DOCS, options.metric, options.k, options.seconds, say)


def opened(options: Options) -> tuple[list[Dataset], dict[str, str]]:
    """The sets that are here, and which are not. Only sets that may lie beside the clone may be missing."""
    found, missing = [], {}
    for word in options.data:
        try:
            found.append(open_dataset(word, options.rows, options.dim, options.texts, options.seed))
        except Absent as reason:
            if word not in SHARED_SETS:
                raise
            say(f"left out: {reason}")
            missing[f"data set {word}"] = "not here"
    return found, missing


def publish(options: Options, result: dict) -> None:
    """Pictures and the generated part of the page."""
    generated = report.render(result, plots.draw(result, options.out.with_suffix("")))
    report.write(options.out, generated)
    print("\n" + generated + "\n")
    say(f"written to {options.out}")


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    try:
        # the place for the report is checked before an hour of work, not after
        report.insert(options.out.read_text(encoding="utf-8"), "")
        if options.render:
            publish(options, json.loads(Path(options.render).read_text(encoding="utf-8")))
            return 0
        if unknown := set(options.contenders) - set(KEYS):
            raise Refused(f"no contender {', '.join(sorted(unknown))}: there are {', '.join(KEYS)}")
        datasets, missing = opened(options)
        if not datasets:
            raise Refused("none of the data sets is here")
    except (Refused, Absent, report.NoMarkers, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    Cluster.remove_leftovers()
    kept = STATE / "bench" / f"result-{time.strftime('%Y%m%d-%H%M%S')}.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    result: dict = {"sets": [], "missing": missing, "seconds": options.seconds}
    for dataset in datasets:
        one, about = run_set(options, dataset, missing)
        result["sets"].append(one)
        result |= about
        # after each set: a later one that fails costs only itself
        kept.write_text(json.dumps(result, indent=1), encoding="utf-8")
        say(f"{dataset.name}: all figures are in {kept} (--render prints them again)")
    publish(options, result)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
