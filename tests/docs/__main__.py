"""`python -m tests.docs`: write the generated parts of docs/*.md anew."""

from tests.docs.reference import DOCS, filled

for path in sorted(DOCS.glob("*.md")):
    path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
