"""What the Python clients share: where the server is, and how an operation's outcome is told."""

import os
import sys
import traceback

HOST = "127.0.0.1"
NATIVE = int(os.environ["CH_NATIVE"])
HTTP = int(os.environ["CH_HTTP"])
USER = os.environ["CH_USER"]
PASSWORD = os.environ["CH_PASSWORD"]
ROWS = int(os.environ["CH_ROWS"])

# Every type with a value as SQL: each is inserted by the client from what it selected, and must read the same.
TYPES = [line.rstrip("\n").split("\t") for line in open(os.environ["CH_TYPES"])]


def cell(client, operation, fn):
    """Runs an operation and prints its cell; fn may return a note."""
    try:
        note = fn() or ""
        print("\t".join([client, operation, "ok", str(note)]), flush=True)
    except Exception as e:  # noqa: BLE001: whatever a client raises is the finding
        text = str(e).strip().splitlines()
        print("\t".join([client, operation, "no", (type(e).__name__ + ": " + (text[0] if text else ""))[:300]]), flush=True)
        if os.environ.get("CH_VERBOSE"):
            traceback.print_exc(file=sys.stderr)


def expect(got, want):
    assert got == want, f"got {got!r}, want {want!r}"


def types(select, roundtrip):
    """Selects each type and, where roundtrip is given, inserts what was read and compares; names what does not work."""
    bad = []
    for name, sql in TYPES:
        try:
            value = select(f"SELECT {sql} AS v")
        except Exception as e:  # noqa: BLE001
            bad.append(f"{name} (select: {type(e).__name__})")
            if os.environ.get("CH_VERBOSE"):
                traceback.print_exc(file=sys.stderr)
            continue
        if roundtrip is None:
            continue
        try:
            roundtrip(name, sql, value)
        except Exception as e:  # noqa: BLE001
            bad.append(f"{name} (insert: {type(e).__name__})")
            if os.environ.get("CH_VERBOSE"):
                traceback.print_exc(file=sys.stderr)
    good = len(TYPES) - len(bad)
    if bad:
        raise AssertionError(f"{good} of {len(TYPES)}; not " + ", ".join(bad))
    return f"{good} of {len(TYPES)}"


def refused(fn, *words):
    """fn must raise an error that has one of the words."""
    try:
        fn()
    except Exception as e:  # noqa: BLE001
        assert any(w in str(e) for w in words), f"another error: {e}"
        return
    raise AssertionError("no error")
