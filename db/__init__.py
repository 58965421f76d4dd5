"""The library: PostgreSQL with pgvector behind plain functions that take a connection; callers own the transaction."""

from ._generation import bump_generation, generation
from .approximations import Approximation, approximation, sample_texts, texts_that_begin_alike, wanted_approximation, write_approximation
from .claims import Claimed, FileState, Run, release_files
from .bulk import make_postponed, postpone_indexes
from .clusters import Cluster, cluster_images
from .comparable import Comparable, count_comparable
from .connection import Connection, Library, has_password, library_names, open_library
from .contrast import Contrast, contrasts_of_image, contrasts_of_library
from .duplicates import Alike, Group, Member, best_first, duplicate_groups, groups_of
from .encoders import (
    activate_encoders,
    active_encoder,
    active_encoders,
    ensure_encoder,
    find_encoder,
    find_encoder_with,
    get_encoder,
    require_encoder,
)
from .errors import DamagedStates, LibraryError, NoSuchImage, ServerTrouble, TryAgain
from .exported import StoredVectors, keep_still, stored_vectors, typical_length
from .files import files_of_root, mark_missing, unmark_missing
from .filters import Filter, FilterError, all_of, parse_filter
from .filters.beginnings import longer_words
from .pairs import Pairs, also_by_hash, look_alikes, same_hashes
from .phashes import images_without_phash, read_phashes, write_phashes
from .hybrid.build import build_hybrid, drop_hybrid
from .hybrid.candidates import LEAST_RECALL
from .indexes import indexes_of, set_index
from .labels import label_files, label_images, normal_labels
from .listing import count_images, list_images
from .missing_texts import texts_lacking, texts_still_lacking, texts_without_vector
from .question import FAMILIES, KINDS, Answer, Part, Question
from .read import (
    counts,
    find_text,
    get_images,
    get_text,
    images_read_before,
    images_without_vector,
    known_files,
    read_before,
    stored_pieces,
)
from .records import (
    Counts,
    Encoder,
    Hit,
    ImageRecord,
    ImageSettings,
    KnownFile,
    Reading,
    StoredEncoder,
    StoredFile,
    StoredImage,
    StoredPieces,
    TextPair,
    TokenStates,
)
from .refresh import refresh_search
from .search import encoder_of, exact_cosines, forget_samples, search
from .status import LibraryStatus, Problem, library_status
from .token_states import many_token_states, section_bytes, token_states, token_states_bytes, write_token_states
from .vectors import (
    image_vector,
    text_vector,
    write_image_vectors,
    write_text_vectors,
)
from .write import ensure_root, ensure_text, find_images, link_paths, update_readings, write_images

__all__ = [
    "Alike",
    "Answer",
    "Approximation",
    "Claimed",
    "Cluster",
    "Comparable",
    "Connection",
    "Contrast",
    "Counts",
    "DamagedStates",
    "Encoder",
    "FAMILIES",
    "FileState",
    "Filter",
    "FilterError",
    "Group",
    "Hit",
    "ImageRecord",
    "ImageSettings",
    "KINDS",
    "KnownFile",
    "LEAST_RECALL",
    "Library",
    "LibraryError",
    "LibraryStatus",
    "Member",
    "NoSuchImage",
    "Pairs",
    "Part",
    "Problem",
    "Question",
    "Reading",
    "Run",
    "ServerTrouble",
    "StoredEncoder",
    "StoredFile",
    "StoredImage",
    "StoredPieces",
    "StoredVectors",
    "TextPair",
    "TokenStates",
    "TryAgain",
    "activate_encoders",
    "active_encoder",
    "active_encoders",
    "all_of",
    "also_by_hash",
    "approximation",
    "best_first",
    "build_hybrid",
    "bump_generation",
    "cluster_images",
    "contrasts_of_image",
    "contrasts_of_library",
    "count_comparable",
    "count_images",
    "counts",
    "drop_hybrid",
    "duplicate_groups",
    "encoder_of",
    "ensure_encoder",
    "ensure_root",
    "ensure_text",
    "exact_cosines",
    "files_of_root",
    "find_encoder",
    "find_encoder_with",
    "find_images",
    "find_text",
    "forget_samples",
    "generation",
    "get_encoder",
    "get_images",
    "get_text",
    "groups_of",
    "has_password",
    "image_vector",
    "images_read_before",
    "images_without_phash",
    "images_without_vector",
    "indexes_of",
    "keep_still",
    "known_files",
    "label_files",
    "label_images",
    "library_names",
    "library_status",
    "link_paths",
    "list_images",
    "longer_words",
    "look_alikes",
    "make_postponed",
    "many_token_states",
    "mark_missing",
    "normal_labels",
    "open_library",
    "parse_filter",
    "read_before",
    "postpone_indexes",
    "read_phashes",
    "refresh_search",
    "release_files",
    "require_encoder",
    "same_hashes",
    "sample_texts",
    "search",
    "section_bytes",
    "set_index",
    "stored_pieces",
    "stored_vectors",
    "text_vector",
    "texts_lacking",
    "texts_still_lacking",
    "texts_that_begin_alike",
    "texts_without_vector",
    "token_states",
    "token_states_bytes",
    "typical_length",
    "unmark_missing",
    "update_readings",
    "wanted_approximation",
    "write_approximation",
    "write_image_vectors",
    "write_images",
    "write_phashes",
    "write_text_vectors",
    "write_token_states",
]
