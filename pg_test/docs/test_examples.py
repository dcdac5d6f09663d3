"""Every SQL example of README.md and docs/ runs, and prints what the document says.

A file's examples are one psql session in a database of their own, in their order. The extension is there already, unless the
first example creates it. Nothing is flushed unless an example asks for it, so that numbers of rows and segments are what the text says.
"""

import re
from pathlib import Path

import pytest

from docs.fenced_blocks import Block, blocks
from harness import REPO, Cluster

pytestmark = pytest.mark.every_pg

FILES = [REPO / "README.md", *sorted((REPO / "docs").rglob("*.md"))]
WITH_EXAMPLES = [file for file in FILES if any(block.is_run_here for block in blocks(file))]
CLIENTS = REPO / "pg_test" / "clients"
# An example that nobody runs rots: each one needs a reason, and few are good.
NOT_RUN_AT_MOST = 2
RUN_AT_LEAST = 9
STATEMENT = re.compile(r"^\s*(?:\w*=[#*!]*[#>]\s*)?(?:SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|BEGIN|SET|EXPLAIN|VACUUM)\s+\S", re.M)
MARK = "==== block"


def name(file: Path) -> str:
    return str(file.relative_to(REPO))


@pytest.fixture(scope="module")
def cluster():
    with Cluster("examples", config={"elacsym.flush_interval": "1h"}) as made:
        yield made.start()


@pytest.mark.parametrize("file", WITH_EXAMPLES, ids=name)
def test_examples_print_what_the_document_says(cluster, file):
    examples = [block for block in blocks(file) if block.is_run_here]
    database = re.sub(r"\W+", "_", name(file).lower())
    cluster.create_database(database, extension="CREATE EXTENSION" not in examples[0].text)
    wrong = []
    for block, printed in zip(examples, run(cluster, database, examples), strict=True):
        if block.output is not None and tidy(printed) != tidy(block.output):
            wrong.append(f"{block} prints\n{tidy(printed)}\nand not\n{tidy(block.output)}")
        elif block.output is None and re.search(r"^(?:ERROR|FATAL|PANIC|WARNING):", printed, re.M):
            wrong.append(f"{block} fails:\n{tidy(printed)}")
    assert not wrong, "\n\n".join(wrong)


def run(cluster, database: str, examples: list[Block]) -> list[str]:
    """What psql prints for each example, errors included."""
    script = "".join(f"\\echo {MARK}\n{block.text.rstrip()}\n" for block in examples)
    # -q: no "CREATE TABLE" and the like. The script comes through stdin without -f, so that errors are not prefixed with a file name.
    printed = cluster.run("psql", "-X", "-q", "-P", "pager=off", "-d", cluster.dsn(database), input=script, check=False)
    first, *parts = printed.split(MARK + "\n")
    assert not first.strip(), first
    return parts


def tidy(printed: str) -> str:
    """Without what nobody sees: blanks at the ends of lines, empty lines around."""
    return "\n".join(line.rstrip() for line in printed.splitlines()).strip("\n")


@pytest.mark.parametrize("file", WITH_EXAMPLES, ids=name)
def test_examples_are_whole_statements(file):
    """Half a statement would be finished by the next block."""
    for block in (block for block in blocks(file) if block.is_run_here):
        last = re.sub(r"\s*--[^\n']*$", "", block.text.rstrip().splitlines()[-1])
        assert last.rstrip().endswith(";") or last.startswith("\\"), f"{block} does not end its statement: {last}"


def test_every_example_is_run_or_says_why_not():
    examples = [block for file in FILES for block in blocks(file) if block.language == "sql"]
    here = [block for block in examples if block.is_run_here]
    elsewhere = [block for block in examples if block.run_as]
    not_run = [block for block in examples if block.not_run is not None]
    print(f"{len(here)} examples are run here, {len(elsewhere)} by pg_test/clients, {len(not_run)} not:")
    for block in not_run:
        print(f"  {block}: {block.not_run}")
    assert len(here) >= RUN_AT_LEAST
    assert len(not_run) <= NOT_RUN_AT_MOST
    assert all(len(block.not_run) > 10 for block in not_run), "a reason is a sentence"
    sources = "\n".join(path.read_text() for path in CLIENTS.rglob("*.py"))
    for block in elsewhere:
        assert re.search(rf"""["']{re.escape(block.run_as)}["']""", sources), f"{block}: nobody runs {block.run_as!r}"


def test_no_example_hides_in_a_block_of_another_kind():
    """SQL in a block without a language, or with psql's prompt, would not be run."""
    for file in FILES:
        for block in blocks(file):
            if block.language in ("", "console", "psql", "sh", "bash") and block.not_run is None:
                assert not STATEMENT.search(block.text), f"{block} holds SQL: make it a block of language sql"
