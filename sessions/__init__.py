"""Models at work: host, client, engine, training, adapters, settings.

Knows nothing of screens. torch is imported under `engine` and `training` alone.
"""
