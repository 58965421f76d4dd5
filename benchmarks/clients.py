"""Sixteen clients at once, inside one process as ComfyUI is, and over HTTP against a real ComfyUI whose event loop is watched.

Throughput of 1 and 16 clients, in turn; p50, p99 and errors. Then, over HTTP, the same once more while a third process asks `/system_stats`
every 20 ms and a node pack that is put there for it measures how late the event loop's own timer is: both take of the cores that are measured.

    .venv/bin/python benchmarks/clients.py FOLDER [--seconds 10] [--clients 16] [--no-http]
"""

from __future__ import annotations

import argparse
import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from harness import machine, prepare
from synthetic import FAMILIES, Data, open_filled, stop

_LAG_NODE = '''
import asyncio, time
from aiohttp import web
from server import PromptServer

NODE_CLASS_MAPPINGS = {}
worst = []

async def watch():
    while True:
        started = time.perf_counter()
        await asyncio.sleep(0.005)
        worst.append(time.perf_counter() - started - 0.005)

@PromptServer.instance.routes.get("/bench/lag")
async def lag(_request):
    if not getattr(lag, "on", None):
        lag.on = asyncio.get_running_loop().create_task(watch())
    taken = sorted(worst)
    worst.clear()
    return web.json_response(taken)
'''


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--kind", default="image")
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--no-http", action="store_true")
    parser.add_argument("--part", help=argparse.SUPPRESS)  # how this script starts itself
    options = parser.parse_args()
    if options.part:
        _part(options)
        return
    prepare()
    data, library = Data.of(options.folder), open_filled(options.folder)
    queries = data.queries(options.kind, 500)
    print(f"{machine()}\n{data}\nkind {options.kind}, k {options.k}\n")
    print("| clients | searches/s | times one | p50 ms | p99 | slowest | errors |\n|---|---|---|---|---|---|---|")
    print("\n".join(_both(lambda clients: in_process(library, options, queries, clients), options.clients, "threads of one process")))
    if not options.no_http:
        with library.connection() as conn:
            import psycopg

            dsn = psycopg.conninfo.make_conninfo(conn.info.dsn, password=conn.info.password)
        over_http(options, dsn)
    stop(options.folder)


def in_process(library: Any, options: argparse.Namespace, queries: np.ndarray, clients: int) -> tuple[list[float], int]:
    """Milliseconds of each search from input to rows, and how many failed."""
    from diffusion_toolkit.nodes.links import QueryPart
    from diffusion_toolkit.nodes.search.asking import Wanted, find

    def ask(number: int) -> None:
        part = QueryPart(options.kind, queries[number % len(queries)], fingerprint=f"synthetic-{FAMILIES[options.kind]}", model="synthetic")
        assert len(find(library, [part], Wanted(options.k)).images) == options.k

    return _clients(lambda: ask, clients, options.seconds)


def over_http(options: argparse.Namespace, dsn: str) -> None:
    """The clients are another process, so that their work in Python does not count as ComfyUI's."""
    from host.server import ComfyServer

    with tempfile.TemporaryDirectory(prefix="diffusion-toolkit-bench-") as scratch:
        node = Path(scratch) / "custom_nodes" / "bench_lag"
        node.mkdir(parents=True)
        (node / "__init__.py").write_text(_LAG_NODE, encoding="utf-8")
        with ComfyServer(base=Path(scratch), stand_ins=False, env={"DIFFUSION_TOOLKIT_DSN": dsn}) as server:

            def ask(clients: int) -> tuple[list[float], int]:
                return tuple(json.loads(_start(options, f"ask:{server.port}", clients).communicate()[0]))

            def watched(clients: int) -> str:
                poller = _start(options, f"poll:{server.port}", clients)
                server.get("/bench/lag")
                if clients:
                    ask(clients)
                stats = np.array(json.loads(poller.communicate()[0])[0])
                late = np.array(_get(server.port, "/bench/lag")) * 1e3
                return (
                    f"{clients} clients: /system_stats p50 {np.percentile(stats, 50):.1f} ms, p99 {np.percentile(stats, 99):.1f}, "
                    f"slowest {stats.max():.1f} ({len(stats)} asked); the loop's timer late by p99 {np.percentile(late, 99):.1f} ms, most {late.max():.1f}"
                )

            ask(1)  # the first opens connections
            print("\n".join(_both(ask, options.clients, "over HTTP")) + "\n")
            print("\n".join(map(watched, (0, 1, options.clients))))


