"""The models of the original BOTNet code, rebuilt on e3nn from their description.

This is what the importer is held against. Parameters carry the original's names; e3nn's conventions (order of
irreps and of weights, normalisation) come from e3nn itself, not from multiace. Everything is float64.
"""

from functools import cache
from itertools import permutations
from math import pi
from typing import Any, NamedTuple

import numpy as np
import torch
from ase import Atoms
from ase.neighborlist import neighbor_list
from e3nn import o3
from e3nn.math import normalize2mom
from torch import nn
from torch.nn import functional

SIGN_CHANGED = [
    triple
    for degrees in ["122", "133", "144", "155", "166", "445", "555", "346", "456", "566"]
    for triple in permutations(map(int, degrees))
]
"""(l1, l2, l3) up to l = 6 whose Wigner 3j symbol changed sign between e3nn 0.4.4 and later versions."""

GATES = {"silu": functional.silu, "tanh": torch.tanh, "abs": torch.abs, "None": None, None: None}


class Kind(NamedTuple):
    """What an interaction block does."""

    radial: str  # a key of RADIAL
    skip: str | None  # skip_tp maps the message, or the input of the block and is added, or is absent
    linear_up: bool = True
    gated: bool = False


BLOCKS = {
    "SimpleInteractionBlock": Kind("linear", "message", linear_up=False),
    "ElementDependentInteractionBlock": Kind("elements", "message"),
    "ResidualElementDependentInteractionBlock": Kind("elements", "input"),
    "NonlinearInteractionBlock": Kind("biased", "message", linear_up=False),
    "AgnosticNonlinearInteractionBlock": Kind("net", "message"),
    "AgnosticResidualNonlinearInteractionBlock": Kind("net", "input"),
    "AgnosticNoScNonlinearInteractionBlock": Kind("net", None),
    "NequIPInteractionBlock": Kind("net", "input", gated=True),
}


# --- e3nn's operations, built once for each set of irreps, with the weights given from outside ---------------


PLAIN = {"internal_weights": False, "shared_weights": True, "_optimize_einsums": False}


@cache
def linear(irreps_in: o3.Irreps, irreps_out: o3.Irreps) -> o3.Linear:
    return o3.Linear(irreps_in, irreps_out, **PLAIN).double()


@cache
def element_linear(irreps_in: o3.Irreps, n_elements: int, irreps_out: o3.Irreps) -> nn.Module:
    one_hot = o3.Irreps([(n_elements, "0e")])
    return o3.FullyConnectedTensorProduct(irreps_in, one_hot, irreps_out, **PLAIN).double()


@cache
def unit_moment(function: Any) -> nn.Module:
    return normalize2mom(function)


class Gate:
    """e3nn's Gate: SiLU on 0e, tanh on 0o, and every other irrep times the SiLU of one more 0e."""

    def __init__(self, irreps: o3.Irreps):
        scalars = o3.Irreps([block for block in irreps if block.ir.l == 0])
        self.gated = o3.Irreps([block for block in irreps if block.ir.l > 0])
        gates = o3.Irreps([(block.mul, "0e") for block in self.gated])
        self.irreps_in = (scalars + gates + self.gated).sort().irreps.simplify()
        self.irreps_out = (scalars + self.gated).simplify()
        self.n_even = irreps.count("0e")

    def __call__(self, m: torch.Tensor) -> torch.Tensor:
        silu, tanh = unit_moment(functional.silu), unit_moment(torch.tanh)
        slices = {block.ir: part for block, part in zip(self.irreps_in, self.irreps_in.slices(), strict=True)}
        even = silu(m[:, slices[o3.Irrep("0e")]])
        results, start = [], self.n_even
        for mul, ir in self.irreps_out:
            x = m[:, slices[ir]]
            if ir.l > 0:
                gates = even[:, start : start + mul, None]
                results.append((x.reshape(-1, mul, ir.dim) * gates).flatten(1))
                start += mul
            else:
                results.append(even[:, : self.n_even] if ir.p == 1 else tanh(x))
        return torch.cat(results, dim=1)


