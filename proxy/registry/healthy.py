"""`[engines.health]`: when a replica of a remote engine is left alone, and for how long."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from backends.base import HealthRules

_DEFAULT = HealthRules()


class HealthTable(BaseModel):
    """As backends.base.HealthRules, with the limits of each."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    failures: int = Field(_DEFAULT.failures, ge=1, le=1000)
    first_pause: float = Field(_DEFAULT.first_pause, ge=0.01, le=3600)
    longest_pause: float = Field(_DEFAULT.longest_pause, ge=0.01, le=3600)
    silence: float | None = Field(_DEFAULT.silence, ge=0.1)
    check: float = Field(_DEFAULT.check, ge=0.1, le=3600)
    identity: bool = _DEFAULT.identity

    @model_validator(mode="after")
    def _pauses_grow(self) -> HealthTable:
        if self.longest_pause < self.first_pause:
            raise ValueError("`longest_pause` is shorter than `first_pause`")
        return self

    def rules(self) -> HealthRules:
        """What it says."""
        return HealthRules(**self.model_dump())
