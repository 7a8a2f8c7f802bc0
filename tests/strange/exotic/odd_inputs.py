"""Exotic models: optional inputs, sequences, strings."""

# ruff: noqa: E501 -- models are read best with one operator after the other

from __future__ import annotations

import numpy as np

from tests.strange.exotic.models import (
    BATCHES,
    NCHW,
    Exotic,
    exotic,
    f32,
    i64,
    model_of,
    scalar_of,
)


@exotic("optional/left_out")
def _left_out() -> Exotic:
    return model_of(
        """@a x -> h q = Clip(h, , six) r = Clip(q, low) s = Conv<kernel_shape=[1,1]>(r, w, ) t = Mul(s, two)
        u = Resize<mode="nearest">(t, , scales) v = MaxPool<kernel_shape=[2,2], strides=[2,2]>(u)
        d, m = Dropout(v) @b d -> y""",
        {
            "six": scalar_of(2.0),
            "low": scalar_of(-1.0),
            "w": (8, 8, 1, 1),
            "two": scalar_of(2.0),
            "scales": f32(1, 1, 2, 2),
        },
    )


@exotic("optional/recurrent")
def _recurrent() -> Exotic:
    return model_of(
        """@a x -> h q = GlobalAveragePool(h) r = Reshape(q, sh)
        o, l = LSTM<hidden_size=4>(r, w, u, , , start) y = Squeeze(l, zero)""",
        {"sh": i64(1, -1, 8), "w": (1, 16, 8), "u": (1, 16, 4), "start": (1, 1, 4), "zero": i64(0)},
        inputs="float[1,8,6,6] x",
        outputs="float[1,4] y",
    )


@exotic("optional/type")
def _optional() -> Exotic:
    return model_of(
        "@a x -> h o = Optional(h) e = OptionalHasElement(o) g0 = OptionalGetElement(o) @b g0 -> y",
        outputs=f"{NCHW} y, bool e", opset=18,
    )  # fmt: skip


@exotic("optional/input")
def _optional_input() -> Exotic:
    found = model_of(
        """e = OptionalHasElement(o) @a x -> h
        z = If(e) <then_branch = t () => (float[N,8,6,6] p) { q = OptionalGetElement(o) p = Add(q, h) },
                   else_branch = f () => (float[N,8,6,6] p) { p = Neg(h) }>
        @b z -> y""",
        inputs=f"{NCHW} x, optional(float[N,8,6,6]) o", opset=18,
    )  # fmt: skip
    return Exotic(found.proto, ({"N": 1},), changes=False, choices={"o": [np.ones((1, 8, 6, 6), np.float32)]})


@exotic("sequence/inside")
def _sequence() -> Exotic:
    return model_of(
        """@a x -> h s = SplitToSequence<axis=1>(h, four) u = SequenceAt(s, nil) v = SequenceAt(s, one)
        w = SequenceInsert(s, u) q = ConcatFromSequence<axis=1>(w) l = SequenceLength(w)
        r = Conv<kernel_shape=[1,1]>(q, cw) t = Mul(r, two) @b t -> y""",
        {
            "four": scalar_of(4, np.int64),
            "nil": scalar_of(0, np.int64),
            "one": scalar_of(1, np.int64),
            "cw": (8, 12, 1, 1),
            "two": scalar_of(2.0),
        },
        outputs=f"{NCHW} y, int64 l",
    )


@exotic("sequence/output")
def _sequence_output() -> Exotic:
    return model_of(
        "@a x -> h s = SequenceConstruct(h, ac) @b h -> y", outputs=f"{NCHW} y, seq(float[N,C,6,6]) s"
    )


@exotic("sequence/input")
def _sequence_input() -> Exotic:
    found = model_of(
        "@a x -> h u = SequenceAt(s, nil) v = Add(h, u) @b v -> y",
        {"nil": scalar_of(0, np.int64)},
        inputs=f"{NCHW} x, seq(float[1,8,6,6]) s",
    )
    return Exotic(
        found.proto,
        BATCHES,
        changes=False,
        choices={"s": [[np.ones((1, 8, 6, 6), np.float32)], [np.zeros((1, 8, 6, 6), np.float32)]]},
    )


@exotic("strings/passed_on")
def _strings() -> Exotic:
    found = model_of(
        "@a x -> y t = Identity(s)", inputs=f"{NCHW} x, string[M] s", outputs=f"{NCHW} y, string[M] t"
    )
    return Exotic(
        found.proto, BATCHES, choices={"s": [np.array(["a", "ü"], object), np.array(["", "x" * 50], object)]}
    )


@exotic("strings/constants")
def _labels() -> Exotic:
    """A classifier that says its label: strings among the weights."""
    return model_of(
        "@a x -> h q = GlobalAveragePool(h) f = Flatten<axis=1>(q) i = ArgMax<axis=1, keepdims=0>(f) y = Gather(names, i)",
        {"names": np.array([f"class {n}" for n in range(8)], object)}, outputs="string[N] y",
    )  # fmt: skip


@exotic("strings/normalised")
def _normalizer() -> Exotic:
    found = model_of(
        'y0 = StringNormalizer<case_change_action="LOWER", locale="C", stopwords=["the"]>(s) @a x -> y',
        inputs=f"{NCHW} x, string[M] s", outputs=f"{NCHW} y, string[?] y0",
    )  # fmt: skip
    return Exotic(found.proto, BATCHES, choices={"s": [np.array(["The", "Cat"], object)]})
