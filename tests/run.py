"""Run all tests: `python3 tests/run.py [pytest's arguments]`. Needs Python 3.10 and nothing else."""

import os
import sys

if sys.version_info < (3, 10):
    sys.exit("Python 3.10 or newer is needed, this is %s (%s)." % (sys.version.split()[0], sys.executable))

if __name__ == "__main__":
    from pathlib import Path

    from host import bootstrap

    sys.exit(bootstrap.main(Path(os.path.abspath(__file__)).parent / "host" / "run_job.py", sys.argv[1:]))
