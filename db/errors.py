"""The error that leaves the library: what went wrong and what to do next."""


class LibraryError(RuntimeError):
    """A library cannot be used; the message gives the cause and the next step.

    The message is shown on a node, so it never holds a connection string or a password.
    """

    __module__ = "diffusion_toolkit"  # what ComfyUI shows before the message; ours is a file path


class NoSuchImage(LibraryError):
    """The library has no image of an id that was given."""

    __module__ = "diffusion_toolkit"


class ServerTrouble(LibraryError):
    """The PostgreSQL server cannot be reached or cannot do its work now: not the question's fault."""

    __module__ = "diffusion_toolkit"


class Refused(ServerTrouble):
    """The server, or what is in it, does not take us as we come: no new try helps before a person corrects something."""

    __module__ = "diffusion_toolkit"


class TryAgain(ServerTrouble):
    """The server went away, is not there yet, or gave way to another: the same may well work in a moment."""

    __module__ = "diffusion_toolkit"


class Busy(LibraryError):
    """Another process or thread makes an index."""

    __module__ = "diffusion_toolkit"


class DamagedStates(LibraryError):
    """The token states of one text are not what was stored."""

    __module__ = "diffusion_toolkit"
