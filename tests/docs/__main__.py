"""`python -m tests.docs [STORE]`: write the generated parts of docs/*.md anew.

The examples are taken from a store, if one is named: `instaflow run tiny --store STORE` makes what they show.
"""

import sys

from infra.store import open_store
from tests.docs.example import exemplified
from tests.docs.reference import DOCS, filled

for path in sorted(DOCS.glob("*.md")):
    text = filled(path.read_text(encoding="utf-8"))
    for store in sys.argv[1:]:
        text = exemplified(text, open_store(store))
    path.write_text(text, encoding="utf-8")
