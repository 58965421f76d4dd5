"""Where the vectors of an encoder are kept, and the name and the statement of an index over them."""

from __future__ import annotations

import math

from psycopg import Connection, sql

from .question import TEXT_COLUMNS
from .records import StoredEncoder

TABLES = {  # where a family's vectors are kept
    "text": "text_vectors",
    "clip_l": "text_vectors",
    "clip_g": "text_vectors",
    "image": "image_vectors",
    "token_states": "token_states",
}
INDEX_METHODS = ("hnsw", "ivfflat", "binary")  # the best first: of several indexes over the same vectors searches take that
OF_PROMPTS = ("clip_l", "clip_g")  # families that are searched as the style of an image's prompt; negatives' vectors are the Loader's
_UNSEARCHED = "SELECT count(*) FROM text_vectors WHERE encoder_id = %s AND NOT searched"
# At 100,000 rows and ef_search 100: recall@10 .996 and @50 .992, where pgvector's own ef_construction of 64 gave .985 and .979.
M, EF_CONSTRUCTION = 16, 128


def index_name(encoder: StoredEncoder, method: str) -> str:
    """An encoder's index by this method; search knows it by its name."""
    return f"{TABLES[encoder.family]}_{method}_{encoder.id}"


def place_of(encoder: StoredEncoder) -> dict[str, sql.Identifier]:
    """Names for a statement: the `table` of an encoder's vectors, and their `key` there, an image's or a text's id."""
    table = TABLES[encoder.family]
    return {"table": sql.Identifier(table), "key": sql.Identifier("image_id" if table == "image_vectors" else "text_id")}


def key_of(kind: str, encoder: StoredEncoder) -> dict[str, sql.Composable]:
    """The same of one kind, with the `encoder`, the condition of the `rows` that are searched, and the `id` in `images` that is the key."""
    return {
        **place_of(encoder),
        "encoder": sql.Literal(encoder.id),
        "rows": searched_rows(encoder.family, encoder.id),
        "id": sql.Identifier(TEXT_COLUMNS.get(kind, "id")),
    }


def other_owner(conn: Connection, name: str) -> str:
    """The PostgreSQL user whose index this is, where it is not ours to comment on, to remove or to make anew; else ""."""
    statement = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass(%s) AND NOT pg_has_role(relowner, 'USAGE')"
    return (conn.execute(statement, [name]).fetchone() or ("",))[0]


def searched_rows(family: str, encoder_id: int) -> sql.Composed:
    """The condition of an encoder's vectors that searches look at and indexes hold: not the CLIPs' of texts that are no image's prompt."""
    return sql.SQL(f"encoder_id = {{}}{' AND searched' * (family in OF_PROMPTS)}").format(sql.Literal(encoder_id))


def count_rows(conn: Connection, encoder: StoredEncoder, most: int | None = None) -> int:
    """How many vectors by the encoder searches look at, of which no more than `most` are counted. From keys: vectors are three a page."""
    unsearched = conn.execute(_UNSEARCHED, [encoder.id]).fetchone()[0] if encoder.family in OF_PROMPTS else 0
    statement = sql.SQL("SELECT count(*) FROM (SELECT FROM {} WHERE encoder_id = %s LIMIT %s) few")
    values = [encoder.id, None if most is None else most + unsearched]
    return conn.execute(statement.format(sql.Identifier(TABLES[encoder.family])), values).fetchone()[0] - unsearched


def create_statement(
    encoder: StoredEncoder,
    method: str,
    name: str,
    m: int = M,
    ef_construction: int = EF_CONSTRUCTION,
    rows: int = 0,
    concurrently: bool = False,
) -> sql.Composed:
    """CREATE INDEX over the encoder's `searched_rows`, of which there are `rows`; searches order by the same expressions."""
    vector, options = {
        "hnsw": ("(embedding::halfvec({dims})) halfvec_cosine_ops", "m = {m}, ef_construction = {ef}"),
        "ivfflat": ("(embedding::halfvec({dims})) halfvec_cosine_ops", "lists = {lists}"),
        "binary": ("(binary_quantize(embedding::halfvec({dims}))::bit({dims})) bit_hamming_ops", "m = {m}, ef_construction = {ef}"),
    }[method]
    numbers = {"dims": encoder.dims, "m": m, "ef": ef_construction, "lists": max(1, math.isqrt(rows))}
    return sql.SQL(f"CREATE INDEX {{how}} {{name}} ON {{table}} USING {{method}} ({vector}) WITH ({options}) WHERE {{rows}}").format(
        how=sql.SQL("CONCURRENTLY" if concurrently else ""),
        name=sql.Identifier(name),
        table=sql.Identifier(TABLES[encoder.family]),
        method=sql.SQL("ivfflat" if method == "ivfflat" else "hnsw"),
        rows=searched_rows(encoder.family, encoder.id),
        **{key: sql.Literal(number) for key, number in numbers.items()},
    )
