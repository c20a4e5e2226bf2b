"""How good a picture is: PSNR, SSIM, PSNR-B and ΔPSNR, over image sets and over clips that real codecs coded."""

from __future__ import annotations

from postfilter.quality.clips import check_coding, clip_files, evaluate_clips
from postfilter.quality.codec import CodedClip, RoundTrip, encode_decode
from postfilter.quality.images import check_qualities, evaluate_images, image_files, jpeg_round_trip
from postfilter.quality.metrics import blocking_effect, finite_psnr, finite_psnr_b, luma_of, psnr, psnr_b, ssim

__all__ = [
    "CodedClip",
    "RoundTrip",
    "blocking_effect",
    "check_coding",
    "check_qualities",
    "clip_files",
    "encode_decode",
    "evaluate_clips",
    "evaluate_images",
    "finite_psnr",
    "finite_psnr_b",
    "image_files",
    "jpeg_round_trip",
    "luma_of",
    "psnr",
    "psnr_b",
    "ssim",
]
