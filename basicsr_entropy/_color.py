"""Constants of colour that several parts share. Knows nothing but Python."""

LUMA = (0.299, 0.587, 0.114)  # weights of R, G and B in luma, ITU-R BT.601
