"""The model in the host: load, adapters, token loop. Importing this package does not import torch."""
