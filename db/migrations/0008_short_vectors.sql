-- The hybrid index holds short vectors that searches compare with all in memory, where it was a graph of long ones. Shipped: never edit, add the next number.

UPDATE hybrids SET ready = false;           -- the next run makes it anew, over the same kinds
DROP INDEX IF EXISTS hybrid_vectors_hnsw;
TRUNCATE hybrid_vectors, hybrid_tail;
DROP INDEX hybrid_vectors_image;
ALTER TABLE hybrid_vectors
    DROP CONSTRAINT hybrid_vectors_pkey,
    ADD PRIMARY KEY (image_id),
    ADD place bigint GENERATED ALWAYS AS IDENTITY,  -- in the order in which they are written: memory is brought up to date by it
    ADD UNIQUE (hybrid_id, place);
