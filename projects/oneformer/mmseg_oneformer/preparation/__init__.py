"""From downloads and people's own annotations to the panoptic files that training and evaluation read.

One file a benchmark; ``own_data`` and ``formats`` for everybody else's data. All write through ``parallel`` (cores,
progress, resuming) and ``panoptic`` (PNGs and JSONs), so the same holds for every data set: photos are never touched, a
JSON appears whole or not at all, and a second run writes the same bytes.
"""
