"""The library: PostgreSQL with pgvector behind plain functions that take a connection; callers own the transaction.

What others use is listed here, and taken from here; a name that is not, from its own module.
"""

from ._clean import clean_text
from ._generation import bump_generation, generation
from .approximations import Approximation, approximation, sample_texts, texts_that_begin_alike, wanted_approximation, write_approximation
from .claims import Claimed, FileState, Run, release_files
from .comparable import Comparable, count_comparable
from .connection import Connection, Library, has_password, library_names, open_library
from .encoders import (
    activate_encoders,
    active_encoder,
    active_encoders,
    encoder_with_states,
    ensure_encoder,
    find_encoder,
    find_encoder_with,
    get_encoder,
    require_encoder,
)
from .errors import DamagedStates, LibraryError, NoSuchImage, Refused, ServerTrouble, TryAgain
from .exported import StoredVectors, keep_still, stored_vectors, typical_length
from .files import FileOfRoot, OtherFile, count_unmarked, files_of_root, known_roots, mark_missing, mark_others, other_files, page_of_files, unmark_missing
from .filters import Filter, FilterError, all_of, parse_filter, quoted
from .filters.none_pass import why_none_pass
from .filters.unknown_names import unknown_names
from .hashes import known_contents, older_sizes, renew_hashes
from .health.problems import Problem
from .health.prune import (
    GoingImage,
    Gone,
    GoneOfRoot,
    count_gone,
    count_texts_left,
    given_images_at,
    going_images,
    gone_by_root,
    mark_all,
    places_of_staying,
    refuse_beside_a_run,
    remove_missing,
    without_file,
)
from .health.status import LibraryStatus, library_status
from .health.upkeep import (
    LooseEnds,
    damaged_states,
    forget,
    loose_ends,
    mend_indexes,
    remove_fileless_images,
    remove_unused_texts,
    unsound_vectors,
    vacuum,
)
from .hybrid.build import build_hybrid, drop_hybrid
from .hybrid.candidates import LEAST_RECALL
from .indexes.build import indexes_of, set_index, unused_below
from .indexes.bulk import make_postponed, postpone_indexes
from .indexes.refresh import refresh_search
from .labels import label_files, label_images, normal_label, normal_labels
from .listing import count_images, list_images
from .missing_texts import count_lacking, texts_lacking, texts_still_lacking
from .phashes import images_without_phash, read_phashes, write_phashes
from .question import FAMILIES, KINDS, Answer, Part, Question
from .read import (
    counts,
    find_text,
    get_images,
    get_text,
    images_read_before,
    images_without_vector,
    read_before,
    still_without_vector,
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
    told_encoder,
)
from .search import SHAPES, encoder_of, exact_cosines, search
from .server._settings import machine_memory
from .survey.clusters import Cluster, cluster_images
from .survey.contrast import Contrast, contrasts_of_image, contrasts_of_library
from .survey.duplicates import Alike, Group, Member, Place, best_first, copied_images, duplicate_groups, groups_of, ids_with_copies
from .survey.pairs import Pairs, look_alikes, same_hashes
from .token_states import many_token_states, mend_token_states, section_bytes, token_states, token_states_bytes, write_token_states
from .vectors import (
    count_searched,
    image_vector,
    text_vector,
    write_image_vectors,
    write_text_vectors,
)
from .words import Words
from .write import ensure_root, ensure_text, find_images, link_paths, update_readings, write_images
