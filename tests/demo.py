"""Index real images with a real ComfyUI and find them again: `python3 tests/demo.py`. Needs Python 3.10 and nothing else."""

import os
import sys

if sys.version_info < (3, 10):
    sys.exit("Python 3.10 or newer is needed, this is %s (%s)." % (sys.version.split()[0], sys.executable))

if __name__ == "__main__":
    from pathlib import Path

    HERE = Path(os.path.abspath(__file__)).parent
    sys.path.insert(0, str(HERE))  # the Python of ComfyUI's portable build leaves out a script's folder
    from host import bootstrap
    from host.demo_options import parse_arguments

    parse_arguments(sys.argv[1:])  # a mistake is told before anything is installed
    sys.exit(bootstrap.main(HERE / "host" / "demo_job.py", sys.argv[1:]))
