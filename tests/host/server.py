"""A real ComfyUI, started headless with this package as a custom node, for the demo and the tests."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from . import bootstrap, stand_in
from .client import ComfyClient, ComfyError

PACKAGE_FOLDER = "comfyui-diffusion-toolkit"
STAND_IN_FOLDER = "diffusion-toolkit-stand-ins"
FRONT_END = "COMFYUI_FRONT_END"  # names the `static` folder of another comfyui_frontend_package, to test with that one
_STAND_INS = Path(__file__).resolve().parent / "stand_in_nodes"
_START_LIMIT_S = 600  # on a machine with much else to do; one that dies is told at once
_REMOVAL_LIMIT_S = 30
_PLACES = ("checkpoints", "clip_vision", "sentence_transformers", "text_encoders", "vae")  # made, so that files can be put there
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class ComfyServer(ComfyClient):
    """Runs `main.py` on a free port of 127.0.0.1 from `__enter__` (or `start`) to `__exit__` (or `stop`).

    Everything it writes (user, input, output, temp, models) lies under `base`, never in the ComfyUI folder; `base` is a
    temporary folder unless given, and only a temporary one is removed at the end. Models of the ComfyUI folder are found
    through an extra model path. `package=False` starts ComfyUI without this package, to compare with.
    """

    def __init__(
        self,
        *,
        base: Path | None = None,
        comfyui: Path | None = None,
        package: bool = True,
        stand_ins: bool = True,
        env: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        python: str = sys.executable,
    ) -> None:
        self.port = _free_port()
        super().__init__(f"http://127.0.0.1:{self.port}")
        self.comfyui = comfyui or bootstrap.find_comfyui()
        self._temporary = base is None
        self.base = Path(base or tempfile.mkdtemp(prefix="diffusion-toolkit-comfy-")).resolve()
        self.log_path = self.base / "comfyui.log"
        self._package, self._stand_ins = package, stand_ins
        self._env, self._arguments, self._python = dict(env or {}), list(arguments), python
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def user(self) -> Path:
        return self.base / "user"

    @property
    def input(self) -> Path:
        return self.base / "input"

    @property
    def output(self) -> Path:
        return self.base / "output"

    @property
    def models(self) -> Path:
        return self.base / "models"

    @property
    def own_models(self) -> Path:
        """Where a person puts real model files: their ComfyUI's own folder, else one that a new ComfyUI version leaves alone."""
        return self.comfyui / "models" if os.environ.get("COMFYUI_PATH") else bootstrap.MODELS

    def start(self) -> ComfyServer:
        """Start and wait until ComfyUI answers; ComfyError with the end of its log when it does not."""
        places = [bootstrap.MODELS / name for name in _PLACES]
        for folder in (self.user, self.input, self.output, self.models, self.base / "custom_nodes", *places):
            folder.mkdir(parents=True, exist_ok=True)
        self._link(bootstrap.REPOSITORY, PACKAGE_FOLDER, self._package)
        self._link(_STAND_INS, STAND_IN_FOLDER, self._stand_ins)
        # A library and folders that a person configured for their own ComfyUI are not for tests: only when handed in.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("DIFFUSION_TOOLKIT_")}
        environment = {**inherited, "PYTHONUTF8": "1", "HF_HUB_DISABLE_TELEMETRY": "1", **self._env}
        with self.log_path.open("wb") as log, _interruptible_child():
            self.process = subprocess.Popen(
                [self._python, "main.py", *self._command_line()],
                cwd=self.comfyui, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Ask ComfyUI to leave as Ctrl-C would (so that its exit handlers run), then insist."""
        process, self.process = self.process, None
        if process is not None:
            gentle = process.terminate if os.name == "nt" else lambda: process.send_signal(signal.SIGINT)
            for ask, patience in ((gentle, 20), (process.terminate, 5), (process.kill, 10)):
                if process.poll() is None:
                    ask()
                    try:
                        process.wait(patience)
                    except subprocess.TimeoutExpired:
                        continue
        if self._temporary:
            for link in (self.base / "custom_nodes").glob("*"):
                _unlink(link)  # before the tree: a junction must never be followed into the repository
            until = time.monotonic() + _REMOVAL_LIMIT_S
            shutil.rmtree(self.base, ignore_errors=True)
            while self.base.exists() and time.monotonic() < until:  # on Windows the database ends after ComfyUI, and what is open stays
                time.sleep(0.5)
                shutil.rmtree(self.base, ignore_errors=True)

    def log_text(self) -> str:
        """ComfyUI's log so far, without colours."""
        if not self.log_path.exists():
            return ""
        return _ANSI.sub("", self.log_path.read_text(encoding="utf-8", errors="replace"))

    def log_problems(self) -> list[str]:
        """The lines of the log that report an error or a node pack that did not load; empty for a clean run."""
        signs = ("[ERROR]", "[CRITICAL]", "Traceback (most recent", "IMPORT FAILED", "Cannot import ", "Error while calling")
        return [line for line in self.log_text().splitlines() if any(sign in line for sign in signs)]

    def __enter__(self) -> ComfyServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _command_line(self) -> list[str]:
        arguments = ["--listen", "127.0.0.1", "--port", str(self.port), "--disable-auto-launch"]
        arguments += ["--base-directory", str(self.base), "--database-url", f"sqlite:///{(self.user / 'comfyui.db').as_posix()}"]
        if not has_accelerator(self._python):
            arguments.append("--cpu")
        if os.environ.get(FRONT_END):
            arguments += ["--front-end-root", os.environ[FRONT_END]]
        paths = self.base / "extra_model_paths.yaml"
        paths.write_text(self._model_paths(), encoding="utf-8")
        return [*arguments, "--extra-model-paths-config", str(paths), *self._arguments]

    def _model_paths(self) -> str:
        """An extra_model_paths.yaml: the model folders of the ComfyUI folder beside those under `base`, and the stand-ins."""
        embedders = [self.models / "sentence_transformers"]
        if self._stand_ins:
            embedders.append(stand_in.text_embedder_folder(bootstrap.CACHE))
        grouped: dict[str, list[Path]] = {"sentence_transformers": embedders}
        older = {"clip": "text_encoders", "unet": "diffusion_models", "t2i_adapter": "controlnet"}
        for folder in [*sorted((self.comfyui / "models").glob("*")), *(bootstrap.MODELS / name for name in _PLACES)]:
            if folder.is_dir() and re.fullmatch(r"[\w-]+", folder.name):
                grouped.setdefault(older.get(folder.name, folder.name), []).append(folder)
        lines = ["diffusion_toolkit:"]
        for name, folders in grouped.items():
            lines += [f"  {name}: |", *(f"    {folder}" for folder in folders)]
        return "\n".join(lines) + "\n"

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_LIMIT_S
        while True:
            assert self.process is not None
            if self.process.poll() is not None:
                raise ComfyError(f"ComfyUI stopped while it started (exit code {self.process.returncode}):\n{self._log_end()}")
            try:
                self.get("/system_stats", timeout=5)
                return
            except ComfyError:
                if time.monotonic() > deadline:
                    raise ComfyError(f"ComfyUI did not answer within {_START_LIMIT_S} s:\n{self._log_end()}") from None
            time.sleep(0.2)

    def _log_end(self) -> str:
        return "\n".join("    " + line for line in self.log_text().splitlines()[-25:])

    def _link(self, target: Path, name: str, wanted: bool) -> None:
        link = self.base / "custom_nodes" / name
        _unlink(link)
        if not wanted:
            return
        try:
            link.symlink_to(target, target_is_directory=True)
        except OSError:
            if os.name != "nt":
                raise
            import _winapi  # Windows wants a right for symbolic links, for junctions it does not

            _winapi.CreateJunction(str(target), str(link))


def has_accelerator(python: str = sys.executable) -> bool:
    """Whether torch in that Python sees a GPU: ComfyUI must be told `--cpu` where there is none, or it stops."""
    if sys.platform == "linux" and not any(Path("/dev", name).exists() for name in ("nvidiactl", "kfd", "dri", "dxg")):
        return False  # spares the 2 s import
    probe = (
        "import torch; x = getattr(torch, 'xpu', None); "
        "print(torch.cuda.is_available() or torch.backends.mps.is_available() or bool(x and x.is_available()))"
    )
    answer = subprocess.run([python, "-c", probe], capture_output=True, text=True, timeout=120, check=False)
    return answer.stdout.strip().endswith("True")


class _interruptible_child:
    """A process started in the background inherits an ignored Ctrl-C signal; ComfyUI needs it to leave properly."""

    def __enter__(self) -> None:
        self._previous = None
        main_thread = threading.current_thread() is threading.main_thread()
        if main_thread and signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
            self._previous = signal.signal(signal.SIGINT, signal.default_int_handler)

    def __exit__(self, *_: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _unlink(link: Path) -> None:
    """Remove a symbolic link or junction, never what it points to."""
    if link.is_symlink():
        link.unlink()
    elif link.is_dir() and os.name == "nt":
        os.rmdir(link)  # removes a junction; refuses a real folder with files in it
