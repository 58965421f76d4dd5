-- Which texts' vectors searches look at. Shipped: never edit, add the next number.

-- CLIP-L and CLIP-G vectors are searched by as the style of an image's prompt; negatives have them too, for the Loader, and were two of
-- every seven entries of the graphs. What was written before stays in, negatives too: to take it out would write all of it anew.
ALTER TABLE text_vectors ADD searched boolean NOT NULL DEFAULT true;
CREATE INDEX text_vectors_unsearched ON text_vectors (text_id, encoder_id) WHERE NOT searched;   -- by which the others are counted, too

-- A negative that becomes a prompt is let in, whoever writes the image. The plan stands, since sessions plan each statement anew.
CREATE FUNCTION search_prompt() RETURNS trigger LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    UPDATE text_vectors SET searched = true WHERE text_id = NEW.prompt_id AND NOT searched;
    RETURN NULL;
END
$$;
CREATE TRIGGER images_search_prompt AFTER INSERT OR UPDATE OF prompt_id ON images
    FOR EACH ROW WHEN (NEW.prompt_id IS NOT NULL) EXECUTE FUNCTION search_prompt();
