"""``make bench``: run the benchmarks and put their tables into BENCHMARKS.md.

    run.py [NAME …] [--pairs N] [--data GIB] [--cache DIR] [--output DIR] [--print]

Each NAME is a module ``bench_NAME.py`` beside this file; without any, all of them.  A section of
BENCHMARKS.md between ``<!-- bench:NAME -->`` and ``<!-- /bench:NAME -->`` is replaced.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from harness import ROOT, Options, machine  # noqa: E402

BOOK = ROOT / "BENCHMARKS.md"


def main() -> None:
    names = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
    usual = Options()
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    parser.add_argument("--pairs", type=int, default=usual.pairs)
    parser.add_argument("--data", type=float, default=usual.data_gib, metavar="GIB")
    parser.add_argument("--cache", type=Path, default=usual.cache)
    parser.add_argument("--output", type=Path, default=None)
    parser.add_argument("--print", action="store_true", help="do not touch BENCHMARKS.md")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(names):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    options = Options(
        chosen.pairs, chosen.data, chosen.cache, chosen.output or chosen.cache / "out"
    )
    for name in chosen.names or names:
        module = importlib.import_module(f"bench_{name}")
        today = datetime.now(UTC).date().isoformat()
        tables = "\n".join(table.markdown() for table in module.run(options))
        text = f"## {module.TITLE}\n\n{today}, {machine()}.\n\n{tables}"
        print(text)
        if not chosen.print:
            write(name, text)


def write(name: str, text: str) -> None:
    """Replace the section of that name, or append it."""
    begin, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    section = f"{begin}\n{text}\n{end}"
    book = BOOK.read_text(encoding="utf-8") if BOOK.exists() else "# Benchmarks\n"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if pattern.search(book):
        book = pattern.sub(lambda _match: section, book)
    else:
        book = f"{book.rstrip()}\n\n{section}\n"
    BOOK.write_text(book, encoding="utf-8")


if __name__ == "__main__":
    main()
