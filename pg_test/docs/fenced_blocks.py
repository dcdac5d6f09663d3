"""The fenced blocks of a Markdown file, with what a comment before them says of them.

| comment | means |
|---|---|
| none | a block of language `sql` is run; a block of language `text` that comes next is what psql prints |
| `<!-- not run: reason -->` | the block is not run, and the reader is told why |
| `<!-- run: name -->` | the tests of `pg_test/clients` run the block under that name |
"""

import dataclasses
import re
from pathlib import Path

COMMENT = re.compile(r"<!--\s*(run|not run):\s*(.*?)\s*-->")
FENCE = re.compile(r"^(\s*)```+\s*(\w*)\s*$")


@dataclasses.dataclass
class Block:
    """One fenced block."""

    file: Path
    line: int
    language: str
    text: str
    not_run: str | None = None
    run_as: str | None = None
    # of SQL: what is printed, where the document shows it
    output: str | None = None

    def __str__(self):
        return f"{self.file.name}:{self.line}"

    @property
    def is_run_here(self) -> bool:
        return self.language == "sql" and self.not_run is None and self.run_as is None


def blocks(file: Path) -> list[Block]:
    """All fenced blocks, in their order."""
    found: list[Block] = []
    comment, inside, indent = None, None, ""
    for number, line in enumerate(file.read_text().splitlines(), 1):
        fence = FENCE.match(line)
        if inside is not None:
            if fence and not fence[2]:
                inside = None
            else:
                inside.text += line.removeprefix(indent) + "\n"
        elif fence:
            indent = fence[1]
            inside = Block(file, number, fence[2], "")
            if comment:
                setattr(inside, "not_run" if comment[1] == "not run" else "run_as", comment[2])
            found.append(inside)
            comment = None
        elif line.strip():
            comment = COMMENT.fullmatch(line.strip())
    assert inside is None, f"{inside} has no end"
    for block, following in zip(found, found[1:]):
        if block.language == "sql" and following.language == "text":
            block.output = following.text
    return found
