"""Run a notebook headless: `python -m hashpivot.run NOTEBOOK --date D --as-of T --database DB --url URL --output DIR`.

Writes DIR/NOTEBOOK.ipynb, DIR/NOTEBOOK.html (nothing in it asks the network) and its key figures, one JSON a line, into DIR/results.jsonl, in place of
those that the same notebook left there before; exit 0. On failure DIR/NOTEBOOK.error.json tells the cell, its source, the traceback and the data state;
exit 1. The same date, as-of and code give the same figures to the bit.

nbclient executes, which the Jupyter project keeps; papermill adds to it what we do not need (stores, a command line of its own).
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbconvert import HTMLExporter

from .connection import connect
from .errors import HashpivotError
from .state import HASHPRICE, Need, look
from .study import RESULTS, STATE, choose_mark, moment
from .views import gaps

#: Where a notebook that is named without a directory lies: HASHPIVOT_NOTEBOOKS, or beside this package in the checkout.
NOTEBOOKS = Path(os.environ.get("HASHPIVOT_NOTEBOOKS", Path(__file__).resolve().parents[3] / "notebooks"))
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class RunError(HashpivotError):
    """A notebook that cannot be run as it is."""


@dataclass(frozen=True)
class Parameters:
    """What a notebook's cell with the tag `parameters` sets, and a run replaces."""

    trade_date: str
    as_of: str
    database: str
    url: str
    mark: str = "auto"

    def source(self) -> str:
        return "# Parameters of this run\n" + "\n".join(f"{k} = {v!r}" for k, v in vars(self).items())


def find(name: str) -> Path:
    """The file of a notebook: a path, or a name such as 01_pivot."""
    for p in (Path(name), Path(name + ".ipynb"), NOTEBOOKS / name, NOTEBOOKS / (name + ".ipynb")):
        if p.suffix == ".ipynb" and p.is_file():
            return p
    there = ", ".join(sorted(p.stem for p in NOTEBOOKS.glob("*.ipynb"))) or "none"
    raise RunError(f"find notebook {name}: no such file, and {NOTEBOOKS} has {there}")


def inject(nb: Any, parameters: Parameters) -> None:
    """Put the parameters behind the notebook's own, which stay as the defaults for people."""
    nb.cells = [c for c in nb.cells if "injected-parameters" not in c.metadata.get("tags", [])]
    at = [i for i, c in enumerate(nb.cells) if "parameters" in c.metadata.get("tags", [])]
    if len(at) != 1:
        raise RunError(f"inject parameters: want one cell with the tag parameters, found {len(at)}")
    missing = [k for k in vars(parameters) if not re.search(rf"^{k}\s*=", nb.cells[at[0]].source, re.M)]
    if missing:
        raise RunError(f"inject parameters: the notebook has no {', '.join(missing)}")
    cell = nbformat.v4.new_code_cell(parameters.source(), metadata={"tags": ["injected-parameters"]})
    cell["id"] = "injected-parameters"
    nb.cells.insert(at[0] + 1, cell)


@contextlib.contextmanager
def kernel(work: Path) -> Iterator[str]:
    """A kernel of this very interpreter, that reads nobody's start-up files, beside whatever kernels the machine has."""
    spec = work / "jupyter" / "kernels" / "hashpivot"
    spec.mkdir(parents=True)
    env = {
        "IPYTHONDIR": str(work / "ipython"), "MPLCONFIGDIR": str(work / "matplotlib"), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "TZ": "UTC",
        "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).resolve().parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }  # fmt: skip
    argv = [sys.executable, "-Xfrozen_modules=off", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "hashpivot", "language": "python", "env": env}))
    before = {k: os.environ.get(k) for k in ("JUPYTER_PATH", "JUPYTER_RUNTIME_DIR")}
    os.environ.update(JUPYTER_PATH=str(work / "jupyter"), JUPYTER_RUNTIME_DIR=str(work / "runtime"))
    try:
        yield "hashpivot"
    finally:
        for k, v in before.items():
            if v is None:
                os.environ.pop(k, None)
            else:
                os.environ[k] = v


def execute(nb: Any, timeout_s: int) -> None:
    """Run all cells, top to bottom, in a fresh kernel."""
    with tempfile.TemporaryDirectory(prefix="hashpivot-run-") as work, kernel(Path(work)) as name:
        there = Path(work) / "cwd"
        there.mkdir()
        km = AsyncKernelManager(kernel_name=name, transport="ipc", connection_file=str(Path(work) / "kernel.json"))  # sockets that only we can open, not ports
        NotebookClient(nb, km=km, timeout=timeout_s, startup_timeout=300, resources={"metadata": {"path": str(there)}}, record_timing=False).execute(
            cleanup_kc=True
        )


def results(nb: Any) -> list[dict[str, Any]]:
    """The key figures that the notebook's last cell showed."""
    found = [o.data[RESULTS] for c in nb.cells for o in c.get("outputs", []) if RESULTS in o.get("data", {})]
    if not found:
        raise RunError("collect key figures: the notebook handed over none; its last cell must be study.close()")
    return [dict(r) for r in found[-1]]


def page(nb: Any, name: str) -> str:
    """The notebook as one HTML file that needs nothing else: pictures and style inside, no script."""
    exporter = HTMLExporter(
        template_name="hashpivot", extra_template_basedirs=[str(Path(__file__).parent / "template")], embed_images=True,
        exclude_input_prompt=True, exclude_output_prompt=True, exclude_anchor_links=True,
    )  # fmt: skip
    body, _ = exporter.from_notebook_node(nb, resources={"metadata": {"name": name}, "injected": True})
    return str(body)


