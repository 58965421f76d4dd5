"""Images by filter alone, in an order that needs no question: what a gallery shows before anything was asked."""

from __future__ import annotations

from psycopg import Connection, sql

from .filters import EVERYTHING, Filter

ORDERS = {  # in SQL; what is not known comes last, equals by id
    "newest": "i.created DESC NULLS LAST, i.id DESC",
    "oldest": "i.created NULLS LAST, i.id",
    "last indexed": "i.indexed DESC, i.id DESC",
    "rating": "i.rating DESC NULLS LAST, i.created DESC NULLS LAST, i.id DESC",
    "seed": "i.seed NULLS LAST, i.id",
}


def list_images(conn: Connection, filter: Filter | None = None, order: str = "newest", k: int = 50, offset: int = 0) -> list[int]:
    """Ids of the images that pass, in one of `ORDERS`, `k` from `offset` on. ValueError for another order."""
    if order not in ORDERS:
        raise ValueError(f"There is no order {order!r}. Choose one of: {', '.join(ORDERS)}.")
    chosen = filter or EVERYTHING
    statement = sql.SQL("SELECT i.id FROM images i WHERE {} ORDER BY {} LIMIT %(list_k)s OFFSET %(list_offset)s")
    rows = conn.execute(
        statement.format(chosen.narrow, sql.SQL(ORDERS[order])), {**chosen.parameters, "list_k": k, "list_offset": offset}
    )
    return [image_id for (image_id,) in rows]


def count_images(conn: Connection, filter: Filter | None = None) -> int:
    """How many images pass."""
    chosen = filter or EVERYTHING
    return conn.execute(sql.SQL("SELECT count(*) FROM images i WHERE {}").format(chosen.narrow), chosen.parameters).fetchone()[0]
