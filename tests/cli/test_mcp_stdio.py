"""The MCP server as a process: a job outlives its server, and a read-only server answers with its result."""

import json
import os
import sys
from pathlib import Path

import pytest

pytest.importorskip("mcp_types", reason="the package mcp is not installed: pip install -r requirements-mcp.txt")

import anyio
from mcp import Client, StdioServerParameters

from analysis import jobs
from analysis.core import extensions
from tests.support import worker

ROOT = Path(__file__).resolve().parents[2]
ASKED = {"model": "starter", "block": "11:5", "limit": 2, "samples": 2, "seq_len": 32, "dtype": "float32", "device": "cpu"}


@pytest.mark.slow
def test_standard_output_holds_the_protocol_alone(tmp_path, monkeypatch):
    """An extension prints when it is imported; the committed curve of the starter is the answer."""
    file = tmp_path / "talkative.py"
    file.write_text("print('hello from an extension', flush=True)\n")
    monkeypatch.setenv(extensions.VARIABLE, str(file))
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))
    asked = {"model": "starter", "strategy": "deepest", "max_n": 15, "limit": 200, "fields": ["points"]}

    async def journey():
        process = await anyio.run_process(
            [sys.executable, "-m", "analysis", "mcp"], input=b"no JSON\n", cwd=ROOT, env={**os.environ}, check=False
        )
        async with Client(_server()) as client:
            return process, await _call(client, "sweep", asked)

    process, curve = anyio.run(journey)
    assert process.returncode == 0
    assert b"hello from an extension" in process.stderr
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in process.stdout.splitlines())
    assert len(curve["points"]) == 16
    assert "200 questions of ARC-Easy" in curve["measured_on"]


@pytest.fixture
def own_worker(cache):
    """No worker is left."""
    yield
    worker.end_worker()


@pytest.mark.long
@pytest.mark.starter
def test_a_job_outlives_its_server_and_is_read_by_another(own_worker):
    told = []

    async def heard(progress, total, message):
        told.append(message)

    async def journey():
        async with Client(_server("--allow-run")) as client:
            job = await _call(client, "evaluate", ASKED)
        async with Client(_server()) as client:
            [shown] = (await _call(client, "jobs", {"id": job["job"], "wait_s": 120}, progress_callback=heard))["jobs"]
            found = await _call(client, "result", {"kind": "evaluate", "key": shown["result_key"]})
            again = await _call(client, "evaluate", ASKED)
            refused = await _call(client, "evaluate", {**ASKED, "limit": 3})
        return shown, found, again, refused

    shown, found, again, refused = anyio.run(journey)
    assert (shown["state"], shown["error"]) == (jobs.DONE, None)
    assert told
    assert found == again
    [point] = found["points"]
    assert (point["n_samples"], point["n_texts"], found["spec"]["model"]["dtype"]) == (2, 2, "float32")
    assert found["tables"]["points"][0]["acc_low"] <= point["acc"]
    assert "read-only" in refused["cause"]
    assert len(jobs.list_jobs()) == 1


def _server(*words: str) -> StdioServerParameters:
    return StdioServerParameters(command=sys.executable, args=["-m", "analysis", "mcp", *words], cwd=ROOT, env={**os.environ})


async def _call(client: Client, name: str, arguments: dict, **how) -> dict:
    [content] = (await client.call_tool(name, arguments, **how)).content
    return json.loads(content.text)
