"""One inner-product index over several kinds at once, which serves any weights: fitted, filled, kept up, and searched.

`projection` makes one vector of those of several kinds, `rows` reads these and writes that, `build` makes the index, and `check` holds the
questions that it is tried with. `tail` notes what is written after that, `refresh` folds it in or makes the index anew, and `candidates`
searches. Modules are imported one by one, since search needs `candidates`, and `build` needs search's `kinds`.
"""
