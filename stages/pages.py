from __future__ import annotations
def cams_page(*a): pass
def pseudo_masks_page(*a): pass
def segmentation_page(*a): pass
def evaluation_page(*a): pass
