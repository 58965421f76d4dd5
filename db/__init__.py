"""The library: PostgreSQL with pgvector behind plain functions that take a connection; callers own the transaction."""

from ._generation import bump_generation, generation
from .connection import Connection, Library, library_names, open_library
from .encoders import (
    activate_encoders,
    active_encoder,
    active_encoders,
    ensure_encoder,
    find_encoder,
    get_encoder,
    require_encoder,
)
from .errors import LibraryError
from .read import counts, find_text, get_images, get_text, images_without_vector, known_files, texts_without_vector
from .records import Counts, Encoder, Hit, ImageRecord, KnownFile, StoredEncoder, StoredFile, StoredImage, TextPair, TokenStates
from .search import search_by_image, search_by_text
from .vectors import (
    image_vector,
    text_vector,
    token_states,
    token_states_bytes,
    write_image_vectors,
    write_text_vectors,
    write_token_states,
)
from .write import ensure_root, ensure_text, find_images, link_paths, write_images

__all__ = [
    "Connection",
    "Counts",
    "Encoder",
    "Hit",
    "ImageRecord",
    "KnownFile",
    "Library",
    "LibraryError",
    "StoredEncoder",
    "StoredFile",
    "StoredImage",
    "TextPair",
    "TokenStates",
    "activate_encoders",
    "active_encoder",
    "active_encoders",
    "bump_generation",
    "counts",
    "ensure_encoder",
    "ensure_root",
    "ensure_text",
    "find_encoder",
    "find_images",
    "find_text",
    "generation",
    "get_encoder",
    "get_images",
    "get_text",
    "image_vector",
    "images_without_vector",
    "known_files",
    "library_names",
    "link_paths",
    "open_library",
    "require_encoder",
    "search_by_image",
    "search_by_text",
    "text_vector",
    "texts_without_vector",
    "token_states",
    "token_states_bytes",
    "write_image_vectors",
    "write_images",
    "write_text_vectors",
    "write_token_states",
]
