"""Hides secrets in JSON-like values before anything is hashed, stored or shown.

A redactor takes a JSON-compatible value and returns one. The default masks what is a credential by
its form (keys of well-known providers, tokens, private keys, passwords in URLs) or by the name of
the field that holds it. It is a safety net under well-kept secrets and finds no names, addresses or
other personal data; e-mail addresses are masked when asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from journeyman.traces.payloads import HIDDEN

Redactor = Callable[[Any], Any]
"""Takes a JSON-compatible value and returns it without what must not be kept."""

_SECRET_FIELD = re.compile(
    r"""(?:^|_)(?:
        api_?key | access_key | secret_key | secret_access_key | private_key | client_secret
        | password | passwd | passphrase
        | (?:access|refresh|id|auth|bearer|session|csrf)_token
        | authorization | cookie | credentials
    )$""",
    re.VERBOSE,
)

# Forms that issuers document; lengths and digits keep ordinary words out. Where a match can fail
# late, repeats are bounded: no text makes these patterns slow.
_KEYS = re.compile(
    r"""(?<![A-Za-z0-9])(?:
        (?<!-)sk-(?:(?=[A-Za-z_-]{0,200}[0-9])[A-Za-z0-9_-]{16,} | [A-Za-z]{30,})   # OpenAI etc.
        | [srp]k_(?:live|test)_[A-Za-z0-9]{16,} | whsec_[A-Za-z0-9]{24,}        # Stripe
        | gh[pousr]_[A-Za-z0-9]{30,} | github_pat_[A-Za-z0-9_]{22,}             # GitHub
        | glpat-[A-Za-z0-9_-]{20,} | npm_[A-Za-z0-9]{30,} | pypi-[A-Za-z0-9_-]{50,}
        | xox[abeoprs]-[A-Za-z0-9-]{10,}                                        # Slack
        | (?:AKIA|ASIA)[A-Z0-9]{16}                                             # AWS
        | AIza[A-Za-z0-9_-]{35} | ya29\.[A-Za-z0-9_-]{20,}                      # Google
        | hf_[A-Za-z0-9]{30,} | gsk_[A-Za-z0-9]{30,} | nvapi-[A-Za-z0-9_-]{30,}
        | SG\.[A-Za-z0-9_-]{16,99}\.[A-Za-z0-9_-]{16,}                          # SendGrid
        | eyJ[A-Za-z0-9_-]{8,1000}+\.eyJ[A-Za-z0-9_-]{8,9000}+\.[A-Za-z0-9_-]*  # JSON web tokens
    )""",
    re.VERBOSE,
)

_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)

# Each keeps its first group and hides what follows it.
_AFTER = (
    # A digit is asked of what comes after "bearer": in prose, words follow.
    re.compile(r"(?i)(\bbearer\s+)(?=[^\s\"']{0,200}\d)[A-Za-z0-9._~+/=-]{12,}"),
    re.compile(
        r"(?i)(\b(?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?(?:(?:basic|bearer|token)\s+)?)"
        r"[^\s\"',;]{6,}"
    ),
    re.compile(r"(://[^\s:/?#@\"']*:)[^\s/?#\"']+(?=@)"),
    re.compile(
        r"(?i)([?&](?:api_?key|key|token|access_token|auth|password|sig|signature"
        r"|x-amz-signature)=)[^&\s\"'#]+"
    ),
    # Environment files: upper-case names only, since code says `token = tokens[i]`.
    re.compile(
        r"(\b[A-Z][A-Z0-9_]*(?:API_?KEY|SECRET|SECRET_KEY|ACCESS_KEY|PASSWORD|PASSWD)"
        r"\s*[=:]\s*[\"']?)[^\s\"',;(){}\[\]]{6,}"
    ),
    re.compile(
        r"(\b[A-Z][A-Z0-9_]*_TOKEN\s*[=:]\s*[\"']?)(?=[^\s\"']{0,200}\d)[A-Za-z0-9._+/=-]{12,}"
    ),
)

_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+"
)

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def redact_secrets(value: Any) -> Any:
    """The value with every credential that can be told by its form or field name masked."""
    return _walk(value, ())


def make_redactor(*, emails: bool = False, patterns: Iterable[re.Pattern[str]] = ()) -> Redactor:
    """A redactor that masks secrets and more.

    Args:
        emails: Mask e-mail addresses as well.
        patterns: Mask whatever these match as well.
    """
    return partial(_walk, extra=(*([_EMAIL] if emails else []), *patterns))


def _walk(value: Any, extra: tuple[re.Pattern[str], ...]) -> Any:
    if isinstance(value, str):
        return _mask(value, extra)
    if isinstance(value, dict):
        return {
            _mask(key, extra): HIDDEN
            if item not in (None, "") and is_secret_field(key) and not _is_number(item)
            else _walk(item, extra)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_walk(item, extra) for item in value]
    return value


def is_secret_field(name: str) -> bool:
    """Whether a field of this name holds a credential, however it is spelled."""
    spelled = _CAMEL.sub("_", name).lower().replace("-", "_").replace(" ", "_")
    return _SECRET_FIELD.search(spelled) is not None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))  # a flag or a count is no credential


def _mask(text: str, extra: tuple[re.Pattern[str], ...]) -> str:
    if len(text) < 6 and not extra:  # shorter than any pattern above
        return text
    text = _PRIVATE_KEY.sub(HIDDEN, text)
    text = _KEYS.sub(HIDDEN, text)
    for pattern in _AFTER:
        text = pattern.sub(lambda match: match[1] + HIDDEN, text)
    for pattern in extra:
        text = pattern.sub(HIDDEN, text)
    return text
