"""How a library is, what is wrong with it, what mends that, and what may go."""
