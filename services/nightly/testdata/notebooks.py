#!/usr/bin/env python3
"""Stands in for the interpreter of the notebooks' environment: it takes the command line of python -m hashpivot.run, and what it does is in the
notebook's name."""
import argparse
import json
import os
import signal
import subprocess
import sys
import time

if sys.argv[1:2] == ["-c"]:  # is the package there?
    sys.exit(0)
if sys.argv[1:3] != ["-m", "hashpivot.run"]:
    sys.exit(f"not the agreed command: {sys.argv[1:]}")
parser = argparse.ArgumentParser()
parser.add_argument("notebook")
for name in ("date", "as-of", "database", "url", "output"):
    parser.add_argument("--" + name, required=True)
args = parser.parse_args(sys.argv[3:])
what = args.notebook.split("_")[0]
attempt = int(os.path.basename(os.path.dirname(args.output)).rsplit("-", 1)[1])


def path(name):
    return os.path.join(args.output, name)


def figure(name, value, unit="USD/MWh", note=""):
    return json.dumps({"notebook": args.notebook, "name": name, "value": value, "unit": unit, "note": note})


def write(lines, html=None):
    with open(path("results.jsonl"), "w") as f:
        f.write("".join(line + "\n" for line in lines))
    with open(path(args.notebook + ".html"), "w") as f:
        f.write(html or f"<!doctype html><title>{args.notebook}</title><p>{args.date} as of {args.as_of}")
    with open(path(args.notebook + ".ipynb"), "w") as f:
        f.write("{}")


def spawn():
    """A child in a session of its own that ignores SIGTERM, as a kernel may; and one that holds our output open."""
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('x', flush=True); time.sleep(600)"
    a = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stdout=subprocess.PIPE)
    a.stdout.readline()
    b = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with open(path("pids.new"), "w") as f:
        f.write(f"{os.getpid()} {a.pid} {b.pid}")
    os.rename(path("pids.new"), path("pids"))


def fail(cell=3):
    with open(path(args.notebook + ".html"), "w") as f:
        f.write("<p>as far as it came")
    error = {
        "notebook": args.notebook, "cell": cell, "source": "1 / rate", "error": "ZeroDivisionError: division by zero",
        "traceback": ["\x1b[0;31mZeroDivisionError\x1b[0m", "division by zero"], "state": {"rows": {"trades": 0}, "password": os.environ["HASHPIVOT_CLICKHOUSE_PASSWORD"]},
    }
    with open(path(args.notebook + ".error.json"), "w") as f:
        json.dump(error, f)
    print("the notebook fails", file=sys.stderr)
    sys.exit(1)


if what == "fail":
    fail()
elif what == "flaky" and attempt < 2:
    fail(7)
elif what == "hang":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    spawn()
    time.sleep(600)
elif what == "children":
    spawn()
elif what == "died":
    os.kill(os.getpid(), signal.SIGKILL)
elif what == "garbage":
    sys.stdout.buffer.write(b"\xff\xfe" + b"no newline " * 200000 + b"\n")
    for i in range(100000):
        print("line", i)
    print("at the end", flush=True)
elif what == "broken":
    write([figure("premium", 1.5), '{"notebook": "' + args.notebook + '", "name": "x", "value": NaN}'])
    sys.exit(0)
elif what == "nothing":
    sys.exit(0)
elif what == "quota":
    with open(path("big"), "wb") as f:
        while True:
            f.write(b"x" * (1 << 16))
            f.flush()
elif what == "quotas":
    for i in range(10000):
        with open(path(f"big{i}"), "wb") as f:
            f.write(b"x" * (1 << 18))
elif what == "memory":
    hold = b"x" * (1 << 40)
elif what == "secret":
    print("the password is", os.environ["HASHPIVOT_CLICKHOUSE_PASSWORD"])
    write([figure("password", os.environ["HASHPIVOT_CLICKHOUSE_PASSWORD"])], html="<p>" + os.environ["HASHPIVOT_CLICKHOUSE_PASSWORD"])
    sys.exit(0)
elif what == "link":
    write([figure("x", 1)])
    os.remove(path(args.notebook + ".html"))
    os.symlink("/etc/passwd", path(args.notebook + ".html"))
    sys.exit(0)
elif what == "environment":
    write([figure(name, "given") for name in sorted(os.environ)])
    sys.exit(0)
day = int(args.date.replace("-", ""))
figures = [figure("premium", 1.0 / 3 + day), figure("rate", None, note="no offers"), figure("gpu", "h100-sxm", unit=""), figure("as_of", args.as_of, unit="")]
if what == "drift":
    figures.append(figure("drift", time.time_ns()))
write(figures)
