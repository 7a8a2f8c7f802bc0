"""auto_pad made explicit, Pad folded into the convolution after it."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from hwopt.nodes import attr_ints

Make = Callable[..., ir.Model]
Becomes = Callable[[ir.Model, list[str], list[str]], ir.Model]
Stays = Callable[[ir.Model, str | None], None]


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("operator", ["Conv<strides=[1,1]", "MaxPool<kernel_shape=[4,2], strides=[1,1]"])
def test_explicit_where_the_size_does_not_matter(
    operator: str, mode: str, make: Make, becomes: Becomes
) -> None:
    weight = ", w" if operator.startswith("Conv") else ""
    model = make(f"""g (float[N,4,H,H] x, float[6,4,4,3] w) => (float[N,C,h,h] y) {{
        y = {operator}, auto_pad="{mode}">(x{weight})
    }}""")
    if not weight:
        del model.graph.initializers["w"]
    after = becomes(model, [f"y = {operator.split('<')[0]}(x)"], ["explicit_padding"])
    assert "auto_pad" not in after.graph.node(0).attributes


@pytest.mark.parametrize("size", [9, 12])
@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
def test_explicit_for_a_known_size(size: int, mode: str, make: Make, becomes: Becomes) -> None:
    model = make(f"""g (float[N,4,{size},{size}] x, float[6,4,4,2] w) => (float[N,6,h,h] y) {{
        y = Conv<strides=[2,3], auto_pad="{mode}">(x, w)
    }}""")
    becomes(model, ["y = Conv(x)"], ["explicit_padding"])


def test_strided_same_padding_of_an_unknown_size_stays(make: Make, stays: Stays) -> None:
    text = "g (float[N,4,H,H] x, float[6,4,3,3] w) => (float[N,6,h,h] y) "
    stays(
        make(text + '{ y = Conv<strides=[2,2], auto_pad="SAME_UPPER">(x, w) }'),
        "depends on the size of the input",
    )


def test_pad_into_conv(make: Make, becomes: Becomes) -> None:
    model = make("""g (float[N,4,H,H] x, float[6,4,3,3] w) => (float[N,6,h,h] y) {
        pads = Constant<value_ints=[0,0,1,2,0,0,3,0]>()
        p = Pad(x, pads)
        y = Conv<pads=[0,1,0,1]>(p, w)
    }""")
    after = becomes(model, ["y = Conv(x)"], ["fold_pad"])
    assert attr_ints(after.graph.node(0), "pads", ()) == (1, 3, 3, 1)


def test_pad_attribute_before_opset_11_and_valid(make: Make, becomes: Becomes) -> None:
    model = make(
        """g (float[N,4,H,H] x, float[6,4,3,3] w) => (float[N,6,h,h] y) {
        p = Pad<pads=[0,0,1,1,0,0,1,1]>(x)
        y = Conv<auto_pad="VALID">(p, w)
    }""",
        opset=10,
    )
    after = becomes(model, ["y = Conv(x)"], ["explicit_padding", "fold_pad"])
    assert attr_ints(after.graph.node(0), "pads", ()) == (1, 1, 1, 1)


GUARDS = {
    "ones": (
        "pads = Constant<value_ints=[0,0,1,1,0,0,1,1]>() v = Constant<value_float=1.0>() p = Pad(x, pads, v)",
        "zeros",
    ),
    "reflection": (
        'pads = Constant<value_ints=[0,0,1,1,0,0,1,1]>() p = Pad<mode="reflect">(x, pads)',
        "reflect",
    ),
    "cropping": ("pads = Constant<value_ints=[0,0,-1,-1,0,0,1,1]>() p = Pad(x, pads)", "crops"),
    "channels": ("pads = Constant<value_ints=[0,1,0,0,0,0,0,0]>() p = Pad(x, pads)", "channels"),
}


@pytest.mark.parametrize("name", GUARDS)
def test_pad_stays(name: str, make: Make, stays: Stays) -> None:
    nodes, reason = GUARDS[name]
    channels = 5 if name == "channels" else 4
    text = (
        f"g (float[N,4,H,H] x, float[6,{channels},3,3] w) => (float[N,6,h,h] y) {{ {nodes}  y = Conv(p, w) }}"
    )
    stays(make(text), reason)


def test_pad_read_twice_stays(make: Make, stays: Stays) -> None:
    model = make("""g (float[N,4,H,H] x, float[4,4,3,3] w) => (float[N,4,h,h] y, float[N,4,k,k] z) {
        pads = Constant<value_ints=[0,0,1,1,0,0,1,1]>()
        p = Pad(x, pads)
        y = Conv(p, w)
        z = Relu(p)
    }""")
    stays(model, "read in 2 places")


def test_amounts_that_are_computed_stay(make: Make, stays: Stays) -> None:
    text = "g (float[N,4,H,H] x, int64[8] xp, float[4,4,3,3] w) => (float[N,4,h,h] y) "
    weight = np.ones((4, 4, 3, 3), np.float32)
    stays(make(text + "{ p = Pad(x, xp)  y = Conv(p, w) }", w=weight), "not constant")
