"""The record that the bug-report desk reads out of a report."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class BugReport(BaseModel):
    """Facts of a bug report, each as the report writes it; what it does not say is None."""

    model_config = ConfigDict(extra="forbid")

    exception: str | None = Field(
        default=None,
        description="Class of the exception that was raised, without its message: `KeyError`.",
    )
    file: str | None = Field(
        default=None,
        description="File in which the error arose, as written: `src/app/views.py`.",
    )
    line: int | None = Field(default=None, description="Line of that file where the error arose.")
    function: str | None = Field(
        default=None, description="Function or method in which the error arose, without brackets."
    )
    package: str | None = Field(
        default=None, description="The package that the report is about, as written: `pandas`."
    )
    version: str | None = Field(
        default=None, description="Version of that package, as written: `2.1.0`."
    )
    expected: str | None = Field(
        default=None, description="What should have happened, in the words of the report."
    )
    observed: str | None = Field(
        default=None, description="What happened instead, in the words of the report."
    )
