"""Writes the tables of docs/control.md anew from the parameters: `python docs/tables.py`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from realtime.shared.parameters import markdown_table

PAGE = Path(__file__).with_name("control.md")
TABLES = re.compile(r"^\| OSC address \|.*^\| `/umtn/status/\w+` \|[^\n]*\n(?!\|)", re.MULTILINE | re.DOTALL)


def main() -> None:
    text = PAGE.read_text(encoding="utf-8")
    table = markdown_table()
    written, found = TABLES.subn(lambda _: table, text)
    assert found == 1, f"{PAGE} holds {found} tables of parameters"
    PAGE.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
