"""A search as the user requested it on the command line."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from morel_search.config import Space
from morel_search.errors import NetworkError
from morel_search.results.folder import RunFolder
from morel_search.results.names import check_run_name
from morel_search.training.data_settings import is_hub_name
from morel_search.training.settings import DataSettings, NetworkSettings

__all__ = ["Request"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The search that the user requested on the command line.

    Attributes:
        space: The checked space.
        name: The run's name.
        results: Absolute folder of all runs.
        resume: Whether to continue an existing run.
        or_start: Whether to continue the run if it exists, and to start it otherwise; ``resume`` is then
            decided where the search runs.
        address: Address of a Ray cluster; None to start Ray on this machine.
        track: Trackers to which the trials are sent; see :mod:`morel_search.tracking.targets`.
        verbosity: 0 prints only warnings, errors and the report's path; 1 also a line for each trial; 2 also
            one for each epoch.
    """

    space: Space
    name: str
    results: Path
    resume: bool = False
    or_start: bool = False
    address: str | None = None
    track: tuple[str, ...] = ()
    verbosity: int = 1

    def decided(self) -> Request:
        """Return the request with ``resume`` as the run folder decides."""
        if not self.or_start:
            return self
        check_run_name(self.name)
        return replace(self, resume=RunFolder(self.results / self.name).settings.is_file())

    def noted(self) -> Request:
        """Return the request with what a search must not change unnoticed in its space.

        This is the fingerprint of ``network.weights``, and the commit of a data set of the Hugging Face hub,
        which a resumed search keeps.

        Raises:
            NetworkError: There are no such weights.
            DataError: There is no such data set, or the hub cannot be reached.
        """
        return replace(
            self, space=replace(self.space, data=self._noted_data(), network=self._noted_network())
        )

    def _noted_data(self) -> DataSettings:
        data = self.space.data
        if not is_hub_name(data.name):
            return data
        from morel_search.training.datasets.hub import pinned, with_recorded

        run = RunFolder(self.results / self.name)
        if self.resume and run.settings.is_file():
            data = with_recorded(data, run.read_settings().section("data"))
        return pinned(data)

    def _noted_network(self) -> NetworkSettings:
        network = self.space.network
        if network.weights is None:
            return network
        from morel_search.training.networks.start import with_fingerprint

        try:
            return with_fingerprint(network)
        except NetworkError as error:
            raise NetworkError(f"network {network.name} {error}") from error
