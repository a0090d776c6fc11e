"""All notebooks on recordings: `python -m hashpivot.recorded DATE... --recordings DIR --data-dir DIR --output DIR` (`make research`).

Lands the recordings with the hashpivot program, serves them on free ports of the loopback, runs each notebook for each date into OUTPUT/DATE, and ends
what it started.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .errors import HashpivotError
from .run import NOTEBOOKS, Parameters, run


@dataclass(frozen=True)
class Server:
    """Where the data are."""

    url: str
    database: str


@contextmanager
def serving(program: Path, recordings: Path, data_dir: Path, landing_s: float = 300) -> Iterator[Server]:
    """Land the recordings, once a data directory however often it is called, and serve them until the end of the block."""
    up = [str(program), "up", "--recorded", str(recordings), "--data-dir", str(data_dir), "--free-ports", "--json", "--log-level", "warn"]
    landed = subprocess.run([*up, "--until-drained"], capture_output=True, text=True, timeout=landing_s, check=False)
    if landed.returncode != 0:
        raise HashpivotError(f"land the recordings of {recordings}: {landed.stderr.strip()[-2000:]}")
    log = data_dir / "serving.log"
    with open(log, "w") as errors, subprocess.Popen([*up, "--stay"], stdout=subprocess.PIPE, stderr=errors, text=True) as server:
        try:
            line = server.stdout.readline() if server.stdout else ""
            if not line:
                raise HashpivotError(f"serve {data_dir}: it ended at once; see {log}: {log.read_text().strip()[-2000:]}")
            told = json.loads(line)
            yield Server("http://" + told["clickhouse_http"], told["database"])
        finally:
            server.terminate()


def main(args: Sequence[str] | None = None) -> int:
    a = argparse.ArgumentParser(prog="hashpivot.recorded", description="Run all notebooks on recordings.")
    a.add_argument("dates", nargs="+", metavar="DATE")
    a.add_argument("--recordings", required=True, type=Path)
    a.add_argument("--data-dir", required=True, type=Path)
    a.add_argument("--output", required=True, type=Path)
    a.add_argument("--program", default=Path("bin/hashpivot"), type=Path)
    o = a.parse_args(args)
    if not o.recordings.is_dir():
        print(f"no recordings in {o.recordings}; give their directory", file=sys.stderr)
        return 2
    o.data_dir.mkdir(parents=True, exist_ok=True)
    failed = 0
    with serving(o.program, o.recordings, o.data_dir) as server:
        for day in o.dates:
            for path in sorted(NOTEBOOKS.glob("*.ipynb")):
                start = time.monotonic()
                ok = run(str(path), Parameters(day, "2200-01-01 00:00:00", server.database, server.url), o.output / day)
                failed += not ok
                print(
                    f"{day} {path.stem}: {'done' if ok else 'FAILED'} in {time.monotonic() - start:.1f} s: {o.output / day / path.stem}{'.html' if ok else '.error.json'}",
                    flush=True,
                )
    return 1 if failed else 0


if __name__ == "__main__":
    os.environ.setdefault("TZ", "UTC")
    sys.exit(main())
