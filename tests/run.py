"""Run all tests: `python3 tests/run.py [pytest's arguments]`. Needs Python 3.10 and nothing else."""

import os
import sys

if sys.version_info < (3, 10):
    sys.exit("Python 3.10 or newer is needed, this is %s (%s)." % (sys.version.split()[0], sys.executable))

if __name__ == "__main__":
    from pathlib import Path

    HERE = Path(os.path.abspath(__file__)).parent
    sys.path.insert(0, str(HERE))  # the Python of ComfyUI's portable build leaves out a script's folder
    from host import bootstrap

    sys.exit(bootstrap.main(HERE / "host" / "run_job.py", sys.argv[1:]))
