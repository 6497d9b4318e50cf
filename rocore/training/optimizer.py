"""Adam over the trainable weights, and its state as named tensors."""

from typing import Any

import torch
from torch import Tensor

from rocore.config import Config
from rocore.model import RoCORE


def make_adam(model: RoCORE, config: Config) -> torch.optim.Adam:
    """Return Adam over all trainable weights.

    The released program adds weight_decay * ||w||^2 of g's and d's weights to the loss; its gradient, 2 weight_decay w,
    is what Adam's own L2 term adds.
    """
    decayed = model.clustering_weights()
    rest: list[Tensor] = [
        parameter for parameter in model.parameters() if all(parameter is not other for other in decayed)
    ]
    groups: list[dict[str, Any]] = [
        {"params": rest},
        {"params": decayed, "weight_decay": 2 * config.loss.weight_decay},
    ]
    on_cuda = decayed[0].device.type == "cuda"
    return torch.optim.Adam(groups, lr=config.train.learning_rate, fused=True, capturable=on_cuda)


def flatten_adam(optimizer: torch.optim.Optimizer, names: dict[Tensor, str]) -> dict[str, Tensor]:
    """Return Adam's moments and step counts by `<parameter>/<moment>`."""
    return {
        f"{names[parameter]}/{moment}": value
        for parameter, moments in optimizer.state.items()
        for moment, value in moments.items()
    }


def restore_adam(
    optimizer: torch.optim.Optimizer, names: dict[Tensor, str], tensors: dict[str, Tensor]
) -> None:
    """Set Adam's moments and step counts from `flatten_adam`'s form."""
    optimizer.state.clear()
    for parameter, name in names.items():
        moments = {
            key.rpartition("/")[2]: value.to(parameter.device)
            for key, value in tensors.items()
            if key.rpartition("/")[0] == name
        }
        if moments:
            optimizer.state[parameter] = moments
