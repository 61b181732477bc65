"""Settings: TOML to frozen dataclasses. One profile is one experiment; unknown keys and values are refused.

Here too is what the names in a profile stand for: models with their shapes, reasoners, published adapters, variants
by size, and how a student is trained. Reads files of its own, starts nothing. Whoever needs a setting is handed it.
"""
