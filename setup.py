"""Build the native extensions: one folder of ext/ is one module of cherrydag._native.

A folder ext/NAME holds NAME.pyx and its C files. A C file whose name ends in an instruction-set
suffix is compiled with that set's flags and reached only through run-time dispatch, so one binary
runs on every x86-64 machine; on other machines such a file compiles to nothing.

CHERRYDAG_SANITIZE=1 builds with AddressSanitizer, UndefinedBehaviorSanitizer and the VERIFY_CHECKs;
CHERRYDAG_MODULES=digest,wire builds only those modules.
"""

import os
import platform
from pathlib import Path
from typing import Any

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

EXT = Path("ext")
SANITIZE = bool(os.environ.get("CHERRYDAG_SANITIZE"))

ISA_FLAGS = {
    "_avx2": ["-mavx2"],
    "_avx512": ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq"],
    "_ifma": ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512ifma", "-mbmi2"],
}

# C code that a module uses from a neighbour's folder; the files are linked in.
LINKS = {"ed25519": ["digest"]}

CFLAGS = ["-std=gnu11", "-O3", "-fno-strict-aliasing", "-fvisibility=hidden", "-Wall", "-Wextra"]
LDFLAGS = ["-pthread"]
MACROS: list[tuple[str, str | None]] = []
if SANITIZE:
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-g", "-O1"]
    CFLAGS += flags
    LDFLAGS += ["-fsanitize=address,undefined"]
    MACROS.append(("CD_VERIFY", "1"))
else:
    CFLAGS += ["-g0"]


class BuildExt(build_ext):
    """build_ext that adds the instruction-set flags which a C file's name asks for."""

    def build_extensions(self) -> None:
        compile_one = self.compiler._compile

        def compile_for_isa(
            obj: str, src: str, ext: str, cc_args: list[str], extra_postargs: list[str], pp_opts: list[str]
        ) -> Any:
            stem = Path(src).stem
            extra = [f for suffix, flags in ISA_FLAGS.items() if stem.endswith(suffix) for f in flags]
            if "cython" in Path(src).parts:
                extra = ["-Wno-unused-function", "-Wno-unused-parameter", "-Wno-sign-compare", "-Wno-cast-function-type"]
            elif platform.machine() not in ("x86_64", "AMD64"):
                extra = []
            return compile_one(obj, src, ext, cc_args, [*extra_postargs, *extra], pp_opts)

        self.compiler._compile = compile_for_isa
        super().build_extensions()


def extensions() -> list[Extension]:
    base = sorted(str(p) for p in (EXT / "base").glob("*.c"))
    headers = sorted(str(p) for p in EXT.rglob("*.[hp]*") if p.suffix in (".h", ".pxi", ".pxd"))
    wanted = [name for name in os.environ.get("CHERRYDAG_MODULES", "").split(",") if name]
    modules = []
    for pyx in sorted(EXT.glob("*/*.pyx")):
        name = pyx.parent.name
        if wanted and name not in wanted:
            continue
        folders = [name, *LINKS.get(name, [])]
        sources = [str(p) for folder in folders for p in sorted((EXT / folder).glob("*.c"))]
        modules.append(
            Extension(
                f"cherrydag._native.{name}",
                sources=[str(pyx), *sources, *base],
                include_dirs=["ext"],
                depends=headers,
                define_macros=MACROS,
                extra_compile_args=CFLAGS,
                extra_link_args=LDFLAGS,
            )
        )
    return modules


setup(
    cmdclass={"build_ext": BuildExt},
    ext_modules=cythonize(
        extensions(),
        build_dir="build/cython",
        include_path=["ext"],
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "embedsignature": False,
            "freethreading_compatible": False,
        },
    ),
)
