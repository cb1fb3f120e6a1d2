"""Tools from elsewhere: readers of other formats, and what makes their functions usable here.

`read` takes functions out of a source one at a time, `normalise` turns them into `Tool`s and
counts in an `ImportReport` what was changed or dropped, and why:

    report = ImportReport()
    for tool in normalise(read("openapi", "petstore.yaml"), report):
        ...
    print(report.text())
"""

from trustee_jax.toolsets.importing.candidates import Candidate, Refusal
from trustee_jax.toolsets.importing.limits import Limits
from trustee_jax.toolsets.importing.normalise import normalise
from trustee_jax.toolsets.importing.reading import FORMATS, read
from trustee_jax.toolsets.importing.report import ImportReport

__all__ = ["FORMATS", "Candidate", "ImportReport", "Limits", "Refusal", "normalise", "read"]
