"""The only door to ONNX files: everything that reads or writes one goes through here."""

from hwopt.ir.interface import Interface, Port, interface
from hwopt.ir.load import load_model, model_identity, model_sha256
from hwopt.ir.out import bytes_in_files
from hwopt.ir.save import Saved, model_bytes, save_model

__all__ = [
    "Interface",
    "Port",
    "Saved",
    "bytes_in_files",
    "interface",
    "load_model",
    "model_bytes",
    "model_identity",
    "model_sha256",
    "save_model",
]
