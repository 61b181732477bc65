"""Servers of ours: a recipe's command line, started on a free port of this machine, and stopped whatever happens.

The recipes themselves are data (servers/*.toml). Stages and commands ask for a server here and get an endpoint.
"""
