"""In what words the command's reports say what helps: its own actions and options, where the nodes have theirs."""

from __future__ import annotations

from ...db import Words

_OPTIONS = {"text": "--text-embedder NAME", "image": "--clip-vision FILE"}
_CLIP = "--checkpoint FILE"


class ShellWords(Words):
    """There is no queue in a shell, and nothing to connect."""

    index = "Run `index`"
    indexing = "`index`"
    index_or_build = "Run `index` or `repair`"
    build = "the node Build Index"
    make_anew = "let `repair` make it anew"
    repair = "`repair`"
    gone = "`prune` shows them, and removes them from the library with --yes"
    see_gone = "see `prune`"
    looks_at_files = "`verify` does"
    unused_texts = "--unused-texts"
    all_gone = "--even-if-all-are-gone"
    states_budget = "--token-state-budget"

    def with_model(self, family: str) -> str:
        return f"with {_OPTIONS.get(family, _CLIP)}"

    def with_that_model(self, family: str) -> str:
        return f"with that model (looked for by itself, or named: {_OPTIONS.get(family, _CLIP)})"

    def to_connect(self, name: str) -> str:
        return ""  # the notes say why a model is not there
