"""``pyflow config``."""

from __future__ import annotations

import os

import click


@click.command()
@click.option("--includes", is_flag=True, help="Compiler flags: where the headers are.")
@click.option("--libs", is_flag=True, help="Linker flags: where libpyflow is, also at run time.")
@click.option("--static", is_flag=True, help="With --libs: the static library and what it needs.")
@click.option("--cmakedir", is_flag=True, help="For CMake: -Dpyflow_DIR=...")
@click.option("--pkgconfigdir", is_flag=True, help="For pkg-config: PKG_CONFIG_PATH=...")
def config(includes: bool, libs: bool, static: bool, cmakedir: bool, pkgconfigdir: bool) -> None:
    """Print what a C or C++ build needs to use libpyflow.

    \b
    c++ host.cpp $(python -m pyflow config --includes --libs)
    cmake -Dpyflow_DIR=$(python -m pyflow config --cmakedir) ...
    """
    from pyflow.runtime.backends import get_include, get_library_dir

    folder = get_library_dir()
    if not (includes or libs or cmakedir or pkgconfigdir):
        raise click.UsageError("ask for something: --includes, --libs, --cmakedir or --pkgconfigdir")
    parts = [f"-I{get_include()}"] if includes else []
    if libs and static:
        parts += [os.path.join(folder, "libpyflow.a"), "-lstdc++", "-lm", "-ldl", "-pthread"]
    elif libs:
        parts += [f"-L{folder}", "-lpyflow", f"-Wl,-rpath,{folder}"]
    parts += [os.path.join(folder, "cmake", "pyflow")] if cmakedir else []
    parts += [os.path.join(folder, "pkgconfig")] if pkgconfigdir else []
    click.echo(" ".join(parts))
