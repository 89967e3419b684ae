"""The model in the host: load, adapters, token loop. Importing this package does not import torch."""

import os

# Threads that wait for work spin by default, and take the processor from the other process: with a run beside
# it a token took 460 ms instead of 10. OpenMP reads this once, when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
