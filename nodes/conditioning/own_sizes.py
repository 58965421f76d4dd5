"""The choice of the nodes that can tell SDXL an image's own size."""

NO_SIZES, OWN_SIZES = "none", "the image's own"
