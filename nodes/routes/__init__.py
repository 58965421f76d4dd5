"""HTTP on ComfyUI's own server: search, embed, images and thumbnails, by the functions that the nodes use.

ComfyUI adds each route a second time below /api. Its own rules come first: the origin check, and the largest upload.
"""

from __future__ import annotations


def register_routes() -> None:
    """Add the routes to the server that is starting; without one (a tool that only lists nodes) there is nothing to do."""
    from server import PromptServer

    if PromptServer.instance is not None:
        from .handlers import Routes

        Routes().add_to(PromptServer.instance.routes)
