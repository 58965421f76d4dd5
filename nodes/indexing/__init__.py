"""From a folder to a library: Index Folder, its runs and reports, watching, and the loaders of the models that only we have."""
