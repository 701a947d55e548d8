"""The stages of dvc.yaml: each reads its inputs, calls `omgsr`, and writes its outputs."""

import logging

# bitsandbytes, which PyIQA brings along, asks for an extra package at every import.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
