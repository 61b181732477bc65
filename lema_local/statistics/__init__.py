"""The statistics of a comparison, by scipy: intervals, exact McNemar, several seeds, choices, trends, pass@k.

Apart so that every number in a table can be checked against the literature without a database. Pure; knows nothing
of the project. Reports, tables and the review's summary call it.
"""
