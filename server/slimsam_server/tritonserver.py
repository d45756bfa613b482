"""The tritonserver that the nvidia-pytriton wheel carries, and how this interpreter runs it."""

from __future__ import annotations

import importlib.util
import os
import sys
import sysconfig
from pathlib import Path

from slimsam_server.errors import ServerError


def wheel_directory() -> Path:
    """Find `pytriton/tritonserver` of the installed wheel.

    Raises:
        ServerError: nvidia-pytriton is not installed.
    """
    # Not imported: that would load far more than a path.
    found = importlib.util.find_spec("pytriton")
    if found is None or found.origin is None:
        raise ServerError(
            "expected the nvidia-pytriton wheel, which holds tritonserver, found none; "
            "run `pip install nvidia-pytriton==0.7.0`"
        )
    return Path(found.origin).parent / "tritonserver"


def binary_path() -> Path:
    """Find tritonserver itself.

    Raises:
        ServerError: nvidia-pytriton is not installed, or its program cannot be run.
    """
    binary = wheel_directory() / "bin" / "tritonserver"
    try:
        if not os.access(binary, os.X_OK):  # some installers drop the bit
            binary.chmod(0o755)
    except OSError as error:
        raise ServerError(
            f"{binary}: expected a program that may be run, got {error}; run `chmod +x` on it, or "
            "install nvidia-pytriton again"
        ) from error
    return binary


def stub_path() -> Path:
    """Find the Python backend's stub for this interpreter's version.

    Raises:
        ServerError: the wheel has none for it.
    """
    stubs = wheel_directory() / "python_backend_stubs"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = stubs / version / "triton_python_backend_stub"
    if not stub.is_file():
        known = sorted((path.name for path in stubs.iterdir()), key=lambda v: int(v.split(".")[1]))
        raise ServerError(
            f"expected a Python that tritonserver 2.51 has a stub for ({', '.join(known)}), "
            f"found {version}; make the environment with one of those"
        )
    return stub


def libpython_directory() -> Path:
    """Find the directory of this interpreter's shared library.

    Raises:
        ServerError: there is none, so the stub cannot start.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    name = f"libpython{version}.so.1.0"
    candidates = [
        sysconfig.get_config_var("LIBDIR"),
        Path(sys.base_prefix) / "lib",
        sysconfig.get_config_var("LIBPL"),
        f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}",
    ]
    for candidate in candidates:
        if candidate and (Path(candidate) / name).is_file():
            return Path(candidate)
    raise ServerError(
        f"expected {name}, which Triton's Python stub is linked to, found it in none of "
        f"{', '.join(str(c) for c in candidates if c)}; install it (Debian and Ubuntu: "
        f"`apt-get install libpython{version}`) or use a Python built with --enable-shared"
    )


def environment(cores: int) -> dict[str, str]:
    """Make the environment of tritonserver and, through it, of its stubs.

    Args:
        cores: how many threads a stub may use.
    """
    wheel = wheel_directory()
    libraries = [str(libpython_directory()), str(wheel.parents[1] / "nvidia_pytriton.libs")]
    if earlier := os.environ.get("LD_LIBRARY_PATH"):
        libraries.append(earlier)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return {
        **inherited,
        # The stub takes its packages from the first python3 on PATH and ignores PYTHONPATH.
        "PATH": f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "LD_LIBRARY_PATH": os.pathsep.join(libraries),
        # Encoder and decoder live in processes of their own and mostly run by turns, so each may
        # use all cores, but an idle one must not spin on them.
        "OMP_NUM_THREADS": str(cores),
        "OMP_WAIT_POLICY": "PASSIVE",
        "OPENBLAS_NUM_THREADS": "1",
        # Large buffers in large pages (glibc 2.35 or later): the encoder takes a tenth less time.
        "GLIBC_TUNABLES": os.environ.get("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"),
    }
