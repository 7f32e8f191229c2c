import torch

from mmagga.model import Attention, Output, Tokens
from mmagga.model.outputs import tree_cat, tree_map


def output(value):
    x = torch.full((2, 3), float(value))
    return Output(x, x, (x, x), Attention(x, {"p1": x}))


def test_trees_keep_their_form():
    found = tree_cat([output(1), output(2)])
    assert isinstance(found, Output)
    assert isinstance(found.attention, Attention)
    assert type(found.logits) is tuple
    tensors = found.embedding, *found.logits, found.attention.parts["p1"]
    assert all(x[:, 0].tolist() == [1, 1, 2, 2] for x in tensors)


def test_a_function_of_several_trees_meets_their_places():
    one = Tokens(torch.ones(2), {"p1": torch.ones(2)})
    two = tree_map(torch.add, one, one)
    assert two.frames.tolist() == two.parts["p1"].tolist() == [2, 2]
