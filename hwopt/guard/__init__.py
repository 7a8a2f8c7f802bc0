"""Native code that reads an untrusted model runs here, in a process of its own with limits.

The protobuf of a model can be well formed and still make onnx.checker, onnx.shape_inference or
ONNX Runtime segfault, allocate tens of gigabytes, or never come back. So everything that native
code does to a model *as it came in* is a job for one worker process (`worker.py`), started on
first use and kept: the full check of a file, shape inference, and running the model (the
verifier's runs of the input and the result). What kills the worker costs one line (`Died`).

What stays in the process itself: protobuf's own parser (upb, fuzzed by its makers), the Python of
onnx_ir, and ONNX Runtime on models that the guard ran before (`verify.require_survivable`) and on what
rewrites make of those: calibration, repair, damage and gradient steps, `hwopt compare`, `hwopt bisect`
and what shrinks a failing model. Data that they are run on are the user's own. Shape inference of
single operators and small cut-out models stays in oracles, most of which are workers themselves.

Limits (`limits.py`): memory by the model's size, wall-clock time per job; HWOPT_GUARD_MEMORY and
HWOPT_GUARD_SECONDS raise them, HWOPT_GUARD=off does without a process and limits. On Windows, which
knows no such limits, only a crash is kept apart. The worker and whoever owns it end together
(`hwopt.files.janitor`). What is in the guard is not barred from files or the network: it is for code that
breaks, not for code that was taken over.
"""