def write(path: Path, text: str) -> None:
    """Replace a file at once, so that nobody reads half of it."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix="." + path.name, delete=False, encoding="utf-8") as f:
        f.write(text)
    os.chmod(f.name, 0o644)
    os.replace(f.name, path)


def keep(output: Path, name: str, figures: Sequence[Mapping[str, Any]]) -> None:
    """Replace the notebook's lines in results.jsonl; other notebooks' stay. Runs side by side take turns."""
    path = output / "results.jsonl"
    with open(output / ".results.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        lines = [x for x in lines if json.loads(x)["notebook"] != name]
        lines += [json.dumps(f, ensure_ascii=False, allow_nan=False) for f in figures]
        write(path, "".join(x + "\n" for x in lines))


def data_state(nb: Any, p: Parameters) -> Any:
    """The data state at a failure: what the notebook told, or else what can be seen from here, or why nothing can."""
    told = [o.data[STATE] for c in nb.cells for o in c.get("outputs", []) if STATE in o.get("data", {})]
    if told:
        return told[-1]
    try:
        with connect(p.url, p.database) as db:
            mark, as_of, day = choose_mark(db, p.mark), moment(p.as_of), date.fromisoformat(p.trade_date)
            ledger = gaps(db, as_of=as_of, mark=mark, since=day, until=day)
            needs = [HASHPRICE, Need("GPU rates", "gpu_rates"), Need("daily bars", "bars", "interval = '1d'", "trade")]
            return look(db, needs, trade_date=day, window_days=365, as_of=as_of, mark=mark, gaps=ledger).to_json()
    except (HashpivotError, ValueError) as err:
        return {"unknown": f"{type(err).__name__}: {err}"}


def failure(nb: Any, err: BaseException) -> dict[str, Any]:
    """What failed: the cell, its source, the error and its traceback, without colours."""
    for i, c in enumerate(nb.cells):
        for o in c.get("outputs", []):
            if o.output_type == "error":
                return {"cell": i, "source": c.source, "error": f"{o.ename}: {o.evalue}", "traceback": [_ANSI.sub("", x) for x in o.traceback]}
    begun = [i for i, c in enumerate(nb.cells) if c.cell_type == "code" and c.get("execution_count") is not None]
    at = begun[-1] if begun and isinstance(err, (CellExecutionError, CellTimeoutError, DeadKernelError)) else None
    return {
        "cell": at, "source": nb.cells[at].source if at is not None else "", "error": f"{type(err).__name__}: {_ANSI.sub('', str(err))}",
        "traceback": [_ANSI.sub("", x.rstrip("\n")) for x in traceback.format_exception(err)],
    }  # fmt: skip


def run(notebook: str, p: Parameters, output: Path, timeout_s: int = 600) -> bool:
    """Run a notebook; False when it failed, and DIR/NOTEBOOK.error.json says how."""
    output.mkdir(parents=True, exist_ok=True)
    name = Path(notebook).stem
    broken = output / f"{name}.error.json"
    nb: Any = nbformat.v4.new_notebook()
    try:
        date.fromisoformat(p.trade_date)
        moment(p.as_of)
        nb = nbformat.read(find(notebook), as_version=4)
        inject(nb, p)
        execute(nb, timeout_s)
        figures = results(nb)
        title = next((c.source.splitlines()[0].lstrip("# ") for c in nb.cells if c.cell_type == "markdown"), name)
        nb.metadata["title"] = f"{title} · {p.trade_date}"
        html = page(nb, name)
    except Exception as err:  # whatever a notebook does, its failure is told in the same way
        told = {"notebook": name, **failure(nb, err), "parameters": vars(p), "state": data_state(nb, p)}
        write(broken, json.dumps(told, ensure_ascii=False, indent=1, default=str) + "\n")
        if nb.cells:
            write(output / f"{name}.ipynb", nbformat.writes(nb) + "\n")
        print(f"{name}: cell {told['cell']}: {told['error']}; see {broken}", file=sys.stderr)
        return False
    write(output / f"{name}.ipynb", nbformat.writes(nb) + "\n")
    write(output / f"{name}.html", html)
    keep(output, name, figures)
    broken.unlink(missing_ok=True)
    return True


def main(args: Sequence[str] | None = None) -> int:
    a = argparse.ArgumentParser(prog="hashpivot.run", description="Run a research notebook headless.")
    a.add_argument("notebook", help="name, such as 01_pivot, or path")
    a.add_argument("--date", required=True, help="trade date, YYYY-MM-DD")
    a.add_argument("--as-of", default="2200-01-01 00:00:00", help="what was stored by this moment, UTC; without it all that is stored")
    a.add_argument("--database", default="hashpivot")
    a.add_argument("--url", default="http://127.0.0.1:8123", help="ClickHouse over HTTP")
    a.add_argument("--mark", default="auto", choices=["auto", "live", "sim-", "rec-"], help="which data, where a database holds several kinds")
    a.add_argument("--output", required=True, type=Path, help="directory for the results")
    a.add_argument("--timeout", type=int, default=600, help="seconds that one cell may take")
    o = a.parse_args(args)
    return 0 if run(o.notebook, Parameters(o.date, o.as_of, o.database, o.url, o.mark), o.output, o.timeout) else 1


if __name__ == "__main__":
    sys.exit(main())
