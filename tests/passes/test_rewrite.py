"""The driver itself: order, interning, origins, the guards and the counter."""

from __future__ import annotations

import pytest
from helpers import ops_of, pf, region_of, same_results

from pyflow.errors import InternalError
from pyflow.opdef import call
from pyflow.rewrite import Rule, again, rewrite


def chain():
    return region_of(lambda graph: [pf.exp(pf.tanh(pf.exp(pf.placeholder("float32", ["n"]))))])


def to(op):
    return lambda node: call(op, *node.inputs)


def test_a_rule_is_applied_everywhere_and_counted() -> None:
    region = chain()
    made = rewrite(region, [Rule("exp_to_sin", ("exp",), to("sin"))])
    assert ops_of(made) == {"sin": 2, "tanh": 1}
    assert region.table.rewrites == {"exp_to_sin": 2}


def test_what_a_rule_makes_is_offered_again() -> None:
    made = rewrite(chain(), [Rule("a", ("exp",), to("sin")), Rule("b", ("sin",), to("cos"))])
    assert ops_of(made) == {"cos": 2, "tanh": 1}


def test_no_rule_fires_same_region() -> None:
    region = chain()
    assert rewrite(region, [Rule("never", (), lambda node: None)]) is region
    assert rewrite(region, []) is region


def test_rules_that_round_are_left_out_where_strict() -> None:
    region = chain()
    rule = Rule("rounds", ("exp",), to("sin"), exact=False)
    assert rewrite(region, [rule], "strict") is region
    assert rewrite(region, [rule], "default") is not region


def test_the_counter_stops_rewriting(monkeypatch) -> None:
    monkeypatch.setenv("PYFLOW_MAX_REWRITES", "1")
    region = chain()
    rule = Rule("exp_to_sin", ("exp",), to("sin"))
    made = rewrite(region, [rule])
    assert ops_of(made) == {"sin": 1, "tanh": 1, "exp": 1}
    assert rewrite(made, [rule]) is made, "the count is the compile's, not the pass's"


def test_a_circle_is_reported() -> None:
    rules = [Rule("there", ("exp",), to("sin")), Rule("back", ("sin",), to("exp"))]
    with pytest.raises(InternalError, match=r"\[sin\] rule 'back' fires without end"):
        rewrite(chain(), rules)


def test_endless_growth_is_reported() -> None:
    with pytest.raises(InternalError, match="rule 'grow' fires without end"):
        rewrite(chain(), [Rule("grow", ("exp",), lambda node: call("exp", node.inputs[0] + 1.0))])


def test_wrapping_a_node_in_itself_is_reported() -> None:
    with pytest.raises(InternalError, match="rule 'wrap' fires without end"):
        rewrite(chain(), [Rule("wrap", ("exp",), lambda node: call("negative", node.outputs[0]))])


def test_another_type_is_reported() -> None:
    with pytest.raises(InternalError, match=r"rule 'wrong' replaced float32\[n\] by bool\[n\].*\n.*bug"):
        rewrite(chain(), [Rule("wrong", ("tanh",), lambda node: node.inputs[0] > 0)])


def test_origins_are_united() -> None:
    region = region_of(lambda graph: [pf.tanh(pf.exp(pf.placeholder("float32", ["n"], name="x"), name="e"), name="t")])
    made = rewrite(region, [Rule("drop", ("tanh",), lambda node: node.inputs[0])])
    assert {origin.name for origin in made.table.origins[made.outputs[0].node]} == {"e", "t"}


def test_long_chains_need_no_recursion() -> None:
    def build(graph):
        x = pf.placeholder("float32", ["n"])
        for _ in range(5000):
            x = pf.exp(x)
        return [x]

    region = region_of(build)
    made = rewrite(region, [Rule("exp_to_sin", ("exp",), to("sin"))])
    assert ops_of(made) == {"sin": 5000}


def test_users_are_rebuilt_on_new_inputs() -> None:
    def build(graph):
        x = pf.placeholder("float32", ["n"])
        return [pf.concat([pf.exp(x) * 2.0, x], axis=0)]

    def swap(node):
        first, second = node.inputs
        return again(node, second, first) if first.node.op.name == "exp" else None

    region = region_of(build)
    made = rewrite(region, [Rule("swap", ("multiply",), swap)])
    assert made is not region
    same_results(region, made, {"n": 3})
