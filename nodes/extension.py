"""Which nodes ComfyUI gets from this package; nothing connects or loads at import."""

from __future__ import annotations

import logging
import sys

from comfy_api.v0_0_2 import ComfyExtension, io

from .conditioning.condition_other_models import ConditionOtherModels
from .conditioning.export_embeddings import ExportEmbeddings
from .conditioning.interpolate_conditioning import InterpolateConditioning
from .conditioning.load_embeddings import LoadEmbeddings
from .conditioning.loader import Loader
from .conditioning.mix_conditioning import MixConditioning
from .conditioning.prompt_from_vectors import PromptFromVectors
from .conditioning.push_away import PushAway
from .conditioning.stored_image_vector import StoredImageVector
from .graphs.fill_template import FillTemplate
from .graphs.read_image_prompt import ReadImagePrompt
from .graphs.recall_workflow import RecallWorkflow
from .graphs.run_graph import RunGraph
from .graphs.save_image import SaveImage
from .indexing.index_folder import IndexFolder
from .indexing.load_description_encoder import LoadDescriptionEncoder
from .indexing.load_text_embedder import LoadTextEmbedder
from .library.build_index import BuildIndex
from .library.label_images import LabelImages
from .library.library_status import LibraryStatus
from .library.library_upkeep import LibraryUpkeep
from .queued_prompts import forget_saved_fingerprints
from .routes import register_routes
from .search.filter_images import FilterImages
from .search.list_images import ListImages
from .search.pick_hit import PickHit
from .search.query_arithmetic import QueryArithmetic
from .search.query_by_description import QueryByDescription
from .search.query_by_image import QueryByImage
from .search.query_by_prompt import QueryByPrompt
from .search.query_by_stored_image import QueryByStoredImage
from .search.query_by_style import QueryByStyle
from .search.query_by_vector import QueryByVector
from .search.search import Search
from .search.search_by_image import SearchByImage
from .search.search_by_prompt import SearchByPrompt
from .search.search_options import SearchOptionsNode
from .survey.cluster_library import ClusterLibrary
from .survey.contrast import Contrast
from .survey.find_duplicates import FindDuplicates


class DiffusionToolkitExtension(ComfyExtension):
    """What ComfyUI asks of a node package."""

    async def on_load(self) -> None:
        _write_any_letter()
        forget_saved_fingerprints()
        register_routes()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            IndexFolder,
            SearchByPrompt,
            SearchByImage,
            Search,
            QueryByPrompt,
            QueryByImage,
            QueryByStoredImage,
            QueryByDescription,
            QueryByStyle,
            QueryByVector,
            QueryArithmetic,
            FilterImages,
            SearchOptionsNode,
            PickHit,
            ListImages,
            LabelImages,
            FindDuplicates,
            ClusterLibrary,
            Contrast,
            Loader,
            MixConditioning,
            InterpolateConditioning,
            PushAway,
            PromptFromVectors,
            ConditionOtherModels,
            StoredImageVector,
            ExportEmbeddings,
            LoadEmbeddings,
            LoadTextEmbedder,
            LoadDescriptionEncoder,
            LibraryStatus,
            LibraryUpkeep,
            BuildIndex,
            ReadImagePrompt,
            RecallWorkflow,
            FillTemplate,
            RunGraph,
            SaveImage,
        ]


def _write_any_letter() -> None:
    """Have the console take every letter, those that it lacks as \\u017b.

    ComfyUI's wrapper of it drops Python's own rule for that. Redirected on Windows it takes cp1252 alone: an error that names the
    folder Żółw then can't be written, which ends the thread that runs prompts, until ComfyUI is started anew.
    """
    logs = (getattr(handler, "stream", None) for handler in logging.getLogger().handlers)  # ComfyUI-Manager puts its own before the console
    for stream in (*logs, sys.stderr, sys.stdout):
        try:
            if stream.errors == "strict":
                stream.reconfigure(errors="backslashreplace")
        except (AttributeError, OSError, ValueError):  # none, another's stream, a closed one: as it was
            pass
