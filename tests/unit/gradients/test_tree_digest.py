"""The digest of trees tells samples apart, whatever the tensors are, and does not depend on how they are cut."""

import torch

from mcoherence.gradients.given.tree_digest import TreeDigest
from mcoherence.gradients.given.trees import rows

A, B = torch.arange(12.0).reshape(6, 2), torch.ones(6, 2)
TREE = ({"a": A, "b": (B, None)}, torch.arange(6))


def digest_of(*batches):
    digest = TreeDigest()
    for batch in batches:
        digest.update(batch)
    return digest.hexdigest()


def test_it_does_not_depend_on_cuts_strides_gradients_or_the_order_of_keys():
    same = (
        (rows(TREE, slice(0, 1)), rows(TREE, slice(1, 6))),
        (({"b": (B, None), "a": A}, TREE[1]),),
        (({"a": A.t().contiguous().t(), "b": (B.clone().requires_grad_(), None)}, TREE[1]),),
    )
    assert {digest_of(*batches) for batches in same} == {digest_of(TREE)}


def test_it_tells_places_order_types_shapes_and_numbers_apart():
    others = [
        ({"a": B, "b": (A, None)}, TREE[1]),
        ({"a": A, "b": (None, B)}, TREE[1]),
        ({"a": A, "c": (B, None)}, TREE[1]),
        ({"a": A, 0: (B, None)}, TREE[1]),
        ({"a": A.reshape(6, 2, 1), "b": (B, None)}, TREE[1]),
        ({"a": A, "b": (B, None)}, torch.arange(6).int()),
        rows(TREE, torch.tensor([1, 0, 2, 3, 4, 5])),
        rows(TREE, slice(0, 5)),
    ]
    assert len({digest_of(TREE), *map(digest_of, others)}) == 1 + len(others)


def test_conjugate_and_negative_views_are_hashed_by_their_values():
    z = torch.tensor([1 + 2j, 3 - 4j])
    assert digest_of(z.conj()) == digest_of(torch.tensor([1 - 2j, 3 + 4j]))
    assert digest_of(z.conj().imag) == digest_of(torch.tensor([-2.0, 4.0]))  # a negative view
