"""One index over several kinds at once, which serves any weights: short vectors, with all of which a question is compared in memory.

`projection` makes one short vector of those of several kinds, `rows` reads these and writes that, `build` makes the index, and `check`
holds the questions that tell how many are to be compared exactly. `held` is the index in memory, `candidates` asks it, and `whole`
compares what that gives. `tail` notes what is written after the making, and `refresh` folds it in or makes the index anew. Modules are
imported one by one, since search needs `candidates`, and `build` needs search's `kinds`.
"""
