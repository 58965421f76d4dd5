"""One inner-product index over several kinds at once, which serves any weights: fitted, filled, kept up, and searched.

`projection` makes its vectors, `build` makes the index and checks it, `tail` notes what is written after that, `refresh` folds it in, and
`candidates` searches. Modules are imported one by one, since search needs the last and the first needs what search has.
"""
