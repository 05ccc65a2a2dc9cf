"""What is not needed is not imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SEEN = "import sys, proxy.app; print([name for name in ('aiodocker', 'torch') if name in sys.modules])"


def test_the_client_of_docker_comes_with_the_first_container() -> None:
    root = Path(__file__).parents[3]
    seen = subprocess.run([sys.executable, "-c", SEEN], cwd=root, capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"
