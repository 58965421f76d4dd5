"""The view `image`: one flat row per image with the five vectors of the active encoders."""

from __future__ import annotations

from psycopg import Connection, errors, sql

from .records import StoredEncoder

# The encoder ids and dimensions stand as literals in the view, and each vector is cast exactly as its index was made:
# only then does PostgreSQL prove that the encoder's partial HNSW index answers ORDER BY image_embedding <=> $1. So does `searched`.
# Eight tables are joined, the most that are reordered freely (join_collapse_limit); a ninth would cost the index.
_VIEW = """
VIEW image AS
SELECT coalesce(
           (SELECT rtrim(r.path, '/') || '/' || p.path FROM paths p JOIN roots r ON r.id = p.root_id
            WHERE p.image_id = i.id AND p.missing IS NULL ORDER BY p.seen DESC, p.root_id, p.path LIMIT 1),
           (SELECT rtrim(r.path, '/') || '/' || p.path FROM paths p JOIN roots r ON r.id = p.root_id
            WHERE p.image_id = i.id ORDER BY p.seen DESC, p.root_id, p.path LIMIT 1)) AS path,
       prompt.joined AS prompt,
       negative.joined AS negative_prompt,
       {prompt_embedding} AS prompt_embedding,
       {negative_embedding} AS negative_prompt_embedding,
       {image_embedding} AS image_embedding,
       {clip_l_embedding} AS clip_l_embedding,
       {clip_g_embedding} AS clip_g_embedding,
       i.id, i.hash, i.width, i.height, i.prompt_joined, i.negative_joined, i.seed, i.steps, i.cfg, i.sampler,
       i.scheduler, i.checkpoint, i.loras, i.generator, i.created, i.indexed, i.guidance, i.denoise, i.vae, i.text_encoders,
       i.controlnets, i.asked_width, i.asked_height, i.prompt_confidence, i.negative_confidence, i.settings_confidence,
       i.reading, i.reader, i.labels, i.namespace, i.rating, i.phash, i.created_own
FROM images i
LEFT JOIN texts prompt ON prompt.id = i.prompt_id
LEFT JOIN texts negative ON negative.id = i.negative_id
LEFT JOIN text_vectors p_v ON p_v.text_id = i.prompt_id AND p_v.encoder_id = {text}
LEFT JOIN text_vectors n_v ON n_v.text_id = i.negative_id AND n_v.encoder_id = {text}
LEFT JOIN image_vectors i_v ON i_v.image_id = i.id AND i_v.encoder_id = {image}
LEFT JOIN text_vectors l_v ON l_v.text_id = i.prompt_id AND l_v.encoder_id = {clip_l} AND l_v.searched
LEFT JOIN text_vectors g_v ON g_v.text_id = i.prompt_id AND g_v.encoder_id = {clip_g} AND g_v.searched
"""
_NO_ENCODER = 0  # identity columns begin at 1


def create_view(conn: Connection, active: dict[str, StoredEncoder]) -> None:
    """Make the view of the active encoders, by family.

    Replaced in place where the dimensions stay, which keeps what others granted on it or built over it.
    """
    families = {family: active.get(family) for family in ("text", "image", "clip_l", "clip_g")}
    view = sql.SQL(_VIEW).format(
        prompt_embedding=_column("p_v", families["text"]),
        negative_embedding=_column("n_v", families["text"]),
        image_embedding=_column("i_v", families["image"]),
        clip_l_embedding=_column("l_v", families["clip_l"]),
        clip_g_embedding=_column("g_v", families["clip_g"]),
        **{family: sql.Literal(encoder.id if encoder else _NO_ENCODER) for family, encoder in families.items()},
    )
    try:
        with conn.transaction():
            conn.execute(sql.SQL("CREATE OR REPLACE {}").format(view))
    except errors.InvalidTableDefinition:
        conn.execute("DROP VIEW image")
        conn.execute(sql.SQL("CREATE {}").format(view))


def _column(table: str, encoder: StoredEncoder | None) -> sql.Composable:
    if encoder is None:
        return sql.SQL("{}.embedding::halfvec").format(sql.Identifier(table))  # always null
    return sql.SQL("{}.embedding::halfvec({})").format(sql.Identifier(table), sql.Literal(encoder.dims))
