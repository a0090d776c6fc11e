"""The examples of the documents are run as they stand."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest
from gateway import Gateway, Peer, run

PACKAGE = Path(__file__).parents[1]


@pytest.mark.parametrize("path", [PACKAGE / "README.md", PACKAGE.parents[1] / "docs/live.md"], ids=lambda p: p.name)
def test_example(path: Path) -> None:
    example = re.search(r"```python\n(.*?)```", path.read_text(), re.S)
    assert example is not None
    code = example[1].replace("asyncio.run(main())", "")
    assert len([line for line in example[1].splitlines() if line.strip()]) <= 10

    async def body(g: Gateway) -> None:
        names: dict[str, Any] = {}
        exec(code.replace("ws://127.0.0.1:8080/v1/ws", g.url), names)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            example = asyncio.create_task(names["main"]())
            p: Peer = await g.peers.get()
            q = await p.ask("subscribe")
            await p.data(await p.accept(q, "TRADES:1800"), 1800, type="snapshot", position="TRADES:1800")
            await p.close(4100)  # lets the loop end
            with contextlib.suppress(Exception):
                await example
        assert printed.getvalue() == "2026-11-25 15:30:00.120394+00:00 CORZ 100 at 16.42 USD\n"

    run(body)
