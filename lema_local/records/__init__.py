"""The records of a run and where they live: the dataclasses, their content keys, and the only opener of DuckDB.

Apart from the rest because every figure comes from here and nothing paid for may be lost: the journal, the one
writer, the schema and its migrations, and what copies, checks and exports a database. Any room may call it.
"""
