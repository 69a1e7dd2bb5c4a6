"""A report is told of an algorithm and of its claims."""

from __future__ import annotations

from tasks.sections import Report, ReportJob


def test_claims_and_algorithm_were_not_always_said() -> None:
    assert ReportJob.of(Report(), "instaflow", ()).identity() == Report().identity()
    assert ReportJob.of(Report(), "other", ()).identity() == {**Report().identity(), "algorithm": "other"}
