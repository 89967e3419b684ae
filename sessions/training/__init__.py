"""One training run: recipe, worker, events. Importing this package does not import torch."""
