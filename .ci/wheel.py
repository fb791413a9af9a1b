"""Check what a wheel contains: the package, its metadata, and nothing else."""

from __future__ import annotations

import re
import sys
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile


def faults(wheel: ZipFile, package: Path) -> list[str]:
    """Return what is wrong with *wheel*, which is to hold *package*."""
    names = set(wheel.namelist())
    info = next(name.partition("/")[0] for name in names if name.endswith(".dist-info/METADATA"))
    source = {
        path.relative_to(package.parent).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    found = [f"missing: {name}" for name in sorted(source - names)]
    found += [
        f"should not be in it: {name}"
        for name in sorted(names - source)
        if not name.startswith(f"{info}/")
    ]
    metadata = Parser().parsestr(wheel.read(f"{info}/METADATA").decode())
    for field, value in (("Name", "llmstack-layers"), ("License-Expression", "MIT")):
        if metadata[field] != value:
            found.append(f"{field} is {metadata[field]}, not {value}")
    requires = metadata.get_all("Requires-Dist") or []
    core = {re.split(r"[^\w.-]", line)[0] for line in requires if ";" not in line}
    if core != {"aiohttp", "attrs", "structlog"}:
        found.append(f"it requires {sorted(core)}")
    return found


def main() -> int:
    """Print the faults of the wheel named in the command line; 1 if there is one."""
    with ZipFile(sys.argv[1]) as wheel:
        found = faults(wheel, Path("llmstack"))
        size = sum(entry.file_size for entry in wheel.infolist())
    for fault in found:
        print(f"wheel: {fault}", file=sys.stderr)
    if not found:
        print(f"wheel: {len(wheel.namelist())} files, {size // 1024} KB")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
