"""Build step of the package: the space files of ``search_spaces/`` become package data.

They stay at the top of the repository, where they are read and edited; a wheel holds a copy, from which
``morel-search init`` writes. Everything else is in ``pyproject.toml``.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SPACES = Path("search_spaces")


class BuildWithSpaces(build_py):
    """Copies the space files into the package that is built."""

    def run(self) -> None:
        """Build the modules, then copy."""
        super().run()
        if not self.editable_mode:
            for source, target in self._spaces().items():
                self.mkpath(str(Path(target).parent))
                self.copy_file(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Name the copies as well."""
        return [*super().get_outputs(include_bytecode), *self._spaces().values()]

    def get_source_files(self) -> list[str]:
        """Name the space files as well, so that a source distribution holds them."""
        return [*super().get_source_files(), *self._spaces()]

    def _spaces(self) -> dict[str, str]:
        """Return the copies: source to target."""
        folder = Path(self.build_lib) / "morel_search" / SPACES
        return {str(path): str(folder / path.name) for path in sorted(SPACES.glob("*.*"))}


setup(cmdclass={"build_py": BuildWithSpaces})
