"""`python -m benchmarks`: measure, print one table, write latest.json and the pictures of growth."""

import argparse
import json
import sys
from pathlib import Path

from benchmarks import footprint, growth, packing, speed, table
from benchmarks.fresh import in_fresh_process, note
from benchmarks.workload import CASES, ROOT, TINY_CASES, open_workload


def parse() -> argparse.Namespace:
    """Read the command line."""
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--data-root", default="data/fewrel", help="folder with FewRel's files")
    parser.add_argument("--cache-root", help="folder of the trunk cache; default: as `rocore` does")
    parser.add_argument("--only", choices=names, help="one encoder; growth is measured with minilm")
    parser.add_argument("--skip-growth", action="store_true", help="leave the pictures of growth out")
    parser.add_argument(
        "--quick", action="store_true", help="tiny encoders on tiny random data: figures mean nothing"
    )
    parser.add_argument(
        "--out", type=Path, help="folder of latest.json and pictures; default of a whole run: benchmarks/"
    )
    return parser.parse_args()


def main() -> int:
    """Measure each encoder in processes of its own and report."""
    arguments = parse()
    whole = not (arguments.quick or arguments.only or arguments.skip_growth)
    out = arguments.out or (ROOT / "benchmarks" if whole else None)
    with open_workload(arguments) as workload:
        results, grown, packs = {}, [], {}
        for case in TINY_CASES if arguments.quick else CASES:
            if arguments.only not in (None, case.name):
                continue
            note(f"{case.name}: time")
            figures = in_fresh_process(speed.measure, workload, case)
            note(f"{case.name}: memory")
            figures["peak_mib"] = in_fresh_process(footprint.measure, workload, case)
            results[case.name] = figures
            if case.name == "minilm":
                note("minilm: packs")
                packs = in_fresh_process(packing.measure, workload, case)
            if case.name == "minilm" and not arguments.skip_growth:
                grown = growth.measure(workload, case)
    summary = table.summarize(results, grown, packs)
    sys.stdout.write(table.render(summary) + "\n")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "latest.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        if grown:
            growth.draw(grown, out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
