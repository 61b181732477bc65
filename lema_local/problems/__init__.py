"""Problems from files, the Hub or templates, as records: data sets by name, any other by a field mapping.

Also what decides which problems may train: overlaps with a test split, and the questions that evolution makes. The
stages call it; only files.py and hub.py touch a disk or a network.
"""
