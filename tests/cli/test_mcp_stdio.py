"""The MCP server as a process."""

import json
import os
import sys
from pathlib import Path

import pytest

pytest.importorskip(
    "mcp_types", reason="the package mcp is not installed: pip install -r requirements-mcp.txt"
)

import anyio
from mcp import Client, StdioServerParameters

from analysis.core import extensions

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_standard_output_holds_the_protocol_alone(tmp_path, monkeypatch):
    """An extension prints when it is imported; the committed curve of the starter is the answer."""
    file = tmp_path / "talkative.py"
    file.write_text("print('hello from an extension', flush=True)\n")
    monkeypatch.setenv(extensions.VARIABLE, str(file))
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))
    asked = {
        "model": "starter",
        "strategy": "deepest",
        "max_n": 15,
        "limit": 200,
        "fields": ["points"],
    }

    async def journey():
        process = await anyio.run_process(
            [sys.executable, "-m", "analysis", "mcp"],
            input=b"no JSON\n",
            cwd=ROOT,
            env={**os.environ},
            check=False,
        )
        async with Client(_server()) as client:
            return process, await _call(client, "sweep", asked)

    process, curve = anyio.run(journey)
    assert process.returncode == 0
    assert b"hello from an extension" in process.stderr
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in process.stdout.splitlines())
    assert len(curve["points"]) == 16
    assert "200 questions of ARC-Easy" in curve["measured_on"]


def _server(*words: str) -> StdioServerParameters:
    return StdioServerParameters(
        command=sys.executable, args=["-m", "analysis", "mcp", *words], cwd=ROOT, env={**os.environ}
    )


async def _call(client: Client, name: str, arguments: dict, **how) -> dict:
    [content] = (await client.call_tool(name, arguments, **how)).content
    return json.loads(content.text)