@cache
def wigner_3j(l1: int, l2: int, l3: int) -> torch.Tensor:
    """That of e3nn 0.4.4."""
    C = o3.wigner_3j(l1, l2, l3, dtype=torch.float64)
    return -C if (l1, l2, l3) in SIGN_CHANGED else C


class Convolution:
    """uvu products of features with spherical harmonics, in every way that gives a wanted irrep."""

    def __init__(self, irreps_in: o3.Irreps, l_max: int, wanted: o3.Irreps):
        self.irreps_in = irreps_in
        self.Y = o3.Irreps.spherical_harmonics(l_max)
        self.paths = [
            (i, block.mul, j, ir)
            for i, block in enumerate(irreps_in)
            for j, (_, ir_Y) in enumerate(self.Y)
            for ir in block.ir * ir_Y
            if ir in wanted
        ]
        self.weight_numel = sum(mul for _, mul, _, _ in self.paths)
        unsorted = o3.Irreps([(mul, ir) for _, mul, _, ir in self.paths])
        self.irreps_out, _, self.order = unsorted.sort()
        self.irreps_out = self.irreps_out.simplify()

    def __call__(self, x: torch.Tensor, Y: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        results, start = [], 0
        for i, mul, j, ir in self.paths:
            ir_in, ir_Y = self.irreps_in[i].ir, self.Y[j].ir
            C = (2 * ir.l + 1) ** 0.5 * wigner_3j(ir_in.l, ir_Y.l, ir.l)
            features = x[:, self.irreps_in.slices()[i]].reshape(-1, mul, ir_in.dim)
            w = weights[:, start : start + mul]
            product = torch.einsum("abc,eka,eb,ek->ekc", C, features, Y[:, self.Y.slices()[j]], w)
            results.append(product.flatten(1))
            start += mul
        return torch.cat([results[path] for path in self.order], dim=1)


class Weighted(nn.Module):
    """One of the operations above and its weights."""

    def __init__(self, operation: Any):
        super().__init__()
        self.operation = operation
        self.weight = nn.Parameter(torch.randn(operation.weight_numel, dtype=torch.float64))

    def forward(self, *x: torch.Tensor) -> torch.Tensor:
        return self.operation(*x, self.weight)


# --- radial weights: from the radial features and the sender's one-hot element to the weights of all paths ---


class RadialLinear(Weighted):
    def __init__(self, n_elements: int, n_radial: int, n_out: int):
        super().__init__(linear(o3.Irreps([(n_radial, "0e")]), o3.Irreps([(n_out, "0e")])))

    def forward(self, radial: torch.Tensor, sender: torch.Tensor) -> torch.Tensor:
        return super().forward(radial)


class RadialElements(nn.Module):
    def __init__(self, n_elements: int, n_radial: int, n_out: int):
        super().__init__()
        self.weights = nn.Parameter(torch.randn(n_elements, n_radial, n_out, dtype=torch.float64))

    def forward(self, radial: torch.Tensor, sender: torch.Tensor) -> torch.Tensor:
        return torch.einsum("en,ez,znk->ek", radial, sender, self.weights)


class RadialBiased(nn.Module):
    def __init__(self, n_elements: int, n_radial: int, n_out: int):
        super().__init__()
        width = n_elements + n_radial
        self.layers = nn.ModuleList([nn.Linear(width, width), nn.Linear(width, n_out)]).double()

    def forward(self, radial: torch.Tensor, sender: torch.Tensor) -> torch.Tensor:
        return self.layers[1](torch.relu(self.layers[0](torch.cat([sender, radial], dim=1))))


class RadialNet(nn.Module):
    def __init__(self, n_elements: int, n_radial: int, n_out: int):
        super().__init__()
        for n, (rows, columns) in enumerate([(n_radial, 64), (64, 64), (64, 64), (64, n_out)]):
            layer = nn.Module()
            layer.weight = nn.Parameter(torch.randn(rows, columns, dtype=torch.float64))
            self.add_module(f"layer{n}", layer)

    def forward(self, radial: torch.Tensor, sender: torch.Tensor) -> torch.Tensor:
        x = radial
        for n, layer in enumerate(self.children()):
            x = unit_moment(functional.silu)(x) if n else x
            x = x @ layer.weight / x.shape[1] ** 0.5
        return x


RADIAL = {"linear": RadialLinear, "elements": RadialElements, "biased": RadialBiased, "net": RadialNet}


# --- blocks and models --------------------------------------------------------------------------------------


class Interaction(nn.Module):
    def __init__(self, kind: Kind, irreps_in: o3.Irreps, hidden: o3.Irreps, n_elements: int, hyper: dict):
        super().__init__()
        self.kind, self.neighbors = kind, hyper["avg_num_neighbors"]
        self.convolution = Convolution(irreps_in, hyper["max_ell"], hidden)
        pooled = self.convolution.irreps_out
        if kind.gated:
            self.gate = Gate(o3.Irreps([block for block in hidden if block.ir in pooled]))
            message, self.irreps_out = self.gate.irreps_in, self.gate.irreps_out
        else:
            message = o3.Irreps([(hidden.count(ir), ir) for _, ir in pooled])
            self.irreps_out = message
        if kind.linear_up:
            self.linear_up = Weighted(linear(irreps_in, irreps_in))
        n_weights = self.convolution.weight_numel
        self.conv_tp_weights = RADIAL[kind.radial](n_elements, hyper["num_bessel"], n_weights)
        self.linear = Weighted(linear(pooled, message))
        if kind.skip:
            source = irreps_in if kind.skip == "input" else message
            self.skip_tp = Weighted(element_linear(source, n_elements, message))

    def forward(self, h: torch.Tensor, one_hot: torch.Tensor, edges: "Edges") -> torch.Tensor:
        x = self.linear_up(h) if self.kind.linear_up else h
        weights = self.conv_tp_weights(edges.radial, one_hot[edges.senders])
        on_edges = self.convolution(x[edges.senders], edges.Y, weights)
        pooled = on_edges.new_zeros(len(h), on_edges.shape[1]).index_add(0, edges.receivers, on_edges)
        m = self.linear(pooled) / self.neighbors
        if self.kind.skip == "message":
            m = self.skip_tp(m, one_hot)
        elif self.kind.skip == "input":
            m = m + self.skip_tp(h, one_hot)
        return self.gate(m) if self.kind.gated else m


class Readout(nn.Module):
    def __init__(self, irreps_in: o3.Irreps, mlp: bool, hyper: dict):
        super().__init__()
        self.mlp = mlp
        one = o3.Irreps("1x0e")
        if mlp:
            hidden = o3.Irreps(hyper["MLP_irreps"])
            function = GATES[hyper.get("gate")]
            self.activation = unit_moment(function) if function else nn.Identity()
            self.linear_1 = Weighted(linear(irreps_in, hidden))
            self.linear_2 = Weighted(linear(hidden, one))
        else:
            self.linear = Weighted(linear(irreps_in, one))

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return self.linear_2(self.activation(self.linear_1(h))) if self.mlp else self.linear(h)


class Edges(NamedTuple):
    senders: torch.Tensor
    receivers: torch.Tensor
    Y: torch.Tensor
    radial: torch.Tensor


class Prediction(NamedTuple):
    energy: float
    forces: np.ndarray
    contributions: np.ndarray  # ΣE0 + shift, then each readout


class Original(nn.Module):
    """A model of the original code, from its hyper-parameters, with random weights."""

    def __init__(self, hyper: dict[str, Any], seed: int = 0):
        super().__init__()
        self.hyper = hyper
        name, n_layers, n_elements = hyper["model"], hyper["num_interactions"], len(hyper["atomic_numbers"])
        nonlinear, single = "NonLinear" in name, "SingleReadout" in name
        hidden = o3.Irreps(hyper["hidden_irreps"])
        later = hyper["interaction"]
        first = hyper.get("interaction_first") if "NonLinearBodyOrdered" in name else None
        blocks = [first or later] + [later] * (n_layers - 1)

        h = o3.Irreps([(hidden.count("0e"), "0e")])
        self.node_embedding = nn.Module()
        self.node_embedding.linear = Weighted(linear(o3.Irreps([(n_elements, "0e")]), h))
        self.interactions, self.readouts = nn.ModuleList(), nn.ModuleList()
        for t, block in enumerate(blocks):
            interaction = Interaction(BLOCKS[block], h, hidden, n_elements, hyper)
            self.interactions.append(interaction)
            h = interaction.irreps_out
            last = t == n_layers - 1
            if last or not single:
                # Where every layer is read out, the first readout is made before the question of the last arises.
                mlp = nonlinear and last and (single or n_layers > 1)
                self.readouts.append(Readout(h, mlp, hyper))

        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            parameter.data.normal_(generator=generator)
        for block in self.interactions:
            if block.kind.radial in ("elements", "biased"):  # these have no factor of their own
                for parameter in block.conv_tp_weights.parameters():
                    parameter.data *= hyper["num_bessel"] ** -0.5

    def predict(self, atoms: Atoms) -> Prediction:
        hyper = self.hyper
        i, j, S = neighbor_list("ijS", atoms, hyper["r_max"])
        senders, receivers = torch.from_numpy(i), torch.from_numpy(j)
        positions = torch.tensor(atoms.positions, requires_grad=True)
        vectors = positions[receivers] - positions[senders] + torch.from_numpy(S @ np.array(atoms.cell))
        Y = o3.spherical_harmonics(list(range(hyper["max_ell"] + 1)), vectors, True, "component")
        edges = Edges(senders, receivers, Y, self.radial(vectors.norm(dim=1)))
        species = [hyper["atomic_numbers"].index(number) for number in atoms.numbers]
        one_hot = torch.eye(len(hyper["atomic_numbers"]), dtype=torch.float64)[species]

        h = self.node_embedding.linear(one_hot)
        energies = []
        for t, interaction in enumerate(self.interactions):
            h = interaction(h, one_hot, edges)
            readout = t - len(self.interactions) + len(self.readouts)
            if readout >= 0:
                energies.append(self.readouts[readout](h).sum())
        E0 = torch.tensor(hyper["atomic_energies"], dtype=torch.float64)[species].sum()
        scaled = hyper["model"].startswith("ScaleShift")
        scale = hyper["atomic_inter_scale"] if scaled else 1.0
        shift = hyper["atomic_inter_shift"] if scaled else 0.0
        terms = torch.stack([E0 + shift * len(atoms), *(scale * energy for energy in energies)])
        energy = terms.sum()
        (gradient,) = torch.autograd.grad(energy, positions, materialize_grads=True)
        return Prediction(energy.item(), -gradient.numpy(), terms.detach().numpy())

    def radial(self, r: torch.Tensor) -> torch.Tensor:
        r_max, p = self.hyper["r_max"], self.hyper["num_polynomial_cutoff"]
        n = torch.arange(1, self.hyper["num_bessel"] + 1, dtype=torch.float64)
        r = r[:, None]
        x = r / r_max
        bessel = (2 / r_max) ** 0.5 * torch.sin(n * pi * x) / r
        cutoff = (
            1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
        )
        return bessel * cutoff

    def arrays(self) -> dict[str, np.ndarray]:
        """What the original's users hand over: ``param/<name>``."""
        return {f"param/{name}": value.detach().numpy() for name, value in self.named_parameters()}

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """Take parameters over from another model of the same hyper-parameters."""
        values = {name: torch.from_numpy(arrays[name]) for name in self.arrays()}
        assert values.keys() == arrays.keys()
        for name, parameter in self.named_parameters():
            parameter.data.copy_(values[f"param/{name}"])
