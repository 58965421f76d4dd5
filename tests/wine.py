"""Make a Python for Windows that runs under Wine on Linux, with all that the tests need: `python3 tests/wine.py FOLDER`.

For engineers without a Windows machine; nothing else needs this. The interpreter is CPython's own for Windows, as the wheel of Panda3D
carries it to freeze programs with; the standard library is that of the Python that runs this. Needed: Wine 10 (Debian 13; PostgreSQL
calls what Wine 8 lacks), gcc-mingw-w64-x86-64, and `uv` in the PATH, which resolves packages for another system as pip can't.

It shows what Python, the packages and PostgreSQL do on Windows with paths, open files, consoles and processes. It is not Windows: whoever is
root is an administrator, Microsoft's locales are missing, and NumPy is 1.26, since 2 calls a function that Wine 10 lacks.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

from host.bootstrap import HOST_REQUIREMENTS, REPOSITORY, TORCH, find_comfyui

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
MINGW = "x86_64-w64-mingw32-"
PROGRAM = "#include <wchar.h>\nint Py_Main(int, wchar_t **);\nint wmain(int argc, wchar_t **argv) { return Py_Main(argc, argv); }\n"
EMPTY_DLL = "int __stdcall DllMainCRTStartup(void *module, unsigned reason, void *reserved) { return 1; }\n"


def main(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        add_interpreter(folder, Path(scratch))
    shutil.copytree(sysconfig.get_path("stdlib"), folder / "Lib", ignore=shutil.ignore_patterns("site-packages", "lib-dynload", "__pycache__"))
    packages = ["-r", REPOSITORY / "requirements.txt", "-r", HOST_REQUIREMENTS, "-r", find_comfyui() / "requirements.txt", *TORCH, "numpy==1.26.4", "pip"]
    into = ["--target", folder / "Lib" / "site-packages", "--python-platform", "x86_64-pc-windows-msvc", "--python-version", VERSION]
    run("uv", "pip", "install", *into, "--only-binary", ":all:", *packages)
    print(f"\nNow, in {REPOSITORY}:  wine {folder / 'python.exe'} -m pytest tests/unit")


def add_interpreter(folder: Path, scratch: Path) -> None:
    """python.exe, its DLLs, and python3.dll, which hands what it is asked for to python311.dll and is not in the wheel."""
    run(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "--platform=win_amd64", f"--python-version={VERSION}",
        "--dest", scratch, "panda3d")
    (folder / "DLLs").mkdir(parents=True)
    with zipfile.ZipFile(next(scratch.glob("panda3d-*.whl"))) as wheel:
        for name in wheel.namelist():
            path = Path(name)
            if path.parts[0] == "deploy_libs" and path.suffix in (".pyd", ".dll") and not path.name.startswith("api-ms-"):
                beside = path.name.lower().startswith(("python", "vcruntime"))
                (folder / ("" if beside else "DLLs") / path.name).write_bytes(wheel.read(name))
            elif path.name == "MSVCP140.dll":
                (folder / path.name).write_bytes(wheel.read(name))
    interpreter = next(folder.glob("python3?*.dll"))
    source = scratch / "program.c"
    source.write_text(PROGRAM, encoding="ascii")
    run(f"{MINGW}gcc", "-municode", source, interpreter, "-o", folder / "python.exe")

    told = subprocess.run([f"{MINGW}objdump", "-p", interpreter], capture_output=True, text=True, check=True).stdout
    names = {line.split()[-1] for line in told.splitlines() if line.split()[-1:] and line.split()[-1].startswith(("Py", "_Py"))}
    exports, library = scratch / "python3.def", scratch / "library.c"
    exports.write_text("LIBRARY python3.dll\nEXPORTS\n" + "".join(f"{name} = {interpreter.stem}.{name}\n" for name in sorted(names)), encoding="ascii")
    library.write_text(EMPTY_DLL, encoding="ascii")
    run(f"{MINGW}gcc", "-shared", "-nostdlib", "-e", "DllMainCRTStartup", library, exports, "-o", folder / "python3.dll")


def run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True)


if __name__ == "__main__":
    if len(sys.argv) != 2 or Path(sys.argv[1]).exists():
        sys.exit("Usage: python3 tests/wine.py FOLDER, where FOLDER is not there yet.")
    main(Path(sys.argv[1]).absolute())
