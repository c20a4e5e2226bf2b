"""Reading weights: ours, a user's safetensors file, and state dicts of the public ARCNN implementations."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from postfilter.errors import WeightsError

__all__ = ["load_into", "read_state_dict", "reads_as_residual", "save_weights", "sha256_of"]


def load_into(
    network: nn.Module,
    path: Path,
    *,
    model: str,
    adapt: Callable[[dict[str, Tensor]], dict[str, Tensor]] = lambda state: state,
) -> None:
    """Read the weights at `path` into `network`.

    Args:
        network: any module; its parameter names and shapes must be those of the file.
        path: `.safetensors`, or a file of `torch.save`.
        model: the model's name, for the error message.
        adapt: changes the tensors before they are compared with what the network needs.

    Raises:
        WeightsError: the file is absent, damaged, or belongs to another network.
    """
    state = adapt(read_state_dict(path))
    expected = network.state_dict()
    missing = sorted(expected.keys() - state.keys())
    extra = sorted(state.keys() - expected.keys())
    misshapen = [
        f"{key} is {tuple(state[key].shape)}, not {tuple(expected[key].shape)}"
        for key in sorted(expected.keys() & state.keys())
        if state[key].shape != expected[key].shape
    ]
    complaints = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has unknown {', '.join(extra)}"] * bool(extra)
    complaints += misshapen
    if complaints:
        raise WeightsError(
            f"the weights in {path} do not fit {model}: {'; '.join(complaints)}; "
            "try the model they were trained for (a luma network has one channel, an RGB one three)"
        )
    not_finite = [key for key, value in state.items() if not torch.isfinite(value).all()]
    if not_finite:
        raise WeightsError(
            f"the weights in {path} are not finite numbers: {', '.join(not_finite)}; try another checkpoint"
        )
    network.load_state_dict(state)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors in a weights file, by name.

    Files of `torch.save` may hold the state dict itself or have it under `state_dict`, `model` or `params`; a `module.`
    prefix left by data-parallel training is dropped. They are read with `weights_only=True`, so that a file from
    elsewhere cannot run code.

    Raises:
        WeightsError: the file is absent or is no weights file.
    """
    if not path.is_file():
        raise WeightsError(f"no weights file at {path}; give a .safetensors file or one of torch.save")
    try:
        state: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except OSError as error:
        raise WeightsError(
            f"cannot read the weights in {path} ({error.strerror or error}); look at the file's rights"
        ) from error
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to mean: KeyError, IndexError, …
        raise WeightsError(
            f"{path} is damaged or no weights file; expected safetensors, or a state dict of torch.save (tensors alone)"
        ) from error
    for key in ("state_dict", "model", "params"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(
            f"{path} holds no state dict: got {type(state).__name__}, expected tensors by parameter name"
        )
    return {str(key).removeprefix("module."): value.detach().float() for key, value in state.items()}


def reads_as_residual(path: Path) -> bool:
    """Whether a weights file says that its network's output is to be added to its input.

    `save_weights` writes the mark; a file without one, such as a public checkpoint, is taken to say no.
    """
    if path.suffix != ".safetensors":
        return False
    with safe_open(path, framework="pt") as file:
        return (file.metadata() or {}).get("residual") == "true"


def save_weights(network: nn.Module, path: Path, *, residual: bool) -> None:
    """Write a network's parameters to a safetensors file, with the mark that `reads_as_residual` looks for.

    The file is written under a temporary name and renamed, so that a kill leaves the old one or the new one.
    """
    temporary = path.with_suffix(".partial")
    state = {key: value.detach().cpu().float().contiguous() for key, value in network.state_dict().items()}
    save_file(state, temporary, metadata={"residual": "true" if residual else "false"})
    temporary.replace(path)


def sha256_of(network: nn.Module) -> str:
    """Return the SHA-256 over a network's parameters: names, shapes and float32 values, in order of name.

    The same weights have the same hash whatever file they came from.
    """
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(f"{key}{tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
