"""What the report shows, and what an algorithm's page says of itself."""

from __future__ import annotations

from pydantic import Field

from infra.recipe import ASIDE, Count, Section, as_before
from tasks.claims import Claim, StepwiseClaim


class Report(Section):
    """What the report shows."""

    columns: Count = Field(default=10, description="prompts, the columns of the contact sheet")
    trajectories: int = Field(default=3, ge=0, description="latents whose paths are drawn")


class Page(Section):
    """What an algorithm's page says of itself."""

    title: str = Field(default="Report", description="its heading")
    about: str = Field(default="", description="a sentence under the heading")
    source: str = Field(default="", description="the paper, at the foot of the page")


class ReportJob(Report):
    """Show what an algorithm made, beside what it claims."""

    algorithm: str = Field(
        default="instaflow", description="whose claims they are", json_schema_extra=as_before("instaflow")
    )
    claims: tuple[Claim | StepwiseClaim, ...] = Field(
        default=(), strict=False, description="what the algorithm promises", json_schema_extra=ASIDE
    )
    page: Page = Field(default=Page(), description=Page.__doc__, json_schema_extra=ASIDE)

    @classmethod
    def of(
        cls, report: Report, algorithm: str, claims: tuple[Claim | StepwiseClaim, ...], page: Page | None = None
    ) -> ReportJob:
        """The job of a recipe's section, an algorithm's claims and what its page says."""
        return cls(**dict(report), algorithm=algorithm, claims=claims, page=page or Page())
