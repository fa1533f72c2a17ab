"""Anomalies: items that an autoencoder trained on normal ones rebuilds badly.

`saescope.workflows.anomalies` has the three steps: fit a detector, score items, report how well labelled ones are told
apart.
"""
