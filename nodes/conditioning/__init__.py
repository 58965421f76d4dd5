"""From stored images to CONDITIONING and back to prompts: recalled, mixed, led away, estimated, exported and imported."""
