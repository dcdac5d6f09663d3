"""Adds up what test runs report: count.py FILE… prints `passed failed skipped`.

A .xml is a JUnit report of pytest; anything else is the output of `cargo test`. With --failures: one line for each failed test.
"""

import re
import sys
import xml.etree.ElementTree as ET

CARGO = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored;", re.M)


def count(path: str) -> tuple[int, int, int, list[str]]:
    try:
        with open(path, errors="replace") as f:
            text = f.read()
    except OSError:
        return 0, 0, 0, []
    if not path.endswith(".xml"):
        results = [tuple(map(int, m)) for m in CARGO.findall(text)]
        failed = re.findall(r"^test (\S+) \.\.\. FAILED$", text, re.M)
        return (*(sum(r[i] for r in results) for i in range(3)), failed)
    suites = ET.fromstring(text).iter("testsuite")
    total = failed = skipped = 0
    for suite in suites:
        total += int(suite.get("tests", 0))
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped += int(suite.get("skipped", 0))
    names = [f"{c.get('classname')}::{c.get('name')}" for c in ET.fromstring(text).iter("testcase") if c.find("failure") is not None or c.find("error") is not None]
    return total - failed - skipped, failed, skipped, names


def main() -> None:
    args = sys.argv[1:]
    results = [count(a) for a in args if a != "--failures"]
    if "--failures" in args:
        for *_, names in results:
            print("\n".join(f"    failed: {n}" for n in names[:40]), end="\n" if names else "")
    else:
        print(*(sum(r[i] for r in results) for i in range(3)))


main()
