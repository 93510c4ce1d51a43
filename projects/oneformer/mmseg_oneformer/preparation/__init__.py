"""From downloads and users' own annotations to the panoptic files that training and evaluation read.

One module per benchmark; ``own_data`` and ``formats`` for all other data. All write through ``parallel`` (cores,
progress, resuming) and ``panoptic`` (PNGs and JSONs), so the same holds for every data set: photos are never changed, a
JSON is written completely or not at all, and a second run writes the same bytes.
"""
