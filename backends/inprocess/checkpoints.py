"""Reading checkpoints with transformers: one at a time, whichever engine asks."""

from __future__ import annotations

import threading

# transformers prepares a network by patching PyTorch for the whole process (its initialisers, its default data type),
# so two threads that read at once leave each other half a network. What it guards is one per process, hence so is it.
READING = threading.Lock()
