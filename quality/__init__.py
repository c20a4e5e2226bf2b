"""How good a picture is: PSNR, SSIM, PSNR-B and ΔPSNR, over image sets and over clips that real codecs coded."""
