"""Square for the L2 norm on images of every shape."""

from __future__ import annotations

import math

import torch
from pyautoattack.square import SquareAttack
from torch import Tensor

from morel_search.verification.batched_attacks import CopiedSettings

__all__ = ["SquareL2"]


class SquareL2(CopiedSettings, SquareAttack):  # type: ignore[misc]  # pyautoattack has no types
    """Square for the L2 norm (Andriushchenko et al. 2020, arXiv:1912.00049).

    The library's version starts from tiles of a fifth of the image's height. On many shapes (24 x 24, oblong
    images, fewer than five rows) they do not fit, and it raises an error. Here such a tile is cut at the
    border. Where the library's version runs, the results are the same.
    """

    @torch.no_grad()
    def attack_single_run(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Attack images once, as :meth:`SparingSquare.attack_single_run` does."""
        height, width = x.shape[2:]
        best = (x + self.normalize(self._start(x)) * self.eps).clamp(0.0, 1.0)
        margin, loss = self.margin_and_loss(best, y)
        queries = torch.ones(len(x), device=x.device)
        for query in range(self.n_queries):
            remaining = (margin > 0.0).nonzero().squeeze(1)
            if not len(remaining):
                break
            side = max(round(math.sqrt(self.p_selection(query) * height * width)), 3)
            side = min(side + (side + 1) % 2, height, width)
            points = self._moved(x[remaining], best[remaining], side)
            new_margin, new_loss = self.margin_and_loss(points, y[remaining])
            lower = new_loss < loss[remaining]
            loss[remaining[lower]] = new_loss[lower]
            kept = lower | (new_margin <= 0.0)
            margin[remaining[kept]], best[remaining[kept]] = new_margin[kept], points[kept]
            queries[remaining] += 1.0
        return queries, best

    def _start(self, x: Tensor) -> Tensor:
        """Return the first perturbation, of any length, like ``x``: tiles of random sign."""
        height, width = x.shape[2:]
        side = max(1, min(height, width) // 5)
        first = max(0, (min(height, width) - 5 * side) // 2)
        start = torch.zeros_like(x)
        for row in range(height // side):
            for column in range(width // side):
                tile = self.eta(side) * self.random_choice([len(x), x.shape[1], 1, 1])
                top, left = first + row * side, first + column * side
                place = start[:, :, top : top + side, left : left + side]
                place += tile[:, :, : place.shape[2], : place.shape[3]]
        return start

    def _moved(self, x: Tensor, best: Tensor, side: int) -> Tensor:
        """Return points at which one window has a new perturbation, with the length that another one loses.

        Args:
            x: Images, shape (N, C, H, W).
            best: Their best points so far, like ``x``.
            side: Side of both windows, in pixels.
        """
        channels, height, width = x.shape[1:]
        window = self._window(height, width, side)
        moved = best - x
        inside = moved[window]
        inside_length = inside.square().sum(dim=(-2, -1), keepdim=True).sqrt()
        emptied = self._window(height, width, side)
        either = torch.zeros_like(x)
        either[window] = either[emptied] = 1.0
        unused = (self.eps**2 - moved.square().sum(dim=(1, 2, 3), keepdim=True)).clamp(min=0.0)
        freed = (moved * either).square().sum(dim=(-2, -1), keepdim=True)
        pattern = self.eta(side) * self.random_choice([len(x), channels, 1, 1])
        pattern = pattern + inside / (1e-12 + inside_length)
        pattern = pattern / (1e-12 + pattern.square().sum(dim=(-2, -1), keepdim=True).sqrt())
        pattern = pattern * (unused / channels + freed).sqrt()
        moved[emptied] = 0.0
        moved[window] = pattern
        points: Tensor = (x + self.normalize(moved) * self.eps).clamp(0.0, 1.0)
        return points

    def _window(self, height: int, width: int, side: int) -> tuple[slice, slice, slice, slice]:
        """Return the index of a random window, as the library draws it."""
        top, left = int(self.random_int(0, height - side)), int(self.random_int(0, width - side))
        return slice(None), slice(None), slice(top, top + side), slice(left, left + side)
