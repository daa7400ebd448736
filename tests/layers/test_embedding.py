"""What elements are to the network."""

import pytest
import torch

from multiace.layers.embedding import ELEMENT_EMBEDDINGS, InitialFeatures


def test_one_hot_elements_have_weights_of_their_own():
    elements = ELEMENT_EMBEDDINGS["one_hot"](3, 16)
    features = InitialFeatures(elements.table.shape[1], 5)
    h = features(torch.tensor([2, 0, 2]), elements)
    assert torch.equal(h, features.weight[[2, 0, 2]])
    assert not list(elements.parameters())


def test_continuous_elements_share_weights_whatever_their_number():
    sizes = []
    for n_species in (2, 80):
        elements = ELEMENT_EMBEDDINGS["continuous"](n_species, 4)
        features = InitialFeatures(elements.table.shape[1], 5)
        assert elements.table.shape == (n_species, 4)
        assert features(torch.tensor([1]), elements).shape == (1, 5)
        sizes.append(features.weight.numel())
    assert sizes[0] == sizes[1] == 20


def test_continuous_elements_are_of_length_about_one():
    torch.manual_seed(0)
    lengths = ELEMENT_EMBEDDINGS["continuous"](500, 16).table.norm(dim=1)
    assert lengths.square().mean().item() == pytest.approx(1.0, abs=0.1)


def test_each_embedding_is_tested():
    assert set(ELEMENT_EMBEDDINGS) == {"one_hot", "continuous"}
