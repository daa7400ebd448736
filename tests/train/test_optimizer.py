import torch
from torch import nn

from multiace.train.ema import MovingAverage
from multiace.train.optimizer import OPTIMIZERS, FlatParameters


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))


def steps(module, optimizer, differentiate, number=5):
    x = torch.linspace(-1, 1, 12).reshape(4, 3)
    for _ in range(number):
        differentiate(module(x).square().mean())
        optimizer.step()


def test_flat_steps_are_those_of_plain_torch_with_decay_on_matrices_alone():
    plain, flattened = network(), network()
    groups = [
        {"params": [p for p in plain.parameters() if p.ndim == 2], "weight_decay": 0.1},
        {"params": [p for p in plain.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    reference = torch.optim.AdamW(groups, lr=0.02)

    def backward(loss):
        reference.zero_grad()
        loss.backward()

    steps(plain, reference, backward)
    flat = FlatParameters(flattened)
    optimizer = OPTIMIZERS["adamw"](flat.groups(0.1))
    for group in optimizer.param_groups:
        group["lr"] = 0.02
    steps(flattened, optimizer, flat.differentiate)
    for a, b in zip(plain.parameters(), flattened.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    assert not torch.equal(network()[0].weight, flattened[0].weight)


def test_parameters_are_views_of_the_vector():
    module = network()
    flat = FlatParameters(module)
    with torch.no_grad():
        flat.vector.fill_(2.0)
    assert all((p == 2.0).all() for p in module.parameters())
    assert sorted(flat.names) == sorted(name for name, _ in module.named_parameters())


def test_parameter_that_the_loss_does_not_reach_has_zero_gradient():
    module = network()
    module.extra = nn.Parameter(torch.ones(2, 2))
    flat = FlatParameters(module)
    flat.differentiate(module[0](torch.ones(1, 3)).sum())
    flat_gradient = dict(
        zip(flat.names, flat.gradient.split([p.numel() for p in flat.parameters]), strict=True)
    )
    assert (flat_gradient["extra"] == 0).all()
    assert (flat_gradient["0.weight"] == 1).all()


def test_clip_shortens_long_gradients_only():
    flat = FlatParameters(network())
    flat.gradient.fill_(1.0)
    norm = float(flat.gradient.norm())
    flat.clip(2 * norm)
    assert float(flat.gradient.norm()) == norm
    flat.clip(0.5)
    assert torch.allclose(flat.gradient.norm(), torch.tensor(0.5))


def test_moving_average_follows_its_formula_and_leaves_raw_weights_alone():
    weights = torch.zeros(3)
    average = MovingAverage(weights, decay=0.5)
    expected = 0.0
    for step in range(20):
        weights.fill_(float(step))
        average.set_step(step)
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert torch.allclose(average.average, torch.tensor(expected))
    with average.applied():
        assert torch.allclose(weights, torch.tensor(expected))
    assert (weights == 19.0).all()
