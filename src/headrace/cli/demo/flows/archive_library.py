"""Compress the standard library's modules, one task for each: work for some seconds, to be killed in its middle.

python archive_library.py [archive.zip]
"""

from __future__ import annotations

import sys
import sysconfig
import zipfile
from pathlib import Path

from headrace import flow, task

try:
    import lzma  # noqa: F401  # a Python may be built without it; it packs smaller, and takes its time

    METHOD = zipfile.ZIP_LZMA
except ImportError:
    METHOD = zipfile.ZIP_DEFLATED


@task(task_run_name="compress {module.stem}")
def compress(archive: zipfile.ZipFile, module: Path) -> int:
    """Add one file to the archive; return its compressed size."""
    name = f"{module.parent.name}/{module.name}"
    archive.write(module, name)
    return archive.getinfo(name).compress_size


@flow(log_prints=True)
def archive_library(target: Path = Path("archive.zip")) -> int:
    """Archive every module of the standard library as small as it gets; return the bytes."""
    library = Path(sysconfig.get_path("stdlib"))
    modules = sorted([*library.glob("*.py"), *library.glob("*/*.py")])
    print(f"{len(modules)} modules to compress")
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", METHOD) as archive:
        total = sum(compress(archive, module) for module in modules)
    print(f"{total:,} bytes")
    return total


if __name__ == "__main__":
    archive_library(Path(sys.argv[1])) if len(sys.argv) > 1 else archive_library()
