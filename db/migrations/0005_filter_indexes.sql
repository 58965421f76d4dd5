-- What filters ask most beside labels, checkpoint, seed and date. Shipped: never edit, add the next number.

CREATE INDEX images_steps ON images (steps);
CREATE INDEX images_sampler ON images (sampler);
CREATE INDEX images_cfg ON images (cfg);
CREATE INDEX images_size ON images (width, height);
CREATE INDEX images_loras ON images USING gin (loras jsonb_path_ops);  -- a LoRA by its whole name
