"""FAB-T and Square of ``pyautoattack`` with fewer forward passes and the same results.

The attacks themselves remain their authors' code (Croce and Hein 2020, arXiv:1907.02044; Andriushchenko et
al. 2020, arXiv:1912.00049).
"""

from __future__ import annotations

import math

import torch
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack
from torch import Tensor

__all__ = ["AllTargetsFab", "CopiedSettings", "SparingSquare"]


Square = tuple[int, int, int, tuple[float, ...]]
"""Side, top and left edge in pixels, and the sign of each channel's colour."""


class CopiedSettings:
    """The settings of an attack of the library, for another version of it.

    Args:
        original: The attack as AutoAttack sets it up.
    """

    def __init__(self, original: object) -> None:
        self.__dict__.update(vars(original))


class AllTargetsFab(CopiedSettings, FABAttack_PT):  # type: ignore[misc]  # pyautoattack has no types
    """FAB-T that attacks an image towards all of its target classes at the same time.

    FAB-T starts at the image and has no randomness, so its attacks towards different classes do not depend on
    each other, and one batch holds them all. The original attacks towards one class after the other, and
    leaves out images that are misclassified already.

    Args:
        original: FAB-T as AutoAttack sets it up.
        batch_size: Largest number of pairs of an image and a target class in a batch.
    """

    def __init__(self, original: FABAttack_PT, batch_size: int) -> None:
        super().__init__(original)
        self._batch_size = batch_size
        self._classes = torch.empty(0, dtype=torch.long)

    @torch.no_grad()
    def perturb(self, x: Tensor, y: Tensor) -> Tensor:
        """Return adversarial examples, shape (N, C, H, W); an image that withstands all targets is unchanged.

        Args:
            x: Images, float in [0, 1], shape (N, C, H, W).
            y: Labels, shape (N,).
        """
        adversarial, step = x.clone(), max(1, self._batch_size // self.n_target_classes)
        attacked = (self.predict(x).argmax(dim=1) == y).nonzero().squeeze(1)
        for part in torch.split(attacked, step):
            adversarial[part] = self._towards_all(x[part], y[part])
        return adversarial

    def _towards_all(self, x: Tensor, y: Tensor) -> Tensor:
        """Attack correctly classified images; of several classes that are reached, the likeliest counts."""
        targets, adversarial = self.n_target_classes, x.clone()
        order = self.predict(x).argsort(dim=1, descending=True)
        images, labels = x.repeat_interleave(targets, dim=0), y.repeat_interleave(targets)
        # The library leaves out images that are misclassified; in another batch this can differ by rounding.
        kept = (self.predict(images).argmax(dim=1) == labels).nonzero().squeeze(1)
        self._classes = order[:, 1 : targets + 1].flatten()[kept]
        points = images.clone()
        points[kept] = self._attack_pairs(images[kept], labels[kept])
        flat = (points - images).flatten(1)
        length = flat.abs().amax(dim=1) if self.norm == "Linf" else flat.square().sum(dim=1).sqrt()
        found = (self.predict(points).argmax(dim=1) != labels) & (length <= self.eps)
        found, points = found.view(len(x), targets), points.view(len(x), targets, *x.shape[1:])
        first, any_found = found.int().argmax(dim=1), found.any(dim=1).nonzero().squeeze(1)
        adversarial[any_found] = points[any_found, first[any_found]]
        return adversarial

    def _attack_pairs(self, images: Tensor, labels: Tensor) -> Tensor:
        """Attack each image towards its class in ``_classes``."""
        if not len(images):
            return images
        self.target_class = 2  # the library's own choice of a class, which the method below replaces
        points: Tensor = self.attack_single_run(images, labels, use_rand_start=False, is_targeted=True)
        return points

    def get_diff_logits_grads_batch_targeted(
        self,
        imgs: Tensor,
        la: Tensor,
        la_target: Tensor,  # noqa: ARG002 (the library's signature)
    ) -> tuple[Tensor, Tensor]:
        """Return the library's differences and gradients, towards this attack's own target classes."""
        differences: tuple[Tensor, Tensor] = super().get_diff_logits_grads_batch_targeted(
            imgs, la, self._classes
        )
        return differences


class SparingSquare(CopiedSettings, SquareAttack):  # type: ignore[misc]
    """Square for the L-infinity norm without queries whose answer is known.

    Square draws a square and its colours, and adds it to every image that is still classified correctly; an
    image keeps the square if its loss falls. On small images it draws most squares several times. If an image
    has not changed since a square was tried, the network is not queried again: the loss did not fall, or the
    image has the square already. All squares are drawn at once.
    """

    @torch.no_grad()
    def attack_single_run(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Attack images once, with the library's random numbers in the library's order.

        Args:
            x: Images, float in [0, 1], shape (N, C, H, W).
            y: Labels, shape (N,).

        Returns:
            Queries of each image, shape (N,), and the images with the smallest loss, shape (N, C, H, W).
        """
        channels, height, width = x.shape[1:]
        best = (x + self.eps * self.random_choice([len(x), channels, 1, width])).clamp(0.0, 1.0)
        margin, loss = self.margin_and_loss(best, y)
        queries = torch.ones(len(x), device=x.device)
        low, high = x - self.eps, x + self.eps
        remaining = (margin > 0.0).nonzero().squeeze(1)
        changed = torch.zeros(len(remaining), dtype=torch.long, device=x.device)
        tried: dict[Square, int] = {}
        newest = 0  # the query of the last change of an image that is left
        for query, square in enumerate(self._squares(channels, height, width), start=1):
            if not len(remaining):
                break
            last, tried[square] = tried.get(square, -1), query
            if newest <= last:
                continue
            asked = (changed > last).nonzero().squeeze(1)
            if not len(asked):
                continue
            side, top, left, colours = square
            rows = remaining[asked]
            points = best[rows]
            shift = 2.0 * self.eps * torch.tensor(colours, device=x.device).view(channels, 1, 1)
            points[:, :, top : top + side, left : left + side] += shift
            points = points.maximum(low[rows]).minimum(high[rows]).clamp(0.0, 1.0)
            new_margin, new_loss = self.margin_and_loss(points, y[rows])
            lower = new_loss < loss[rows]
            loss[rows[lower]] = new_loss[lower]
            kept = lower | (new_margin <= 0.0)
            margin[rows[kept]], best[rows[kept]] = new_margin[kept], points[kept]
            if kept.any():
                changed[asked[kept]], newest = query, query
            if (new_margin <= 0.0).any():
                left_over = margin[remaining] > 0.0
                queries[remaining[~left_over]] = query + 1.0
                remaining, changed = remaining[left_over], changed[left_over]
        queries[remaining] = self.n_queries + 1.0
        return queries, best

    def _squares(self, channels: int, height: int, width: int) -> list[Square]:
        """Draw the squares of all queries: the library's random numbers in its order, but at once.

        The library draws them one by one on the CPU, which takes longer than a query of a small network.
        """
        draws = torch.rand(self.n_queries, 2 + channels)
        sides = [self._side(iteration, height, width) for iteration in range(self.n_queries)]
        free = torch.tensor([[height - side, width - side] for side in sides]).view(-1, 2)
        corners = (free * draws[:, :2]).long().tolist()
        colours = torch.sign(2 * draws[:, 2:] - 1).tolist()
        return [
            (side, top, left, tuple(colour))
            for side, (top, left), colour in zip(sides, corners, colours, strict=True)
        ]

    def _side(self, iteration: int, height: int, width: int) -> int:
        """Return the side of the squares of one iteration, in pixels, as the library computes it."""
        pixels = self.p_selection(iteration) * height * width
        return min(max(round(math.sqrt(pixels)), 1), height, width)
