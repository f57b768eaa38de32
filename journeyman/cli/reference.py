"""The pages about commands and settings, made from the commands and settings themselves.

`python -m journeyman.cli.reference docs` writes them; a test holds them to what the code says.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer.main

EXAMPLES = "Examples:"

_MADE = "<!-- Made by `make docs` from the code: change the help texts there, not this page. -->\n"

_COMMANDS = """# Commands

What every command takes, as `journeyman COMMAND --help` says it. Data goes to stdout and talk to
stderr; `--json` writes JSON Lines and nothing else to stdout. The options of `journeyman` itself go
before the command: `journeyman --config other.toml run`.

| exit code | meaning |
| --- | --- |
| 0 | passed |
| 1 | failed, regressed, or differs |
| 2 | used or set up wrongly: one sentence on stderr says what |
| 3 | something ended in an error, so the verdict is not to be trusted |
| 4 | stopped by a limit |
| 5 | nothing matched |
| 130 | interrupted; what was finished is kept |

Completion of commands, suites, sub-agents, releases and runs: `journeyman --install-completion`.
"""

_SETTINGS = """# Settings

`journeyman.toml`, or `[tool.journeyman]` in `pyproject.toml`, in this folder or the nearest one
above it. `--config FILE`, or the variable `JOURNEYMAN_CONFIG`, names another. Environment beats
file, file beats default; a variable without a value sets nothing. An unknown key is an error, and
each mistake is told with file and line.

```toml
store = "traces.db"

[frontier]
model = "gpt-4o-mini"
price = {input_per_million_usd = 0.15, output_per_million_usd = 0.6}

[risk]
max_error = 0.02
```

Keys are never written down: a setting names the variable that holds one. `journeyman config show
--origin` says what holds here and where it is from, and shows no secret.

| setting | value | default | variable | meaning |
| --- | --- | --- | --- | --- |
"""

_VARIABLES = """
## Other variables

| variable | meaning |
| --- | --- |
"""


def walk(command: Any = None, path: tuple[str, ...] = ("journeyman",)) -> Iterator[Any]:
    """Every command of the tree with its path, groups before what is in them."""
    if command is None:
        from journeyman.cli.main import app

        command = typer.main.get_command(app)
    yield path, command
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        if not inner.hidden:
            yield from walk(inner, (*path, name))


def parts_of(help_text: str) -> tuple[str, list[str], list[str]]:
    """A help text taken apart: first sentence, examples, and what follows as paragraphs.

    What is set in under another heading than `Examples:`, such as exit codes, becomes a list.
    """
    paragraphs = [part.strip("\n") for part in re.split(r"\n\s*\n", help_text.strip())]
    examples: list[str] = []
    rest: list[str] = []
    heading = EXAMPLES
    for part in paragraphs[1:]:
        text = part.strip()
        if not part.startswith(" "):
            heading = text if text.endswith(":") else ""
            rest += [text] if text != EXAMPLES else []
        elif heading == EXAMPLES:
            examples.append(text)
        else:
            rest.append(f"- {text}")
    return paragraphs[0], examples, rest


def commands_page() -> str:
    """The page of all commands."""
    sections = [_MADE + _COMMANDS]
    sections += [_section(path, command) for path, command in walk()]
    return "\n".join(sections)


def settings_page() -> str:
    """The page of all settings."""
    from journeyman.graph.settings_mistakes import OTHER_VARIABLES
    from journeyman.graph.settings_origins import described_settings

    rows = [
        _row(
            f"`{each.key}`",
            each.kind,
            "-" if each.default is None else f"`{json.dumps(each.default)}`",
            f"`{each.variable}`",
            each.meaning,
        )
        for each in described_settings()
    ]
    others = [_row(f"`{name}`", meaning) for name, meaning in sorted(OTHER_VARIABLES.items())]
    return _MADE + _SETTINGS + "\n".join(rows) + "\n" + _VARIABLES + "\n".join(others) + "\n"


PAGES = {"commands.md": commands_page, "settings.md": settings_page}


def _section(path: tuple[str, ...], command: Any) -> str:
    first, examples, rest = parts_of(command.help or "")
    lines = [f"{'#' * min(len(path) + 1, 4)} {' '.join(path)}", "", _markdown(first), ""]
    if examples:
        lines += ["```sh", *examples, "```", ""]
    for paragraph in rest:
        lines += [_markdown(" ".join(paragraph.split())), ""]
    context = command.context_class(command, info_name=path[-1])
    records = [parameter.get_help_record(context) for parameter in command.params]
    rows = [_row(f"`{name}`", meaning) for name, meaning in filter(None, records)]
    if rows:
        lines += ["| | |", "| --- | --- |", *rows, ""]
    return "\n".join(lines)


def _markdown(text: str) -> str:
    return " ".join(text.split())


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main(arguments: Sequence[str]) -> None:
    """Write the pages into a folder."""
    (folder,) = arguments
    for name, page in PAGES.items():
        (Path(folder) / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
