"""Affine chains into the linear operator before or after them."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from hwopt.canonical import Fold, apply_fold, find_folds
from hwopt.errors import RewriteFailed
from hwopt.nodes import constant_array

Make = Callable[..., ir.Model]
Becomes = Callable[[ir.Model, list[str], list[str]], ir.Model]
Stays = Callable[[ir.Model, str | None], None]
CONV = (
    "(float[N,4,H,H] x, float[8,4,3,3] w, float[8] b, float[1] s, float[1] t, float[8,1,1] c)"
    "=> (float[N,8,h,h] y)"
)
POINTWISE = "(float[N,4,H,H] x, float[4,4,1,1] w, float[1] s) => (float[N,4,H,H] y) "


def test_scalar_chain_after_a_padded_conv(make: Make, becomes: Becomes) -> None:
    model = make(
        "g "
        + CONV
        + """ {
        a = Conv<pads=[1,1,1,1]>(x, w, b)
        m = Mul(s, a)
        k = Add(m, t)
        y = Relu(k)
    }"""
    )
    after = becomes(model, ["k = Conv(x)", "y = Relu(k)"], ["fold_after"])
    assert set(after.graph.initializers) == {"w.1", "b.1", "c"}, "weights that were replaced are gone"


def test_subtract_from_and_divide(make: Make, becomes: Becomes) -> None:
    model = make("g " + CONV + "{ a = Conv(x, w)  m = Sub(c, a)  y = Div(m, s) }")
    becomes(model, ["y = Conv(x)"], ["fold_after"])


def test_batch_norm_after_conv_conv_transpose_and_gemm(make: Make, becomes: Becomes) -> None:
    norm = "float[6] g, float[6] h, float[6] mean, float[6] var"
    for operator, shape in (
        ("Conv<group=2, strides=[2,2]>", "6,2,3,3"),
        ("ConvTranspose<group=2, strides=[2,2]>", "4,3,2,2"),
    ):
        model = make(f"""g (float[N,4,H,H] x, float[{shape}] w, {norm}) => (float[N,6,h,h] y) {{
            a = {operator}(x, w)
            y = BatchNormalization<epsilon=0.01>(a, g, h, mean, var)
        }}""")
        becomes(model, [f"y = {operator.split('<')[0]}(x)"], ["fold_after"])
    model = make(f"""g (float[N,4] x, float[4,6] w, float[1,6] c, {norm}) => (float[N,6] y) {{
        a = Gemm<alpha=0.5, beta=2.0>(x, w, c)
        y = BatchNormalization(a, g, h, mean, var)
    }}""")
    becomes(model, ["y = Gemm(x)"], ["fold_after"])


def test_constant_expression_as_bias(make: Make, becomes: Becomes) -> None:
    model = make("""g (float[N,4,H,H] x, float[8,4,1,1] w, float[8] b) => (float[N,8,H,H] y) {
        shape = Constant<value_ints=[1,8,1,1]>()
        r = Reshape(b, shape)
        a = Conv(x, w)
        y = Add(a, r)
    }""")
    after = becomes(model, ["y = Conv(x)"], ["fold_after"])
    assert all(node.op_type != "Constant" for node in after.graph), "the dead constants stay behind"


def test_identity_inside_a_chain_goes_with_it(make: Make, becomes: Becomes) -> None:
    model = make(
        "g " + CONV + "{ a = Conv(x, w)  i = Identity(a)  m = Mul(i, s)  d = Dropout(m)  y = Add(d, c) }"
    )
    becomes(model, ["y = Conv(x)"], ["fold_after"])


def test_chain_before_an_unpadded_conv(make: Make, becomes: Becomes) -> None:
    model = make("""g (float[N,4,H,H] x, float[6,2,3,3] w, float[4,1,1] s, float[1] t) => (float[N,6,h,h] y) {
        m = Mul(x, s)
        a = Add(t, m)
        y = Conv<group=2>(a, w)
    }""")
    becomes(model, ["y = Conv(x)"], ["fold_before"])


def test_scale_before_a_padded_conv_and_a_transposed_one(make: Make, becomes: Becomes) -> None:
    for operator, shape in (
        ("Conv<pads=[1,1,1,1], group=2>", "6,2,3,3"),
        ("ConvTranspose<group=2>", "4,3,2,2"),
    ):
        model = make(f"""g (float[N,4,H,H] x, float[{shape}] w, float[4,1,1] s) => (float[N,6,h,h] y) {{
            m = Mul(x, s)
            y = {operator}(m, w)
        }}""")
        becomes(model, [f"y = {operator.split('<')[0]}(x)"], ["fold_before"])


def test_before_a_gemm(make: Make, becomes: Becomes) -> None:
    model = make("""g (float[N,4] x, float[6,4] w, float[6] b, float[4] s, float[1] t) => (float[N,6] y) {
        m = Mul(x, s)
        a = Sub(m, t)
        y = Gemm<transB=1, alpha=0.5>(a, w, b)
    }""")
    becomes(model, ["y = Gemm(x)"], ["fold_before"])


def test_shift_before_a_padded_conv_stays_as_one_add(make: Make, becomes: Becomes) -> None:
    model = make("""g (float[N,4,H,H] x, float[6,4,3,3] w, float[4,1,1] s, float[4,1,1] t)
        => (float[N,6,H,H] y) {
        m = Mul(x, s)
        a = Add(m, t)
        y = Conv<pads=[1,1,1,1]>(a, w)
    }""")
    becomes(model, ["a.shifted = Add(x)", "y = Conv(a.shifted)"], ["fold_scale"])


def test_chain_read_by_two_convs_goes_into_both(make: Make, becomes: Becomes) -> None:
    model = make("""g (float[N,4,H,H] x, float[6,4,1,1] w, float[4,1,3,3] v, float[1] s, float[1] t)
        => (float[N,6,H,H] y, float[N,4,H,H] z) {
        m = Mul(x, s)
        a = Add(m, t)
        y = Conv(a, w)
        z = Conv<pads=[1,1,1,1], group=4>(a, v)
    }""")
    becomes(model, ["a.shifted = Add(x)", "y = Conv(a.shifted)", "z = Conv(a.shifted)"], ["fold_scale"])


def test_tied_weights_are_copied(make: Make, becomes: Becomes) -> None:
    model = make("""g (float[N,4,H,H] x, float[4,4,3,3] w, float[4] b, float[1] s) => (float[N,4,h,h] y) {
        a = Conv(x, w, b)
        m = Mul(a, s)
        y = Conv(m, w, b)
    }""")
    after = becomes(model, ["m = Conv(x)", "y = Conv(m)"], ["fold_after"])
    kept, original = (constant_array(item.graph.initializers["w"]) for item in (after, model))
    np.testing.assert_array_equal(kept, original)


def test_double_weights_stay_double(make: Make, becomes: Becomes) -> None:
    rng = np.random.default_rng(1)
    model = make(
        "g (double[N,4] x, double[4,6] w, double[6] s) => (double[N,6] y) { a = Gemm(x, w)  y = Mul(a, s) }",
        w=rng.standard_normal((4, 6)),
        s=rng.standard_normal(6),
    )
    after = becomes(model, ["y = Gemm(x)"], ["fold_after"])
    assert {value.dtype for value in after.graph.initializers.values()} == {ir.DataType.DOUBLE}


GUARDS = {
    "added in front of a padded conv": (
        "(float[N,4,H,H] x, float[8,4,3,3] w, float[1] t, float[1] u) => (float[N,8,H,H] y) "
        "{ a = Add(x, t)  y = Conv<pads=[1,1,1,1]>(a, w) }",
        "miss at its border",
    ),
    "auto_pad may pad": (
        "(float[N,4,H,H] x, float[8,4,3,3] w, float[1] t) => (float[N,8,h,h] y) "
        '{ a = Add(x, t)  y = Conv<auto_pad="SAME_UPPER", strides=[2,2]>(a, w) }',
        "miss at its border",
    ),
    "a shift in front of a transposed conv": (
        "(float[N,4,H,H] x, float[4,8,2,2] w, float[1] t) => (float[N,8,h,h] y) "
        "{ a = Add(x, t)  y = ConvTranspose(a, w) }",
        "miss at its border",
    ),
    "read twice": (
        "(float[N,4,H,H] x, float[4,4,1,1] w, float[1] s) => (float[N,4,H,H] y) "
        "{ a = Conv(x, w)  m = Mul(a, s)  y = Add(a, m) }",
        "read in 2 places",
    ),
    "an output of the model": (
        "(float[N,4,H,H] x, float[4,4,1,1] w, float[1] s) => (float[N,4,H,H] a, float[N,4,H,H] y) "
        "{ a = Conv(x, w)  y = Mul(a, s) }",
        "is an output of the model",
    ),
    "the constant differs along the width": (
        "(float[N,4,H,8] x, float[8,4,1,1] w, float[8] s) => (float[N,8,H,8] y) "
        "{ a = Conv(x, w)  y = Mul(a, s) }",
        "differs within a channel",
    ),
    "the constant makes more channels": (
        "(float[N,4,H,H] x, float[1,4,1,1] w, float[8,1,1] s) => (float[N,8,H,H] y) "
        "{ a = Conv(x, w)  y = Mul(a, s) }",
        "8 channels where 1 were expected",
    ),
    "the constant adds an axis": (
        "(float[N,4] x, float[4,6] w, float[1,1,1] s) => (float[1,N,6] y) { a = Gemm(x, w)  y = Mul(a, s) }",
        "differs within a channel",
    ),
    "the weight is computed": (
        "(float[N,4,H,H] x, float[4,4,1,1] xw, float[1] s) => (float[N,4,H,H] y) "
        "{ a = Conv(x, xw)  y = Mul(a, s) }",
        "is not constant",
    ),
    "the other operand is computed": (
        "(float[N,4,H,H] x, float[4,4,1,1] w, float[N,4,H,H] xs) => (float[N,4,H,H] y) "
        "{ a = Conv(x, w)  y = Mul(a, xs) }",
        None,
    ),
    "division by the activation": (
        POINTWISE + "{ a = Conv(x, w)  y = Div(s, a) }",
        None,
    ),
    "a transposed gemm": (
        "(float[4,4] x, float[4,6] w, float[1] t) => (float[4,6] y) "
        "{ a = Add(x, t)  y = Gemm<transA=1>(a, w) }",
        "transposed",
    ),
    "nothing linear nearby": (
        "(float[N,4,H,H] x, float[4] g, float[4] h, float[4] mean, float[4] var) => (float[N,4,H,H] y) "
        "{ a = Relu(x)  b = BatchNormalization(a, g, h, mean, var)  y = Relu(b) }",
        "no linear operator",
    ),
}


@pytest.mark.parametrize("name", GUARDS)
def test_left_alone(name: str, make: Make, stays: Stays) -> None:
    text, reason = GUARDS[name]
    stays(make("g " + text), reason)


def test_half_precision_is_left_alone(make: Make, stays: Stays) -> None:
    half = {"w": np.ones((4, 4, 1, 1), np.float16), "s": np.ones(1, np.float16) * 2}
    text = POINTWISE.replace("float", "float16") + "{ a = Conv(x, w)  y = Mul(a, s) }"
    stays(make("g " + text, **half), "float16")


def test_overflow_is_left_alone(make: Make, stays: Stays) -> None:
    huge = {"w": np.full((4, 4, 1, 1), 1e30, np.float32), "s": np.full(1, 1e30, np.float32)}
    stays(make("g " + POINTWISE + "{ a = Conv(x, w)  y = Mul(a, s) }", **huge), "not finite")


def test_training_batch_norm_is_left_alone(make: Make, stays: Stays) -> None:
    model = make(
        """g (float[N,4,H,H] x, float[4,4,1,1] w, float[4] g, float[4] h, float[4] mean, float[4] var)
        => (float[N,4,H,H] y) {
        a = Conv(x, w)
        y, m, v = BatchNormalization<training_mode=1>(a, g, h, mean, var)
    }""",
        opset=15,
    )
    stays(model, "normalises over the batch")


def test_a_fold_that_no_longer_fits_is_refused(make: Make) -> None:
    model = make("g " + CONV + "{ a = Conv(x, w)  m = Mul(s, a)  y = Add(m, t) }")
    fold = next(found for found in find_folds(model) if isinstance(found, Fold))
    apply_fold(model, fold)
    with pytest.raises(RewriteFailed, match="no longer applies"):
        apply_fold(model, fold)
