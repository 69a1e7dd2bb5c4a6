"""What the fork server does once, so that no process forked for `driver.py` has to: it loads a model.

No thread that a forked process would miss is started: torch computes on one.
"""

from __future__ import annotations

import diffusers.guiders  # noqa: F401
import matplotlib.backends.backend_svg  # noqa: F401
import pyarrow.dataset  # noqa: F401

import tests.flows.kitchen  # noqa: F401
import tests.resilience.driver  # noqa: F401
import tests.resilience.dying  # noqa: F401
from flows.run.sources import WEIGHTS
from tasks.data.load import load_folder

load_folder(WEIGHTS / "teacher")
