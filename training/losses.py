"""What training minimises: the error of patches, and the blocking that PSNR-B punishes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["distance", "excess_blocking", "patch_error", "relative_error"]

BLOCK = 8
# BT.601 luma in studio range, as PSNR-B takes it: 219 code values for the full range.
LUMA_CODES = (65.481, 128.553, 24.966)


def patch_error(output: Tensor, target: Tensor) -> Tensor:
    """Root mean squared error of each patch in code values, averaged over patches.

    The root keeps the few hardest patches from ruling the gradient, as they do in the mean squared error. (L1 does not
    do for video: most samples of an inter-coded frame are nearly right, and the median correction, which L1 learns, is
    none at all.)

    Args:
        output: float32 [N, C, H, W] in units of the full range (1.0 is 255).
        target: the same.
    """
    return _roots(output, target).mean()


def relative_error(output: Tensor, target: Tensor, degraded: Tensor, picture_errors: Tensor, *, harm: float) -> Tensor:
    """`patch_error` in units of the error of the whole picture: what a decibel is worth is the same at every QP.

    Args:
        output: float32 [N, C, H, W] in units of the full range.
        target: the same.
        degraded: the same places as the decoder showed them.
        picture_errors: float32 [N], mean squared errors in code values squared.
        harm: weight of the errors by which patches are worse than the decoder showed them.
    """
    scale = picture_errors.sqrt()
    roots = _roots(output, target)
    loss = (roots / scale).mean()
    if harm:
        loss = loss + harm * (F.relu(roots - _roots(degraded, target)) / scale).mean()
    return loss


def distance(correction: Tensor, taught: Tensor, picture_errors: Tensor) -> Tensor:
    """Root mean squared distance of corrections from a teacher's, relative to the teacher's own length.

    Args:
        correction: float32 [N, C, H, W] in units of the full range.
        taught: the same.
        picture_errors: float32 [N], mean squared errors in code values squared; what is far below them hardly counts.
    """
    apart, length = ((each.square().mean(dim=(1, 2, 3)) * 255**2) for each in (correction - taught, taught))
    return ((apart + 0.003 * picture_errors).sqrt() / (length + 0.03 * picture_errors).sqrt()).mean()


def _roots(output: Tensor, target: Tensor) -> Tensor:
    """Root mean squared error of each patch in code values, [N]."""
    errors = (output - target).square().mean(dim=(1, 2, 3)) * 255**2
    # The root's slope has no bound at zero; 0.1 is a third of a code value.
    return (errors + 0.1).sqrt()


def excess_blocking(filtered: Tensor, clean: Tensor, picture_errors: Tensor) -> Tensor:
    """How much steeper luma is across 8x8 block edges than elsewhere, beyond what the clean patches show.

    The blocking effect factor of PSNR-B (Yim and Bovik 2011) without its factor for the picture's size, over the root
    mean squared error of the degraded pictures, so that it weighs against `patch_error` as in PSNR-B. A network trained
    on error alone leaves a third of the blocking where it is unsure.

    Args:
        filtered: float32 [N, C, H, W] in units of the full range, 1 or 3 channels; block edges lie at multiples of 8.
        clean: the same places, to take away what chance makes of the difference in a batch of patches.
        picture_errors: float32 [N], in code values squared.

    Returns:
        At least 0; no block edges, no loss.
    """
    difference = _edge_step(_luma(filtered)) - _edge_step(_luma(clean))
    return F.relu((difference / picture_errors.sqrt()).mean())


def _luma(patches: Tensor) -> Tensor:
    if patches.shape[1] == 1:
        return patches[:, 0] * sum(LUMA_CODES)
    weights = patches.new_tensor(LUMA_CODES).view(3, 1, 1)
    return (patches * weights).sum(dim=1)


def _edge_step(luma: Tensor) -> Tensor:
    """Mean squared step between neighbours across block edges less that between others: [N, H, W] to [N]."""
    steps = [luma.diff(dim=axis).square() for axis in (1, 2)]
    at_edges = [step[:, BLOCK - 1 :: BLOCK].flatten(1) for step in (steps[0], steps[1].transpose(1, 2))]
    edges, every = torch.cat(at_edges, dim=1), torch.cat([step.flatten(1) for step in steps], dim=1)
    elsewhere = (every.sum(dim=1) - edges.sum(dim=1)) / (every.shape[1] - edges.shape[1])
    return edges.mean(dim=1) - elsewhere