def _start(options: argparse.Namespace, part: str, clients: int) -> subprocess.Popen:
    command = [sys.executable, __file__, str(options.folder), "--part", part, "--clients", str(clients)]
    command += ["--seconds", str(options.seconds), "--kind", options.kind, "--k", str(options.k)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _part(options: argparse.Namespace) -> None:
    what, port = options.part.split(":")
    if what == "poll":

        def client() -> Callable[[int], None]:
            connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)

            def ask(_number: int) -> None:
                _request(connection, "GET", "/system_stats", None)

            return ask

        print(json.dumps(_clients(client, 1, options.seconds, pause=0.02)))
        return
    queries = Data.of(options.folder).queries(options.kind, 500)
    bodies = [json.dumps({"parts": [{"kind": options.kind, "vector": [round(float(x), 5) for x in query]}], "k": options.k}) for query in queries]

    def searcher() -> Callable[[int], None]:
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)

        def ask(number: int) -> None:
            answer = _request(connection, "POST", "/diffusion_toolkit/search", bodies[number % len(bodies)])
            assert len(answer["hits"]) == options.k, answer

        return ask

    print(json.dumps(_clients(searcher, options.clients, options.seconds)))


def _request(connection: http.client.HTTPConnection, method: str, path: str, body: str | None) -> Any:
    connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
    response = connection.getresponse()
    content = response.read()
    if response.status != 200:
        raise RuntimeError(f"{response.status}: {content[:300]!r}")
    return json.loads(content)


def _get(port: int, path: str) -> Any:
    return _request(http.client.HTTPConnection("127.0.0.1", port, timeout=60), "GET", path, None)


def _clients(make: Callable[[], Callable[[int], None]], clients: int, seconds: float, pause: float = 0.0) -> tuple[list[float], int]:
    """Let so many threads ask one after the other for so long; milliseconds of each, and the number of errors."""
    times: list[float] = []
    errors: list[str] = []
    end = time.perf_counter() + seconds

    def run(client: int) -> None:
        ask, number = make(), client * 31
        while time.perf_counter() < end:
            started = time.perf_counter()
            try:
                ask(number)
            except Exception as error:  # counted; the first is shown
                errors.append(repr(error))
            times.append((time.perf_counter() - started) * 1e3)
            number += 1
            time.sleep(pause)

    threads = [threading.Thread(target=run, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        print(f"{len(errors)} errors, the first: {errors[0][:500]}", file=sys.stderr)
    return times, len(errors)


def _both(ask: Callable[[int], tuple[list[float], int]], clients: int, where: str, rounds: int = 2) -> list[str]:
    """One and many clients in turn, twice, as rows of the table."""
    kept: dict[int, tuple[list[float], int]] = {1: ([], 0), clients: ([], 0)}
    spent = dict.fromkeys(kept, 0.0)
    for _ in range(rounds):
        for count in kept:
            started = time.perf_counter()
            times, errors = ask(count)
            spent[count] += max(sum(times) / 1e3 / count, 1e-9) if times else time.perf_counter() - started
            kept[count] = (kept[count][0] + times, kept[count][1] + errors)
    rates = {count: (len(times) - errors) / spent[count] for count, (times, errors) in kept.items()}
    return [
        f"| {count}, {where} | {rates[count]:.0f} | {rates[count] / rates[1]:.2f} | {np.percentile(times, 50):.1f} | {np.percentile(times, 99):.1f} "
        f"| {max(times):.1f} | {errors} |"
        for count, (times, errors) in kept.items()
    ]


if __name__ == "__main__":
    main()
