"""ComfyUI's start without and with this package, alternating, and the import time that ComfyUI itself reports for it.

    .venv/bin/python benchmarks/startup.py [--runs 5]
"""

from __future__ import annotations

import argparse
import re
import statistics
import time

from harness import machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="starts of each kind")
    options = parser.parse_args()
    seconds: dict[bool, list[float]] = {False: [], True: []}
    reported = []
    _start(package=True)  # the first start compiles and fills the disk cache
    for _ in range(options.runs):
        for package in (False, True):
            took, log = _start(package)
            seconds[package].append(took)
            if package:
                reported.append(float(re.search(r"([\d.]+) seconds: .*comfyui-diffusion-toolkit", log)[1]))
    without, with_ = (statistics.median(seconds[package]) for package in (False, True))
    print(f"{machine()}\n{options.runs} starts each, alternating; until ComfyUI answers /system_stats\n")
    print("| start | median s | all |\n|---|---|---|")
    for name, package in (("without the package", False), ("with it", True)):
        print(f"| {name} | {statistics.median(seconds[package]):.2f} | {', '.join(f'{s:.2f}' for s in seconds[package])} |")
    print(f"\nDifference {with_ - without:+.2f} s, ratio {with_ / without:.3f}. ComfyUI reports {max(reported):.1f} s at most for importing it.")


def _start(package: bool) -> tuple[float, str]:
    """Seconds until the server answers, and its log."""
    from host.server import ComfyServer

    server = ComfyServer(package=package, stand_ins=False)
    started = time.perf_counter()
    with server:
        return time.perf_counter() - started, server.log_text()


if __name__ == "__main__":
    main()
