"""Which nodes ComfyUI gets from this package; nothing connects or loads at import."""

from __future__ import annotations

from comfy_api.v0_0_2 import ComfyExtension, io

from .build_index import BuildIndex
from .cluster_library import ClusterLibrary
from .condition_other_models import ConditionOtherModels
from .contrast import Contrast
from .export_embeddings import ExportEmbeddings
from .fill_template import FillTemplate
from .filter_images import FilterImages
from .find_duplicates import FindDuplicates
from .index_folder import IndexFolder
from .interpolate_conditioning import InterpolateConditioning
from .label_images import LabelImages
from .library_status import LibraryStatus
from .library_upkeep import LibraryUpkeep
from .list_images import ListImages
from .load_description_encoder import LoadDescriptionEncoder
from .load_embeddings import LoadEmbeddings
from .load_text_embedder import LoadTextEmbedder
from .loader import Loader
from .mix_conditioning import MixConditioning
from .pick_hit import PickHit
from .prompt_from_vectors import PromptFromVectors
from .push_away import PushAway
from .query_arithmetic import QueryArithmetic
from .query_by_description import QueryByDescription
from .query_by_image import QueryByImage
from .query_by_prompt import QueryByPrompt
from .query_by_stored_image import QueryByStoredImage
from .query_by_style import QueryByStyle
from .query_by_vector import QueryByVector
from .queued_prompts import forget_saved_fingerprints
from .read_image_prompt import ReadImagePrompt
from .recall_workflow import RecallWorkflow
from .routes import register_routes
from .run_graph import RunGraph
from .save_image import SaveImage
from .search import Search
from .search_by_image import SearchByImage
from .search_by_prompt import SearchByPrompt
from .search_options import SearchOptionsNode
from .stored_image_vector import StoredImageVector


class DiffusionToolkitExtension(ComfyExtension):
    """What ComfyUI asks of a node package."""

    async def on_load(self) -> None:
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
