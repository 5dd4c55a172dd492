"""Makes the modules of scripts/ importable."""

from __future__ import annotations

import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

# Here and not in a fixture, since the test modules import at their top.
if str(SCRIPTS) not in sys.path:
    sys.path.insert(0, str(SCRIPTS))
