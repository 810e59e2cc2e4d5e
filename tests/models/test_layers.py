import cmath

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from llm.models.kernel_choice import TORCHS_OWN, Kernels
from llm.models.kernels import project
from llm.models.layers import NORM_EPS, Linear, RMSNorm, mlp_width, reordered_weights, rotate, rotation_table
from tests.machines.doubles import using


def draw(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(sum(shape)))


def layer(n_in: int, n_out: int, bias: bool, dtype: torch.dtype) -> Linear:
    made = Linear(n_in, n_out, bias=bias, dtype=dtype)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(draw(*parameter.shape, dtype=dtype))
    return made


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("n_in", "n_out"), [(5, 8), (8, 5), (6, 6)])  # wider, narrower, as wide
def test_a_layer_has_the_values_and_gradients_of_torchs(n_in, n_out, bias):
    ours, x = layer(n_in, n_out, bias, torch.float64), draw(2, 7, n_in).requires_grad_()
    theirs = F.linear(x, ours.weight, ours.bias)
    torch.testing.assert_close(ours(x), theirs, rtol=1e-12, atol=1e-12)
    inputs, upstream = [x, *ours.parameters()], draw(2, 7, n_out)
    expected = torch.autograd.grad(theirs, inputs, upstream)
    torch.testing.assert_close(torch.autograd.grad(ours(x), inputs, upstream), expected, rtol=1e-11, atol=1e-11)


SERVED = Kernels(products=True, linear=True)


@pytest.fixture
def served():
    """A processor whose products oneDNN takes."""
    with using(SERVED):
        yield


needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this build of torch has no oneDNN")


@needs_onednn
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (32, 1), (3, 50)])  # one next token, many, rows of training
def test_onednns_layer_gives_the_values_of_torchs(served, shape, bias):
    made, x = layer(64, 96, bias, torch.float32), draw(*shape, 64, dtype=torch.float32)
    exact = F.linear(x.double(), made.weight.double(), made.bias.double() if bias else None)
    for found in (project(x, made.weight, made.bias), made(x)):
        torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)
        assert found.shape == exact.shape


def test_what_onednns_layer_does_not_take_goes_to_torch(served):
    x, weight = draw(3, 4), draw(5, 4)
    torch.testing.assert_close(project(x, weight, None), x @ weight.T)


class Calls(TorchDispatchMode):
    """Collects the names of the kernels that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@needs_onednn
@pytest.mark.parametrize(("device", "ours"), [("cpu", True), ("meta", False)])  # meta: as a GPU in such a machine
def test_onednns_layer_is_for_the_cpu_only(served, device, ours):
    with Calls() as calls:
        project(torch.ones(3, 4, device=device), torch.ones(5, 4, device=device), None)
    assert ("mkldnn._linear_pointwise.default" in calls.names) == ours


@needs_onednn
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 2, 32, 300])
def test_reordered_weights_give_the_same_values(served, rows, bias):
    model, x = torch.nn.Sequential(layer(64, 96, bias, torch.float32)), draw(rows, 64, dtype=torch.float32)
    with torch.inference_mode():
        expected = model(x)
        with reordered_weights(model):
            assert model[0].reordered.is_mkldnn
            torch.testing.assert_close(model(x), expected, rtol=1e-5, atol=1e-5)


@needs_onednn
def test_reordered_weights_are_gone_afterwards_also_after_an_error(served):
    model, x = torch.nn.Sequential(layer(4, 6, True, torch.float32)), draw(2, 4, dtype=torch.float32)
    with pytest.raises(KeyboardInterrupt), reordered_weights(model):
        raise KeyboardInterrupt
    with torch.no_grad():
        model[0].weight.zero_()
        assert torch.equal(model(x), model[0].bias.expand(2, 6))


def test_with_gradients_the_weights_themselves_are_used(machine):
    made, x = layer(4, 6, True, machine.dtype), draw(2, 4, dtype=machine.dtype)
    with reordered_weights(made):
        made(x).sum().backward()
    torch.testing.assert_close(made.weight.grad, x.sum(0).expand(6, 4))


@pytest.mark.parametrize(("kernels", "dtype"), [(SERVED, torch.float64), (TORCHS_OWN, torch.float32)])
def test_what_onednn_does_not_take_is_used_as_it_is(kernels, dtype):
    made, x = layer(4, 6, True, dtype), draw(2, 4, dtype=dtype)
    with using(kernels):
        expected = made(x).detach()
        with reordered_weights(made), torch.no_grad():
            assert made.reordered.data_ptr() == made.weight.data_ptr()
            assert torch.equal(made(x), expected)


def test_without_gradients_nothing_is_kept_for_a_backward_pass():
    made, x = layer(4, 6, True, torch.float64), draw(2, 4)
    with torch.no_grad():
        assert made(x).grad_fn is None
    assert made(x).grad_fn is not None


def test_mlp_width_is_eight_thirds_rounded_up_to_32():  # 8 * 192 / 3 = 512; 8 * 256 / 3 = 682.7 -> 704
    assert (mlp_width(192), mlp_width(256)) == (512, 704)


def test_the_norm_and_its_gradients_are_those_of_torchs_rms_norm():
    x, upstream = draw(2, 5, 8).requires_grad_(), draw(2, 8, 5).mT
    norm = RMSNorm(8).double()
    norm.weight.data = draw(8)
    expected = F.rms_norm(x, (8,), norm.weight, NORM_EPS)
    torch.testing.assert_close(norm(x), expected, rtol=1e-12, atol=1e-12)
    wanted = torch.autograd.grad(expected, (x, norm.weight), upstream)
    torch.testing.assert_close(torch.autograd.grad(norm(x), (x, norm.weight), upstream), wanted, rtol=1e-9, atol=1e-11)


def test_rotation_turns_each_pair_by_its_positions_angle_and_its_gradient_back():
    """Position p turns the pair (x[i], x[i + 2]) of a head of 4 by p * 10000^(-i / 2)."""
    x, table = draw(1, 1, 3, 4).requires_grad_(), rotation_table(3, 4).double()
    turned = rotate(x, *table[:, None, None])
    for p in range(3):
        for i in range(2):
            angle = p * 10_000 ** (-i / 2)
            pair = complex(x[0, 0, p, i].item(), x[0, 0, p, i + 2].item()) * cmath.exp(1j * angle)
            assert turned[0, 0, p, i].item() == pytest.approx(pair.real, abs=1e-6)  # the table is fp32
            assert turned[0, 0, p, i + 2].item() == pytest.approx(pair.imag, abs=1e-6)
    assert torch.autograd.gradcheck(lambda x: rotate(x, *table[:, None, None]), (x,))
