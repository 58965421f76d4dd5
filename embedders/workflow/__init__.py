"""ComfyUI's workflows as its front end saves them, and the API format that they are queued as."""

from .convert import WorkflowError, to_api
from .reading import Readable, readable
from .tidy import output_types

__all__ = ["Readable", "WorkflowError", "output_types", "readable", "to_api"]
