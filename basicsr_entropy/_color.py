"""Color constants. Depends on the standard library only."""

LUMA = (0.299, 0.587, 0.114)  # weights of R, G and B in luma, ITU-R BT.601
