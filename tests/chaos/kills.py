"""Kills at random moments: of the worker, of command lines, of servers with the worker that they started."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from analysis import jobs
from analysis.core.record import Spec
from analysis.jobs.queue import processes, settings
from tests.chaos import children, kinds, stage
from tests.chaos.stage import Row, Stage
from tests.support import hub, server

TRIES = 6
"""How often a moment is drawn anew where the run was over before it."""


def worker(on: Stage, kind: str, row: Row) -> None:
    """Kill the worker at a moment of the job, bring the job back, perhaps kill the next worker too, and let it end."""
    truth = on.undisturbed(kind)
    window = truth.took_s
    for _ in range(TRIES):
        with on.cache() as cache:
            job, killed, sessions = jobs.submit(on.specs[kind]), 0, []
            for _ in range(on.draw.choice((1, 1, 2))):
                victim = children.start(children.worker, cache)
                sessions.append(victim.pid)
                stage.running(job.id)
                time.sleep(on.draw.uniform(0, window))
                was_running = jobs.get(job.id).state == jobs.RUNNING
                stage.kill(victim)
                if not was_running:
                    break
                killed += 1
                row.leftovers += kinds.halves(cache)
                if jobs.get(job.id).state == jobs.RUNNING:
                    stage.bring_back(job.id)
            if not killed:
                window *= 0.7
                continue
            row.times += killed
            last = children.start(children.worker, cache)
            stage.ended(job.id)
            stage.end(last)
            on.hold(row, kind, cache, killed)
            row.leftovers += stage.left_running(cache, [*sessions, last.pid])
            return
    raise RuntimeError(f"{kind} was over before every moment that was drawn")


def command(on: Stage, kind: str, row: Row) -> None:
    """Kill a command line at a moment, and run the same command again."""
    window = on.undisturbed(kind).took_s
    for _ in range(TRIES):
        with on.cache() as cache:
            out = cache.parent / "out.json"
            words = [*kinds.arguments(on.specs[kind]), "--json", str(out)]
            victim = children.start(children.command, cache, *words)
            victim.join(on.draw.uniform(0, window))
            was_running = victim.exitcode is None
            stage.kill(victim)
            if not was_running:
                window *= 0.7
                continue
            row.times += 1
            row.leftovers += kinds.halves(cache)
            if out.exists():
                json.loads(out.read_bytes())  # whole, or not there
            again = children.start(children.command, cache, *words)
            again.join(stage.LIMIT_S)
            if again.exitcode != 0:
                said = Path(f"{cache}.log").read_text()[-300:]
                raise RuntimeError(f"{kind} ended with {again.exitcode} when it was run again: {said}")
            json.loads(out.read_bytes())
            on.hold(row, kind, cache)
            row.leftovers += stage.left_running(cache, [victim.pid, again.pid])
            return
    raise RuntimeError(f"{kind} was over before every moment that was drawn")


def download(on: Stage, row: Row) -> None:
    """Kill a command while it downloads its model, and run it again: it resumes the file and comes to the same map."""
    spec = on.specs["distances"]
    wanted = on.undisturbed("distances").figures["data"]["mean"]
    folder = on.ground.folder / "model"
    size = (folder / "model.safetensors").stat().st_size
    with on.cache() as cache, hub.running() as there:
        there.add_folder("org/model", folder)
        slow = there.fault("/cdn/", bytes_per_s=size / 4)
        out = cache.parent / "out.json"
        words = ["org/model" if word == str(folder) else word for word in kinds.arguments(spec)]
        environment = {
            **os.environ,
            "HF_ENDPOINT": there.endpoint,
            "HF_HUB_CACHE": str(cache.parent / "hub"),
            "HF_HUB_OFFLINE": "0",
            "NO_PROXY": "127.0.0.1",
            "HF_HUB_ETAG_TIMEOUT": "10",
            "HF_HUB_DOWNLOAD_TIMEOUT": "10",
        }
        command = [sys.executable, "-m", "analysis", *words, "--json", str(out)]
        first = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        at = on.draw.uniform(0.05, 0.9) * size
        stage.wait_for(lambda: there.sent("/cdn/") > at or first.poll() is not None, "the download")
        if first.poll() is not None:
            raise RuntimeError(f"the command ended with {first.returncode} before it was killed")
        first.kill()
        first.wait(20)
        row.times += 1
        row.leftovers += kinds.halves(cache)
        slow.bytes_per_s = 0.0
        sent = there.sent("/cdn/")
        again = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=stage.LIMIT_S)
        if again.returncode != 0:
            raise RuntimeError(f"it ended with {again.returncode} when it was run again: {again.stderr[-300:]}")
        row.recovered += 1
        row.equal += json.loads(out.read_bytes())["mean"] == wanted
        if there.sent("/cdn/") - sent > size - at / 2:
            row.wrong.append("the second command downloaded again the part that had come")
        row.leftovers += [str(path) for path in (cache.parent / "hub").rglob("*.incomplete")]
        row.leftovers += kinds.hidden(cache) + kinds.halves(cache)


def dashboard(on: Stage, kind: str, row: Row) -> None:
    """Kill a dashboard while the worker that it started runs a job: the job continues, and the next dashboard shows it."""
    on.undisturbed(kind)
    with on.cache() as cache:
        job = jobs.submit(on.specs[kind], "The job that stays")
        with server.running(server.APP, cache) as (process, port):
            server.visit(port, lambda text: "The job that stays" in text)
            stage.wait_for(jobs.worker_alive, "the start of the worker")
            time.sleep(on.draw.uniform(0, 6))
            worker = processes.worker()
            os.kill(process.pid, signal.SIGKILL)
            process.wait(20)
        row.times += 1
        with server.running(server.APP, cache) as (_, port):
            shown = server.visit(port, lambda text: "The job that stays" in text)
            done = stage.ended(job.id)
        if "The job that stays" not in shown or done.attempts != 1 or (worker and done.pid != worker.pid):
            row.wrong.append(f"{kind}: the job did not go on in the worker that had it, or was not shown")
        _leave(row, cache)
        on.hold(row, kind, cache)


def two_servers(on: Stage, row: Row) -> None:
    """Two servers ask the same of one cache folder; one of them is killed, and so is the worker."""
    wanted = ("distances", "evaluate", "microscope")
    for kind in wanted:
        on.undisturbed(kind)
    with on.cache() as cache:
        settings.change(auto_resume=True)
        specs: list[Spec] = [on.specs[kind] for kind in wanted]
        servers = [children.start(children.server, cache, specs) for _ in range(2)]
        stage.wait_for(jobs.worker_alive, "the start of the worker")
        time.sleep(on.draw.uniform(0, 6))
        stage.kill(servers[0])
        first = processes.worker()
        if first is not None:
            os.kill(first.pid, signal.SIGKILL)
        row.times += 2
        workers = set()
        while servers[1].exitcode is None:
            servers[1].join(0.2)
            workers.add(len(_workers(cache)))
        if servers[1].exitcode != 0 or max(workers) > 1:
            row.wrong.append(f"exit code {servers[1].exitcode}, up to {max(workers)} workers at once")
        jobs_done = jobs.list_jobs()
        if len(jobs_done) != len(wanted) or {job.state for job in jobs_done} != {jobs.DONE}:
            row.wrong.append(f"jobs: {[(job.kind, job.state) for job in jobs_done]}")
        second = subprocess.run(
            [sys.executable, "-m", "analysis.jobs.runner.worker", "--idle-s", "0"], timeout=60, env=dict(os.environ)
        )
        if second.returncode != 0 or len(_workers(cache)) != 1:
            row.wrong.append("a second worker did not step back")
        _leave(row, cache)
        counted = Row("")
        for kind in wanted:
            on.hold(counted, kind, cache)
        row.recovered += 2 * (counted.recovered == len(wanted))
        row.equal += 2 * (counted.equal == len(wanted))
        row.leftovers += counted.leftovers


def _workers(cache: Path) -> list[int]:
    return [process.pid for process in stage.processes_on(cache) if "analysis.jobs.runner.worker" in process.cmdline()]


def _leave(row: Row, cache: Path) -> None:
    """Ask the worker to leave; a process that still runs then was left behind."""
    process = processes.worker()
    if process is not None:
        os.kill(process.pid, signal.SIGTERM)
        stage.wait_for(lambda: not process.is_alive(None), "the worker's leaving", 20)
    row.leftovers += stage.left_running(cache, [])
