"""Native code that reads an untrusted model runs here, in a process of its own with limits.

The protobuf of a model can be well formed and still make onnx.checker, onnx.shape_inference or
ONNX Runtime segfault, allocate tens of gigabytes, or never come back. So everything that native
code does to a model *as it came in* is a job for one worker process (`worker.py`), started on
first use and kept: the full check of a file, shape inference, and running the model (the
verifier's runs of the input and the result). What kills the worker costs one line (`Died`).

What stays in the process itself: protobuf's own parser (upb, fuzzed by its makers), the Python of
onnx_ir, and ONNX Runtime on models that went through the guard: calibration, repair, damage,
gradient steps and the tools of `hwopt/debug`. They run what the guard ran before them.

Limits (`limits.py`): memory by the model's size, wall-clock time per job; both can be raised.
"""
