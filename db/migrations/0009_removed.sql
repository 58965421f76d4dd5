-- Whoever removes images, by hand too, makes another generation: what processes know of them holds for one. Shipped: never edit, add the next number.

CREATE FUNCTION note_removed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE library SET generation = generation + 1;
    RETURN NULL;
END
$$;
CREATE TRIGGER images_removed AFTER DELETE OR TRUNCATE ON images FOR EACH STATEMENT EXECUTE FUNCTION note_removed();
