"""In what words a message calls a kind, and says what helps: a node's where a node tells it, and in a shell the command's."""

from __future__ import annotations

CONNECT = {  # by an encoder's family, what a person connects to Index Folder to get its vectors
    "text": "a text embedder",
    "image": "a CLIP_VISION",
    "clip_l": "a CLIP",
    "clip_g": "a CLIP",
    "token_states": "a CLIP",
}
_OTHERWISE = {"negative": "negative prompt", "clip_l": "CLIP-L", "clip_g": "CLIP-G", "token_states": "token states"}  # than they are named


def kind_in_words(name: str) -> str:
    """A vector kind or an encoder's family, as a person reads it."""
    return _OTHERWISE.get(name, name)


class Words:
    """The nodes'. `nodes/command/words.py` has the command's."""

    index = "Queue Index Folder"
    indexing = "Index Folder"
    index_or_build = "Queue Index Folder or Build Index"
    build = "Build Index"
    make_anew = "make it anew with Build Index, which removes it"
    repair = "Library Upkeep (repair)"
    gone = "Library Upkeep shows them, and removes them from the library when asked"
    see_gone = "see Library Upkeep"
    looks_at_files = "Library Upkeep (verify) does"
    unused_texts = "unused_texts on"
    all_gone = "even_if_all_are_gone on"
    states_budget = "token_state_budget"

    def with_model(self, family: str) -> str:
        return f"with {CONNECT[family]} connected"

    def with_that_model(self, family: str) -> str:
        return f"with that model connected ({CONNECT[family]})"

    def to_connect(self, name: str) -> str:
        """Beside what a run did not make, for lack of this input."""
        return f" (connect {name})"
