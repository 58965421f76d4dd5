"""From a question to hits: queries, filters, options, the search nodes, and what asks the library for them and for the HTTP routes."""
