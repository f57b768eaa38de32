"""Settings: `journeyman.toml` or `[tool.journeyman]`, found by walking up, then `JOURNEYMAN_*`.

Environment beats file, file beats default; unknown keys are errors. Secrets are never settings: a
setting names the environment variable that holds one. Knows nothing of how settings are used; files
are `settings_file`, mistakes are told by `settings_mistakes`.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings.exceptions import SettingsError

from journeyman.graph.settings_file import SettingsFile, chosen_file, here, read_file
from journeyman.graph.settings_mistakes import (
    check_variables,
    place_of,
    unknown_setting,
    wrong_setting,
    wrong_variable,
)
from journeyman.models.errors import ConfigError
from journeyman.models.types import Risk


class PriceSettings(BaseModel):
    """Price of the frontier model, where the price tables do not know it or know it wrong."""

    model_config = ConfigDict(extra="forbid")

    input_per_million_usd: float = Field(ge=0, description="Of a million tokens read.")
    output_per_million_usd: float = Field(ge=0, description="Of a million tokens written.")
    cached_input_per_million_usd: float | None = Field(
        default=None, ge=0, description="Of a million tokens read from the provider's cache."
    )


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
    early_rate: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="The same while there are fewer than 1,000 labels about a release, if it is "
        "more; none: five times the rate, at most a quarter.",
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


class ServedSettings(BaseModel):
    """A server that students are served by: vLLM, of your own or by `journeyman serve`."""

    model_config = ConfigDict(extra="forbid")

    url: str | None = Field(
        default=None, description="Address of the server; none: generators answer in process."
    )
    embedder_url: str | None = Field(
        default=None,
        description="Address of an embedder's server (`journeyman serve --embedder`); none: texts "
        "are embedded in process.",
    )
    api_key_env: str = Field(
        default="JOURNEYMAN_SERVED_API_KEY",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Name of the environment variable that holds its key, where it wants one.",
    )
    dtype: str = Field(
        default="float32",
        description="Type that it computes in; other than float32, releases are certified by it.",
    )
    grammar: bool = Field(default=True, description="It can hold answers to a grammar.")
    tolerance: float | None = Field(
        default=None,
        gt=0,
        description="Nats that a fixed text may be off the trainer's; none: by the type.",
    )
    canary_seconds: float = Field(
        default=30, gt=0, description="For how long a proof of what it serves is good."
    )
    timeout_seconds: float = Field(default=60, gt=0, description="Limit of one request.")
    max_concurrency: int = Field(default=256, ge=1, description="Requests in flight at once.")
    data_dir: str | None = Field(
        default=None, description="The data directory as the server sees it; none: as here."
    )


class ServeSettings(BaseModel):
    """The vLLM server that `journeyman serve` starts."""

    model_config = ConfigDict(extra="forbid")

    base: str | None = Field(
        default=None, description="Base model; none: the one of the generators in traffic."
    )
    python: str | None = Field(
        default=None, description="A Python that has vLLM; none: .venv-vllm, else this one."
    )
    host: str = Field(default="127.0.0.1", description="Address to listen at.")
    port: int = Field(default=8000, ge=1, le=65535, description="Port to listen at.")
    embedder: str = Field(
        default="all-MiniLM-L6-v2", description="Base that `--embedder` serves for pooling."
    )
    embedder_port: int = Field(default=8001, ge=1, le=65535, description="Port of that server.")
    max_model_len: int | None = Field(
        default=None, ge=1, description="Tokens of a prompt and its answer; none: the base's."
    )
    max_loras: int = Field(default=8, ge=1, description="Releases in one batch.")
    max_lora_rank: int = Field(default=16, ge=1, description="Highest rank of a release.")
    cpu_cache_gb: int | None = Field(
        default=None, ge=1, description="Memory for attention caches on a CPU; none: vLLM's choice."
    )
    arguments: str = Field(
        default="", description="Further arguments of vLLM, as on its command line."
    )
    drain_seconds: float = Field(
        default=120, ge=0, description="For which a release stays loaded after it left traffic."
    )


class OtlpSettings(BaseModel):
    """Forwarding of runs to an OpenTelemetry collector, beside the trace store."""

    model_config = ConfigDict(extra="forbid")

    endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="Address of the collector (OTLP over HTTP); none: nothing is forwarded.",
    )
    headers_env: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Name of the environment variable that holds headers, as `name=value,...`.",
    )
    content: bool = Field(default=False, description="Forward what was asked and answered as well.")


class Settings(BaseSettings):
    """Everything that can be set, with its default."""

    model_config = SettingsConfigDict(
        env_prefix="JOURNEYMAN_", env_nested_delimiter="__", env_ignore_empty=True, extra="forbid"
    )

    store: str = Field(
        default=".journeyman/traces.db",
        min_length=1,
        description="Trace store: a file, relative to the settings file, or a SQLAlchemy URL.",
    )
    data_dir: str = Field(
        default=".journeyman",
        min_length=1,
        description="Folder of releases, relative to the settings file.",
    )
    frontier: FrontierSettings = Field(default_factory=FrontierSettings)
    budget: BudgetSettings = Field(default_factory=BudgetSettings)
    audit: AuditSettings = Field(default_factory=AuditSettings)
    risk: Risk = Field(default_factory=Risk, description="The error that you can live with.")
    round: RoundSettings = Field(default_factory=RoundSettings)
    served: ServedSettings = Field(default_factory=ServedSettings)
    serve: ServeSettings = Field(default_factory=ServeSettings)
    otlp: OtlpSettings = Field(default_factory=OtlpSettings)

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


def load_settings(start: Path | None = None, *, file: Path | None = None) -> Settings:
    """Read the settings that hold in a folder.

    Args:
        start: Folder to search from; the current one by default.
        file: Use this file instead of `$JOURNEYMAN_CONFIG` and of searching.

    Raises:
        ConfigError: A file is unreadable, or a key is unknown or has a wrong value.
    """
    path = file if file is not None else chosen_file(start)
    return resolve(read_file(path) if path is not None else None, start)


def resolve(given: SettingsFile | None, start: Path | None = None) -> Settings:
    """The settings that a file and the environment make together.

    Args:
        given: The file; None where there is none.
        start: Relative paths start here where there is no file; the current folder by default.

    Raises:
        ConfigError: A key is unknown or has a wrong value.
    """
    check_variables(Settings)
    values = {} if given is None else dict(given.values)
    for key in values:
        if key.startswith("_"):  # the library would take these for its own arguments
            raise unknown_setting(Settings, (key,), given)
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise wrong_setting(Settings, error, given) from error
    except SettingsError as error:
        raise wrong_variable(Settings, error) from error
    folder = given.path.parent if given is not None else start if start is not None else here()
    settings.data_dir = _absolute(folder, settings.data_dir, "data_dir", given)
    if "://" not in settings.store:
        settings.store = _absolute(folder, settings.store, "store", given)
    return settings


def _absolute(folder: Path, written: str, key: str, given: SettingsFile | None) -> str:
    try:
        return str((folder / Path(written).expanduser()).resolve())
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"Setting {key!r} {place_of((key,), given)} is no path ({error}); write another.",
            path=given.path if given is not None else None,
            key=key,
        ) from error
