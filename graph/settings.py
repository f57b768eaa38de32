"""Settings: `journeyman.toml` or `[tool.journeyman]`, found by walking up, then `JOURNEYMAN_*`.

Environment beats file, file beats default; unknown keys are errors. Secrets are never settings: a
setting names the environment variable that holds one. Knows nothing of how settings are used.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from journeyman.models.errors import ConfigError
from journeyman.models.types import Risk

FILE_NAME = "journeyman.toml"


class PriceSettings(BaseModel):
    """Price of the frontier model, where the price tables do not know it or know it wrong."""

    model_config = ConfigDict(extra="forbid")

    input_per_million_usd: float = Field(ge=0)
    output_per_million_usd: float = Field(ge=0)
    cached_input_per_million_usd: float | None = Field(default=None, ge=0)


class FrontierSettings(BaseModel):
    """The large model, behind any OpenAI-compatible API."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(default=None, description="Name of the model; none: no frontier.")
    base_url: str | None = Field(default=None, description="API address; none: OpenAI's.")
    api_key_env: str = Field(
        default="OPENAI_API_KEY",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Name of the environment variable that holds the key; never the key itself.",
    )
    provider: str | None = Field(default=None, description="Provider's name in the price tables.")
    price: PriceSettings | None = Field(default=None, description="Overrides the price tables.")
    max_concurrency: int = Field(default=8, ge=1, description="Calls in flight at once.")
    max_tries: int = Field(default=4, ge=1, description="Tries of one call, the first included.")
    timeout_seconds: float = Field(default=60, gt=0, description="Limit of one try.")
    trainable: bool = Field(
        default=True, description="The provider's terms allow training on its answers."
    )


class BudgetSettings(BaseModel):
    """Hard caps, checked before each call."""

    model_config = ConfigDict(extra="forbid")

    per_run_usd: float | None = Field(default=None, gt=0, description="Most one run may cost.")
    per_day_usd: float | None = Field(default=None, gt=0, description="Most one UTC day may cost.")
    allow_unpriced: bool = Field(
        default=False, description="Allow calls of models without a known price under a cap."
    )


class AuditSettings(BaseModel):
    """Tasks that are shown to the frontier although they need not be."""

    model_config = ConfigDict(extra="forbid")

    rate: float = Field(
        default=0.05, ge=0, le=1, description="Share of tasks audited under a certificate."
    )


class RoundSettings(BaseModel):
    """How rounds teach, and what a new student has to pass."""

    model_config = ConfigDict(extra="forbid")

    calibration: float = Field(
        default=0.2, ge=0, lt=1, description="Share of the labelled tasks that certifies, for ever."
    )
    head: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="Share that the confidence head is fitted on.",
    )
    margin: float = Field(
        default=0.05, gt=0, lt=1, description="Loss of quality that is still called no loss."
    )
    max_failed_labels: float = Field(
        default=0.2, ge=0, le=1, description="Share of doubtful labels that stops a round."
    )
    seed: int = Field(default=0, description="Of training and confidence heads.")


class Settings(BaseSettings):
    """Everything that can be set, with its default."""

    model_config = SettingsConfigDict(
        env_prefix="JOURNEYMAN_", env_nested_delimiter="__", extra="forbid"
    )

    store: str = Field(
        default=".journeyman/traces.db",
        description="Trace store: a file, relative to the settings file, or a SQLAlchemy URL.",
    )
    data_dir: str = Field(
        default=".journeyman",
        description="Folder of releases, relative to the settings file.",
    )
    frontier: FrontierSettings = Field(default_factory=FrontierSettings)
    budget: BudgetSettings = Field(default_factory=BudgetSettings)
    audit: AuditSettings = Field(default_factory=AuditSettings)
    risk: Risk = Field(default_factory=Risk, description="The error that you can live with.")
    round: RoundSettings = Field(default_factory=RoundSettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  # the library's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # the library's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # the library's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment first, then what the file gave (passed in as init values)."""
        assert isinstance(init_settings, InitSettingsSource)
        return env_settings, init_settings


def find_file(start: Path) -> Path | None:
    """The nearest journeyman.toml, or pyproject.toml with our table, at or above `start`."""
    for folder in (start, *start.parents):
        own = folder / FILE_NAME
        if own.is_file():
            return own
        project = folder / "pyproject.toml"
        if project.is_file() and "journeyman" in _read_toml(project).get("tool", {}):
            return project
    return None


def load_settings(start: Path | None = None, *, file: Path | None = None) -> Settings:
    """Read the settings that hold in a folder.

    Args:
        start: Folder to search from; the current one by default.
        file: Use this file instead of searching.

    Raises:
        ConfigError: A file is unreadable, or a key is unknown or has a wrong value.
    """
    path = file or find_file((start or Path.cwd()).resolve())
    values: dict[str, Any] = {}
    if path is not None:
        values = _read_toml(path)
        if path.name == "pyproject.toml":
            values = values.get("tool", {}).get("journeyman", {})
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise _config_error(error, path) from error
    folder = path.parent if path is not None else (start or Path.cwd())
    settings.data_dir = str((folder / Path(settings.data_dir).expanduser()).resolve())
    if "://" not in settings.store:
        settings.store = str((folder / Path(settings.store).expanduser()).resolve())
    return settings


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"Cannot read {path}: {error}; mend or remove it.", path=path) from error


def _config_error(error: ValidationError, path: Path | None) -> ConfigError:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    variables = "the JOURNEYMAN_* environment variables"
    where = f"{path} or {variables}" if path is not None else variables
    if first["type"] == "extra_forbidden":
        known = ", ".join(_keys_beside(first["loc"]))
        text = f"Unknown setting {key!r} in {where}; known there are {known}."
    else:
        text = f"Setting {key!r} in {where} is wrong: {first['msg']}."
    return ConfigError(text, path=path, key=key)


def _keys_beside(loc: tuple[int | str, ...]) -> list[str]:
    """The keys that may stand where an unknown one stands."""
    model: type[BaseModel] = Settings
    for part in loc[:-1]:
        arms = get_args(annotation := model.model_fields[str(part)].annotation) or (annotation,)
        model = next(arm for arm in arms if isinstance(arm, type) and issubclass(arm, BaseModel))
    return sorted(model.model_fields)
