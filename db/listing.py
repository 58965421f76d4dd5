"""Images by filter alone, in an order that needs no question: what a gallery shows before anything was asked."""

from __future__ import annotations

from psycopg import Connection, sql

from .filters import Filter

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
    statement = sql.SQL("SELECT i.id FROM images i WHERE {} ORDER BY {} LIMIT %(list_k)s OFFSET %(list_offset)s")
    rows = conn.execute(
        statement.format(filter.narrow if filter else sql.SQL("true"), sql.SQL(ORDERS[order])),
        {**(filter.parameters if filter else {}), "list_k": k, "list_offset": offset},
    )
    return [image_id for (image_id,) in rows]


def count_images(conn: Connection, filter: Filter | None = None) -> int:
    """How many images pass."""
    statement = sql.SQL("SELECT count(*) FROM images i WHERE {}").format(filter.narrow if filter else sql.SQL("true"))
    return conn.execute(statement, filter.parameters if filter else {}).fetchone()[0]
