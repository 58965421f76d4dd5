-- Which texts' vectors searches look at. Shipped: never edit, add the next number.

-- CLIP-L and CLIP-G vectors are searched by as the style of an image's prompt; negatives have them too, for the Loader, and were two of
-- every seven entries of the graphs. Texts written before stay in; a negative that becomes a prompt is let in then.
ALTER TABLE text_vectors ADD searched boolean NOT NULL DEFAULT true;
