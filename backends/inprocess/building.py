"""One model at a time: transformers changes torch for the whole process while it builds one, whatever the thread."""

from __future__ import annotations

import threading

# Two models built at once can end up on torch's `meta` device, without their weights. What is guarded is the library's own
# state, of which there is one a process, and so is this.
BUILDING = threading.Lock()
