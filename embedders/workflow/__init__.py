"""ComfyUI's workflows as its front end saves them, and the API format that they are queued as."""

from .convert import WorkflowError, to_api

__all__ = ["WorkflowError", "to_api"]
