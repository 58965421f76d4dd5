"""What can be asked of the command, and the help that says so."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..stored_images import ORDERS
from .errors import WRONG

MAX_OFFSET = 1_000_000  # as of the nodes, which can't be asked before ComfyUI is found
AUTO = "auto"
NONE = "none"
_EPILOG = """\
Whatever follows -- is ComfyUI's own, such as: -- --base-directory /data/comfy --extra-model-paths-config paths.yaml --cpu
Exit codes: 0 done; 1 failed, as where no database server answers, or its disk is full; what was written is kept; 2 what was asked for
can't be done until something is corrected, as where the library is unknown or its database is missing or refused; 3 with --strict, done
but for files that could not be read, or whose drive is away, or for problems that are left; 130 cancelled (Ctrl-C), 143 terminated, 129
its terminal closed: what was written is kept, and the next run goes on from there.
"""
_SEVERAL = (
    "Index several folders one by one, or name images in a list. A shell puts the names of files in the place of a *: write a pattern as "
    "--pattern \"*.png\", in quotes."
)
_INDEX = """\
Bring the images of a folder into a library, as the node Index Folder does: only new and changed files are read. The folder lies below
one of the roots that the nodes know (ComfyUI's output and input, and those in DIFFUSION_TOOLKIT_ROOTS or config.json). Where there is
none of its name here, it may begin with a root's: photos/2025.
"""
_STATUS = """\
What a library holds, how healthy it is, and what to do, as the node Library Status tells it.
"""
_SEARCH = """\
List the images whose prompt has all of these words, or that pass a filter, as the node List Images does. No model is needed; what only
means the same is not found, as the search nodes find it. Several words beside each other are written '"red fox"', and words that must not be
there "fox -snow". A word's beginning or end alone is told by a star: fox*, *fox; so is a word of Chinese or Japanese, where words stand without
spaces. `label:` and `or` are for --filter: see the help page of Filter Images. That nothing is found is no error.
"""
_UPKEEP = {
    "verify": ("look at every file that a library knows and at all that it keeps", """\
Look at every file that a library knows and at everything that it keeps, as the node Library Upkeep does. Nothing is changed.
"""),
    "repair": ("mend what needs no model, and say what is left to do", """\
Look as verify does, mend what needs no model, and tell what is left: vectors that were no good are made anew by the next `index`.
"""),
    "prune": ("show what is gone from the disk; with --yes remove it from a library", """\
Name the images that have no file any more, those with labels or a rating first, and then the files that were only moved. With --yes
they are removed from the library, for good: the images with their labels and ratings, of what was moved the former place alone. A drive
that is not mounted is no reason: see the help page of Library Upkeep.
"""),
}  # fmt: skip


@dataclass(frozen=True)
class Options:
    """A parsed command line: argparse's names, and what is ComfyUI's."""

    given: argparse.Namespace
    comfyui_arguments: Sequence[str]


def parse(arguments: Sequence[str]) -> Options:
    """Raises SystemExit, with code 2 and a message, as argparse does."""
    arguments = [_without_quote(word) for word in arguments] if os.name == "nt" else list(arguments)
    place = arguments.index("--") if "--" in arguments else len(arguments)
    what = "The Diffusion Toolkit from a shell, with the Python, models, folders and libraries of a ComfyUI."
    parser = argparse.ArgumentParser(
        prog="run.py", description=what, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_index(commands)
    _add_status(commands)
    for command in _UPKEEP:
        _add_upkeep(commands, command)
    _add_search(commands)
    if arguments and arguments[0] not in (*commands.choices, "-h", "--help", "--"):
        near, known = meant(arguments[0], commands.choices), ", ".join(commands.choices)
        told = f"{arguments[0]} comes before a command" if arguments[0].startswith("-") else f"there is no command {arguments[0]!r}"
        parser.error(f"{told}.{near} The commands are: {known}. Options follow them.")
    given, unknown = parser.parse_known_args(arguments[:place])
    if unknown:  # argparse would show the usage of all commands in place of this one's
        command = commands.choices[given.command]
        if given.command == "index" and not unknown[0].startswith("-"):
            more = f" and {len(unknown) - 1:,} more" if len(unknown) > 1 else ""
            command.error(f"one folder or list is taken, and there is also {unknown[0]!r}{more}. {_SEVERAL}")
        options = [option for action in command._actions for option in action.option_strings]
        near = (meant(word.partition("=")[0], options) for word in unknown if word.startswith("--"))
        leaves_out = given.command == "search" and unknown[0][1:].isalpha()
        usual = ' Words that must not be there stand in quotes with others: "fox -snow".' if leaves_out else " ComfyUI's own options go after a --."
        hint = next(filter(None, near), usual)
        command.error(f"unrecognized arguments: {' '.join(unknown)}.{hint}")
    return Options(given, arguments[place + 1 :])


def _without_quote(word: str) -> str:
    """Windows makes C:\\My Pictures" of "C:\\My Pictures\\", as its shells complete a folder's name: the last \\ makes the quote a letter."""
    folder, quote, taken = word.partition('"')
    if quote and not taken:
        return f"{folder}\\"
    if not taken.startswith(" -"):
        return word
    print(f'run.py: the \\ before a quotation mark makes it a part of the name, and so is all behind it. Write "{folder}".', file=sys.stderr)
    raise SystemExit(WRONG)


def meant(word: str, known: Iterable[str]) -> str:
    """A question after the one of these that a person may have misspelt; "" where none is like it."""
    alike = difflib.get_close_matches(word, list(known), 1)
    return f" Did you mean {alike[0]}?" if alike else ""


def _add(commands: argparse._SubParsersAction, name: str, short: str, description: str) -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    # Beginnings of options are none: `prune --y` would remove.
    return commands.add_parser(name, help=short, description=description, epilog=_EPILOG, formatter_class=raw, allow_abbrev=False)


def _add_index(commands: argparse._SubParsersAction) -> None:
    parser = _add(commands, "index", "bring the images of a folder into a library", _INDEX)
    parser.add_argument(
        "folder", metavar="DIR|LIST",
        help="the folder to index, or a list of images: a text file with path,label,label2 on each line; "
        "its paths are whole, or relative to its own folder",
    )  # fmt: skip
    _add_common(parser)
    parser.add_argument("--root", metavar="NAME", help="the root that DIR is below, where several are; DIR may then be relative to it")
    parser.add_argument("--no-recursive", dest="recursive", action="store_false", help="not the folders inside it")
    parser.add_argument("--pattern", default="", metavar="GLOB", help='only files of such names: "*.png;*cat*.webp"')
    parser.add_argument("--labels", default="", metavar="A,B", help="labels for every image of this run")
    parser.add_argument("--namespace", default="", metavar="NAME", help="the collection that every image of this run is moved to")
    parser.add_argument(
        "--token-state-budget", type=_gib, default=5.0, metavar="GIB", help="disk for token states in the whole library; 0: none (5)"
    )
    models = parser.add_argument_group(
        "models", "Names as ComfyUI lists them, or paths. auto: the one that made the library's vectors, in a new library the one that "
        "the README names, if it is there. none: no such vectors in this run.",
    )  # fmt: skip
    models.add_argument("--clip-vision", default=AUTO, metavar="FILE", help="CLIP-ViT-H/14: makes the image vectors")
    models.add_argument("--checkpoint", default=AUTO, metavar="FILE", help="SDXL: makes the CLIP-L and CLIP-G vectors and token states")
    models.add_argument("--text-embedder", default=AUTO, metavar="NAME", help="BGE: makes the vectors of prompts and negative prompts")
    models.add_argument(
        "--models-from", metavar="SCRIPT",
        help="a Python file of yours with functions clip_vision() or clip() that give ComfyUI's objects: for a CLIP with a LoRA, or "
        "from two files; called when there is something to encode, or when the script or one of ComfyUI's model files has changed",
    )  # fmt: skip
    parser.add_argument(
        "--object-info", metavar="FILE",
        help="what that ComfyUI answers at /object_info, as JSON: to read workflows of custom nodes as it does",
    )
    parser.add_argument("--strict", action="store_true", help="exit code 3 where a file could not be read, or its drive is away")
    several = parser.add_argument_group("several machines", "With Ray (the extra `ray`), on one PostgreSQL that all of them reach.")
    several.add_argument(
        "--ray", metavar="ADDRESS", help="a Ray cluster, such as 10.0.0.1:6379 or auto; local: one for this run on this machine"
    )
    several.add_argument("--workers", type=_count, metavar="N", help="how many (one for each GPU, else for each machine)")


def _add_status(commands: argparse._SubParsersAction) -> None:
    parser = _add(commands, "status", "what a library holds, how healthy it is, and what to do", _STATUS)
    _add_common(parser)
    parser.add_argument("--strict", action="store_true", help="exit code 3 where there is a problem; kinds of vectors that were never made are none")


def _add_upkeep(commands: argparse._SubParsersAction, command: str) -> None:
    parser = _add(commands, command, *_UPKEEP[command])
    _add_common(parser)
    parser.set_defaults(thorough=command != "prune", unused_texts=False, yes=False)
    parser.add_argument(
        "--even-if-all-are-gone", action="store_true",
        help="let files count as gone though all of their folder are, as on a drive that is not mounted",
    )  # fmt: skip
    if command == "prune":
        parser.add_argument("--yes", action="store_true", help="remove it; without this it is only shown")
        parser.add_argument("--unused-texts", action="store_true", help="with --yes, remove texts that no image has any more, too")
    else:
        parser.add_argument("--no-thorough", dest="thorough", action="store_false", help="don't read each vector and token state")
    parser.add_argument("--strict", action="store_true", help="exit code 3 where a problem is left")


def _add_search(commands: argparse._SubParsersAction) -> None:
    parser = _add(commands, "search", "list images by words in their prompts, or by a filter", _SEARCH)
    parser.add_argument("words", metavar="WORDS", nargs="*", help="words of the prompt; none: all images")
    _add_common(parser)
    parser.add_argument(
        "--filter", default="", metavar="TEXT",
        help='a filter text: "label:keep rating:>=3"; with =, where it begins with a minus: --filter=-label:draft',
    )  # fmt: skip
    parser.add_argument("--order", choices=ORDERS, default=ORDERS[0], help="what is not known comes last (newest)")
    parser.add_argument("-k", "--top-k", type=_count, default=20, metavar="N", help="the most images (20)")
    parser.add_argument("--offset", type=_offset, default=0, metavar="N", help="how many to pass over, as for the next page")
    parser.add_argument("--paths", action="store_true", help="only the paths of files that are there, one on each line, as UTF-8 where it is no console")


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--library", default="default", metavar="NAME", help="the library, by its name in config.json (default)")
    parser.add_argument("--json", metavar="FILE", help="write the report as JSON too; - for the standard output, in place of the text")
    parser.add_argument("--comfyui", metavar="DIR", help="ComfyUI's folder, where this one does not lie in its custom_nodes")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    parser.add_argument("-v", "--verbose", action="store_true", help="all that is logged")


def _count(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 9999")
    return int(text)


def _offset(text: str) -> int:
    if not text.isdigit() or not int(text) <= MAX_OFFSET:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to {MAX_OFFSET}")
    return int(text)


def _gib(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of GiB from 0 to 100000")
    return value
