"""A model behind HTTP: a service for programs, a page for people."""

from ..errors import MissingPackageError

try:
    import fastapi  # noqa: F401
    import uvicorn  # noqa: F401
except ModuleNotFoundError as error:
    raise MissingPackageError(f"{error.name} is not installed; run: pip install -e '.[serve]'") from error
