"""How good a picture is: PSNR, SSIM, PSNR-B and ΔPSNR, over image sets and over clips that real codecs coded."""

from __future__ import annotations

from postfilter.quality.clips import clip_files
from postfilter.quality.codec import CodedClip, RoundTrip, encode_decode
from postfilter.quality.datasets import DATASETS, liu4k_pictures, mcl_jci_pairs, mcl_jcv_jobs, tid2008_pairs
from postfilter.quality.evaluation import (
    CodedJob,
    Method,
    check_coding,
    evaluate_clips,
    evaluate_coded,
    evaluate_methods,
)
from postfilter.quality.flicker import flicker
from postfilter.quality.images import check_qualities, evaluate_images, evaluate_pairs, image_files, jpeg_round_trip
from postfilter.quality.meters import METRICS, check_metrics
from postfilter.quality.metrics import blocking_effect, finite_psnr, finite_psnr_b, luma_of, psnr, psnr_b, ssim
from postfilter.quality.store import CodedStore
from postfilter.quality.strength import Strength, estimate_strength

__all__ = [
    "DATASETS",
    "METRICS",
    "CodedClip",
    "CodedJob",
    "CodedStore",
    "Method",
    "RoundTrip",
    "Strength",
    "blocking_effect",
    "check_coding",
    "check_metrics",
    "check_qualities",
    "clip_files",
    "encode_decode",
    "estimate_strength",
    "evaluate_clips",
    "evaluate_coded",
    "evaluate_images",
    "evaluate_methods",
    "evaluate_pairs",
    "finite_psnr",
    "finite_psnr_b",
    "flicker",
    "image_files",
    "jpeg_round_trip",
    "liu4k_pictures",
    "luma_of",
    "mcl_jci_pairs",
    "mcl_jcv_jobs",
    "psnr",
    "psnr_b",
    "ssim",
    "tid2008_pairs",
]
