"""How the items, features and atoms of each kind of source are shown: the one place that tells kinds apart.

`choice.presenter(entry)` is asked by every page; `presenter.py` says what it answers. A kind of item is a module with a
subclass of `Presenter` (`pixels`, `patches`, `vision`, `texts`, `vectors`): a new one is found by being here.
"""
