"""What a rank tells goes to its pipe alone, and what libraries print does not; its end is seen in test_launch.py."""

from __future__ import annotations

import json
import subprocess
import sys

from tests import ROOT

_TELLING = """
import sys
from tasks.train.rank import Telling
tell = Telling()
print("a library", flush=True)
tell("error", "two\\nlines")
tell.progress(1, 2, "steps")
"""


def test_only_what_a_rank_tells_goes_through_its_pipe() -> None:
    run = subprocess.run([sys.executable, "-c", _TELLING], cwd=ROOT, capture_output=True, text=True, check=True)
    assert [json.loads(line) for line in run.stdout.splitlines()] == [
        ["error", "two\nlines"],
        ["progress", 1, 2, "steps"],
    ]
    assert "a library" in run.stderr
