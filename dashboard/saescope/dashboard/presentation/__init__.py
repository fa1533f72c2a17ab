"""How atoms, examples and inputs of each kind of source are shown: the one place that tells kinds of source apart.

`atoms.py` draws decoder directions, `examples.py` what makes a feature fire. A new kind of source adds its module here
and a line to the function that chooses; no page needs to know.
"""
