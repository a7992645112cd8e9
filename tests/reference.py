"""MOREL's reference code (advermorel 0.1.6) on a CPU: only its hard-coded calls to CUDA are replaced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from advermorel.losses import loat as reference_loat
from advermorel.losses import mart as reference_mart
from advermorel.losses import morel as reference_morel
from advermorel.losses import trades as reference_trades
from advermorel.models.morelnet import morelnet
from torch import Tensor, nn

from morel_search.training.step import MorelStep

__all__ = [
    "on_cpu",
    "reference_loat",
    "reference_mart",
    "reference_model",
    "reference_morel",
    "reference_trades",
]


@contextmanager
def on_cpu(noise: Tensor | None = None) -> Iterator[None]:
    """Run the reference on the CPU; its draws of the attack's start give ``noise`` where that is given."""
    contrastive = reference_morel.MultiPosConLoss.forward

    def forward(loss: Any, rows: Tensor, labels: Tensor) -> Tensor:
        loss.device = "cpu"  # where the reference writes "cuda"
        value: Tensor = contrastive(loss, rows, labels)
        return value

    patches: list[Any] = [
        mock.patch.object(torch.Tensor, "cuda", lambda self, *_, **__: self),
        mock.patch.object(reference_morel.MultiPosConLoss, "forward", forward),
    ]
    if noise is not None:
        patches.append(mock.patch.object(torch, "randn", lambda *_, **__: noise.clone()))
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()


def reference_model(step: MorelStep) -> nn.Module:
    """The reference's model with the same encoder, the same head and equal weights of the embedding space."""
    embedding = step.embedding
    assert embedding is not None
    model = morelnet(
        step.classifier.encoder,
        step.classifier.head,
        embed_dim=embedding.project.out_features,
        num_att_heads=embedding.attention.num_heads,
    )
    model.feat_layer = embedding.project
    model.pre_norm = embedding.norm
    model.attention = embedding.attention
    return model
